#include "image/rooted.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/files.h"
#include "os/listing.h"

namespace naru::image {

namespace {

std::string shown(std::string_view name) {
  std::string text;
  for (const char c : name.substr(0, 200)) text += c < ' ' || c == 0x7f ? '?' : c;
  return text;
}

constexpr int kMaxTreeDepth = 1024;  // deeper than what unpack itself makes

Result<> remove_level(int parent, const std::string& base, int depth) {
  if (::unlinkat(parent, base.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return fail_errno(Code::system, "remove {}", shown(base));
  if (depth > kMaxTreeDepth)
    return fail(Code::too_large, "remove {}: deeper than {} folders", shown(base), kMaxTreeDepth);
  Fd folder(::openat(parent, base.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return fail_errno(Code::system, "remove {}", shown(base));
  os::Listing listing = TRY(os::Listing::of(std::move(folder), shown(base)));
  while (const auto entry = TRY(listing.next())) TRY(remove_level(listing.fd(), entry->name, depth + 1));
  if (::unlinkat(parent, base.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
    return fail_errno(Code::system, "remove {}", shown(base));
  return {};
}

}  // namespace

Result<> remove_tree(int parent, const std::string& base) {
  return remove_level(parent, base, 0);
}

Result<std::string> clean_name(std::string_view name, std::size_t max_bytes, std::size_t max_depth) {
  if (name.size() > max_bytes)
    return fail(Code::too_large, "entry '{}...': its name has {} bytes, the bound is {}", shown(name),
                name.size(), max_bytes);
  if (name.contains('\0')) return fail(Code::malformed, "entry '{}': a zero byte in its name", shown(name));
  std::string clean;
  std::size_t depth = 0;
  for (std::size_t at = 0; at <= name.size();) {
    const auto slash = std::min(name.find('/', at), name.size());
    const auto part = name.substr(at, slash - at);
    at = slash + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") return fail(Code::layer_escape, "entry '{}': '..' in its name", shown(name));
    if (part.size() > 255)
      return fail(Code::too_large, "entry '{}': a component of its name has {} bytes, the bound is 255",
                  shown(name), part.size());
    if (++depth > max_depth)
      return fail(Code::too_large, "entry '{}': deeper than {} folders", shown(name), max_depth);
    if (!clean.empty()) clean += '/';
    clean += part;
  }
  return clean;
}

Result<Fd> RootedFolder::open_in_root(const std::string& name, int flags) {
  auto fd = os::open_in_root(root_, name.empty() ? "." : name, flags);
  if (fd) return fd;
  const int error = fd.error().sys_errno;
  if (error == ENOTDIR || error == ELOOP || error == EXDEV)
    return std::unexpected(
        Error{Code::malformed, fmt::format("'{}' leads through what is no folder", shown(name)), error, {}});
  return std::unexpected(Error{fd.error().code, fmt::format("open '{}'", shown(name)), error, {}});
}

Result<Fd> RootedFolder::make_folders(const std::string& name) {
  Fd at = TRY(open_in_root("", O_PATH | O_DIRECTORY));
  for (std::size_t end = 0; end != std::string::npos;) {
    const std::size_t begin = end == 0 ? 0 : end + 1;
    end = name.find('/', begin);
    const std::string prefix = name.substr(0, end);
    const std::string part = name.substr(begin, end == std::string::npos ? end : end - begin);
    auto next = open_in_root(prefix, O_PATH | O_DIRECTORY);
    if (!next && next.error().code == Code::not_found) {
      // EEXIST here is a symbolic link that leads nowhere: following it to create would be a guess.
      if (::mkdirat(at.get(), part.c_str(), 0755) != 0)
        return fail_errno(errno == EEXIST ? Code::malformed : file_code(errno), "make folder '{}'",
                          shown(prefix));
      next = open_in_root(prefix, O_PATH | O_DIRECTORY);
    }
    if (!next) return std::unexpected(next.error());
    at = std::move(*next);
  }
  return at;
}

Result<int> RootedFolder::folder(const std::string& name, bool create) {
  if (cached_ && cached_name_ == name) return cached_.get();
  auto found = open_in_root(name, O_PATH | O_DIRECTORY);
  if (!found && create && found.error().code == Code::not_found) found = make_folders(name);
  if (!found) return std::unexpected(found.error());
  cached_ = std::move(*found);
  cached_name_ = name;
  return cached_.get();
}

Result<RootedFolder::Place> RootedFolder::place_of(const std::string& name) {
  const auto slash = name.rfind('/');
  const int parent = TRY(folder(slash == std::string::npos ? std::string() : name.substr(0, slash), true));
  return Place{parent, slash == std::string::npos ? name : name.substr(slash + 1)};
}

Result<RootedFolder::Place> RootedFolder::find(const std::string& name) {
  const auto slash = name.rfind('/');
  const int parent = TRY(folder(slash == std::string::npos ? std::string() : name.substr(0, slash), false));
  return Place{parent, slash == std::string::npos ? name : name.substr(slash + 1)};
}

Result<Fd> RootedFolder::open(const std::string& name, int flags) {
  return open_in_root(name, flags | O_NOFOLLOW);
}

}  // namespace naru::image
