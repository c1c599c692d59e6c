// The certificate and key of control's TLS listener, in files that root may read: read and checked before
// control starts, and again when they change, so that a renewal needs no restart.
#pragma once

#include <string>

#include "base/result.h"
#include "io/certificate.h"

namespace naru::supervisor {

class CertificateFiles {
 public:
  // tls_failure, not_found, system: they cannot be served; the remedy says what to do.
  static Result<CertificateFiles> open(std::string certificate_file, std::string key_file, WallTime now);

  const io::ServerPem& pem() const { return pem_; }
  // Reads them again when they are not as they were, or when `forced`. True: they were read, and are good. An
  // error is given once for each change; the pair that was good goes on.
  Result<bool> refresh(WallTime now, bool forced = false);

 private:
  CertificateFiles() = default;
  io::ServerPem pem_;
  std::string looked_at_;  // what the file system says of the two; a text to compare
};

}  // namespace naru::supervisor
