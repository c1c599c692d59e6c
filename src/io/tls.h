// TLS 1.2 and 1.3 over a Stream (OpenSSL 3). After the handshake the stream reads and writes as a plain one
// does.
#pragma once

#include <memory>
#include <string>

#include "io/certificate.h"
#include "io/socket.h"

struct ssl_ctx_st;
struct ssl_st;
struct x509_store_ctx_st;

namespace naru::io {

// Certificates and settings; shared by connections, immutable after creation, any thread.
class TlsContext {
 public:
  struct ClientOptions {
    std::string ca_file;  // PEM; "" = SSL_CERT_FILE, else the system's bundle
    bool verify = true;   // off for tests only
  };
  static Result<std::shared_ptr<TlsContext>> client(ClientOptions options);
  static Result<std::shared_ptr<TlsContext>> client() { return client(ClientOptions{}); }
  // HTTP/1.1 alone by ALPN (RFC 7301): who offers other protocols only is refused, who offers none is not.
  // tls_failure, with the files named in the remedy
  static Result<std::shared_ptr<TlsContext>> server(const ServerPem& pem);

  explicit TlsContext(ssl_ctx_st* raw) : raw_(raw) {}
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  ssl_ctx_st* raw() const { return raw_; }
  const CertificateInfo& certificate() const { return certificate_; }  // of a server

 private:
  ssl_ctx_st* raw_;
  CertificateInfo certificate_;
};

// What a client's handshake says of a server that it does not believe: for who knows a better remedy than we.
inline constexpr std::string_view kWrongName = "the certificate there is for another name";
inline constexpr std::string_view kUntrusted =
    "the certificate there is signed by nobody who is trusted here";
inline constexpr std::string_view kOutOfDate = "the certificate there is not valid at this time";
inline constexpr std::string_view kNoTls = "what listens there does not speak TLS";

// Handshakes, in place. `host` is sent as SNI and must be a name (or address) of the certificate.
// tls_failure, timeout
Task<Result<void>> start_tls_client(Stream& stream, std::shared_ptr<TlsContext> context, std::string host,
                                    Deadline deadline);
Task<Result<void>> start_tls_server(Stream& stream, std::shared_ptr<TlsContext> context, Deadline deadline);

// The TLS half of a Stream; used through it.
class TlsSession {
 public:
  TlsSession(std::shared_ptr<TlsContext> context, ssl_st* ssl) : context_(std::move(context)), ssl_(ssl) {}
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;
  ssl_st* raw() const { return ssl_; }
  const std::string& last_error() const { return last_error_; }
  // Of a server: whether the certificate that this connection was shown is for `host`.
  bool shows_certificate_for(const std::string& host) const;
  // No more can come from the peer. What it has sent and nobody has read stays.
  bool peer_gone();

  // -errno, -EAGAIN to wait, -EPROTO with last_error set; as attempts of operations need it.
  std::int64_t read(char* data, std::size_t size);
  std::int64_t write(const char* data, std::size_t size);
  std::int64_t handshake();
  void send_close_notify();

 private:
  std::int64_t outcome(int returned, const char* what);
  std::string why_not(const char* what) const;
  static int on_certificate(int good, x509_store_ctx_st* store);
  friend class TlsContext;
  std::shared_ptr<TlsContext> context_;
  ssl_st* ssl_;
  std::string last_error_;
  std::vector<std::string> names_there_;  // of a certificate for another name
};

}  // namespace naru::io
