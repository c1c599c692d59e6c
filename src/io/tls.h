// TLS 1.2 and 1.3 over a Stream (OpenSSL 3). After the handshake the stream reads and writes as a plain one
// does.
#pragma once

#include <memory>
#include <string>

#include "io/socket.h"

struct ssl_ctx_st;
struct ssl_st;

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
  // PEM files: the chain with the leaf first, and its key. tls_failure
  static Result<std::shared_ptr<TlsContext>> server(const std::string& certificate_file,
                                                    const std::string& key_file);

  explicit TlsContext(ssl_ctx_st* raw) : raw_(raw) {}
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  ssl_ctx_st* raw() const { return raw_; }

 private:
  ssl_ctx_st* raw_;
};

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
  std::string alpn() const;
  std::string server_name() const;  // SNI that the client sent

  // -errno, -EAGAIN to wait, -EPROTO with last_error set; as attempts of operations need it.
  std::int64_t read(char* data, std::size_t size);
  std::int64_t write(const char* data, std::size_t size);
  std::int64_t handshake();
  void send_close_notify();

 private:
  std::int64_t outcome(int returned, const char* what);
  std::shared_ptr<TlsContext> context_;
  ssl_st* ssl_;
  std::string last_error_;
};

}  // namespace naru::io
