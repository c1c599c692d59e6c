// An HTTP/1.1 client: pooled connections, streamed bodies both ways, redirects, TLS,
// HTTPS_PROXY/HTTP_PROXY/NO_PROXY, Unix sockets. On a reactor (HttpClient) or blocking, on any thread
// (io::fetch).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/http1.h"
#include "io/http_server.h"  // Header, Headers
#include "io/socket.h"
#include "io/tls.h"

namespace naru::io {

struct Url {
  bool tls = false;
  std::string host;  // without brackets
  std::uint16_t port = 0;
  std::string target = "/";  // path and query
  std::string user_info;     // "user:password", decoded; sent as Basic, never logged
  // http and https only; invalid_argument
  static Result<Url> parse(std::string_view text);
  std::string authority() const;  // host[:port], as the Host field wants it
  std::string origin() const;     // "https://host:port"
};
// "../x", "/x", "//host/x", "https://..." against a base (RFC 3986 5.2).
Result<std::string> resolve_reference(std::string_view base_url, std::string_view reference);

struct FetchRequest {
  std::string method = "GET";
  std::string url;  // "http://host/path"; with unix_socket the host is only a name
  Headers headers = {};
  std::string body = {};         // sent with Content-Length; for a streamed one see below
  std::string unix_socket = {};  // connect here instead ("" = TCP)

  // A streamed body: fills the buffer, 0 at the end; body_length when known, else chunked. It may block only
  // in the blocking facade. Not repeatable: a redirect that would need it again fails.
  std::function<Result<std::size_t>(std::span<char>)> body_source = {};
  // The same for a coroutine, where the source waits.
  std::function<Task<Result<std::size_t>>(std::span<char>)> body_stream = {};
  std::optional<std::uint64_t> body_length = {};

  int redirects = 5;  // followed at most; 0: 3xx is the answer. Credentials are dropped across origins
  std::uint64_t response_bytes = 64u << 20;  // bound of Response::body (and of what on_body gets); too_large
  // Gets the body of the final answer piece by piece, instead of Response::body. An error ends the exchange.
  std::function<Result<void>(std::string_view)> on_body = {};
  // Called once with status and headers of the final answer before its body. Optional.
  std::function<Result<void>(int status, const Headers&)> on_head = {};

  milliseconds connect_timeout = seconds(20);
  milliseconds idle_timeout = seconds(60);       // without any progress
  milliseconds total_timeout = milliseconds(0);  // 0: none
};

struct Response {
  int status = 0;
  Headers headers;
  std::string body;
  std::string url;  // that answered, after redirects
  // The first of that name (case-insensitive), or "".
  std::string_view header(std::string_view name) const;
  bool ok() const { return status >= 200 && status < 300; }
};

class HttpClient;
class ClientConnection;

// An answer whose body is read piece by piece. Destroyed early, its connection is closed; read to the end,
// pooled.
class Exchange {
 public:
  Exchange();
  Exchange(Exchange&&) noexcept;
  Exchange& operator=(Exchange&&) noexcept;
  ~Exchange();
  int status() const { return status_; }
  const Headers& headers() const { return headers_; }
  std::string_view header(std::string_view name) const;
  // At least one byte, or 0 at the end. closed: cut short; malformed; timeout.
  Task<Result<std::size_t>> read(std::span<char> buffer);
  // After 101: the raw stream; `pending` gets what was read beyond the head.
  Stream take_stream(std::string& pending);

 private:
  friend class HttpClient;
  std::unique_ptr<ClientConnection> connection_;
  HttpClient* client_ = nullptr;
  int status_ = 0;
  Headers headers_;
  milliseconds idle_timeout_{};
  Deadline total_ = kNever;
};

struct ClientOptions {
  std::shared_ptr<TlsContext> tls;  // null: made on first use from the system's CA bundle (SSL_CERT_FILE)
  std::string user_agent = "naru";
  std::size_t idle_connections = 16;        // kept, in all
  milliseconds idle_timeout = seconds(30);  // kept at most so long
  bool use_proxy_environment =
      true;  // HTTPS_PROXY, HTTP_PROXY, NO_PROXY (and lower case); never for loopback
  std::string https_proxy = {}, http_proxy = {}, no_proxy = {};  // instead of the environment, when not empty
  // Asked of every address that the host of `url` has, before any of them is connected to, and again for each
  // redirect; an error is the answer. Behind a proxy only numeric hosts are known here.
  std::function<Result<void>(const Url& url, const Address& address)> may_connect = {};
};

class HttpClient {
 public:
  explicit HttpClient(Reactor& reactor, ClientOptions options = {});
  ~HttpClient();  // after its exchanges

  // A whole exchange with redirects. A status of 400 and more is an answer, not an error.
  // unreachable, tls_failure, timeout, closed, malformed, too_large, invalid_argument
  Task<Result<Response>> fetch(FetchRequest request);
  // One request, one head; no redirects (`on_body`, `on_head` are not used).
  Task<Result<Exchange>> open(FetchRequest request);

 private:
  friend class Exchange;
  struct State;
  std::unique_ptr<State> state_;
};

// Blocking, on the calling thread (not on a reactor's).
Result<Response> fetch(FetchRequest request, ClientOptions options = {});

// A blocking client that keeps its connections between calls; one thread at a time.
class BlockingClient {
 public:
  static Result<std::unique_ptr<BlockingClient>> create(ClientOptions options = {});
  ~BlockingClient();
  Result<Response> fetch(FetchRequest request);

 private:
  BlockingClient() = default;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<HttpClient> client_;
};

}  // namespace naru::io
