#include "supervisor/certificate_files.h"

#include <sys/stat.h>

#include "io/tls.h"
#include "os/file.h"

namespace naru::supervisor {

namespace {

// By what is behind a link: certbot's live/ leads to another file after a renewal.
std::string stamp_of(const std::string& path) {
  struct stat about{};
  if (::stat(path.c_str(), &about) != 0) return "none";
  return fmt::format("{}:{}:{}:{}.{}:{}.{}", about.st_dev, about.st_ino, about.st_size, about.st_mtim.tv_sec,
                     about.st_mtim.tv_nsec, about.st_ctim.tv_sec, about.st_ctim.tv_nsec);
}

Result<std::string> read_pem(const std::string& path, std::string_view option) {
  auto text = os::read_file(path, io::kMaxPem);
  if (!text)
    text.error().remedy = fmt::format("give `naru up {} FILE` a PEM file that root may read", option);
  return text;
}

struct Pair {
  io::ServerPem pem;
  io::CertificateInfo info;
};

Result<Pair> read_pair(const std::string& certificate_file, const std::string& key_file) {
  io::ServerPem pem{TRY(read_pem(certificate_file, "--tls-cert")), TRY(read_pem(key_file, "--tls-key")),
                    certificate_file, key_file};
  const auto context = TRY(io::TlsContext::server(pem));  // as control will
  TRY(io::check_named(context->certificate(), pem));
  return Pair{std::move(pem), context->certificate()};
}

}  // namespace

Result<CertificateFiles> CertificateFiles::open(std::string certificate_file, std::string key_file) {
  CertificateFiles files;
  files.looked_at_ = stamp_of(certificate_file) + stamp_of(key_file);
  files.pem_ = TRY(read_pair(certificate_file, key_file)).pem;
  return files;
}

Result<bool> CertificateFiles::refresh(WallTime now, bool forced) {
  // Before they are read: what is written meanwhile is seen the next time.
  std::string stamp = stamp_of(pem_.certificate_file) + stamp_of(pem_.key_file);
  if (stamp == looked_at_ && !forced) return false;
  looked_at_ = std::move(stamp);
  Pair read = TRY(read_pair(pem_.certificate_file, pem_.key_file));
  TRY(io::check_in_time(read.info, read.pem, now));
  pem_ = std::move(read.pem);
  return true;
}

}  // namespace naru::supervisor
