// The certificate and key of control's TLS listener, in files that root may read: read and checked before
// control starts, and again when they change, so that a renewal needs no restart.
#pragma once

#include <string>

#include "base/result.h"
#include "io/certificate.h"

namespace naru::supervisor {

class CertificateFiles {
 public:
  CertificateFiles(std::string certificate_file, std::string key_file);

  // Whether there is something to serve: a pair was good once.
  bool usable() const { return !pem_.certificate.empty(); }
  const io::ServerPem& pem() const { return pem_; }
  // Reads them when they are not as they were, or when `forced`. True: they were read, are good and in their
  // time. Without a pair so far one that is over is taken: better than none. tls_failure, not_found, system:
  // they cannot be served, and the remedy says what to do; the pair that was served goes on. Of what stands
  // in the files the error is given once for each change; whatever may pass by itself is tried again by the
  // next call.
  Result<bool> refresh(WallTime now, bool forced = false);

 private:
  Result<io::ServerPem> read(WallTime now, bool& by_content) const;
  io::ServerPem pem_;
  std::string looked_at_;  // what the file system says of the two; a text to compare
};

}  // namespace naru::supervisor
