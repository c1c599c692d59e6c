// What pulling needs of the world: one blocking HTTP GET. src/image/http_io.h implements it over src/io;
// tests hand in others.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace naru::image {

struct HttpGet {
  std::string url{};  // http:// or https://
  std::vector<std::pair<std::string, std::string>> headers{};
  std::uint64_t max_body = 4U << 20;  // beyond: too_large
  milliseconds timeout{30'000};       // until the head of the answer
  milliseconds total_timeout{60'000};
};

struct HttpAnswer {
  int status = 0;
  std::multimap<std::string, std::string> headers;  // names in lower case
  std::string header(const std::string& name) const {
    const auto at = headers.find(name);
    return at == headers.end() ? std::string() : at->second;
  }
};

class HttpPort {
 public:
  // Body bytes, in order, with the answer's status. An error stops the transfer and is returned.
  using Sink = std::function<Result<>(int status, std::string_view bytes)>;
  virtual ~HttpPort() = default;
  // Redirects are not followed. A body cut short is an error (closed). May be called on several threads at
  // once.
  virtual Result<HttpAnswer> get(const HttpGet& request, const Sink& sink) = 0;
};

}  // namespace naru::image
