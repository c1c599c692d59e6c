// Who may ask control what. Tokens are kept as SHA-256 only, in one file replaced atomically; a token's text
// is seen once, when it is made. Thread-safe.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/json.h"

namespace naru::control {

struct Identity {
  std::string name;  // of the token; "local" over the Unix socket
  std::string app;   // "" = every application and the platform itself
  bool by_cookie = false;
  bool admin() const { return app.empty(); }
  bool may(std::string_view which) const { return admin() || app == which; }
};

struct TokenInfo {
  std::string name, app;
  WallTime created{};
};
NARU_JSON(TokenInfo)

class Tokens {
 public:
  static constexpr std::size_t kMaxTokens = 1000, kMaxSessions = 100, kMaxCodes = 16;
  static constexpr milliseconds kCodeLife{10 * 60'000}, kSessionLife{12 * 3'600'000};
  static constexpr int kFailuresPerMinute = 30;  // of one address; afterwards they are answered `busy`

  // store_open: the file is damaged.
  static Result<std::unique_ptr<Tokens>> open(std::filesystem::path file, const Clock& clock);

  // The token's text. already_exists, invalid_argument, too_large. app "" = admin.
  Result<std::string> create(const std::string& name, const std::string& app);
  // An application's only one, instead of any that it had. It is named as the application, or `shop-2` and so
  // on while that is somebody else's token. too_large.
  Result<std::string> create_for(const std::string& app);
  Result<void> remove(const std::string& name);     // not_found
  Result<void> remove_app(const std::string& app);  // every token of it; on an error they stay
  bool has(const std::string& app) const;           // a token of it
  std::vector<TokenInfo> list() const;

  // unauthorized; busy when `address` has failed too often within the last minute (a valid token always
  // passes).
  Result<Identity> check(std::string_view token, const std::string& address);
  Result<Identity> check_session(std::string_view cookie, const std::string& address);

  // A code for one login within kCodeLife, and what it is exchanged for: the value of the session cookie.
  std::string make_code();
  Result<std::string> redeem(std::string_view code, const std::string& address);

 private:
  struct Row {
    std::string name, app, hash;
    WallTime created{};
  };
  Tokens(std::filesystem::path file, const Clock& clock) : file_(std::move(file)), clock_(clock) {}
  static bool is_taken(const std::vector<Row>& rows, const std::string& name);
  Result<std::string> replace(std::vector<Row> rows, const std::string& name, const std::string& app);
  Result<void> keep(std::vector<Row> rows);  // on an error the former ones stay
  Result<void> save() const;
  std::unexpected<Error> failed(const std::string& address);

  std::filesystem::path file_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::vector<Row> tokens_;
  std::vector<Row> sessions_;  // name: whose
  std::vector<Row> codes_;     // in memory only
  struct Failures {
    MonoTime since{};
    int count = 0;
  };
  std::map<std::string, Failures> failures_;  // by address
};

}  // namespace naru::control
