#include "io/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cerrno>

namespace naru::io {

namespace {

void common_settings(SSL_CTX* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
}

// What Mozilla calls "intermediate": forward secrecy and authenticated encryption alone; TLS 1.3 has nothing
// else.
constexpr const char* kServerCiphers =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr unsigned char kAlpn[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};

int choose_protocol(SSL*, const unsigned char** out, unsigned char* length, const unsigned char* offered,
                    unsigned offered_length, void*) {
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, length, kAlpn, sizeof kAlpn, offered, offered_length) !=
      OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
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
  SSL_CTX_set_verify(context->raw(), options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE,
                     &TlsSession::on_certificate);
  const bool loaded = options.ca_file.empty()
                          ? SSL_CTX_set_default_verify_paths(context->raw()) == 1
                          : SSL_CTX_load_verify_file(context->raw(), options.ca_file.c_str()) == 1;
  if (!loaded)
    return fail(Code::tls_failure, "the CA bundle {} cannot be read: {}", options.ca_file, openssl_error());
  return context;
}

Result<std::shared_ptr<TlsContext>> TlsContext::server(const ServerPem& pem) {
  const KeyPair pair = TRY(KeyPair::parse(pem));
  auto context = std::make_shared<TlsContext>(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* raw = context->raw();
  if (raw == nullptr) return fail(Code::tls_failure, "SSL_CTX_new: {}", openssl_error());
  common_settings(raw);
  SSL_CTX_set_options(raw, SSL_OP_CIPHER_SERVER_PREFERENCE);
  // Sessions are resumed by tickets, which the client keeps: strangers cannot fill a cache of ours.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_alpn_select_cb(raw, &choose_protocol, nullptr);
  bool taken = SSL_CTX_set_cipher_list(raw, kServerCiphers) == 1 &&
               SSL_CTX_use_certificate(raw, pair.chain.front().get()) == 1 &&
               SSL_CTX_use_PrivateKey(raw, pair.key.get()) == 1;
  for (std::size_t i = 1; taken && i < pair.chain.size(); ++i)
    taken = SSL_CTX_add1_chain_cert(raw, pair.chain[i].get()) == 1;
  if (!taken)
    return std::unexpected(Error{
        Code::tls_failure, fmt::format("{}: TLS does not take it: {}", pem.certificate_file, openssl_error()),
        0, "a key of today does: openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 ..."});
  context->certificate_ = pair.info;
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
  last_error_ = why_not(what);
  ERR_clear_error();
  return -EPROTO;
}

std::string TlsSession::why_not(const char* what) const {
  const long verdict = SSL_get_verify_result(ssl_);
  const bool client = SSL_is_server(ssl_) == 0, unfinished = SSL_is_init_finished(ssl_) == 0;
  if (client && unfinished && ERR_GET_REASON(ERR_peek_error()) == SSL_R_WRONG_VERSION_NUMBER)
    return std::string(kNoTls);
  if (verdict == X509_V_OK || !unfinished) return fmt::format("{}: {}", what, openssl_error());
  const char* reason = X509_verify_cert_error_string(verdict);
  switch (verdict) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return fmt::format(
          "{}: for {}", kWrongName,
          names_there_.empty() ? "none at all" : fmt::format("{}", fmt::join(names_there_, ", ")));
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return fmt::format("{} ({})", kOutOfDate, reason);
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      return fmt::format("{} ({})", kUntrusted, reason);
    default:
      return fmt::format("{}: {}", what, reason);
  }
}

// The certificate of a server that is refused is not kept by OpenSSL: its names are noted while it is there.
int TlsSession::on_certificate(int good, x509_store_ctx_st* store) {
  const int verdict = X509_STORE_CTX_get_error(store);
  const bool other_name =
      verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH;
  if (good == 1 || !other_name) return good;
  const auto* ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* session = ssl == nullptr ? nullptr : static_cast<TlsSession*>(SSL_get_app_data(ssl));
  if (session != nullptr) session->names_there_ = names_of(X509_STORE_CTX_get0_cert(store));
  return good;
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

bool TlsSession::peer_gone() {
  ERR_clear_error();
  errno = 0;
  char byte = 0;
  std::size_t count = 0;
  const int returned = SSL_peek_ex(ssl_, &byte, 1, &count);
  return returned != 1 && outcome(returned, "reading") != -EAGAIN;
}

bool TlsSession::shows_certificate_for(const std::string& host) const {
  X509* certificate = SSL_get_certificate(ssl_);
  return certificate != nullptr && is_for(certificate, host);
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
  SSL_set_app_data(ssl, session.get());
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
