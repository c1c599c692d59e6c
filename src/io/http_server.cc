#include "io/http_server.h"

#include <arpa/inet.h>

#include "base/log.h"
#include "io/server_connection.h"
#include "model/json_text.h"

namespace naru::io {

// ---- Request
// ----------------------------------------------------------------------------------------------------

namespace {

std::optional<std::string> base64_decode(std::string_view text) {
  std::string out;
  unsigned bits = 0, count = 0;
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  for (char c : text) {
    unsigned value = 0;
    if (c >= 'A' && c <= 'Z')
      value = static_cast<unsigned>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      value = static_cast<unsigned>(c - 'a') + 26;
    else if (c >= '0' && c <= '9')
      value = static_cast<unsigned>(c - '0') + 52;
    else if (c == '+')
      value = 62;
    else if (c == '/')
      value = 63;
    else
      return std::nullopt;
    bits = (bits << 6) | value;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>((bits >> count) & 0xff);
  }
  return out;
}

}  // namespace

std::optional<std::string> Request::token() const {
  const auto field = header("authorization");
  if (!field) return std::nullopt;
  const std::size_t space = field->find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const std::string_view scheme = field->substr(0, space);
  std::string_view rest = field->substr(space + 1);
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  if (http1::iequals(scheme, "bearer")) return std::string(rest);
  if (!http1::iequals(scheme, "basic")) return std::nullopt;
  const auto pair = base64_decode(rest);
  if (!pair) return std::nullopt;
  const std::size_t colon = pair->find(':');
  if (colon == std::string::npos) return std::nullopt;
  return pair->substr(colon + 1);
}

std::optional<std::string> Request::cookie(std::string_view name) const {
  for (const http1::Field& field : headers()) {
    if (!http1::iequals(field.name, "cookie")) continue;
    if (const auto value = http1::cookie_value(field.value, name)) return std::string(*value);
  }
  return std::nullopt;
}

// ---- ResponseWriter
// ---------------------------------------------------------------------------------------------

ResponseWriter& ResponseWriter::header(std::string_view name, std::string_view value) {
  const bool framing = http1::iequals(name, "content-length") || http1::iequals(name, "transfer-encoding") ||
                       http1::iequals(name, "connection");
  if (framing || !http1::is_token(name) || !http1::is_field_value(value))
    bad_field_ = true;
  else if (http1::iequals(name, "content-type"))
    content_type_ = value;
  else
    http1::append_field(fields_, name, value);
  return *this;
}

Task<Result<void>> ResponseWriter::send(int status, std::string_view body, std::string_view content_type) {
  CO_TRY_VOID(build_head(status, Length::known, body.size(), content_type));
  CO_TRY_VOID(co_await write_parts(out_, head_only() ? std::string_view() : body, {}));
  state_ = State::finished;
  co_return Result<void>();
}

Task<Result<void>> ResponseWriter::send_json(int status, const nlohmann::json& body) {
  const std::string text = json_text(body) + "\n";
  co_return co_await send(status, text, "application/json");
}

Task<Result<void>> ResponseWriter::send_error(const Error& error) {
  const CodeInfo& info = code_info(error.code);
  nlohmann::json inner;
  inner["code"] = info.name;
  inner["message"] = error.message();
  inner["hint"] = error.hint();
  nlohmann::json body;
  body["error"] = std::move(inner);
  co_return co_await send_json(info.http_status, body);
}

Task<Result<void>> ResponseWriter::send_error(std::unexpected<Error> error) {
  co_return co_await send_error(error.error());
}

Task<Result<void>> ResponseWriter::start(int status, std::optional<std::uint64_t> length,
                                         std::string_view content_type) {
  CO_TRY_VOID(build_head(status, length ? Length::known : Length::unknown, length.value_or(0), content_type));
  promised_ = length.value_or(0);
  state_ = State::streaming;
  co_return co_await write_parts(out_, {}, {});
}

Task<Result<void>> ResponseWriter::write(std::string_view bytes) {
  if (state_ != State::streaming)
    co_return fail(Code::conflict, "the answer is not being streamed (any more)");
  if (bytes.empty() || head_only()) co_return Result<void>();
  written_ += bytes.size();
  if (chunked_) {
    out_.clear();
    http1::append_chunk_size(out_, bytes.size());
    co_return co_await write_parts(out_, bytes, "\r\n");
  }
  if (promised_ > 0 && written_ > promised_) {
    state_ = State::failed;
    co_return fail(Code::internal, "an answer is longer than its Content-Length {}", promised_);
  }
  co_return co_await write_parts(bytes, {}, {});
}

Task<Result<void>> ResponseWriter::finish() {
  if (state_ != State::streaming)
    co_return fail(Code::conflict, "the answer is not being streamed (any more)");
  if (chunked_ && !head_only()) CO_TRY_VOID(co_await write_parts(http1::kLastChunk, {}, {}));
  if (!chunked_ && !head_only() && promised_ != 0 && written_ != promised_) {
    state_ = State::failed;
    co_return fail(Code::internal, "an answer has {} bytes, but its Content-Length says {}", written_,
                   promised_);
  }
  state_ = State::finished;
  co_return Result<void>();
}

Task<Result<void>> ResponseWriter::start_events() {
  header("Cache-Control", "no-store");
  co_return co_await start(200, std::nullopt, "text/event-stream");
}

Task<Result<void>> ResponseWriter::event(std::string_view name, std::string_view data, std::string_view id) {
  std::string text;
  if (!id.empty()) text.append("id: ").append(id).append("\n");
  if (!name.empty()) text.append("event: ").append(name).append("\n");
  while (true) {
    const std::size_t newline = data.find('\n');
    text.append("data: ").append(data.substr(0, newline)).append("\n");
    if (newline == std::string_view::npos) break;
    data.remove_prefix(newline + 1);
  }
  text += "\n";
  co_return co_await write(text);
}

Task<Result<void>> ResponseWriter::comment() {
  co_return co_await write(":\n\n");
}

// ---- HttpServer
// -------------------------------------------------------------------------------------------------

namespace {
constexpr milliseconds kLogPause{60'000};
}  // namespace

const std::string& HttpServer::State::date_now() {
  const WallTime now = SystemClock().wall();
  const std::int64_t second = to_epoch_ms(now) / 1000;
  if (second != date_second) {
    date_second = second;
    date = http1::http_date(now);
  }
  return date;
}

bool HttpServer::State::full(bool tcp) const {
  if (connections.size() >= options.connections) return true;
  const bool shared = std::ranges::any_of(
      entrances, [](const auto& entrance) { return entrance->listener.address().family() == AF_UNIX; });
  return tcp && shared && over_tcp >= options.connections - options.connections / kUnixPart;
}

void HttpServer::State::close_listeners() {
  for (const auto& entrance : entrances) entrance->listener.close();
}

std::string HttpServer::Entrance::peer_key(const Address& peer) const {
  if (options.per_address == SIZE_MAX) return {};
  std::string ip = peer.ip();
  in6_addr address{};
  if (!ip.contains(':') || ::inet_pton(AF_INET6, ip.c_str(), &address) != 1) return ip;
  // Whoever has one address of a /64 has them all.
  return std::string(reinterpret_cast<const char*>(&address), 8);
}

bool HttpServer::Entrance::takes(const std::string& peer_key) {
  const auto known = by_peer.find(peer_key);
  if (peer_key.empty() || known == by_peer.end() || known->second < options.per_address) return true;
  ++turned_away;
  const MonoTime now = std::chrono::steady_clock::now();
  if (now - logged > kLogPause) {
    log_event(Level::warn, "http.turned_away",
              {{"connections", turned_away}, {"why", "too many of one address"}});
    logged = now;
    turned_away = 0;
  }
  return false;
}

bool HttpServer::Entrance::full() {
  if (connections >= options.connections) return true;
  if (handshakes.size() < options.handshakes) return false;
  const Handshake oldest = handshakes.front();
  if (std::chrono::steady_clock::now() - oldest.since < options.handshake_patience) return true;
  handshakes.pop_front();
  oldest.connection->cut();
  return false;
}

namespace {

Task<void> run_connection(std::shared_ptr<ServerConnection> connection) {
  co_await connection->serve();
}

}  // namespace

Task<void> HttpServer::accept_loop(std::shared_ptr<State> state, std::shared_ptr<Entrance> entrance) {
  while (!state->stopping && entrance->listener.open()) {
    if (state->full(entrance->listener.address().family() != AF_UNIX) || entrance->full()) {
      co_await sleep(state->reactor, milliseconds(20));  // the rest waits in the kernel
      continue;
    }
    auto stream = co_await entrance->listener.accept();
    if (!stream && stream.error().code == Code::cancelled) break;
    if (!stream) {
      log_event(Level::warn, "http.accept_failed", {{"error", stream.error().message()}});
      co_await sleep(state->reactor, milliseconds(100));
      continue;
    }
    if (!entrance->takes(entrance->peer_key(stream->peer_address()))) continue;
    state->reactor.spawn(
        run_connection(std::make_shared<ServerConnection>(state, entrance, std::move(*stream))));
  }
}

HttpServer::HttpServer(Reactor& reactor, ServerOptions options)
    : state_(std::make_shared<State>(reactor, std::move(options))) {}

std::unique_ptr<HttpServer> HttpServer::start(Reactor& reactor, ServerOptions options, Listener listener,
                                              ListenerOptions listener_options) {
  std::unique_ptr<HttpServer> server(new HttpServer(reactor, std::move(options)));
  server->add_listener(std::move(listener), std::move(listener_options));
  return server;
}

void HttpServer::add_listener(Listener listener, ListenerOptions options) {
  state_->entrances.push_back(std::make_shared<Entrance>(std::move(listener), std::move(options)));
  state_->reactor.spawn(accept_loop(state_, state_->entrances.back()));
}

Address HttpServer::address() const {
  return state_->entrances.front()->listener.address();
}
std::size_t HttpServer::connections() const {
  return state_->connections.size();
}

HttpServer::~HttpServer() {
  state_->stopping = true;
  state_->close_listeners();
  for (ServerConnection* connection : state_->connections) connection->cut();
}

Task<void> HttpServer::stop(milliseconds grace) {
  const std::shared_ptr<State> state = state_;
  state->stopping = true;
  state->close_listeners();
  for (ServerConnection* connection : state->connections) connection->close_if_idle();
  const Deadline deadline = after(grace);
  while (!state->connections.empty()) {
    state->changed.clear();
    if (co_await state->changed.wait(deadline)) continue;
    // Handlers that wait for the client now fail; one that waits for something else is given up after a
    // while.
    for (ServerConnection* connection : state->connections) connection->cut();
    const Deadline last = after(seconds(2));
    while (!state->connections.empty()) {
      state->changed.clear();
      if (!co_await state->changed.wait(last)) co_return;
    }
  }
}

}  // namespace naru::io
