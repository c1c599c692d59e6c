#include "gateway/head_rewrite.h"

#include <array>

#include "gateway/pages.h"
#include "ipc/gateway_protocol.h"

namespace naru::gateway {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";

bool lower_hex(std::string_view text) {
  return text.find_first_not_of(kHex) == std::string_view::npos;
}
bool all_zero(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}

// "00-<32 hex>-<16 hex>-<2 hex>"; higher versions may be longer.
bool valid_traceparent(std::string_view text) {
  if (text.size() < 55 || (text.size() > 55 && (text.starts_with("00") || text[55] != '-'))) return false;
  if (text[2] != '-' || text[35] != '-' || text[52] != '-' || text.starts_with("ff")) return false;
  const std::string_view trace = text.substr(3, 32), span = text.substr(36, 16);
  return lower_hex(text.substr(0, 2)) && lower_hex(trace) && lower_hex(span) &&
         lower_hex(text.substr(53, 2)) && !all_zero(trace) && !all_zero(span);
}

void append_hex(std::string& out, std::uint64_t value) {
  for (int shift = 60; shift >= 0; shift -= 4) out.push_back(kHex[value >> shift & 15]);
}

// The user's id too: another application at a port of the same host has no business with it.
constexpr std::array<std::string_view, 2> kOwnCookies{ipc::kSessionCookie, route::kUserCookie};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// "name=value", or the first part of a Set-Cookie field. Names of cookies are compared as they are (RFC
// 6265 5.4).
bool is_own_cookie(std::string_view pair) {
  const std::size_t equals = pair.find('=');
  if (equals == std::string_view::npos) return false;
  return std::ranges::find(kOwnCookies, trimmed(pair.substr(0, equals))) != kOwnCookies.end();
}

// What CGI and its heirs hand to an application as the same variable: "_" counts as "-".
bool same_variable(std::string_view name, std::string_view known) {
  if (name.size() != known.size()) return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i] == '_' ? '-' : name[i];
    if (c != known[i] && !(c >= 'A' && c <= 'Z' && c + 32 == known[i])) return false;
  }
  return true;
}

enum class Fate { keep, drop, baggage, cookie };

// Switching on the first letter keeps the common fields at one comparison.
Fate fate_of(const http1::Field& field, const RequestRewrite& r) {
  const std::string_view name = field.name;
  const auto is = [name](std::string_view known) { return same_variable(name, known); };
  switch (name.empty() ? '\0' : static_cast<char>(name[0] | 0x20)) {
    case 'b':
      return is("baggage") ? Fate::baggage : Fate::keep;
    case 'c':
      if (r.edge && is("cookie")) return Fate::cookie;
      return is("content-length") ? Fate::drop : Fate::keep;
    case 'e':
      return is("expect") ? Fate::drop : Fate::keep;
    case 'f':
      return r.edge && is("forwarded") ? Fate::drop : Fate::keep;
    case 'p':  // CGI would make it HTTP_PROXY, which libraries believe (CVE-2016-5385)
      return is("proxy") ? Fate::drop : Fate::keep;
    case 't':
      return is("traceparent") || is("transfer-encoding") || (r.trace.fresh && is("tracestate")) ? Fate::drop
                                                                                                 : Fate::keep;
    case 'x':
      return r.edge && (is("x-forwarded-for") || is("x-forwarded-proto") || is("x-forwarded-host") ||
                        is("x-forwarded-port") || is("x-real-ip"))
                 ? Fate::drop
                 : Fate::keep;
    default:
      return Fate::keep;
  }
}

// Everything but our own members, when a user sent them.
void filter_baggage(std::string& out, std::string_view field, bool edge) {
  for_each_baggage(field, [&](std::string_view member) {
    if (edge && member.size() >= 5 && http1::iequals(member.substr(0, 5), "naru-")) return;
    if (!out.empty()) out.append(",");
    out.append(member);
  });
}

void append_baggage(std::string& out, const RequestRewrite& r, std::string kept) {
  if (r.edge && r.environment.split) {
    if (!kept.empty()) kept.append(",");
    kept.append(kCohortKey)
        .append("=")
        .append(std::to_string(r.environment.split->rollout))
        .append(":")
        .append(side_name(r.side));
  }
  if (!kept.empty()) http1::append_field(out, "Baggage", kept);
}

void append_forwarded(std::string& out, const RequestRewrite& r) {
  const std::string_view proto = r.visitor.https ? "https" : "http";
  const bool v6 = r.visitor.ip.find(':') != std::string_view::npos;
  http1::append_field(out, "X-Forwarded-For", r.visitor.ip);
  http1::append_field(out, "X-Forwarded-Proto", proto);
  if (!r.head.authority.empty()) http1::append_field(out, "X-Forwarded-Host", r.head.authority);
  out.append("Forwarded: for=").append(v6 ? "\"[" : "").append(r.visitor.ip).append(v6 ? "]\"" : "");
  if (!r.head.authority.empty()) out.append(";host=\"").append(r.head.authority).append("\"");
  out.append(";proto=").append(proto).append("\r\n");
}

}  // namespace

