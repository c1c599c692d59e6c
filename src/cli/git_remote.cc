#include "cli/git_remote.h"

#include <filesystem>

#include "cli/program.h"
#include "cli/terminal.h"

namespace naru::cli {

namespace {

// Shell, as git's configuration takes it. By the repository's own folder, so that it may be moved; nothing is
// erased when a token was refused: then control says what to do, while git would only ask for a password.
constexpr const char* kHelper =
    "!f() { test \"$1\" = erase || git credential-store "
    "--file=\"$(git rev-parse --git-common-dir)/naru-credentials\" \"$1\"; }; f";

// What it printed, without its last end of line; none when it failed.
std::optional<std::string> git(std::vector<std::string> words, std::string_view input = {}) {
  words.insert(words.begin(), "git");
  auto ran = run_program(words, input);
  if (!ran || ran->status != 0) return std::nullopt;
  while (ran->output.ends_with('\n')) ran->output.pop_back();
  return ran->output;
}

struct UrlParts {
  std::string_view scheme, user, host, path;  // user: "naru:naru_..." or ""
};
UrlParts split(std::string_view url) {
  UrlParts parts;
  const auto scheme = url.find("://");
  if (scheme == std::string_view::npos) return {{}, {}, {}, url};
  parts.scheme = url.substr(0, scheme);
  url.remove_prefix(scheme + 3);
  const auto slash = std::min(url.find('/'), url.size());
  parts.host = url.substr(0, slash);
  parts.path = url.substr(slash);
  if (const auto at = parts.host.rfind('@'); at != std::string_view::npos) {
    parts.user = parts.host.substr(0, at);
    parts.host.remove_prefix(at + 1);
  }
  return parts;
}

bool is_loopback(std::string_view host) {
  return host.starts_with("127.0.0.1") || host.starts_with("localhost");
}

Error unwritten() {
  return {Code::system, "git could not write the remote `naru` into this repository", 0,
          "`git remote -v` must work here, and .git/config be writable"};
}

}  // namespace

std::string control_url(const ControlPlace& place, std::uint16_t port) {
  if (place.local()) return fmt::format("http://127.0.0.1:{}", port);
  std::string url = place.url;
  while (url.ends_with('/')) url.pop_back();
  const UrlParts parts = split(url);
  // By name a certificate is verified.
  const bool by_name =
      parts.scheme == "http" && (parts.host.starts_with("localhost:") || parts.host == "localhost");
  return fmt::format("{}://{}{}{}", parts.scheme, by_name ? "127.0.0.1" : "",
                     parts.host.substr(by_name ? 9 : 0), parts.path);
}

std::string push_url(const ControlPlace& place, std::uint16_t port, std::string_view app) {
  return fmt::format("{}/git/{}.git", control_url(place, port), app);
}

std::optional<GitRemote> GitRemote::here() {
  if (git({"rev-parse", "--is-inside-work-tree"}) != "true") return std::nullopt;
  return GitRemote(git({"config", "--get", fmt::format("remote.{}.url", kRemote)}).value_or(""));
}

std::string GitRemote::shown_url() const {
  const UrlParts parts = split(url_);
  return clean(parts.scheme.empty() ? url_ : fmt::format("{}://{}{}", parts.scheme, parts.host, parts.path));
}

std::string GitRemote::token_in_url() const {
  const std::string_view user = split(url_).user;
  const auto colon = user.find(':');
  return colon == std::string_view::npos ? "" : std::string(user.substr(colon + 1));
}

std::string GitRemote::branch() const {
  const std::string name = clean(git({"branch", "--show-current"}).value_or(""));
  return name.empty() ? "main" : name;
}

Result<void> GitRemote::check_free_for(std::string_view app) const {
  if (url_.empty() || split(url_).path.ends_with(fmt::format("/git/{}.git", app))) return {};
  return std::unexpected(
      Error{Code::conflict,
            fmt::format("the remote `{}` of this repository leads to {}, not to {}: it is left as it is",
                        kRemote, shown_url(), app),
            0,
            fmt::format("go to the repository of {0}; or, if this is it, too: git remote rename {1} another, "
                        "then once more",
                        app, kRemote)});
}

namespace {

// Of this URL alone: git goes elsewhere as before.
Result<void> trust(const std::string& url, const std::string& ca) {
  const std::string key = fmt::format("http.{}.sslCAInfo", url);
  if (ca.empty()) {
    (void)git({"config", "--local", "--unset-all", key});  // there may be none
    return {};
  }
  std::error_code error;
  const auto path = std::filesystem::absolute(ca, error);
  if (error || !git({"config", "--local", "--replace-all", key, path.string()}))
    return std::unexpected(unwritten());
  return {};
}

}  // namespace

Result<void> GitRemote::point_to(const std::string& url, const std::string& ca) {
  const std::string credential = fmt::format("credential.{}", url);
  const auto set = [](const std::string& key, const std::string& value) {
    return git({"config", "--local", "--replace-all", key, value}).has_value();
  };
  // The empty helper ends the list of those that the person has set elsewhere: they neither answer for this
  // URL nor keep its token.
  const bool written = set(credential + ".helper", "") &&
                       git({"config", "--local", "--add", credential + ".helper", kHelper}).has_value() &&
                       set(credential + ".username", std::string(kGitUser)) &&
                       set(credential + ".useHttpPath", "true");
  if (!written) return std::unexpected(unwritten());
  TRY(trust(url, ca));
  const std::string name(kRemote);
  if (url_ != url && !git(url_.empty() && !git({"remote", "get-url", name})
                              ? std::vector<std::string>{"remote", "add", name, url}
                              : std::vector<std::string>{"remote", "set-url", name, url}))
    return std::unexpected(unwritten());
  url_ = url;
  // A proxy that the environment names for everything must not get the token: empty means none for this
  // remote.
  if (is_loopback(split(url).host)) (void)git({"config", "--local", "remote." + name + ".proxy", ""});
  return {};
}

Result<void> GitRemote::keep_token(const std::string& token) const {
  const UrlParts parts = split(url_);
  const std::string about =
      fmt::format("protocol={}\nhost={}\npath={}\nusername={}\npassword={}\n\n", parts.scheme, parts.host,
                  parts.path.substr(parts.path.empty() ? 0 : 1), kGitUser, token);
  if (about.find('\0') != std::string::npos || token.find('\n') != std::string::npos)
    return fail(Code::invalid_argument, "the token has characters that git does not take");
  if (!git({"credential", "approve"}, about)) return std::unexpected(unwritten());
  return {};
}

bool GitRemote::reached() const {
  // No question to anybody: what git has must do.
  const auto asked = run_program(
      {"env", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "git", "ls-remote", std::string(kRemote)});
  return asked && asked->status == 0;
}

}  // namespace naru::cli
