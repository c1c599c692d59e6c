#include "io/server_connection.h"

#include <array>

#include "base/log.h"
#include "model/json_text.h"

namespace naru::io {

namespace {
constexpr std::size_t kReadSize = 16 * 1024;
constexpr std::size_t kInitialBuffer = 4096;
constexpr std::uint64_t kDrainBytes = 256 * 1024;  // of an unread body; beyond it a new connection is cheaper
constexpr std::size_t kWritePiece = 256 * 1024;    // what the write timeout is for
}  // namespace

ServerConnection::ServerConnection(std::shared_ptr<HttpServer::State> state,
                                   std::shared_ptr<HttpServer::Entrance> entrance, Stream stream)
    : state_(std::move(state)),
      entrance_(std::move(entrance)),
      stream_(std::move(stream)),
      peer_(stream_.peer_address()),
      peer_key_(entrance_->peer_key(peer_)) {
  over_unix_ = stream_.local_address().family() == AF_UNIX;
  ++entrance_->connections;
  if (!peer_key_.empty()) ++entrance_->by_peer[peer_key_];
  in_.reserve(kInitialBuffer);
  head_bytes_.reserve(kInitialBuffer);
  state_->connections.insert(this);
  if (!over_unix_) ++state_->over_tcp;
}

ServerConnection::~ServerConnection() {
  state_->connections.erase(this);
  if (!over_unix_) --state_->over_tcp;
  forget_handshake();
  --entrance_->connections;
  if (const auto mine = entrance_->by_peer.find(peer_key_);
      mine != entrance_->by_peer.end() && --mine->second == 0)
    entrance_->by_peer.erase(mine);
  state_->changed.raise();
}

void ServerConnection::close_if_idle() {
  if (idle_) stream_.close();
}

Task<void> ServerConnection::serve() {
  if (entrance_->options.tls) {
    const bool shaken = co_await shake_hands();
    if (!shaken) co_return;
  }
  Next next = Next::again;
  while (next == Next::again && !state_->stopping) next = co_await serve_one();
  if (next == Next::linger)
    co_await Stream::linger_and_close(std::move(stream_));
  else if (next != Next::gone)
    stream_.shutdown_write();
}

Task<bool> ServerConnection::shake_hands() {
  if (entrance_->options.tls->context == nullptr) co_return false;
  // Head, body and end of an answer go as writes of their own: none waits for the peer's acknowledgement.
  stream_.set_no_delay(true);
  const Deadline deadline = after(entrance_->options.handshake_timeout);
  const MonoTime now = std::chrono::steady_clock::now();
  entrance_->handshakes.push_back({this, now});
  char first = 0;
  const auto something = co_await stream_.wait_readable(deadline);
  const bool plain =
      something && ::recv(stream_.fd(), &first, 1, MSG_PEEK) == 1 && first >= 'A' && first <= 'Z';
  Result<void> shaken;
  if (something && !plain)
    shaken = co_await start_tls_server(stream_, entrance_->options.tls->context, deadline);
  forget_handshake();
  if (plain) co_await tell_plain_client();
  // What TLS has to say of a failure must reach a peer that is still sending.
  if (!shaken && shaken.error().code == Code::tls_failure)
    co_await Stream::linger_and_close(std::move(stream_), milliseconds(200));
  tls_ = something && !plain && shaken;
  co_return tls_;
}

void ServerConnection::forget_handshake() {
  std::erase_if(entrance_->handshakes,
                [this](const auto& handshake) { return handshake.connection == this; });
}

// No method of HTTP begins as TLS does.
Task<void> ServerConnection::tell_plain_client() {
  const http1::Refusal refusal{400, "this port speaks TLS only, and was spoken to in plain HTTP"};
  (void)co_await refuse(refusal, "ask for https:// instead of http://");
  co_await Stream::linger_and_close(std::move(stream_));
}

Task<ServerConnection::Next> ServerConnection::serve_one() {
  http1::Refusal refusal;
  const http1::Outcome outcome = co_await read_head(refusal);
  if (outcome == http1::Outcome::incomplete) co_return Next::close;
  served_any_ = true;
  if (outcome == http1::Outcome::refused || !prepare_request(refusal)) co_return co_await refuse(refusal);
  co_await run_handler();
  co_return co_await after_handler();
}

// Reads until the head is whole. incomplete: there is none (the peer left, or was silent).
Task<http1::Outcome> ServerConnection::read_head(http1::Refusal& refusal) {
  const ServerOptions& options = state_->options;
  std::size_t scanned = 0;
  bool begun = !in_.empty();
  Deadline deadline = after(begun || !served_any_ ? options.head_timeout : options.idle_timeout);
  while (true) {
    if (begun) {
      idle_ = false;
      const http1::Parsed parsed = http1::parse_request(in_, scanned, head_, options.limits);
      if (parsed.outcome == http1::Outcome::refused) refusal = parsed.refusal;
      if (parsed.outcome == http1::Outcome::complete) {
        head_bytes_.swap(in_);  // the views stay valid: both are on the heap
        in_.assign(head_bytes_, parsed.consumed);
        if (in_.capacity() < kInitialBuffer) in_.reserve(kInitialBuffer);
      }
      if (parsed.outcome != http1::Outcome::incomplete) co_return parsed.outcome;
    }
    idle_ = !begun;
    const std::size_t had = in_.size();
    in_.resize(had + (begun ? kReadSize : kInitialBuffer));
    const auto n = co_await stream_.read(std::span(in_).subspan(had), deadline);
    in_.resize(had + n.value_or(0));
    if (!n && n.error().code == Code::timeout && begun) {
      refusal = {408, "the head of the request took too long"};
      co_return http1::Outcome::refused;
    }
    if (!n || *n == 0) co_return http1::Outcome::incomplete;
    if (!begun) deadline = after(options.head_timeout);
    begun = true;
  }
}

namespace {
// "." and ".." are nobody's business here: a handler would have to think of them.
bool has_dot_segment(std::string_view path) {
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::string_view segment = path.substr(0, path.find('/'));
    if (segment == "." || segment == "..") return true;
    path.remove_prefix(segment.size());
  }
  return false;
}
}  // namespace