Trace trace_of(const http1::RequestHead& head, Rng& rng) {
  Trace trace;
  if (const auto parent = head.find("traceparent"); parent && valid_traceparent(*parent)) {
    trace.parent = *parent;
    trace.trace_id = parent->substr(3, 32);
    return trace;
  }
  trace.fresh = true;
  append_hex(trace.trace_id, rng.next() | 1);
  append_hex(trace.trace_id, rng.next());
  trace.parent.reserve(55);
  trace.parent.append("00-").append(trace.trace_id).append("-");
  append_hex(trace.parent, rng.next() | 1);
  trace.parent.append("-00");
  return trace;
}

bool wants_tunnel(const http1::RequestHead& head) {
  return head.connection_upgrade && !head.upgrade.empty() && head.framing.kind == http1::BodyKind::none &&
         head.minor_version == 1 && !http1::list_contains(head.upgrade, "h2c");
}

std::string without_own_cookies(std::string_view field) {
  if (std::ranges::none_of(kOwnCookies, [&](auto name) { return field.find(name) != field.npos; }))
    return std::string(field);
  std::string out;
  bool any = false, cut = false;  // something is kept; what stood before it is gone
  while (true) {
    const std::size_t semicolon = std::min(field.find(';'), field.size());
    std::string_view pair = field.substr(0, semicolon);
    if (is_own_cookie(pair)) {
      cut = true;
    } else {
      if (any) out.push_back(';');
      if (!any && cut) pair = trimmed(pair);
      out.append(pair);
      any = any || !trimmed(pair).empty();
    }
    if (semicolon == field.size()) break;
    field.remove_prefix(semicolon + 1);
  }
  return any ? out : std::string();
}

void append_request_head(std::string& out, const RequestRewrite& r) {
  http1::append_request_line(out, r.head.method, r.head.origin);
  // Host first: RFC 9112 3.2. The authority that we routed by, also when the target was absolute.
  http1::append_field(out, "Host", r.head.authority.empty() ? r.own_host : r.head.authority);
  std::string baggage;
  for (const http1::Field& field : r.head.fields()) {
    if (http1::iequals(field.name, "host") || r.head.is_hop_by_hop(field.name)) continue;
    switch (fate_of(field, r)) {
      case Fate::keep:
        http1::append_field(out, field.name, field.value);
        break;
      case Fate::baggage:
        filter_baggage(baggage, field.value, r.edge);
        break;
      case Fate::cookie:
        if (const std::string rest = without_own_cookies(field.value); !rest.empty())
          http1::append_field(out, field.name, rest);
        break;
      case Fate::drop:
        break;
    }
  }
  if (r.edge) append_forwarded(out, r);
  append_baggage(out, r, std::move(baggage));
  http1::append_field(out, "Traceparent", r.trace.parent);
  if (r.head.framing.kind == http1::BodyKind::chunked)
    http1::append_field(out, "Transfer-Encoding", "chunked");
  else if (r.head.content_length)
    http1::append_content_length(out, *r.head.content_length);
  if (r.upgrade) {
    http1::append_field(out, "Connection", "Upgrade");
    http1::append_field(out, "Upgrade", r.head.upgrade);
  }
  out.append("\r\n");
}

void append_response_head(std::string& out, const ResponseRewrite& r) {
  http1::append_status_line(out, r.head.status);
  for (const http1::Field& field : r.head.fields()) {
    if (r.head.is_hop_by_hop(field.name) || http1::iequals(field.name, "content-length") ||
        http1::iequals(field.name, kOwnAnswers))
      continue;
    if (http1::iequals(field.name, "set-cookie") &&
        is_own_cookie(field.value.substr(0, field.value.find(';'))))
      continue;
    http1::append_field(out, field.name, field.value);
  }
  if (r.chunked)
    http1::append_field(out, "Transfer-Encoding", "chunked");
  else if (r.head.content_length && r.head.status >= 200 && r.head.status != 204)
    http1::append_content_length(out, *r.head.content_length);
  if (!r.new_cookie.empty())
    out.append("Set-Cookie: ")
        .append(route::kUserCookie)
        .append("=")
        .append(r.new_cookie)
        .append("; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax\r\n");
  if (r.upgrade) {
    http1::append_field(out, "Connection", "Upgrade");
    http1::append_field(out, "Upgrade", r.head.upgrade);
  } else if (r.close) {
    http1::append_field(out, "Connection", "close");
  } else if (r.keep_alive_1_0) {
    http1::append_field(out, "Connection", "keep-alive");
  }
  out.append("\r\n");
}

}  // namespace naru::gateway
