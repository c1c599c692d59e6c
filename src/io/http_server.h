// An HTTP/1.1 server for the control API, registry and git (the gateway has its own loop over the same
// parser).
//
//   auto server = TRY(HttpServer::start(reactor, {.handler = handle}, std::move(listener)));
//   Task<void> handle(Request& request, ResponseWriter& response) {
//     if (request.path() != "/v1/apps") co_return co_await response.send(404, "no such page\n");
//     co_await response.send_json(200, body);
//   }
//
// One coroutine a connection, all on the reactor's thread: a handler must not block (offload.h). What a
// handler leaves unread of a body is read and thrown away up to 256 KiB, else the connection is closed after
// the answer. A handler that returns without answering answers 500; one that fails after starting to stream
// has its connection cut.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/http1.h"
#include "io/socket.h"
#include "io/tls.h"

namespace naru::io {

namespace http1 = format::http1;

struct Header {
  std::string name, value;
};
using Headers = std::vector<Header>;

class ServerConnection;

// Valid until the handler returns. Views live as long.
class Request {
 public:
  std::string_view method() const { return head_->method; }
  std::string_view target() const { return head_->origin; }  // path and query as sent
  // The path, percent-decoded ("/a b"); requests whose path has malformed escapes, NUL, or "." or ".."
  // segments are answered 400 before any handler sees them.
  const std::string& path() const { return path_; }
  std::string_view query() const { return head_->query; }
  std::optional<std::string> query(std::string_view key) const {
    return http1::query_value(head_->query, key);
  }
  std::string_view host() const { return head_->host(); }          // without the port
  std::string_view authority() const { return head_->authority; }  // with it
  std::optional<std::string_view> header(std::string_view name) const { return head_->find(name); }
  std::span<const http1::Field> headers() const { return head_->fields(); }
  const http1::RequestHead& head() const { return *head_; }
  // "Bearer x" or the password of "Basic x": the token that a person or git gave.
  std::optional<std::string> token() const;
  std::optional<std::string> cookie(std::string_view name) const;

  const Address& peer() const;
  std::optional<PeerCredentials> peer_credentials() const;  // over Unix sockets
  bool over_unix() const;
  Reactor& reactor() const;
  bool is_tls() const;
  // Over TLS: whether the certificate that this client was shown is for `host`. Over anything else never.
  bool certificate_is_for(std::string_view host) const;

  std::optional<std::uint64_t> content_length() const { return head_->content_length; }
  // The bound for this request's body (ServerOptions::body_bytes); raise it before the first read (git,
  // registry).
  void limit_body(std::uint64_t bytes) { body_limit_ = bytes; }
  // At least one byte, or 0 at the end. Sends "100 Continue" when the client waits for it. too_large, timeout
  // (no progress for body_timeout), closed (cut short), malformed. One reader.
  Task<Result<std::size_t>> read(std::span<char> buffer);
  // The whole body; too_large beyond `limit`.
  Task<Result<std::string>> read_all(std::size_t limit = 1 << 20);
  // Has the client gone away? For handlers that wait long: ask now and then.
  bool client_gone() const;

 private:
  friend class ServerConnection;
  friend class ResponseWriter;
  ServerConnection* connection_ = nullptr;
  http1::RequestHead* head_ = nullptr;
  std::string path_;
  std::uint64_t body_limit_ = 0;
};

class ResponseWriter {
 public:
  // Before sending. Invalid names or values (control bytes), and framing fields, make the send fail with
  // invalid_argument. Content-Type given here wins over the argument's.
  ResponseWriter& header(std::string_view name, std::string_view value);

  // A whole answer. Content-Length, Date and (for HEAD) no body are seen to.
  Task<Result<void>> send(int status, std::string_view body = {},
                          std::string_view content_type = "text/plain; charset=utf-8");
  Task<Result<void>> send_json(int status, const nlohmann::json& body);
  // {"error":{"code","message","hint"}} with the catalogue's status. A named error, or
  //   co_await response.send_error(fail(Code::not_found, "there is no app {}", name));
  // g++ 12 breaks a braced temporary (Error{...}) inside co_await: it does not compile here.
  Task<Result<void>> send_error(const Error& error);
  Task<Result<void>> send_error(std::unexpected<Error> error);
  Task<Result<void>> send_error(Error&& error) = delete;

