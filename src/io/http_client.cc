#include "io/http_client.h"

#include <array>
#include <cstdlib>

#include "base/environment.h"
#include "io/base64.h"
#include "io/client_connection.h"

namespace naru::io {

namespace {

std::string_view find_header(const Headers& headers, std::string_view name) {
  for (const Header& header : headers)
    if (http1::iequals(header.name, name)) return header.value;
  return {};
}
bool has_header(const Headers& headers, std::string_view name) {
  for (const Header& header : headers)
    if (http1::iequals(header.name, name)) return true;
  return false;
}

std::string environment(const char* upper, const char* lower) {
  for (const char* name : {lower, upper})
    if (auto value = environment_variable(name); value && !value->empty()) return *std::move(value);
  return {};
}

bool has_streamed_body(const FetchRequest& request) {
  return request.body_source || request.body_stream;
}

// The request's head, validated: a header with CR LF in it must not become two.
Result<std::string> build_head(const FetchRequest& request, const Url& url, const ClientOptions& options,
                               bool absolute, const std::string& proxy_authorization) {
  if (!http1::is_token(request.method))
    return fail(Code::invalid_argument, "\"{}\" is not an HTTP method", request.method);
  std::string head;
  http1::append_request_line(head, request.method, absolute ? url.origin() + url.target : url.target);
  if (!has_header(request.headers, "host")) http1::append_field(head, "Host", url.authority());
  if (!has_header(request.headers, "user-agent")) http1::append_field(head, "User-Agent", options.user_agent);
  if (!has_header(request.headers, "accept")) http1::append_field(head, "Accept", "*/*");
  if (!url.user_info.empty() && !has_header(request.headers, "authorization"))
    http1::append_field(head, "Authorization", "Basic " + base64(url.user_info));
  if (!proxy_authorization.empty()) http1::append_field(head, "Proxy-Authorization", proxy_authorization);
  for (const Header& header : request.headers) {
    const bool framing =
        http1::iequals(header.name, "content-length") || http1::iequals(header.name, "transfer-encoding");
    if (framing || !http1::is_token(header.name) || !http1::is_field_value(header.value))
      return fail(Code::invalid_argument, "the header field \"{}\" is not valid in a request", header.name);
    http1::append_field(head, header.name, header.value);
  }
  const bool usually_has_body =
      request.method == "POST" || request.method == "PUT" || request.method == "PATCH";
  if (has_streamed_body(request) && !request.body_length)
    http1::append_field(head, "Transfer-Encoding", "chunked");
  else if (has_streamed_body(request))
    http1::append_content_length(head, *request.body_length);
  else if (!request.body.empty() || usually_has_body)
    http1::append_content_length(head, request.body.size());
  head += "\r\n";
  return head;
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool is_idempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "PUT" || method == "DELETE";
}

// Prepares the request for where it is sent on (RFC 9110 15.4).
Result<void> follow(FetchRequest& request, int status, const std::string& location) {
  const std::string next = TRY(resolve_reference(request.url, location));
  const Url from = TRY(Url::parse(request.url)), to = TRY(Url::parse(next));
  if (from.origin() != to.origin())
    std::erase_if(request.headers, [](const Header& header) {
      return http1::iequals(header.name, "authorization") || http1::iequals(header.name, "cookie") ||
             http1::iequals(header.name, "host");
    });
  const bool becomes_get =
      (status == 303 && request.method != "HEAD") || (status <= 302 && request.method == "POST");
  if (becomes_get) {
    request.method = "GET";
    request.body.clear();
    request.body_source = nullptr;
    request.body_stream = nullptr;
    request.body_length.reset();
  } else if (has_streamed_body(request)) {
    return fail(Code::unsupported, "{} redirects to {}, but a streamed body cannot be sent again",
                request.url, next);
  }
  if (from.origin() == to.origin() && to.user_info.empty() && !from.user_info.empty() &&
      !has_header(request.headers, "authorization"))
    request.headers.push_back({"Authorization", "Basic " + base64(from.user_info)});
  request.url = next;
  return {};
}

}  // namespace

// ---- proxies
// ----------------------------------------------------------------------------------------------------

ProxyChoice ProxyChoice::from(const ClientOptions& options) {
  ProxyChoice choice{options.https_proxy, options.http_proxy, options.no_proxy};
  if (!options.use_proxy_environment) return choice;
  if (choice.https_proxy.empty()) choice.https_proxy = environment("HTTPS_PROXY", "https_proxy");
  // Upper-case HTTP_PROXY is a CGI request header (CVE-2016-5385), but no CGI program runs here.
  if (choice.http_proxy.empty()) choice.http_proxy = environment("HTTP_PROXY", "http_proxy");
  if (choice.no_proxy.empty()) choice.no_proxy = environment("NO_PROXY", "no_proxy");
  return choice;
}

const std::string& ProxyChoice::of(const Url& url) const {
  static const std::string kNone;
  const std::string& host = url.host;
  if (host == "localhost" || host.ends_with(".localhost") || host.starts_with("127.") || host == "::1")
    return kNone;
  std::string_view rest = no_proxy;
  while (!rest.empty()) {
    const std::size_t end = rest.find_first_of(", ");
    std::string_view entry = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (entry.starts_with("*.")) entry.remove_prefix(1);
    if (entry == "*") return kNone;
    if (entry.starts_with('.')) entry.remove_prefix(1);
    if (entry.empty()) continue;
    const bool suffix = host.size() > entry.size() &&
                        http1::iequals(std::string_view(host).substr(host.size() - entry.size()), entry) &&
                        host[host.size() - entry.size() - 1] == '.';
    if (suffix || http1::iequals(host, entry)) return kNone;
  }
  return url.tls ? https_proxy : http_proxy;
}

// ---- HttpClient
// -------------------------------------------------------------------------------------------------

struct HttpClient::State {
  State(Reactor& r, ClientOptions o)
      : reactor(r), options(std::move(o)), proxies(ProxyChoice::from(options)) {}
  Reactor& reactor;
  ClientOptions options;
  ProxyChoice proxies;
  std::vector<std::unique_ptr<ClientConnection>> idle;

