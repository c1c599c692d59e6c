// The git remote `naru` of the repository in which a person stands, and the token with which git uses it. The
// remote's URL holds no token: `ps` shows URLs while a push runs, and everybody may read .git/config. The
// token lies in .git/naru-credentials (0600), a file of git-credential-store(1), which is asked for this URL
// alone: any git of this century pushes without a question and without settings outside of the repository.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cli/control_client.h"

namespace naru::cli {

inline constexpr std::string_view kRemote = "naru";
inline constexpr std::string_view kGitUser = "naru";  // any name does: control looks at the token alone

// "http://127.0.0.1:7433": where git and browsers reach control. A number instead of localhost, as git would
// try ::1 first, where nobody listens.
std::string control_url(const ControlPlace& place, std::uint16_t port);
// Its repository of the application: "http://127.0.0.1:7433/git/shop.git".
std::string push_url(const ControlPlace& place, std::uint16_t port, std::string_view app);

class GitRemote {
 public:
  // Of the work tree around the current folder; none outside of one, and without git.
  static std::optional<GitRemote> here();

  const std::string& url() const { return url_; }  // as it is now; "" when there is none
  // As people may see it: without what stands before an "@".
  std::string shown_url() const;
  // The token in the URL of a remote that an older naru made, else "".
  std::string token_in_url() const;
  std::string branch() const;  // "main" where none is checked out

  // conflict: it leads elsewhere than to this application, and is left as it is.
  Result<void> check_free_for(std::string_view app) const;
  // The remote leads to `url`, and git asks our file for its token. `ca`: a PEM file of who may sign the
  // certificate there, "" = whom git trusts. system: git cannot write.
  Result<void> point_to(const std::string& url, const std::string& ca);
  Result<void> keep_token(const std::string& token) const;
  // Whether git comes in there with the token that it has.
  bool reached() const;

 private:
  explicit GitRemote(std::string url) : url_(std::move(url)) {}
  std::string url_;
};

}  // namespace naru::cli
