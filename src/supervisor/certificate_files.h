// The certificate and key of control's TLS listener, in files that root may read: read and checked before
// control starts, and again when they change, so that a renewal needs no restart.
#pragma once

#include <string>

#include "base/result.h"
#include "io/certificate.h"

namespace naru::supervisor {

class CertificateFiles {
 public:
  // tls_failure, not_found, system: they cannot be served; the remedy says what to do. One that is over is
  // served: after a reboot the applications shall run, whatever became of a certificate.
  static Result<CertificateFiles> open(std::string certificate_file, std::string key_file);

  const io::ServerPem& pem() const { return pem_; }
  // Reads them again when they are not as they were, or when `forced`. True: they were read, are good and in
  // their time. An error is given once for each change; the pair that was served goes on.
  Result<bool> refresh(WallTime now, bool forced = false);

 private:
  CertificateFiles() = default;
  io::ServerPem pem_;
  std::string looked_at_;  // what the file system says of the two; a text to compare
};

}  // namespace naru::supervisor