  std::unique_ptr<ClientConnection> take_idle(const std::string& key);
  void keep(std::unique_ptr<ClientConnection> connection);
  Result<std::shared_ptr<TlsContext>> tls();
  Result<void> check_reach(const Url& url, const std::vector<Address>& addresses) const;
  Task<Result<Stream>> dial(const FetchRequest& request, const Url& url, const std::string& proxy,
                            Deadline deadline);
  Task<Result<void>> tunnel(Stream& stream, const Url& url, const Url& proxy, Deadline deadline);
  Task<Result<std::unique_ptr<ClientConnection>>> exchange(const FetchRequest& request, Deadline total);
};

std::unique_ptr<ClientConnection> HttpClient::State::take_idle(const std::string& key) {
  const MonoTime oldest = std::chrono::steady_clock::now() - options.idle_timeout;
  std::erase_if(idle, [&](const auto& connection) { return connection->idle_since < oldest; });
  for (std::size_t i = idle.size(); i-- > 0;) {
    if (idle[i]->key() != key) continue;
    std::unique_ptr<ClientConnection> connection = std::move(idle[i]);
    idle.erase(idle.begin() + static_cast<std::ptrdiff_t>(i));
    if (connection->alive()) return connection;
  }
  return nullptr;
}

void HttpClient::State::keep(std::unique_ptr<ClientConnection> connection) {
  if (!connection->reusable() || options.idle_connections == 0) return;
  connection->idle_since = std::chrono::steady_clock::now();
  if (idle.size() >= options.idle_connections) idle.erase(idle.begin());
  idle.push_back(std::move(connection));
}

Result<std::shared_ptr<TlsContext>> HttpClient::State::tls() {
  if (!options.tls) options.tls = TRY(TlsContext::client());
  return options.tls;
}

// CONNECT (RFC 9110 9.3.6).
Task<Result<void>> HttpClient::State::tunnel(Stream& stream, const Url& url, const Url& proxy,
                                             Deadline deadline) {
  const std::string target = fmt::format(
      "{}:{}", url.host.find(':') == std::string::npos ? url.host : "[" + url.host + "]", url.port);
  std::string head;
  http1::append_request_line(head, "CONNECT", target);
  http1::append_field(head, "Host", target);
  if (!proxy.user_info.empty())
    http1::append_field(head, "Proxy-Authorization", "Basic " + base64(proxy.user_info));
  head += "\r\n";
  CO_TRY_VOID(co_await stream.write(head, deadline));
  const auto answer = std::make_unique<http1::ResponseHead>();
  std::string in;
  std::size_t scanned = 0;
  while (true) {
    const std::size_t had = in.size();
    in.resize(had + 1024);
    CO_TRY(const std::size_t n, co_await stream.read(std::span(in).subspan(had), deadline));
    in.resize(had + n);
    const auto parsed = http1::parse_response(in, scanned, "CONNECT", *answer);
    if (n == 0 || parsed.outcome == http1::Outcome::refused)
      co_return fail(Code::unreachable, "the proxy {} does not speak HTTP", proxy.authority());
    if (parsed.outcome == http1::Outcome::incomplete) continue;
    if (answer->status / 100 != 2)
      co_return fail(Code::unreachable, "the proxy {} refused a tunnel to {} with status {}",
                     proxy.authority(), target, answer->status);
    if (parsed.consumed != in.size())
      co_return fail(Code::malformed, "the proxy {} sent bytes before the tunnel was used",
                     proxy.authority());
    co_return Result<void>();
  }
}

Result<void> HttpClient::State::check_reach(const Url& url, const std::vector<Address>& addresses) const {
  if (!options.may_connect) return {};
  for (const Address& address : addresses) TRY(options.may_connect(url, address));
  return {};
}

Task<Result<Stream>> HttpClient::State::dial(const FetchRequest& request, const Url& url,
                                             const std::string& proxy_url, Deadline deadline) {
  Stream stream;
  if (!request.unix_socket.empty()) {
    CO_TRY(const Address address, Address::of_unix(request.unix_socket));
    CO_TRY(stream, co_await connect(reactor, address, deadline));
  } else {
    CO_TRY(const Url proxy, Url::parse(proxy_url.empty()                            ? url.origin()
                                       : proxy_url.find("://") == std::string::npos ? "http://" + proxy_url
                                                                                    : proxy_url));
    CO_TRY(auto addresses, co_await resolve(reactor, proxy.host, proxy.port, deadline));
    if (const auto numeric = proxy_url.empty() ? std::nullopt : numeric_address(url.host, url.port))
      CO_TRY_VOID(check_reach(url, {*numeric}));
    if (proxy_url.empty()) CO_TRY_VOID(check_reach(url, addresses));
    CO_TRY(stream, co_await connect_any(reactor, std::move(addresses), deadline));
    if (!proxy_url.empty() && proxy.tls)
      co_return fail(Code::unsupported, "a proxy that is spoken to over TLS ({}) is not supported",
                     proxy.origin());
    if (!proxy_url.empty() && url.tls) CO_TRY_VOID(co_await tunnel(stream, url, proxy, deadline));
  }
  if (url.tls) {
    CO_TRY(auto context, tls());
    CO_TRY_VOID(co_await start_tls_client(stream, std::move(context), url.host, deadline));
  }
  co_return std::move(stream);
}

// One request on a pooled or new connection. A pooled one may just have been closed by the server: then once
// more.
Task<Result<std::unique_ptr<ClientConnection>>> HttpClient::State::exchange(const FetchRequest& request,
                                                                            Deadline total) {
  CO_TRY(const Url url, Url::parse(request.url));
  const std::string proxy = request.unix_socket.empty() ? proxies.of(url) : std::string();
  const bool absolute = !proxy.empty() && !url.tls;
  std::string proxy_authorization;
  if (absolute) {
    CO_TRY(const Url parsed, Url::parse(proxy.find("://") == std::string::npos ? "http://" + proxy : proxy));
    if (!parsed.user_info.empty()) proxy_authorization = "Basic " + base64(parsed.user_info);
  }
  CO_TRY(std::string head, build_head(request, url, options, absolute, proxy_authorization));
  const std::string key = url.origin() + " " + request.unix_socket + " " + proxy;

  while (true) {
    std::unique_ptr<ClientConnection> connection = take_idle(key);
    const bool reused = connection != nullptr;
    if (!reused) {
      auto stream = co_await dial(request, url, proxy, std::min(after(request.connect_timeout), total));
      if (!stream) co_return std::unexpected(std::move(stream).error());
      connection = std::make_unique<ClientConnection>(key, std::move(*stream));
    }
    auto answered = co_await connection->exchange(request, head, total);
    if (answered) co_return std::move(connection);
    const bool again = reused && !connection->got_anything() && answered.error().code == Code::closed &&
                       is_idempotent(request.method) && !has_streamed_body(request);
    if (!again) {
      answered.error().context =
          fmt::format("{} {}{}: {}", request.method, url.origin(), url.target, answered.error().context);
      co_return std::unexpected(std::move(answered).error());
    }
  }
}

HttpClient::HttpClient(Reactor& reactor, ClientOptions options)
    : state_(std::make_unique<State>(reactor, std::move(options))) {}
HttpClient::~HttpClient() = default;

Task<Result<Exchange>> HttpClient::open(FetchRequest request) {
  const Deadline total = request.total_timeout.count() > 0 ? after(request.total_timeout) : kNever;
  auto connection = co_await state_->exchange(request, total);
  if (!connection) co_return std::unexpected(std::move(connection).error());
  Exchange exchange;
  exchange.connection_ = std::move(*connection);
  exchange.client_ = this;
  exchange.status_ = exchange.connection_->head().status;
  for (const http1::Field& field : exchange.connection_->head().fields())
    exchange.headers_.push_back({std::string(field.name), std::string(field.value)});
  exchange.idle_timeout_ = request.idle_timeout;
  exchange.total_ = total;
  co_return std::move(exchange);
}

namespace {

// The body of the final answer, to where the request wants it.
Task<Result<void>> collect(Exchange& exchange, const FetchRequest& request, Response& response) {
  if (request.on_head) CO_TRY_VOID(request.on_head(exchange.status(), exchange.headers()));
  const auto buffer = std::make_unique<std::array<char, 65536>>();
  std::uint64_t total = 0;
  while (true) {
    CO_TRY(const std::size_t n, co_await exchange.read(*buffer));
    if (n == 0) co_return Result<void>();
    total += n;
    if (total > request.response_bytes)
      co_return fail(Code::too_large, "the answer is larger than {} bytes", request.response_bytes);
    const std::string_view piece(buffer->data(), n);
    if (request.on_body)
      CO_TRY_VOID(request.on_body(piece));
    else
      response.body.append(piece);
  }
}

// What a redirect carries is read (a little), so that its connection can be used again.
Task<void> discard(Exchange& exchange) {
  char scrap[1024];
  for (int i = 0; i < 64; ++i) {
    const auto n = co_await exchange.read(scrap);
    if (!n || *n == 0) co_return;
  }
}

}  // namespace

Task<Result<Response>> HttpClient::fetch(FetchRequest request) {
  const Deadline total = request.total_timeout.count() > 0 ? after(request.total_timeout) : kNever;
  for (int hops = 0;; ++hops) {
    if (total != kNever) {
      const auto left = std::chrono::duration_cast<milliseconds>(total - std::chrono::steady_clock::now());
      request.total_timeout = std::max(left, milliseconds(1));
    }
    CO_TRY(Exchange exchange, co_await open(request));
    const std::string location(exchange.header("location"));
    if (request.redirects > 0 && is_redirect(exchange.status()) && !location.empty()) {
      if (hops == request.redirects)
        co_return fail(Code::unreachable, "{}: more than {} redirects", request.url, request.redirects);
      co_await discard(exchange);
      CO_TRY_VOID(follow(request, exchange.status(), location));
      continue;
    }
    Response response;
    response.status = exchange.status();
    response.headers = exchange.headers();
    response.url = request.url;
    auto collected = co_await collect(exchange, request, response);
    if (!collected) {
      const auto url = Url::parse(request.url);  // without a password
      collected.error().context =
          fmt::format("{} {}{}: {}", request.method, url->origin(), url->target, collected.error().context);
      co_return std::unexpected(std::move(collected).error());
    }
    co_return std::move(response);
  }
}

// ---- Exchange, Response
// -----------------------------------------------------------------------------------------

Exchange::Exchange() = default;
Exchange::Exchange(Exchange&&) noexcept = default;
Exchange& Exchange::operator=(Exchange&&) noexcept = default;
Exchange::~Exchange() {
  if (connection_ && client_ != nullptr) client_->state_->keep(std::move(connection_));
}

std::string_view Exchange::header(std::string_view name) const {
  return find_header(headers_, name);
}
std::string_view Response::header(std::string_view name) const {
  return find_header(headers, name);
}

Task<Result<std::size_t>> Exchange::read(std::span<char> buffer) {
  if (!connection_) co_return 0;
  auto n = co_await connection_->read(buffer, std::min(after(idle_timeout_), total_));
  if (!n) {
    connection_.reset();
    co_return n;
  }
  if (*n == 0) client_->state_->keep(std::move(connection_));
  co_return n;
}

Stream Exchange::take_stream(std::string& pending) {
  if (!connection_) return {};
  Stream stream = connection_->take(pending);
  connection_.reset();
  return stream;
}

// ---- blocking
// ---------------------------------------------------------------------------------------------------

Result<Response> fetch(FetchRequest request, ClientOptions options) {
  const auto client = TRY(BlockingClient::create(std::move(options)));
  return client->fetch(std::move(request));
}

Result<std::unique_ptr<BlockingClient>> BlockingClient::create(ClientOptions options) {
  std::unique_ptr<BlockingClient> client(new BlockingClient());
  client->reactor_ = TRY(Reactor::create());
  client->client_ = std::make_unique<HttpClient>(*client->reactor_, std::move(options));
  return client;
}

BlockingClient::~BlockingClient() = default;

Result<Response> BlockingClient::fetch(FetchRequest request) {
  return reactor_->block_on(client_->fetch(std::move(request)));
}

}  // namespace naru::io
