#include "control/credentials.h"

#include "control/api_fixture_test.h"
#include "control/pipeline_log.h"

namespace naru::control {
namespace {

TEST(Credentials, AreFoundInUrlsInEveryFormThatOutputMayShow) {
  const auto found = credentials_in("deb [trusted=yes] https://ada:p%40ss-word@mirror.example/debian x main");
  for (const char* form :
       {"ada:p%40ss-word", "ada:p@ss-word", "p%40ss-word", "p@ss-word", "YWRhOnBAc3Mtd29yZA=="})
    EXPECT_NE(std::ranges::find(found, form), found.end()) << form;
  EXPECT_TRUE(credentials_in("http://mirror.example/a@b http://proxy:3128 x@y ://@").empty());
}

TEST(Credentials, OfProxiesAndAptSourcesAreMaskedInLogs) {
  const TempFolder apt;
  std::filesystem::create_directories(apt.path() / "apt.conf.d");
  std::ofstream(apt.path() / "sources.list") << "deb http://bob:sources-secret@mirror/debian x main\n";
  std::ofstream(apt.path() / "apt.conf.d/proxy")
      << "Acquire::http::Proxy \"http://eve:conf-secret@proxy:1\";\n";
  const auto secrets = host_credentials({{"http_proxy", "ada:env-secret@proxy:3128"}}, apt.path());
  // What a step prints with `env`, `cat /etc/apt/sources.list` and `curl -v`.
  const std::string said = mask(
      "http_proxy=ada:env-secret@proxy:3128\nhttp://bob:sources-secret@mirror\neve conf-secret\n"
      "Proxy-Authorization: Basic YWRhOmVudi1zZWNyZXQ=",
      secrets);
  EXPECT_EQ(said.find("secret"), std::string::npos) << said;
  EXPECT_EQ(said.find("YWRhOm"), std::string::npos) << said;
  EXPECT_NE(said.find("http_proxy=***@proxy:3128"), std::string::npos) << said;
}

}  // namespace
}  // namespace naru::control
