#include "io/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cerrno>

namespace naru::io {

namespace {

// The first error of OpenSSL's queue, in words; the queue is emptied.
std::string openssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "an unknown TLS error";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "an unknown TLS error";
}

void common_settings(SSL_CTX* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
}

class HandshakeOperation : public Operation {
 public:
  HandshakeOperation(Source& source, TlsSession& session, Deadline deadline)
      : Operation(source.reactor(), &source, Direction::read, &HandshakeOperation::attempt, deadline),
        session_(session) {}
  std::int64_t await_resume() const { return result_; }

 private:
  static bool attempt(Operation& operation) {
    auto& self = static_cast<HandshakeOperation&>(operation);
    self.result_ = self.session_.handshake();
    return self.result_ != -EAGAIN;
  }
  TlsSession& session_;
};

}  // namespace

TlsContext::~TlsContext() {
  SSL_CTX_free(raw_);
}

Result<std::shared_ptr<TlsContext>> TlsContext::client(ClientOptions options) {
  auto context = std::make_shared<TlsContext>(SSL_CTX_new(TLS_client_method()));
  if (context->raw() == nullptr) return fail(Code::tls_failure, "SSL_CTX_new: {}", openssl_error());
  common_settings(context->raw());
  SSL_CTX_set_verify(context->raw(), options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  const bool loaded = options.ca_file.empty()
                          ? SSL_CTX_set_default_verify_paths(context->raw()) == 1
                          : SSL_CTX_load_verify_file(context->raw(), options.ca_file.c_str()) == 1;
  if (!loaded)
    return fail(Code::tls_failure, "the CA bundle {} cannot be read: {}", options.ca_file, openssl_error());
  return context;
}

Result<std::shared_ptr<TlsContext>> TlsContext::server(const std::string& certificate_file,
                                                       const std::string& key_file) {
  auto context = std::make_shared<TlsContext>(SSL_CTX_new(TLS_server_method()));
  if (context->raw() == nullptr) return fail(Code::tls_failure, "SSL_CTX_new: {}", openssl_error());
  common_settings(context->raw());
  if (SSL_CTX_use_certificate_chain_file(context->raw(), certificate_file.c_str()) != 1)
    return fail(Code::tls_failure, "the certificate {} cannot be used: {}", certificate_file,
                openssl_error());
  if (SSL_CTX_use_PrivateKey_file(context->raw(), key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context->raw()) != 1)
    return fail(Code::tls_failure, "the key {} cannot be used: {}", key_file, openssl_error());
  return context;
}

// ---- TlsSession
// -------------------------------------------------------------------------------------------------

TlsSession::~TlsSession() {
  SSL_free(ssl_);
}

std::int64_t TlsSession::outcome(int returned, const char* what) {
  const int saved = errno;
  switch (SSL_get_error(ssl_, returned)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    case SSL_ERROR_SYSCALL:
      ERR_clear_error();
      return saved != 0 ? -saved : -ECONNRESET;
    default:
      break;
  }
  // The peer left without close_notify: a truncation cannot be told from an end.
  if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    ERR_clear_error();
    return -ECONNRESET;
  }
  last_error_ = std::string(what) + ": ";
  if (const long verdict = SSL_get_verify_result(ssl_); verdict != X509_V_OK && !SSL_is_init_finished(ssl_)) {
    last_error_ += X509_verify_cert_error_string(verdict);
    ERR_clear_error();
  } else {
    last_error_ += openssl_error();
  }
  return -EPROTO;
}

std::int64_t TlsSession::read(char* data, std::size_t size) {
  ERR_clear_error();
  errno = 0;
  std::size_t count = 0;
  const int returned = SSL_read_ex(ssl_, data, size, &count);
  return returned == 1 ? static_cast<std::int64_t>(count) : outcome(returned, "reading");
}

std::int64_t TlsSession::write(const char* data, std::size_t size) {
  ERR_clear_error();
  errno = 0;
  std::size_t count = 0;
  const int returned = SSL_write_ex(ssl_, data, size, &count);
  if (returned == 1) return static_cast<std::int64_t>(count);
  const std::int64_t result = outcome(returned, "writing");
  return result == 0 ? -EPIPE : result;
}

std::int64_t TlsSession::handshake() {
  ERR_clear_error();
  errno = 0;
  const int returned = SSL_do_handshake(ssl_);
  if (returned == 1) return 1;
  const std::int64_t result = outcome(returned, "the handshake failed");
  return result == 0 ? -ECONNRESET : result;
}

void TlsSession::send_close_notify() {
  ERR_clear_error();
  (void)SSL_shutdown(ssl_);
  ERR_clear_error();
}

std::string TlsSession::alpn() const {
  const unsigned char* text = nullptr;
  unsigned length = 0;
  SSL_get0_alpn_selected(ssl_, &text, &length);
  return std::string(reinterpret_cast<const char*>(text), length);
}

std::string TlsSession::server_name() const {
  const char* name = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name);
  return name != nullptr ? name : "";
}

// ---- handshakes
// -------------------------------------------------------------------------------------------------

Task<Result<void>> start_tls(Stream& stream, std::unique_ptr<TlsSession> session, Deadline deadline) {
  if (SSL_set_fd(session->raw(), stream.fd()) != 1)
    co_return fail(Code::tls_failure, "SSL_set_fd: {}", openssl_error());
  stream.source_->retry_both(true);
  const std::int64_t result = co_await HandshakeOperation(*stream.source_, *session, deadline);
  if (result > 0) {
    stream.tls_ = std::move(session);
    co_return Result<void>();
  }
  if (result == -ETIMEDOUT) co_return fail(Code::timeout, "the TLS handshake took too long");
  if (result == -ECANCELED) co_return fail(Code::cancelled, "the TLS handshake was cancelled");
  if (result == -EPROTO) co_return fail(Code::tls_failure, "{}", session->last_error());
  co_return fail(Code::closed, "the peer closed the connection during the TLS handshake");
}

Task<Result<void>> start_tls_client(Stream& stream, std::shared_ptr<TlsContext> context, std::string host,
                                    Deadline deadline) {
  auto session = std::make_unique<TlsSession>(context, SSL_new(context->raw()));
  SSL* ssl = session->raw();
  if (ssl == nullptr) co_return fail(Code::tls_failure, "SSL_new: {}", openssl_error());
  in6_addr scratch{};
  const bool numeric =
      ::inet_pton(AF_INET, host.c_str(), &scratch) == 1 || ::inet_pton(AF_INET6, host.c_str(), &scratch) == 1;
  if (numeric) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str());
  } else {
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set1_host(ssl, host.c_str()) != 1 ||
        SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, host.data()) != 1)
      co_return fail(Code::tls_failure, "\"{}\" cannot be a TLS server's name", host);
  }
  SSL_set_connect_state(ssl);
  auto result = co_await start_tls(stream, std::move(session), deadline);
  if (!result) result.error().context = host + ": " + result.error().context;
  co_return result;
}

Task<Result<void>> start_tls_server(Stream& stream, std::shared_ptr<TlsContext> context, Deadline deadline) {
  auto session = std::make_unique<TlsSession>(context, SSL_new(context->raw()));
  if (session->raw() == nullptr) co_return fail(Code::tls_failure, "SSL_new: {}", openssl_error());
  SSL_set_accept_state(session->raw());
  co_return co_await start_tls(stream, std::move(session), deadline);
}

}  // namespace naru::io
