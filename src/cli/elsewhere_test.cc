// Naru on another machine: reached by TLS, and what is said when it is not.
#include "cli/fake_control.h"

namespace naru::cli {
namespace {

using io::testing::Certificate;
using testing::Ran;
using testing::run_line;

// A control with a certificate for localhost alone.
struct Elsewhere {
  Certificate certificate;
  std::string authorization;
  io::testing::TestServer server;
  Elsewhere() : server(answer(), {}, io::testing::loopback(), {.tls = certificate.identity()}) {}

  io::Handler answer() {
    return [this](io::Request& request, io::ResponseWriter& response) -> io::Task<void> {
      authorization = request.header("authorization").value_or("");
      const Json body{{"instances", Json::array()}};
      (void)co_await response.send_json(200, body);
    };
  }
  std::string url(const std::string& host = "localhost") const {
    return fmt::format("https://{}:{}", host, server.address().port());
  }
};

Ran ps_at(const std::string& url, const std::string& ca = "") {
  return run_line({"ps"},
                  {.environment = {{"NARU_URL", url}, {"NARU_TOKEN", "naru_secret"}, {"NARU_CA", ca}}});
}

TEST(Elsewhere, IsBelievedByItsCertificate) {
  const Elsewhere there;
  EXPECT_EQ(ps_at(there.url(), there.certificate.file).out, "Nothing runs.\n");
  EXPECT_EQ(there.authorization, "Bearer naru_secret");
}

TEST(Elsewhere, WhoIsNotBelievedGetsNoTokenAndIsNamed) {
  const Elsewhere there;
  const Certificate other;
  const auto untrusted = ps_at(there.url());
  EXPECT_EQ(untrusted.status, 1);
  EXPECT_TRUE(untrusted.err.starts_with(fmt::format(
      "error: {0}: localhost: the certificate there is signed by nobody who is trusted here", there.url())))
      << untrusted.err;
  EXPECT_NE(untrusted.err.find("hint: if it is a certificate of your own, say who signed it: NARU_CA=FILE"),
            std::string::npos);
  EXPECT_NE(
      ps_at(there.url(), other.file).err.find("hint: " + other.file + " (NARU_CA) is not who signed it"),
      std::string::npos);
  const auto wrong_name = ps_at(there.url("127.0.0.1"), there.certificate.file).err;
  EXPECT_NE(wrong_name.find("the certificate there is for another name: for localhost"), std::string::npos)
      << wrong_name;
  EXPECT_NE(wrong_name.find("hint: ask for a name that the certificate has"), std::string::npos);
  const Certificate over;
  over.expire();
  const io::testing::TestServer late([](io::Request&, io::ResponseWriter&) -> io::Task<void> { co_return; },
                                     {}, io::testing::loopback(), {.tls = over.identity()});
  const auto expired = ps_at(fmt::format("https://localhost:{}", late.address().port()), over.file).err;
  EXPECT_NE(expired.find("not valid at this time (certificate has expired)"), std::string::npos) << expired;
  EXPECT_NE(expired.find("hint: renew it on the server"), std::string::npos);
  EXPECT_EQ(there.authorization, "");
}

TEST(Elsewhere, TheWrongPortIsSaidToBeThat) {
  const Elsewhere there;
  const io::testing::TestServer plain([](io::Request&, io::ResponseWriter& response) -> io::Task<void> {
    (void)co_await response.send(200);
  });
  const auto no_tls = ps_at(fmt::format("https://localhost:{}", plain.address().port())).err;
  EXPECT_NE(no_tls.find("what listens there does not speak TLS"), std::string::npos) << no_tls;
  EXPECT_NE(no_tls.find("hint: check the port in NARU_URL"), std::string::npos);
  EXPECT_EQ(ps_at(fmt::format("http://localhost:{}", there.server.address().port())).err,
            "error: this port speaks TLS only, and was spoken to in plain HTTP\n"
            "hint: ask for https:// instead of http://\n");
}

TEST(Elsewhere, ATokenDoesNotGoOverANetworkInClear) {
  for (const char* url :
       {"http://naru.example.org:7443", "http://192.0.2.7", "http://localhost.evil.test/"}) {
    const auto ran = ps_at(url);
    EXPECT_EQ(ran.status, 1);
    EXPECT_NE(ran.err.find("the token would go over the network in clear"), std::string::npos) << ran.err;
    EXPECT_NE(ran.err.find("hint: use https"), std::string::npos);
  }
  EXPECT_NE(ps_at("naru.example.org:7443").err.find("hint: write it as https://naru.example.org:7443"),
            std::string::npos);
  EXPECT_NE(ps_at("https://naru.example.org", "/nonexistent/ca.pem")
                .err.find("NARU_CA: the CA bundle /nonexistent"),
            std::string::npos);
}

TEST(Elsewhere, GitIsToldWhomToTrustForThisUrlAlone) {
  const Elsewhere there;
  const testing::WorkTree work;
  const std::string url = there.url() + "/git/shop.git";
  const auto configured = [&] {
    return io::testing::shell(fmt::format("git config --local --get-urlmatch http.sslCAInfo {}", url));
  };
  testing::RunOptions options;
  options.environment = {
      {"NARU_URL", there.url()}, {"NARU_TOKEN", "naru_secret"}, {"NARU_CA", there.certificate.file}};
  const auto connected = run_line({"app", "connect", "shop"}, options);
  EXPECT_EQ(configured(), there.certificate.file + "\n") << connected.err;
  EXPECT_EQ(io::testing::shell("git remote get-url naru"), url + "\n") << "by the name of the certificate";
  EXPECT_EQ(io::testing::shell("git config --local --get-urlmatch http.sslCAInfo https://elsewhere.test/"),
            "");
}

}  // namespace
}  // namespace naru::cli
