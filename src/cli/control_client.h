// Requests to control's API (docs/api.md), blocking, on the calling thread.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/http_client.h"
#include "model/json.h"

namespace naru::cli {

// Where control is: its Unix socket in a data folder, or an address with a token.
struct ControlPlace {
  std::string data = "/var/lib/naru";
  std::string url;  // "" = over the socket
  std::string token;
  std::string ca;  // a PEM file: who may sign the certificate there; "" = whom this machine trusts
  bool local() const { return url.empty(); }
  std::string socket() const;
};

class ControlClient {
 public:
  // `patience`: for one whole answer; 0 = as long as something comes.
  explicit ControlClient(ControlPlace place, milliseconds patience = 0ms)
      : place_(std::move(place)), patience_(patience) {}
  // For requests that are not made here. invalid_argument: the token would go in clear over a network, or
  // NARU_CA cannot be used.
  Result<io::ClientOptions> options() const;
  const ControlPlace& place() const { return place_; }

  // Errors: control's own, by their code and with its hint; unavailable ("Naru is not running on ...");
  // forbidden (the socket may not be opened); malformed (an answer that is no JSON).
  Result<Json> get(std::string_view path) const { return ask("GET", path, nullptr); }
  Result<Json> post(std::string_view path, const Json& body = Json::object()) const {
    return ask("POST", path, body);
  }
  Result<Json> remove(std::string_view path) const { return ask("DELETE", path, nullptr); }

  using OnBytes = std::function<Result<void>(std::string_view)>;
  // An answer without an end of its own: each piece as it comes. Ends well when control ends it.
  Result<void> stream(std::string_view method, std::string_view path, const Json& body,
                      OnBytes on_bytes) const;
  using OnEvent = std::function<Result<void>(const std::string& name, const Json& data)>;
  // Server-sent events whose data is JSON.
  Result<void> events(std::string_view path, OnEvent on_event) const;
  // Sends a file as the body. `sent` is told how many bytes have gone.
  Result<Json> upload(std::string_view path, const std::filesystem::path& file,
                      std::function<void(std::uint64_t sent, std::uint64_t all)> progress) const;

  io::FetchRequest request(std::string_view method, std::string_view path) const;
  // A failed connection in words that say what to do.
  Error explain(const Error& error) const;
  // What control answered with a status of 400 and more.
  static Error refusal(int status, std::string_view body);

 private:
  Result<Json> ask(std::string_view method, std::string_view path, const Json& body) const;
  Result<io::Response> fetch(io::FetchRequest request) const;
  Error explain_tls(const Error& error) const;
  ControlPlace place_;
  milliseconds patience_;
};

// "key=value", escaped for a query.
std::string query_part(std::string_view key, std::string_view value);
std::string path_part(std::string_view name);

}  // namespace naru::cli
