#include "build/confined.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <climits>

#include "build/context.h"
#include "os/listing.h"

namespace naru::build {

namespace {

constexpr std::size_t kMaxAccountBytes = 4 << 20;

Result<std::string> read_small(const ConfinedRoot& root, std::string_view path) {
  const Fd file = root.open(TRY(root.resolve(path)), O_RDONLY | O_NONBLOCK);
  std::string bytes;
  if (!file) return bytes;  // an image without accounts
  struct stat info{};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) return bytes;
  std::array<char, 16384> buffer{};
  for (ssize_t n = 0; (n = ::read(file.get(), buffer.data(), buffer.size())) > 0;) {
    bytes.append(buffer.data(), static_cast<std::size_t>(n));
    if (bytes.size() > kMaxAccountBytes)
      return fail(Code::too_large, "{}: more than {} bytes", path, kMaxAccountBytes);
  }
  return bytes;
}

std::optional<std::uint32_t> number(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // The largest is (uid_t)-1, which means "leave it" to chown(2).
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value == UINT32_MAX)
    return std::nullopt;
  return value;
}

// The third field of "name:x:id:..." (passwd(5), group(5)).
std::optional<std::uint32_t> id_of(std::string_view accounts, std::string_view name) {
  for (std::size_t at = 0; at < accounts.size();) {
    const auto newline = std::min(accounts.find('\n', at), accounts.size());
    const std::string_view line = accounts.substr(at, newline - at);
    at = newline + 1;
    const auto first = line.find(':');
    if (first == line.npos || line.substr(0, first) != name) continue;
    const auto second = line.find(':', first + 1);
    if (second == line.npos) continue;
    const auto third = std::min(line.find(':', second + 1), line.size());
    if (auto id = number(line.substr(second + 1, third - second - 1))) return id;
  }
  return std::nullopt;
}

}  // namespace

Fd ConfinedRoot::open(const std::string& resolved, int flags) const {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const char* path = resolved.empty() ? "." : resolved.c_str();
  return Fd(static_cast<int>(::syscall(SYS_openat2, root_, path, &how, sizeof how)));
}

Result<std::string> ConfinedRoot::resolve(std::string_view path) const {
  return resolve_in_root(path, [this](const std::string& part) -> std::optional<std::string> {
    const Fd link = open(part, O_PATH | O_NOFOLLOW);
    if (!link) return std::nullopt;
    std::array<char, PATH_MAX> target{};
    const ssize_t n = ::readlinkat(link.get(), "", target.data(), target.size());
    if (n <= 0) return std::nullopt;
    return std::string(target.data(), static_cast<std::size_t>(n));
  });
}

Result<ConfinedRoot::Found> ConfinedRoot::look(const std::string& resolved) const {
  Found found{open(resolved, O_PATH | O_NOFOLLOW), {}};
  if (!found.fd && (errno == ENOENT || errno == ENOTDIR)) return found;
  if (!found.fd)
    return fail_errno(errno == ELOOP ? Code::build_context_invalid : Code::system, "opening '/{}'", resolved);
  if (::fstatat(found.fd.get(), "", &found.info, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno(Code::system, "stat of '/{}'", resolved);
  return found;
}

Result<std::vector<std::string>> names_of(int directory, std::string_view path, std::size_t max) {
  os::Listing listing = TRY(os::Listing::open(directory, path));
  std::vector<std::string> names;
  while (auto entry = TRY(listing.next())) {
    if (names.size() == max) return fail(Code::too_large, "'{}': more than {} entries", path, max);
    names.push_back(std::move(entry->name));
  }
  std::ranges::sort(names);
  return names;
}

Result<Owner> find_owner(const ConfinedRoot& root, std::string_view chown) {
  const auto colon = chown.find(':');
  const std::string_view user = chown.substr(0, colon),
                         group = colon == chown.npos ? user : chown.substr(colon + 1);
  const auto look = [&](std::string_view name, std::string_view file) -> Result<std::uint32_t> {
    if (auto id = number(name)) return *id;
    if (auto id = id_of(TRY(read_small(root, file)), name)) return *id;
    return std::unexpected<Error>(
        Error{Code::invalid_argument,
              fmt::format("--chown={}: {} has no '{}'", chown.substr(0, 80), file, name.substr(0, 40)), 0,
              "create the account in a RUN step before, or give a number"});
  };
  Owner owner;
  if (!user.empty()) owner.uid = TRY(look(user, "/etc/passwd"));
  // A user without a group: the same number (Dockerfile reference, COPY --chown).
  if (colon == chown.npos)
    owner.gid = owner.uid;
  else if (!group.empty())
    owner.gid = TRY(look(group, "/etc/group"));
  return owner;
}

}  // namespace naru::build
