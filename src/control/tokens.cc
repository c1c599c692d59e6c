#include "control/tokens.h"

#include <openssl/crypto.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "model/json_text.h"
#include "os/file.h"

namespace naru::control {

namespace {

constexpr std::size_t kMaxFile = 1U << 20;
constexpr std::size_t kMaxAddresses = 1024;

std::string hash_of(std::string_view secret) {
  return Digest::of_sha256(secret).text();
}

// Every row is looked at, and each comparison takes the same time whatever differs.
template <class Rows>
auto find_hash(Rows& rows, std::string_view secret) -> decltype(rows.data()) {
  const std::string hash = hash_of(secret);
  decltype(rows.data()) found = nullptr;
  for (auto& row : rows)
    if (row.hash.size() == hash.size() && CRYPTO_memcmp(row.hash.data(), hash.data(), hash.size()) == 0)
      found = &row;
  return found;
}

// It stands in paths of the API, where "/" and ".." mean something.
bool valid_name(std::string_view name) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.'; };
  return !name.empty() && name.size() <= 64 && std::isalnum(static_cast<unsigned char>(name[0])) != 0 &&
         std::ranges::all_of(name, plain);
}

}  // namespace

Result<std::unique_ptr<Tokens>> Tokens::open(std::filesystem::path file, const Clock& clock) {
  std::unique_ptr<Tokens> tokens(new Tokens(std::move(file), clock));
  const auto text = os::read_file(tokens->file_, kMaxFile);
  if (!text && text.error().code == Code::not_found) return tokens;
  if (!text) return std::unexpected(text.error());
  try {
    const Json json = TRY(parse_json(*text, tokens->file_.string()));
    const auto read = [&](const char* key, std::vector<Row>& into) {
      for (const Json& row : json.value(key, Json::array()))
        into.push_back(
            {row.at("name"), row.value("app", ""), row.at("hash"), row.value("created", WallTime{})});
    };
    read("tokens", tokens->tokens_);
    read("sessions", tokens->sessions_);
  } catch (const Json::exception& e) {
    return fail(Code::store_open, "{}: {}", tokens->file_.string(), e.what());
  }
  return tokens;
}

Result<void> Tokens::save() const {
  const auto rows = [](const std::vector<Row>& from) {
    Json out = Json::array();
    for (const Row& row : from)
      out.push_back({{"name", row.name}, {"app", row.app}, {"hash", row.hash}, {"created", row.created}});
    return out;
  };
  return os::write_file_atomically(
      file_, json_text(Json{{"tokens", rows(tokens_)}, {"sessions", rows(sessions_)}}, 1),
      {.durable = os::Durable::yes});
}

Result<std::string> Tokens::create(const std::string& name, const std::string& app) {
  if (!valid_name(name))
    return fail(
        Code::invalid_argument,
        "'{}' cannot be a token's name: it takes 1 to 64 letters, digits, '-', '_' and '.', beginning with "
        "a letter or digit",
        printable(name.substr(0, 80)));
  const std::lock_guard lock(mutex_);
  if (is_taken(tokens_, name)) return fail(Code::already_exists, "there is a token '{}' already", name);
  return replace(tokens_, name, app);
}

Result<std::string> Tokens::create_for(const std::string& app) {
  const std::lock_guard lock(mutex_);
  std::vector<Row> others = tokens_;
  std::erase_if(others, [&](const Row& row) { return row.app == app; });
  std::string name = app;
  for (int number = 2; is_taken(others, name); ++number) name = fmt::format("{}-{}", app, number);
  return replace(std::move(others), name, app);
}

bool Tokens::is_taken(const std::vector<Row>& rows, const std::string& name) {
  return std::ranges::any_of(rows, [&](const Row& row) { return row.name == name; });
}

