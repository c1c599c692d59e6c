// What is changed in heads on their way through. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/rng.h"
#include "format/http1.h"
#include "gateway/assign.h"
#include "route/snapshot.h"

namespace naru::gateway {

struct Trace {
  std::string parent;    // traceparent to send (W3C Trace Context 3.2)
  std::string trace_id;  // its 32 hex digits
  bool fresh = false;    // not the caller's: its tracestate does not belong to it
};
Trace trace_of(const http1::RequestHead& head, Rng& rng);

struct RequestRewrite {
  const http1::RequestHead& head;
  const route::Environment& environment;
  route::Side side;
  bool edge = true;  // from a user: forwarding fields and baggage of theirs are not believed
  const Visitor& visitor;
  const Trace& trace;
  bool upgrade = false;       // the Upgrade goes through
  std::string_view own_host;  // instead of the Host that an HTTP/1.0 request may leave out
};
// A Cookie field without Naru's own cookies, the others byte for byte; "" when nothing is left.
std::string without_own_cookies(std::string_view field);

void append_request_head(std::string& out, const RequestRewrite& rewrite);

struct ResponseRewrite {
  const http1::ResponseHead& head;
  bool chunked = false;         // the body is sent so
  bool close = false;           // the client's connection ends after it
  bool keep_alive_1_0 = false;  // an HTTP/1.0 client wants to hear that it stays open
  bool upgrade = false;         // 101
  std::string_view new_cookie;  // user id to set; "" = none
};
// Without what only Naru says: its cookies and X-Naru.
void append_response_head(std::string& out, const ResponseRewrite& rewrite);

// Upgrade that is passed on: anything but h2c, which would hide requests from us.
bool wants_tunnel(const http1::RequestHead& head);

}  // namespace naru::gateway
