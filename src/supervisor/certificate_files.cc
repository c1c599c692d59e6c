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

}  // namespace

CertificateFiles::CertificateFiles(std::string certificate_file, std::string key_file) {
  pem_.certificate_file = std::move(certificate_file);
  pem_.key_file = std::move(key_file);
}

Result<io::ServerPem> CertificateFiles::read(WallTime now, bool& by_content) const {
  io::ServerPem pem{TRY(read_pem(pem_.certificate_file, "--tls-cert")),
                    TRY(read_pem(pem_.key_file, "--tls-key")), pem_.certificate_file, pem_.key_file};
  const auto context = io::TlsContext::server(pem);  // as control will
  auto named = context ? io::check_named((*context)->certificate(), pem)
                       : Result<void>(std::unexpected(context.error()));
  by_content = !named && named.error().code == Code::tls_failure;
  TRY(std::move(named));
  if (usable()) TRY(io::check_in_time((*context)->certificate(), pem, now));
  return pem;
}

Result<bool> CertificateFiles::refresh(WallTime now, bool forced) {
  // Before they are read: what is written meanwhile is seen the next time.
  std::string stamp = stamp_of(pem_.certificate_file) + stamp_of(pem_.key_file);
  if (stamp == looked_at_ && !forced) return false;
  bool by_content = false;
  auto pem = read(now, by_content);
  looked_at_ = pem || by_content ? std::move(stamp) : std::string();
  if (!pem) return std::unexpected(std::move(pem).error());
  pem_ = std::move(*pem);
  return true;
}

}  // namespace naru::supervisor
