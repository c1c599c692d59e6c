#include "control/api.h"

#include <charconv>

#include "control/login_page.h"
#include "ipc/gateway_protocol.h"

namespace naru::control {

namespace {

constexpr std::string_view kOwnPages =
    "do it in the console itself, or send a token (`naru token create`) instead of the cookie, without "
    "Origin";

std::vector<std::string_view> segments_of(std::string_view path) {
  std::vector<std::string_view> out;
  while (!path.empty()) {
    path.remove_prefix(1);
    const auto end = std::min(path.find('/'), path.size());
    out.push_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  return out;
}

bool matches(std::string_view pattern, std::string_view path, std::vector<std::string>& parameters) {
  parameters.clear();
  const auto wanted = segments_of(pattern), given = segments_of(path);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == "{*}") {
      std::string rest;
      for (std::size_t j = i; j < given.size(); ++j) rest.append(j > i ? "/" : "").append(given[j]);
      parameters.push_back(std::move(rest));
      return true;
    }
    if (i >= given.size()) return false;
    const auto hole = wanted[i].find("{}");
    if (hole == std::string_view::npos) {
      if (wanted[i] != given[i]) return false;
      continue;
    }
    const std::string_view tail = wanted[i].substr(hole + 2);  // "{}.git"
    if (!given[i].ends_with(tail) || given[i].size() <= tail.size()) return false;
    parameters.emplace_back(given[i].substr(0, given[i].size() - tail.size()));
  }
  return wanted.size() == given.size();
}

bool changes_state(std::string_view method) {
  return method != "GET" && method != "HEAD" && method != "OPTIONS";
}

}  // namespace

Result<LongWork::Place> LongWork::take() {
  Place place(nullptr, [taken = taken_](void*) { --*taken; });
  if (++*taken_ <= kPlaces) return place;
  return std::unexpected(Error{Code::busy, fmt::format("{} pulls, imports and removals run already", kPlaces),
                               0, "wait until one of them has ended, and try again"});
}

std::string Call::query(std::string_view key, std::string_view otherwise) const {
  return request.query(key).value_or(std::string(otherwise));
}

bool Call::flag(std::string_view key) const {
  const auto value = request.query(key);
  return value && (*value == "1" || *value == "true");
}

Result<std::uint64_t> Call::number(std::string_view key, std::uint64_t otherwise, std::uint64_t most) const {
  const auto text = request.query(key);
  if (!text || text->empty()) return otherwise;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size())
    return fail(Code::invalid_argument, "{}: '{}' is not a number", key, text->substr(0, 40));
  return std::min(value, most);
}

io::Task<Result<Json>> read_json(Call& call, std::size_t limit) {
  CO_TRY(std::string text, co_await call.request.read_all(limit));
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) co_return Json::object();
  CO_TRY(Json body, parse_json(text, "the request's body"));
  if (!body.is_object()) co_return fail(Code::malformed, "the request's body is not a JSON object");
  co_return std::move(body);
}

Result<std::string> text_member(const Json& body, const char* name, const char* otherwise) {
  const auto found = body.find(name);
  if (found == body.end() || found->is_null()) {
    if (otherwise != nullptr) return std::string(otherwise);
    return fail(Code::invalid_argument, "'{}' is missing in the request's body", name);
  }
  if (!found->is_string()) return fail(Code::invalid_argument, "'{}' must be a text", name);
  return found->get<std::string>();
}

Api::Api(Context& context) : context_(context) {
  for (const auto routes : {app_routes(), pipeline_routes(), log_routes(), exec_routes(), event_routes(),
                            image_routes(), platform_routes(), git_routes(), console_routes()})
    for (const Route& route : routes) routes_.push_back(&route);
}

Api::Match Api::find(std::string_view method, const std::string& path) const {
  Match match;
  std::vector<std::string> parameters;
  for (const Route* route : routes_) {
    if (!matches(route->pattern, path, parameters)) continue;
    if (route->method != "*" && route->method != method && !(method == "HEAD" && route->method == "GET")) {
      match.other_method = true;
      continue;
    }
    match.route = route;
    match.parameters = std::move(parameters);
    return match;
  }
  return match;
}

bool Api::is_our_host(const io::Request& request) const {
  std::string_view host = request.host();
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  // A rebound name is none of the certificate's, or the browser has refused it.
  if (request.is_tls()) return request.certificate_is_for(host);
  if (io::http1::iequals(host, "localhost") || host == "127.0.0.1" || host == "::1") return true;
  // A rebound name is never a number: listening everywhere, every numeric address of ours is fine.
  const bool everywhere = context_.tcp_ip.empty() || context_.tcp_ip == "0.0.0.0" || context_.tcp_ip == "::";
  if (everywhere) return io::Address::of_ip(host, 0).has_value();
  return host == context_.tcp_ip;
}

