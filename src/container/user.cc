#include "container/user.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <charconv>
#include <optional>

#include "os/file.h"

namespace naru::container {

using namespace std::string_view_literals;

namespace {

std::optional<std::uint32_t> number(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // The highest is (uid_t)-1, which system calls read as "unchanged".
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value == 0xffffffffU)
    return std::nullopt;
  return value;
}

std::vector<std::string_view> fields(std::string_view line, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto end = line.find(separator);
    parts.push_back(line.substr(0, end));
    if (end == std::string_view::npos || parts.size() > kMaxGroups * 4) return parts;
    line.remove_prefix(end + 1);
  }
}

template <class Visit>
void each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    visit(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

struct Account {
  std::string_view name, home;
  std::uint32_t uid = 0, gid = 0;
};

// By name, else by number: a user whose name is a number exists by that name (as in Docker).
std::optional<Account> find_account(std::string_view passwd, std::string_view wanted) {
  std::optional<Account> by_name, by_uid;
  const auto uid = number(wanted);
  each_line(passwd, [&](std::string_view line) {
    const auto parts = fields(line, ':');
    if (parts.size() < 6 || parts[0].empty()) return;
    const auto entry_uid = number(parts[2]), entry_gid = number(parts[3]);
    if (!entry_uid || !entry_gid) return;
    const Account account{parts[0], parts[5], *entry_uid, *entry_gid};
    if (!by_name && parts[0] == wanted) by_name = account;
    if (!by_uid && uid && *entry_uid == *uid) by_uid = account;
  });
  return by_name ? by_name : by_uid;
}

std::optional<gid_t> find_group(std::string_view group, std::string_view wanted) {
  std::optional<gid_t> found;
  each_line(group, [&](std::string_view line) {
    const auto parts = fields(line, ':');
    if (!found && parts.size() >= 3 && parts[0] == wanted) found = number(parts[2]);
  });
  return found ? found : number(wanted);
}

void add_memberships(Identity& identity, std::string_view group, std::string_view name) {
  each_line(group, [&](std::string_view line) {
    const auto parts = fields(line, ':');
    if (parts.size() < 4 || identity.groups.size() >= kMaxGroups) return;
    const auto gid = number(parts[2]);
    if (!gid || std::ranges::find(identity.groups, *gid) != identity.groups.end()) return;
    const auto members = fields(parts[3], ',');
    if (std::ranges::find(members, name) != members.end()) identity.groups.push_back(*gid);
  });
}

}  // namespace

Result<Identity> resolve_user(std::string_view user, std::string_view passwd, std::string_view group) {
  if (user.size() > 256 || user.find_first_of("\n\0"sv) != user.npos)
    return fail(Code::invalid_argument, "user: '{}' is not a user", user.substr(0, 60));
  const auto colon = user.find(':');
  const std::string_view name = colon == user.npos && user.empty() ? "0" : user.substr(0, colon);
  if (name.empty() || (colon != user.npos && colon + 1 == user.size()))
    return fail(Code::invalid_argument, "user: '{}' lacks a part", user);
  Identity identity;
  if (const auto account = find_account(passwd, name)) {
    identity.uid = account->uid;
    identity.gid = account->gid;
    if (account->home.starts_with('/') && account->home.size() < 4096) identity.home = account->home;
    identity.groups = {identity.gid};
    if (colon == user.npos) add_memberships(identity, group, account->name);
  } else if (const auto uid = number(name)) {
    identity.uid = *uid;
  } else {
    return fail(Code::not_found, "user: '{}' is not in the image's /etc/passwd", name);
  }
  if (colon != user.npos) {
    const auto gid = find_group(group, user.substr(colon + 1));
    if (!gid)
      return fail(Code::not_found, "user: group '{}' is not in the image's /etc/group",
                  user.substr(colon + 1));
    identity.gid = *gid;
    identity.groups = {identity.gid};
  }
  if (identity.groups.empty()) identity.groups = {identity.gid};
  return identity;
}

namespace {
// A missing or unreadable file is an empty one: scratch images have none. A FIFO or device is never read.
Result<std::string> account_file(int root, const std::string& path) {
  const auto file = os::open_in_root(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!file) return std::string();
  struct stat info{};
  if (::fstat(file->get(), &info) != 0 || !S_ISREG(info.st_mode)) return std::string();
  return os::read_fd(file->get(), kMaxAccountsBytes, "the image's " + path);
}
}  // namespace

Result<Identity> resolve_user_in(std::string_view user, int root) {
  const std::string users = TRY(account_file(root, "/etc/passwd"));
  return resolve_user(user, users, TRY(account_file(root, "/etc/group")));
}

}  // namespace naru::container
