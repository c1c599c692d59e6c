// The certificate that a TLS server shows, and its key: PEM texts, read and checked before anybody meets
// them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

struct evp_pkey_st;
struct x509_st;

namespace naru::io {

// The chain with the leaf first, and the leaf's key without a passphrase. The names of the files are for
// messages; they are not opened here.
struct ServerPem {
  std::string certificate, key;
  std::string certificate_file = "the certificate", key_file = "the key";
};
inline constexpr std::size_t kMaxPem = 64U << 10;  // bytes, of each

struct CertificateInfo {
  std::vector<std::string> names;  // DNS names ("*.example.org"), then addresses, as the leaf has them
  WallTime not_before{}, not_after{};
  // The first that a person can ask for, else "": a wildcard is none.
  std::string first_name() const;
};

struct FreeX509 {
  void operator()(x509_st* raw) const;
};
struct FreeKey {
  void operator()(evp_pkey_st* raw) const;
};

// A chain and its key, taken apart.
struct KeyPair {
  std::vector<std::unique_ptr<x509_st, FreeX509>> chain;  // the leaf first, never empty
  std::unique_ptr<evp_pkey_st, FreeKey> key;
  CertificateInfo info;
  // tls_failure: one of them cannot be read, or is not the other's. The remedy names the files.
  static Result<KeyPair> parse(const ServerPem& pem);
};

// What every client would refuse, said before it does. tls_failure: a leaf without names; one that is over or
// has not begun.
Result<void> check_named(const CertificateInfo& info, const ServerPem& pem);
Result<void> check_in_time(const CertificateInfo& info, const ServerPem& pem, WallTime now);

// The subjectAltName entries; nothing else of a certificate names its server (RFC 9525 2).
std::vector<std::string> names_of(const x509_st* certificate);
// Whether a client that asks for `host` (a name or a numeric address) may meet this certificate.
bool is_for(x509_st* certificate, const std::string& host);
// The first error of OpenSSL's queue, in words; the queue is emptied.
std::string openssl_error();

}  // namespace naru::io