bool ServerConnection::prepare_request(http1::Refusal& refusal) {
  if (head_.method == "CONNECT") {
    refusal = {405, "this is not a proxy"};
    return false;
  }
  auto path = http1::percent_decode(head_.path);
  if (!path || path->find('\0') != std::string::npos || has_dot_segment(*path)) {
    refusal = {400, "the path holds a malformed escape, a NUL, or a . or .. segment"};
    return false;
  }
  request_ = Request();
  request_.connection_ = this;
  request_.head_ = &head_;
  request_.path_ = std::move(*path);
  request_.body_limit_ = state_->options.body_bytes;
  response_ = ResponseWriter();
  response_.connection_ = this;
  chunks_ = http1::ChunkDecoder();
  body_left_ = head_.framing.length;
  body_seen_ = 0;
  body_done_ = head_.framing.kind == http1::BodyKind::none;
  body_failed_ = close_after_ = false;
  continue_pending_ = head_.expect_continue && !body_done_;
  return true;
}

Task<void> ServerConnection::run_handler() {
  std::string fault;
  try {
    co_await state_->options.handler(request_, response_);
  } catch (const std::exception& e) {
    fault = e.what();
  }
  if (!fault.empty())
    log_event(Level::error, "http.handler_failed",
              {{"method", head_.method}, {"path", head_.path}, {"what", fault}});
  if (response_.state_ != ResponseWriter::State::fresh) co_return;
  response_ = ResponseWriter();  // without what made it fail
  response_.connection_ = this;
  const Error error{Code::internal, "the request was not answered", 0, {}};
  (void)co_await response_.send_error(error);
}

Task<ServerConnection::Next> ServerConnection::after_handler() {
  using State = ResponseWriter::State;
  if (response_.state_ == State::upgraded) co_return Next::gone;
  if (response_.state_ != State::finished) {
    stream_.close();  // in the middle of an answer: the client must notice
    co_return Next::gone;
  }
  if (!body_done_ && (body_failed_ || continue_pending_ || close_after_)) co_return Next::linger;
  if (!body_done_) {
    const bool drained = co_await drain_body();
    if (!drained) co_return Next::linger;
  }
  co_return close_after_ ? Next::linger : Next::again;
}

namespace {
Code code_of(int status) {
  if (status == 431) return Code::head_too_large;
  if (status == 408) return Code::timeout;
  return status == 501 || status == 505 ? Code::unsupported : Code::malformed;
}
// The catalogue's remedies are for what people write; these are for who wrote the client.
std::string_view remedy_of(int status) {
  if (status == 501)
    return "send a Content-Length, or exactly `Transfer-Encoding: chunked`, and a method that is known";
  if (status == 505) return "speak HTTP/1.1 or HTTP/1.0";
  return code_info(code_of(status)).remedy;
}
}  // namespace

Task<ServerConnection::Next> ServerConnection::refuse(http1::Refusal refusal, std::string_view hint) {
  nlohmann::json inner;
  inner["code"] = code_info(code_of(refusal.status)).name;
  inner["message"] = refusal.reason;
  inner["hint"] = hint.empty() ? remedy_of(refusal.status) : hint;
  nlohmann::json outer;
  outer["error"] = std::move(inner);
  const std::string body = json_text(outer) + "\n";
  std::string out;
  http1::append_status_line(out, refusal.status);
  http1::append_field(out, "Date", state_->date_now());
  http1::append_field(out, "Connection", "close");
  http1::append_field(out, "Content-Type", "application/json");
  http1::append_content_length(out, body.size());
  out += "\r\n";
  out += body;
  (void)co_await write_all(out);
  co_return Next::linger;
}

