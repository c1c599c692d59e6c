// As much of HTTP/1.1 as a service behind a gateway needs: requests without a body, keep-alive.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace http {

struct Request {
  std::string method, path;  // path without the query
  bool keep_alive = true;
};

// Parses a head (everything before the empty line); nothing when it is none.
inline std::optional<Request> parse_head(std::string_view head) {
  const auto line_end = head.find("\r\n");
  const std::string_view line = head.substr(0, line_end);
  const auto first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || last == first) return std::nullopt;
  const std::string_view version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return std::nullopt;
  Request request{std::string(line.substr(0, first)), std::string(line.substr(first + 1, last - first - 1)), version == "HTTP/1.1"};
  request.path = request.path.substr(0, request.path.find('?'));
  if (request.path.empty() || request.path[0] != '/') return std::nullopt;
  std::string lower(head);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  if (lower.find("\r\nconnection: close") != std::string::npos) request.keep_alive = false;
  if (lower.find("\r\nconnection: keep-alive") != std::string::npos) request.keep_alive = true;
  return request;
}

inline std::string response(int status, std::string_view reason, std::string_view body, std::string_view headers, bool keep_alive) {
  std::string out = "HTTP/1.1 " + std::to_string(status) + " " + std::string(reason) + "\r\n";
  out += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  out += headers;
  out += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  out += body;
  return out;
}

}  // namespace http
