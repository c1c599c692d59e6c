#include "image/registry.h"

#include <thread>

#include "base/utf8.h"
#include "io/http_client.h"

namespace naru::image {

namespace {

constexpr int kMaxRedirects = 5;
constexpr std::size_t kMaxToken = 64U << 10;

std::string_view host_of(std::string_view authority) {
  if (authority.starts_with('[')) return authority.substr(0, authority.find(']') + 1);
  return authority.substr(0, authority.find(':'));
}

bool is_loopback(std::string_view registry) {
  const auto host = host_of(registry);
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

std::string origin_of(std::string_view url) {
  const auto scheme = url.find("://");
  return std::string(
      url.substr(0, scheme == std::string_view::npos ? 0 : url.find_first_of("/?#", scheme + 3)));
}

bool worth_another_try(const Error& error) {
  return error.code == Code::closed || error.code == Code::unavailable || error.code == Code::unreachable;
}

}  // namespace

std::string percent_encoded(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain)
      encoded += c;
    else
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

Result<Challenge> parse_challenge(std::string_view header) {
  const auto bad = [&] {
    return fail(Code::malformed, "WWW-Authenticate '{}': not a challenge", printable(header.substr(0, 120)));
  };
  if (header.size() > 8192)
    return fail(Code::too_large, "WWW-Authenticate: {} bytes, the bound is 8192", header.size());
  const auto space = header.find(' ');
  Challenge challenge{std::string(header.substr(0, space)), {}};
  std::ranges::transform(challenge.scheme, challenge.scheme.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (challenge.scheme.empty()) return bad();
  std::size_t at = space == std::string_view::npos ? header.size() : space + 1;
  while (true) {
    at = std::min(header.find_first_not_of(" ,\t", at), header.size());
    if (at == header.size()) return challenge;
    const auto equals = header.find('=', at);
    if (equals == std::string_view::npos || equals == at) return bad();
    std::string key(header.substr(at, equals - at));
    std::ranges::transform(key, key.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    std::string value;
    at = equals + 1;
    if (at < header.size() && header[at] == '"') {
      for (++at; at < header.size() && header[at] != '"'; ++at) {
        if (header[at] == '\\') ++at;
        if (at == header.size()) return bad();
        value += header[at];
      }
      if (at++ >= header.size()) return bad();
    } else {
      const auto end = std::min(header.find_first_of(", \t", at), header.size());
      value = header.substr(at, end - at);
      at = end;
    }
    challenge.parameters[key] = value;
  }
}

Registry::Registry(HttpPort& http, const format::ImageReference& reference, const PullOptions& options)
    : http_(http),
      options_(options),
      name_(reference.text()),
      scope_(fmt::format("repository:{}:pull", reference.repository)) {
  const bool plain = is_loopback(reference.registry) ||
                     std::ranges::find(options.insecure, reference.registry) != options.insecure.end();
  const std::string host = reference.registry == "docker.io" ? "registry-1.docker.io" : reference.registry;
  base_ = fmt::format("{}://{}", plain ? "http" : "https", host);
  prefix_ = fmt::format("{}/v2/{}/", base_, reference.repository);
}

Error Registry::refused(const std::string& url, const Outcome& outcome) const {
  const int status = outcome.answer.status;
  const std::string said = outcome.problem.empty() ? "" : ": " + printable(outcome.problem.substr(0, 200));
  if (status == 404)
    return {Code::image_unknown,
            fmt::format("{}: the registry does not have it (404 for {}){}", name_,
                        printable(url.substr(0, 300)), said),
            0,
            {}};
  if (status == 401 || status == 403)
    return {Code::registry_refused,
            fmt::format("{}: the registry wants a login, or there is no such public image ({} for {}){}",
                        name_, status, printable(url.substr(0, 300)), said),
            0,
            {}};
  if (status == 429)
    return {Code::registry_refused,
            fmt::format("{}: the registry limits how often it may be asked (429){}", name_, said), 0,
            "wait some minutes and try again"};
  return {status >= 500 ? Code::unavailable : Code::registry_refused,
          fmt::format("{}: the registry answered {} for {}{}", name_, status, printable(url.substr(0, 300)),
                      said),
          0,
          {}};
}

// The dance of https://distribution.github.io/distribution/spec/auth/token/: the refusal says whom to ask.
Result<> Registry::authenticate(const HttpAnswer& refusal) {
  const Challenge challenge = TRY(parse_challenge(refusal.header("www-authenticate")));
  if (challenge.scheme != "bearer")
    return fail(Code::registry_refused,
                "{}: the registry wants a login ({}); only public images can be pulled", name_,
                printable(challenge.scheme.substr(0, 40)));
  const auto realm = challenge.parameters.find("realm");
  const bool secure = realm != challenge.parameters.end() && realm->second.starts_with("https://");
  const bool plain = realm != challenge.parameters.end() && realm->second.starts_with("http://") &&
                     base_.starts_with("http://");
  if (!secure && !plain)
    return fail(Code::registry_refused, "{}: the registry names no https address for its token", name_);
  std::string url = realm->second;
  url += url.contains('?') ? '&' : '?';
  if (const auto service = challenge.parameters.find("service"); service != challenge.parameters.end())
    url += "service=" + percent_encoded(service->second) + "&";
  url += "scope=" + percent_encoded(scope_);
  std::string body;
  HttpGet request{.url = url,
                  .headers = {{"Accept", "application/json"}},
                  .max_body = kMaxToken,
                  .timeout = options_.request_timeout,
                  .total_timeout = options_.request_timeout};
  const HttpAnswer answer = TRY(http_.get(request, [&](int, std::string_view bytes) -> Result<> {
    body += bytes;
    return body.size() > kMaxToken
               ? Result<>(fail(Code::too_large, "{}: a token of more than {} bytes", name_, kMaxToken))
               : Result<>();
  }));
  if (answer.status != 200)
    return fail(Code::registry_refused, "{}: no anonymous token ({} for {})", name_, answer.status,
                printable(url.substr(0, 300)));
  const Json json = TRY(parse_json(body, "the registry's token"));
  std::string token;
  for (const char* key : {"token", "access_token"})
    if (json.is_object() && json.contains(key) && json[key].is_string()) token = json[key].get<std::string>();
  if (token.empty() || std::ranges::any_of(token, [](unsigned char c) { return c <= ' ' || c >= 0x7f; }))
    return fail(Code::malformed, "{}: the registry's token is not usable", name_);
  const std::lock_guard lock(mutex_);
  token_ = token;
  return {};
}

Result<Registry::Outcome> Registry::get(const std::string& first_url, const HttpGet& request,
                                        const HttpPort::Sink& sink) {
  std::string url = first_url;
  bool asked_for_token = false;
  for (int hops = 0;;) {
    HttpGet attempt = request;
    attempt.url = url;
    if (origin_of(url) == base_) {  // nobody else sees the token
      const std::lock_guard lock(mutex_);
      if (!token_.empty()) attempt.headers.emplace_back("Authorization", "Bearer " + token_);
    }
    Outcome outcome;
    attempt.max_body = std::max<std::uint64_t>(attempt.max_body, 64U << 10);  // an error's page must fit, too
    outcome.answer = TRY(http_.get(attempt, [&](int status, std::string_view bytes) -> Result<> {
      if (status == 200) return sink(status, bytes);
      if (outcome.problem.size() < 1024) outcome.problem += bytes.substr(0, 1024);
      return {};
    }));
    const int status = outcome.answer.status;
    if (status == 401 && !asked_for_token && origin_of(url) == base_) {
      asked_for_token = true;
      TRY(authenticate(outcome.answer));
      continue;
    }
    if (status < 300 || status >= 400) return outcome;
    if (++hops > kMaxRedirects)
      return fail(Code::registry_refused, "{}: more than {} redirects", name_, kMaxRedirects);
    const std::string next = TRY(io::resolve_reference(url, outcome.answer.header("location")));
    if (url.starts_with("https://") && !next.starts_with("https://"))
      return fail(Code::registry_refused, "{}: a redirect away from https, to {}", name_,
                  printable(next.substr(0, 200)));
    url = next;
  }
}

template <class Attempt>
auto Registry::with_retries(const Attempt& attempt) -> decltype(attempt()) {
  for (std::uint32_t tried = 1;; ++tried) {
    auto result = attempt();
    if (result || tried >= options_.attempts || !worth_another_try(result.error())) return result;
    std::this_thread::sleep_for(options_.retry_pause * tried);
  }
}

Result<Registry::Document> Registry::document(const std::string& path, const std::string& accept,
                                              std::size_t max_bytes) {
  return with_retries([&]() -> Result<Document> {
    Document document;
    const std::string url = prefix_ + path;
    HttpGet request{.url = {},
                    .headers = {},
                    .max_body = max_bytes,
                    .timeout = options_.request_timeout,
                    .total_timeout = options_.request_timeout * 2};
    if (!accept.empty()) request.headers.emplace_back("Accept", accept);
    const Outcome outcome = TRY(get(url, request, [&](int, std::string_view bytes) -> Result<> {
      document.bytes += bytes;
      return document.bytes.size() > max_bytes
                 ? Result<>(fail(Code::too_large, "{}: {} has more than {} bytes", name_, path, max_bytes))
                 : Result<>();
    }));
    if (outcome.answer.status != 200) return std::unexpected(refused(url, outcome));
    const std::string type = outcome.answer.header("content-type");
    document.media_type = type.substr(0, type.find_first_of("; "));
    document.stated_digest = outcome.answer.header("docker-content-digest");
    return document;
  });
}

Result<BlobWriter> Registry::blob(const Digest& digest, std::uint64_t size, const Begin& begin) {
  return with_retries([&]() -> Result<BlobWriter> {
    BlobWriter writer = TRY(begin());
    const std::string url = prefix_ + "blobs/" + digest.text();
    const HttpGet request{.url = {},
                          .headers = {},
                          .max_body = size,
                          .timeout = options_.request_timeout,
                          .total_timeout = options_.blob_timeout};
    const Outcome outcome = TRY(get(url, request, [&](int, std::string_view bytes) -> Result<> {
      if (writer.size() + bytes.size() > size)
        return fail(Code::too_large, "{}: blob {} is larger than the {} bytes that its manifest says", name_,
                    digest.text(), size);
      return writer.write(bytes);
    }));
    if (outcome.answer.status != 200) return std::unexpected(refused(url, outcome));
    if (writer.size() != size)
      return fail(Code::closed, "{}: blob {} ended after {} of {} bytes", name_, digest.text(), writer.size(),
                  size);
    return writer;
  });
}

}  // namespace naru::image