// DNS rebinding changes Host, a foreign page's request says its Origin.
Result<void> Api::check_origin(const io::Request& request) const {
  if (request.over_unix()) return {};
  if (!is_our_host(request)) {
    std::string names = "localhost or 127.0.0.1";
    if (const auto standing = context_.tls_standing(); standing && request.is_tls())
      names = fmt::format("what its certificate names: {}", fmt::join(standing->names, ", "));
    return std::unexpected(
        Error{Code::forbidden,
              fmt::format("the Host '{}' is not a name of this Naru", request.host().substr(0, 100)), 0,
              "ask for " + names});
  }
  if (!changes_state(request.method())) return {};
  const auto origin = request.header("origin");
  const std::string ours = (request.is_tls() ? "https://" : "http://") + std::string(request.authority());
  if (origin && !io::http1::iequals(*origin, ours))
    return std::unexpected(
        Error{Code::forbidden,
              fmt::format("a request from {} may not change anything here", origin->substr(0, 200)), 0,
              std::string(kOwnPages)});
  if (const auto site = request.header("sec-fetch-site"); site && *site == "cross-site")
    return std::unexpected(Error{Code::forbidden, "a request from another site may not change anything here",
                                 0, std::string(kOwnPages)});
  return {};
}

Result<Identity> Api::identify(const io::Request& request) const {
  if (request.over_unix()) {
    const auto peer = request.peer_credentials();
    if (peer && (peer->uid == 0 || peer->uid == ::geteuid())) return Identity{"local", "", false};
    return fail(Code::forbidden, "user {} may not use this Naru's socket",
                peer ? static_cast<int>(peer->uid) : -1);
  }
  const std::string address = request.peer().ip();
  if (const auto token = request.token()) return context_.tokens.check(*token, address);
  if (const auto cookie = request.cookie(ipc::kSessionCookie)) {
    Identity who = TRY(context_.tokens.check_session(*cookie, address));
    if (changes_state(request.method()) && !request.header("origin"))
      return fail(Code::forbidden, "a request by cookie that changes something must say its Origin");
    return who;
  }
  return fail(Code::unauthorized, "no token was given");
}

Result<Identity> Api::admit(const Match& match, const io::Request& request) const {
  if (match.route != nullptr && match.route->access == Access::anybody)
    return Identity{"anybody", "-", false};
  Identity who = TRY(identify(request));
  if (match.route == nullptr) return who;
  switch (match.route->access) {
    case Access::local:
      if (!request.over_unix())
        return fail(Code::forbidden, "this may only be asked over the Unix socket, on the machine itself");
      break;
    case Access::admin:
      if (!who.admin())
        return fail(Code::forbidden, "the token '{}' is for the application {} only", who.name, who.app);
      break;
    case Access::app:
      if (!who.may(match.parameters.front()))
        return fail(Code::forbidden, "the token '{}' is for the application {} only", who.name, who.app);
      break;
    case Access::anybody:
    case Access::any_token:
      break;
  }
  return who;
}

Answer Api::answer(io::Request& request, io::ResponseWriter& response) {
  response.header("X-Content-Type-Options", "nosniff");
  CO_TRY_VOID(check_origin(request));
  const Match match = find(request.method(), request.path());
  auto who = admit(match, request);
  if (!who && who.error().code == Code::unauthorized) {
    // git asks for a password only when it is told to; a browser should not.
    response.header("WWW-Authenticate",
                    request.path().starts_with("/git/") ? "Basic realm=\"Naru\"" : "Bearer realm=\"Naru\"");
  }
  if (!who && who.error().code == Code::unauthorized && match.route != nullptr &&
      match.route->pattern.starts_with("/git/"))
    who.error().remedy = fmt::format("in the repository: naru app connect {}", match.parameters.front());
  if (!who) co_return std::unexpected(who.error());
  if (match.route == nullptr && match.other_method)
    co_return std::unexpected(
        Error{Code::invalid_argument,
              fmt::format("{} cannot be done with {}", request.method(), request.path().substr(0, 200)), 0,
              "see docs/api.md"});
  if (match.route == nullptr)
    co_return std::unexpected(Error{
        Code::not_found, fmt::format("there is no {}", request.path().substr(0, 200)), 0, "see docs/api.md"});
  Call call{context_, request, response, match.parameters, std::move(*who)};
  co_return co_await match.route->answer(call);
}

io::Task<void> Api::handle(io::Request& request, io::ResponseWriter& response) {
  auto answered = co_await answer(request, response);
  if (!answered && !response.started() && answered.error().code == Code::unauthorized &&
      wants_login_page(request))
    answered = co_await send_login_page(response);
  if (answered || response.started()) co_return;
  if (request.path().starts_with("/git/"))  // git shows its person text, and no JSON
    (void)co_await response.send(
        code_info(answered.error().code).http_status,
        fmt::format("naru: {}\nhint: {}\n", answered.error().message(), answered.error().hint()),
        "text/plain; charset=utf-8");
  else
    (void)co_await response.send_error(answered.error());
}

}  // namespace naru::control
