#include "gateway/pages.h"

#include <fmt/format.h>

#include <algorithm>

namespace naru::gateway {
namespace {

// What a client sent is shown back only as far as it is harmless in plain text.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, 100));
  std::ranges::replace_if(out, [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

// What whoever wrote the client can do about it. The bounds are those that the session reads heads with.
std::string remedy_of(int status) {
  constexpr format::http1::Limits kLimits;
  switch (status) {
    case 414:
      return fmt::format("Send a shorter address (up to {} KB); data belongs into the body.",
                         kLimits.target_bytes / 1024);
    case 417:
      return "Leave the field Expect out.";
    case 431:
      return fmt::format(
          "Send fewer or shorter header fields and cookies: up to {} fields and {} KB together.",
          kLimits.fields, kLimits.head_bytes / 1024);
    case 501:
      return "Send a Content-Length, or exactly `Transfer-Encoding: chunked`, and a method that is known.";
    case 505:
      return "Speak HTTP/1.1 or HTTP/1.0.";
    default:
      return "Correct the program that wrote the request, or the proxy before it; it is not passed on.";
  }
}

}  // namespace

std::string render_page(const Page& page, bool head_only, bool close) {
  const std::string body =
      fmt::format("{} {}\n\n{}\n", page.status, format::http1::reason_phrase(page.status), page.text);
  std::string out;
  format::http1::append_status_line(out, page.status);
  format::http1::append_field(out, "Content-Type", "text/plain; charset=utf-8");
  format::http1::append_content_length(out, body.size());
  format::http1::append_field(out, "Cache-Control", "no-store");
  format::http1::append_field(out, kOwnAnswers, "gateway");
  if (page.retry_after > 0) format::http1::append_field(out, "Retry-After", std::to_string(page.retry_after));
  if (close) format::http1::append_field(out, "Connection", "close");
  out.append("\r\n");
  if (!head_only) out.append(body);
  return out;
}

Page refused_page(const format::http1::Refusal& refusal) {
  return {refusal.status, fmt::format("The gateway did not accept this request: {}.\n{}", refusal.reason,
                                      remedy_of(refusal.status))};
}

Page unknown_host_page(std::string_view authority) {
  return {404, authority.empty() ? std::string("The request names no host.")
                                 : fmt::format("Nothing is known by the host name '{}'.", shown(authority))};
}

Page unknown_host_page(std::string_view authority, const std::vector<std::string>& known, bool https) {
  const auto colon = authority.rfind(':');
  const bool port = colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos;
  Page page = unknown_host_page(authority);
  page.text += known.empty() ? "\nNo application answers here yet: push one." : "\nKnown here:";
  for (const std::string& name : known)
    page.text += fmt::format("\n  {}://{}{}", https ? "https" : "http", name,
                             port ? shown(authority.substr(colon)) : std::string());
  return page;
}

Page no_instance_page(std::string_view label) {
  return {503,
          fmt::format("There is no ready instance of {}.\nSee `naru ps` and `naru logs` for why; what was "
                      "stopped, `naru app start` starts again.",
                      label),
          1};
}

Page hold_full_page(std::string_view label, const Bounds& bounds) {
  return {503,
          fmt::format("{} is being started, and as many requests wait for it already as may ({} requests "
                      "or {} KB of heads, {} s each).\nTry again in a moment; `naru ps` shows the start.",
                      label, bounds.held_requests, bounds.held_bytes / 1024,
                      std::chrono::duration_cast<seconds>(bounds.hold).count()),
          2};
}

Page unreachable_page(std::string_view label, std::string_view why) {
  return {502, fmt::format("{} did not answer: {}.\nSee `naru logs`.", label, why)};
}

Page late_page(std::string_view part) {
  return {
      408,
      fmt::format("The request's {} did not come to its end in time.\nSend it again, without pauses.", part)};
}

Page first_byte_page(std::string_view label, long seconds) {
  return {504,
          fmt::format("{} did not begin to answer within {} seconds.\nSee `naru logs` for what it does; an "
                      "answer that takes longer can begin with its head, or be made in the background.",
                      label, seconds)};
}

}  // namespace naru::gateway
