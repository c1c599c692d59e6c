// Answers of the gateway's own: small, plain, saying what is wrong and what to do.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "format/http1.h"
#include "gateway/bounds.h"

namespace naru::gateway {

inline constexpr std::string_view kOwnAnswers = "X-Naru";  // a field of answers that no instance gave

struct Page {
  int status = 500;
  std::string text{};   // one or a few lines
  int retry_after = 0;  // seconds; 0 = not said
};

// The whole answer. `head_only` for HEAD.
std::string render_page(const Page& page, bool head_only, bool close);

Page refused_page(const format::http1::Refusal& refusal);
// `authority` is the request's: "host", "host:port" or "".
Page unknown_host_page(std::string_view authority);
// The same for a person at this machine, who may know the names: at the port that they came by.
Page unknown_host_page(std::string_view authority, const std::vector<std::string>& known, bool https);
Page no_instance_page(std::string_view label);
Page hold_full_page(std::string_view label, const Bounds& bounds);
Page unreachable_page(std::string_view label, std::string_view why);
Page late_page(std::string_view part);  // "head" or "body"
Page first_byte_page(std::string_view label, long seconds);

}  // namespace naru::gateway