// ---- body
// -------------------------------------------------------------------------------------------------------

Result<void> ServerConnection::check_limit(std::uint64_t bytes) const {
  if (bytes <= request_.body_limit_) return {};
  return fail(Code::too_large, "the body of {} {} is larger than {} bytes", head_.method, head_.path,
              request_.body_limit_);
}

Task<Result<std::size_t>> ServerConnection::fill() {
  const std::size_t had = in_.size();
  in_.resize(had + kReadSize);
  auto n = co_await stream_.read(std::span(in_).subspan(had), after(state_->options.body_timeout));
  in_.resize(had + n.value_or(0));
  co_return n;
}

Task<Result<std::size_t>> ServerConnection::read_body(std::span<char> buffer) {
  if (body_failed_) co_return fail(Code::closed, "reading a body that has failed before");
  if (body_done_ || buffer.empty()) co_return 0;
  if (continue_pending_ && check_limit(body_left_)) {
    continue_pending_ = false;
    if (in_.empty()) CO_TRY_VOID(co_await write_all("HTTP/1.1 100 Continue\r\n\r\n"));
  }
  Result<std::size_t> n = 0;
  if (head_.framing.kind == http1::BodyKind::chunked)
    n = co_await read_chunked_body(buffer);
  else
    n = co_await read_length_body(buffer);
  if (!n) body_failed_ = true;
  co_return n;
}

Task<Result<std::size_t>> ServerConnection::read_length_body(std::span<char> buffer) {
  CO_TRY_VOID(check_limit(head_.framing.length));
  const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), body_left_));
  std::size_t got = std::min(wanted, in_.size());
  if (got > 0) {
    in_.copy(buffer.data(), got);
    in_.erase(0, got);
  } else {
    CO_TRY(got, co_await stream_.read(buffer.subspan(0, wanted), after(state_->options.body_timeout)));
  }
  if (got == 0)
    co_return fail(Code::closed, "the body was cut short: {} of {} bytes are missing", body_left_,
                   head_.framing.length);
  body_left_ -= got;
  body_seen_ += got;
  body_done_ = body_left_ == 0;
  co_return got;
}

Task<Result<std::size_t>> ServerConnection::read_chunked_body(std::span<char> buffer) {
  std::size_t got = 0;
  while (true) {
    // Only as much as fits, so that no decoded data has to be kept.
    const auto step = chunks_.next(std::string_view(in_).substr(0, buffer.size()));
    if (step.outcome == http1::Outcome::refused)
      co_return fail(Code::malformed, "the chunked body is malformed: {}", step.refusal.reason);
    got = step.data.copy(buffer.data(), step.data.size());
    in_.erase(0, step.consumed);
    body_seen_ += got;
    CO_TRY_VOID(check_limit(body_seen_));
    body_done_ = step.outcome == http1::Outcome::complete;
    if (got > 0 || body_done_) co_return got;
    if (!in_.empty() && step.consumed > 0) continue;
    CO_TRY(const std::size_t n, co_await fill());
    if (n == 0) co_return fail(Code::closed, "the chunked body was cut short after {} bytes", body_seen_);
  }
}

// Reads what the handler left; false when it is too much or does not come.
Task<bool> ServerConnection::drain_body() {
  if (head_.framing.kind == http1::BodyKind::length && body_left_ > kDrainBytes) co_return false;
  const auto scrap = std::make_unique<std::array<char, kReadSize>>();
  request_.body_limit_ = body_seen_ + kDrainBytes;
  if (head_.framing.kind == http1::BodyKind::length) request_.body_limit_ = head_.framing.length;
  while (!body_done_)
    if (!co_await read_body(*scrap)) co_return false;
  co_return true;
}

Task<Result<void>> ServerConnection::write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, kWritePiece);
    CO_TRY_VOID(co_await stream_.write(piece, after(state_->options.write_timeout)));
    bytes.remove_prefix(piece.size());
  }
  co_return Result<void>();
}

// ---- Request
// ----------------------------------------------------------------------------------------------------

Task<Result<std::size_t>> Request::read(std::span<char> buffer) {
  return connection_->read_body(buffer);
}

Task<Result<std::string>> Request::read_all(std::size_t limit) {
  limit_body(std::min<std::uint64_t>(body_limit_, limit));
  std::string body;
  while (true) {
    const std::size_t had = body.size();
    body.resize(had + kReadSize);
    const auto n = co_await connection_->read_body(std::span(body).subspan(had));
    body.resize(had + n.value_or(0));
    if (!n) co_return std::unexpected(n.error());
    if (*n == 0) co_return std::move(body);
  }
}