// `rows` and a new one, instead of all. With the lock held.
Result<std::string> Tokens::replace(std::vector<Row> rows, const std::string& name, const std::string& app) {
  if (rows.size() >= kMaxTokens) return fail(Code::too_large, "{} tokens is the most", kMaxTokens);
  std::string text = "naru_" + secure_random_hex(32);
  rows.push_back({name, app, hash_of(text), clock_.wall()});
  TRY(keep(std::move(rows)));
  return text;
}

Result<void> Tokens::keep(std::vector<Row> rows) {
  rows.swap(tokens_);
  auto saved = save();
  if (!saved) rows.swap(tokens_);
  return saved;
}

Result<void> Tokens::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  std::vector<Row> others = tokens_;
  if (std::erase_if(others, [&](const Row& row) { return row.name == name; }) == 0)
    return fail(Code::not_found, "there is no token '{}'", name.substr(0, 80));
  return keep(std::move(others));
}

Result<void> Tokens::remove_app(const std::string& app) {
  const std::lock_guard lock(mutex_);
  std::vector<Row> others = tokens_;
  if (std::erase_if(others, [&](const Row& row) { return row.app == app; }) == 0) return {};
  return keep(std::move(others));
}

bool Tokens::has(const std::string& app) const {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(tokens_, [&](const Row& row) { return row.app == app; });
}

std::vector<TokenInfo> Tokens::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<TokenInfo> out;
  for (const Row& row : tokens_) out.push_back({row.name, row.app, row.created});
  return out;
}

std::unexpected<Error> Tokens::failed(const std::string& address) {
  const MonoTime now = clock_.mono();
  if (failures_.size() >= kMaxAddresses)
    std::erase_if(failures_, [&](const auto& f) { return now - f.second.since > 60s; });
  if (failures_.size() >= kMaxAddresses) failures_.clear();
  Failures& failures = failures_[address];
  if (now - failures.since > 60s) failures = {now, 0};
  if (++failures.count > kFailuresPerMinute)
    return fail(Code::busy, "{} wrong tokens within a minute from {}", kFailuresPerMinute,
                address.empty() ? "this peer" : address);
  return fail(Code::unauthorized, "the token is not valid");
}

Result<Identity> Tokens::check(std::string_view token, const std::string& address) {
  const std::lock_guard lock(mutex_);
  if (const Row* row = find_hash(tokens_, token)) return Identity{row->name, row->app, false};
  return failed(address);
}

Result<Identity> Tokens::check_session(std::string_view cookie, const std::string& address) {
  const std::lock_guard lock(mutex_);
  const Row* row = find_hash(sessions_, cookie);
  if (row != nullptr && clock_.wall() - row->created < kSessionLife)
    return Identity{row->name, row->app, true};
  return failed(address);
}

std::string Tokens::make_code() {
  const std::lock_guard lock(mutex_);
  if (codes_.size() >= kMaxCodes) codes_.erase(codes_.begin());
  std::string code = secure_random_hex(24);
  codes_.push_back({"console", "", hash_of(code), clock_.wall()});
  return code;
}

Result<std::string> Tokens::redeem(std::string_view code, const std::string& address) {
  const std::lock_guard lock(mutex_);
  const WallTime now = clock_.wall();
  std::erase_if(codes_, [&](const Row& row) { return now - row.created > kCodeLife; });
  const Row* found = find_hash(codes_, code);
  if (found == nullptr) {
    auto error = failed(address);
    error.error().context = "the login link is not valid (any more): it works once, for ten minutes";
    error.error().remedy = "get a new one with `naru open`";
    return error;
  }
  std::erase_if(codes_, [hash = found->hash](const Row& row) { return row.hash == hash; });
  std::erase_if(sessions_, [&](const Row& row) { return now - row.created > kSessionLife; });
  if (sessions_.size() >= kMaxSessions) sessions_.erase(sessions_.begin());
  std::string session = secure_random_hex(32);
  sessions_.push_back({"console", "", hash_of(session), now});
  TRY(save());
  return session;
}

NARU_JSON_FIELDS(TokenInfo, name, app, created)
}  // namespace naru::control