  // A streamed answer: start, write..., finish. With `length`, that many bytes (Content-Length), else chunked
  // (until close for HTTP/1.0). Without finish() the connection is cut, so that the client notices.
  Task<Result<void>> start(int status, std::optional<std::uint64_t> length = std::nullopt,
                           std::string_view content_type = "application/octet-stream");
  Task<Result<void>> write(std::string_view bytes);
  Task<Result<void>> finish();

  // Server-sent events (WHATWG HTML 9.2). `data` may hold newlines; `id` may be empty.
  Task<Result<void>> start_events();
  Task<Result<void>> event(std::string_view name, std::string_view data, std::string_view id = {});
  Task<Result<void>> comment();  // ":\n\n", keeps the connection alive

  // Sends 101 with `Upgrade: <protocol>` (after the header()s given) and hands the raw stream over: exec,
  // WebSocket. `pending` gets what the client has sent already. The connection is the caller's from now on.
  Task<Result<Stream>> upgrade(std::string_view protocol, std::string& pending);

  bool started() const { return state_ != State::fresh; }
  int status() const { return status_; }

 private:
  friend class ServerConnection;
  enum class State : std::uint8_t { fresh, streaming, finished, upgraded, failed };
  enum class Length : std::uint8_t { none, known, unknown };
  Result<void> build_head(int status, Length kind, std::uint64_t length, std::string_view content_type);
  ServerConnection* connection_ = nullptr;
  bool head_only() const;
  Task<Result<void>> write_parts(std::string_view head, std::string_view body, std::string_view tail);
  std::string fields_;
  std::string content_type_;
  std::string out_;
  State state_ = State::fresh;
  bool chunked_ = false, bad_field_ = false;
  int status_ = 0;
  std::uint64_t promised_ = 0, written_ = 0;
};

using Handler = std::function<Task<void>(Request&, ResponseWriter&)>;

struct ServerOptions {
  Handler handler;  // lives as long as the server
  milliseconds head_timeout =
      seconds(10);  // from a request's first byte to its head's end (slow senders: 408, closed)
  milliseconds idle_timeout = seconds(60);   // between requests
  milliseconds body_timeout = seconds(30);   // without any progress
  milliseconds write_timeout = seconds(30);  // without any progress
  std::uint64_t body_bytes = 16u << 20;      // default bound of a body; see Request::limit_body
  http1::Limits limits{};
  std::size_t connections = 4096;  // further ones wait in the kernel's backlog
};

// What a listener shows to its clients. On the server's thread another context may be put in at any time:
// handshakes from then on get that one, connections keep theirs.
struct TlsIdentity {
  std::shared_ptr<TlsContext> context;
};

// For a listener that strangers reach.
struct ListenerOptions {
  std::shared_ptr<TlsIdentity> tls;    // null: plain. A client that speaks HTTP without TLS is told so (400)
  std::size_t connections = SIZE_MAX;  // of the server's, at most; further ones wait in the kernel's backlog
  // Of one address (of IPv6: of one /64), at most; further ones are closed at once.
  std::size_t per_address = SIZE_MAX;
  milliseconds handshake_timeout = seconds(10);
  // Handshakes under way, at most. When they are so many, the oldest one that has gone on for longer than
  // `handshake_patience` is ended for a new one: who never finishes holds nobody up.
  std::size_t handshakes = SIZE_MAX;
  milliseconds handshake_patience = seconds(1);
};

class HttpServer {
 public:
  // Accepts from now on. The reactor must outlive the server; the server must outlive its connections:
  // co_await stop().
  static std::unique_ptr<HttpServer> start(Reactor& reactor, ServerOptions options, Listener listener,
                                           ListenerOptions listener_options = {});
  ~HttpServer();  // cuts what is left
  void add_listener(Listener listener, ListenerOptions options = {});
  Address address() const;  // of the first listener
  std::size_t connections() const;
  // Once. Stops accepting, lets requests in progress finish for at most `grace`, closes idle connections,
  // then cuts.
  Task<void> stop(milliseconds grace);

 private:
  friend class ServerConnection;
  HttpServer(Reactor& reactor, ServerOptions options);
  struct State;
  struct Entrance;
  static Task<void> accept_loop(std::shared_ptr<State> state, std::shared_ptr<Entrance> entrance);
  std::shared_ptr<State> state_;
};

}  // namespace naru::io