bool Request::client_gone() const {
  if (!connection_->stream_.open()) return true;
  if (!connection_->in_.empty()) return false;
  if (connection_->tls_) return connection_->stream_.tls()->peer_gone();
  char byte;
  const auto n = ::recv(connection_->stream_.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

const Address& Request::peer() const {
  return connection_->peer_;
}
bool Request::over_unix() const {
  return connection_->over_unix_;
}
Reactor& Request::reactor() const {
  return connection_->state_->reactor;
}
bool Request::is_tls() const {
  return connection_->tls_;
}
bool Request::certificate_is_for(std::string_view host) const {
  const TlsSession* tls = connection_->stream_.tls();
  return tls != nullptr && tls->shows_certificate_for(std::string(host));
}

std::optional<PeerCredentials> Request::peer_credentials() const {
  const auto known = connection_->stream_.peer_credentials();
  return known ? std::optional(*known) : std::nullopt;
}

// ---- ResponseWriter: what touches the stream
// --------------------------------------------------------------------

bool ResponseWriter::head_only() const {
  return connection_->head_.method == "HEAD" || status_ == 204 || status_ == 304;
}

Result<void> ResponseWriter::build_head(int status, Length kind, std::uint64_t length,
                                        std::string_view content_type) {
  if (state_ != State::fresh) return fail(Code::conflict, "the request has been answered already");
  if (bad_field_) return fail(Code::invalid_argument, "a header field of the answer is not valid");
  ServerConnection& connection = *connection_;
  const http1::RequestHead& head = connection.head_;
  status_ = status;
  // Whoever waits for 100 Continue may send the body or not: the connection cannot be used again.
  connection.close_after_ = connection.close_after_ || connection.state_->stopping || !head.keep_alive ||
                            connection.continue_pending_ || connection.body_failed_;
  if (!connection.body_done_ && connection.body_left_ > kDrainBytes) connection.close_after_ = true;
  chunked_ = kind == Length::unknown && head.minor_version == 1;
  if (kind == Length::unknown && !chunked_) connection.close_after_ = true;

  out_.clear();
  http1::append_status_line(out_, status);
  http1::append_field(out_, "Date", connection.state_->date_now());
  if (connection.close_after_)
    http1::append_field(out_, "Connection", "close");
  else if (head.minor_version == 0)
    http1::append_field(out_, "Connection", "keep-alive");
  if (kind != Length::none && status != 204) {
    const std::string_view type = content_type_.empty() ? content_type : content_type_;
    if (!type.empty()) http1::append_field(out_, "Content-Type", type);
    if (kind == Length::known)
      http1::append_content_length(out_, length);
    else if (chunked_)
      http1::append_field(out_, "Transfer-Encoding", "chunked");
  }
  out_ += fields_;
  out_ += "\r\n";
  return {};
}

Task<Result<void>> ResponseWriter::write_parts(std::string_view head, std::string_view body,
                                               std::string_view tail) {
  // One system call for what is small; large bodies in pieces, each with its own deadline.
  if (head.size() + body.size() + tail.size() <= kWritePiece) {
    iovec parts[3] = {{const_cast<char*>(head.data()), head.size()},
                      {const_cast<char*>(body.data()), body.size()},
                      {const_cast<char*>(tail.data()), tail.size()}};
    auto written = co_await connection_->stream_.write(std::span(parts),
                                                       after(connection_->state_->options.write_timeout));
    if (!written) state_ = State::failed;
    co_return written;
  }
  for (std::string_view part : {head, body, tail}) {
    auto written = co_await connection_->write_all(part);
    if (!written) {
      state_ = State::failed;
      co_return written;
    }
  }
  co_return Result<void>();
}

Task<Result<Stream>> ResponseWriter::upgrade(std::string_view protocol, std::string& pending) {
  if (state_ != State::fresh) co_return fail(Code::conflict, "the request has been answered already");
  if (bad_field_ || !http1::is_field_value(protocol))
    co_return fail(Code::invalid_argument, "a header field of the answer is not valid");
  if (!connection_->body_done_)
    co_return fail(Code::conflict, "the request has a body: it cannot be upgraded before it is read");
  status_ = 101;
  out_.clear();
  http1::append_status_line(out_, 101);
  http1::append_field(out_, "Connection", "Upgrade");
  http1::append_field(out_, "Upgrade", protocol);
  out_ += fields_;
  out_ += "\r\n";
  CO_TRY_VOID(co_await write_parts(out_, {}, {}));
  state_ = State::upgraded;
  pending.swap(connection_->in_);
  co_return std::move(connection_->stream_);
}

}  // namespace naru::io
