#include "supervisor/certificate_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "io/testing.h"

namespace naru::supervisor {
namespace {

using io::testing::Certificate;

WallTime now() {
  return SystemClock().wall();
}

void copy(const std::string& from, const std::string& to) {
  std::ofstream(to) << Certificate::read(from);
}

TEST(CertificateFiles, ThatCannotBeServedAreRefusedByName) {
  const Certificate good, other, over;
  over.expire();
  const auto refused = [](const std::string& certificate, const std::string& key) {
    CertificateFiles files(certificate, key);
    const auto read = files.refresh(now());
    EXPECT_EQ(files.usable(), read.has_value());
    return read ? "taken" : read.error().message() + " / " + std::string(read.error().hint());
  };
  EXPECT_EQ(refused(good.file, good.key), "taken");
  EXPECT_NE(refused("/nonexistent/cert.pem", good.key).find("/nonexistent/cert.pem"), std::string::npos);
  EXPECT_NE(refused("/nonexistent/cert.pem", good.key).find("--tls-cert"), std::string::npos);
  EXPECT_NE(refused(good.file, "/nonexistent/key.pem").find("--tls-key"), std::string::npos);
  EXPECT_NE(refused(good.file, other.key).find(other.key), std::string::npos);
  EXPECT_EQ(refused(over.file, over.key), "taken") << "better than none";
  const std::string weak = (good.folder.path / "weak").string();
  io::testing::shell(
      fmt::format("openssl req -x509 -newkey rsa:1024 -nodes -days 2 -subj /CN=localhost -addext "
                  "subjectAltName=DNS:localhost -keyout {0}.key -out {0}.pem",
                  weak));
  EXPECT_NE(refused(weak + ".pem", weak + ".key").find("key too small"), std::string::npos)
      << refused(weak + ".pem", weak + ".key");
  EXPECT_NE(refused("/dev/zero", good.key).find("/dev/zero"), std::string::npos) << "read within a bound";
}

TEST(CertificateFiles, ARenewalIsTakenOnceAndABadOneLeavesTheGoodPair) {
  const Certificate served, renewed;
  CertificateFiles files(served.file, served.key);
  ASSERT_TRUE(files.refresh(now()).value());
  const std::string first = files.pem().certificate;
  EXPECT_FALSE(files.refresh(now()).value());
  copy(renewed.file, served.file);  // half of a renewal
  const auto half = files.refresh(now());
  ASSERT_FALSE(half);
  EXPECT_EQ(half.error().code, Code::tls_failure);
  EXPECT_EQ(files.pem().certificate, first);
  EXPECT_FALSE(files.refresh(now()).value()) << "told once";
  EXPECT_FALSE(files.refresh(now(), true)) << "and when somebody asks";
  copy(renewed.key, served.key);
  const auto late = files.refresh(now() + std::chrono::days(30));
  EXPECT_NE(late.error().message().find("is over since"), std::string::npos);
  EXPECT_TRUE(files.refresh(now(), true).value());
  EXPECT_EQ(files.pem().certificate, renewed.pem().certificate);
  std::filesystem::remove(served.key);
  EXPECT_FALSE(files.refresh(now()));
  EXPECT_EQ(files.pem().key, renewed.pem().key);
}

// A disk that is full, a file that is just being written, a certificate that begins in an hour.
TEST(CertificateFiles, ThatWereRefusedForWhatPassesAreReadAgainAsTheyAre) {
  const Certificate served, renewed;
  CertificateFiles files(served.file, served.key);
  ASSERT_TRUE(files.refresh(now()).value());
  copy(renewed.file, served.file);
  copy(renewed.key, served.key);
  const auto early = files.refresh(now() - std::chrono::days(30));
  ASSERT_FALSE(early);
  EXPECT_TRUE(files.refresh(now()).value()) << "nothing has changed but the time";
  EXPECT_EQ(files.pem().certificate, renewed.pem().certificate);

  CertificateFiles later(served.file, served.key + ".later");
  EXPECT_EQ(later.refresh(now()).error().code, Code::not_found);
  EXPECT_EQ(later.refresh(now()).error().code, Code::not_found) << "it was looked at again";
}

}  // namespace
}  // namespace naru::supervisor
