// URLs of http and https, and references against them (RFC 3986).
#include <charconv>

#include "io/http_client.h"

namespace naru::io {

namespace {
bool is_host(std::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  for (char c : host) {
    const bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!alnum && c != '-' && c != '.' && c != '_' && c != '~') return false;
  }
  return true;
}

bool is_ipv6(std::string_view host) {
  for (char c : host)
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' || c == '.'))
      return false;
  return host.find(':') != std::string_view::npos;
}
}  // namespace

Result<Url> Url::parse(std::string_view text) {
  const std::string_view whole = text;
  for (char c : text)
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f)
      return fail(Code::invalid_argument, "\"{}\" holds a character that no URL may hold: write it as %XX",
                  whole);
  Url url;
  const std::size_t scheme_end = text.find("://");
  const std::string_view scheme = text.substr(0, scheme_end);
  if (scheme_end == std::string_view::npos ||
      (!http1::iequals(scheme, "http") && !http1::iequals(scheme, "https")))
    return fail(Code::invalid_argument, "\"{}\" does not begin with http:// or https://", whole);
  url.tls = scheme.size() == 5;
  url.port = url.tls ? 443 : 80;
  text.remove_prefix(scheme_end + 3);
  text = text.substr(0, text.find('#'));
  const std::size_t slash = text.find_first_of("/?");
  std::string_view authority = text.substr(0, slash);
  if (slash != std::string_view::npos)
    url.target = (text[slash] == '?' ? "/" : "") + std::string(text.substr(slash));
  if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
    auto user_info = http1::percent_decode(authority.substr(0, at));
    if (!user_info)
      return fail(Code::invalid_argument, "the user name or password of the URL has a malformed escape");
    url.user_info = std::move(*user_info);
    authority.remove_prefix(at + 1);
  }
  const bool bracketed = authority.starts_with('[');
  const std::size_t host_end = bracketed ? authority.find(']') : authority.find(':');
  if (bracketed && host_end == std::string_view::npos)
    return fail(Code::invalid_argument, "\"{}\": the host has no closing bracket", whole);
  url.host = bracketed ? authority.substr(1, host_end - 1) : authority.substr(0, host_end);
  if (bracketed ? !is_ipv6(url.host) : !is_host(url.host))
    return fail(Code::invalid_argument, "\"{}\" has no valid host", whole);
  std::string_view rest = host_end == std::string_view::npos
                              ? std::string_view()
                              : authority.substr(host_end + (bracketed ? 1 : 0));
  if (rest.empty()) return url;
  const auto [end, error] = std::from_chars(rest.data() + 1, rest.data() + rest.size(), url.port);
  if (rest[0] != ':' || error != std::errc() || end != rest.data() + rest.size())
    return fail(Code::invalid_argument, "\"{}\": the port is not a number up to 65535", whole);
  return url;
}

std::string Url::authority() const {
  std::string text = host.find(':') == std::string::npos ? host : "[" + host + "]";
  if (port != (tls ? 443 : 80)) text += ":" + std::to_string(port);
  return text;
}

std::string Url::origin() const {
  return (tls ? "https://" : "http://") + authority();
}

namespace {
// RFC 3986 5.2.4.
std::string remove_dot_segments(std::string_view path) {
  std::vector<std::string_view> kept;
  bool slash_at_end = false;
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::size_t next = path.find('/');
    const std::string_view segment = path.substr(0, next);
    slash_at_end = segment == "." || segment == "..";
    if (segment == ".." && !kept.empty()) kept.pop_back();
    if (!slash_at_end) kept.push_back(segment);
    path.remove_prefix(segment.size());
  }
  std::string out;
  for (std::string_view segment : kept) out.append("/").append(segment);
  if (slash_at_end || out.empty()) out += "/";
  return out;
}
}  // namespace

Result<std::string> resolve_reference(std::string_view base_url, std::string_view reference) {
  const Url base = TRY(Url::parse(base_url));
  if (reference.find("://") != std::string_view::npos &&
      reference.find("://") < reference.find_first_of("/?#")) {
    TRY(Url::parse(reference));
    return std::string(reference);
  }
  if (reference.starts_with("//")) return std::string(base.tls ? "https:" : "http:") + std::string(reference);
  reference = reference.substr(0, reference.find('#'));
  const std::string base_path = base.target.substr(0, base.target.find('?'));
  if (reference.empty()) return base.origin() + base.target;
  if (reference.starts_with('?')) return base.origin() + base_path + std::string(reference);
  const std::string joined = reference.starts_with('/')
                                 ? std::string(reference)
                                 : base_path.substr(0, base_path.rfind('/') + 1) + std::string(reference);
  const std::size_t mark = joined.find('?');
  const std::string query = mark == std::string::npos ? "" : joined.substr(mark);
  return base.origin() + remove_dot_segments(joined.substr(0, mark)) + query;
}

}  // namespace naru::io
