#include "build/context.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "base/fd.h"
#include "format/dockerfile.h"
#include "os/listing.h"

namespace naru::build {

namespace {

constexpr int kMaxLinks = 40;  // as the kernel's own bound, path_resolution(7)
constexpr std::size_t kMaxLeftOut = 64;

// Opens below `root` through no symbolic link and not outside of it.
Fd open_beneath(int root, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return Fd(static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how)));
}

Result<Fd> open_checkout(const std::filesystem::path& checkout) {
  Fd root(::open(checkout.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root)
    return fail_errno(Code::build_context_invalid, "the checkout '{}'", checkout.filename().string());
  return root;
}

Result<std::string> read_all(int fd, std::size_t max_bytes, std::string_view what) {
  std::string bytes;
  std::array<char, 65536> buffer{};
  for (;;) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(Code::system, "reading {}", what);
    if (n == 0) return bytes;
    bytes.append(buffer.data(), static_cast<std::size_t>(n));
    if (bytes.size() > max_bytes) return fail(Code::too_large, "{}: more than {} bytes", what, max_bytes);
  }
}

class Scanner {
 public:
  Scanner(ContextListing& listing, const format::Dockerignore& ignore, const ContextLimits& limits)
      : listing_(listing), ignore_(ignore), limits_(limits) {}

  Result<void> walk(Fd directory, const std::string& prefix, std::size_t depth) {
    if (depth > limits_.max_depth)
      return fail(Code::too_large, "{}: more than {} directories deep", prefix, limits_.max_depth);
    os::Listing listing = TRY(os::Listing::of(std::move(directory), prefix));
    std::vector<std::string> names;
    while (auto entry = TRY(listing.next())) {
      names.push_back(std::move(entry->name));
      if (listing_.entries.size() + names.size() > limits_.max_entries)
        return fail(Code::too_large, "the build context has more than {} entries", limits_.max_entries);
    }
    for (const std::string& name : names) TRY(visit(listing.fd(), name, prefix, depth));
    return {};
  }

 private:
  Result<void> visit(int directory, const std::string& name, const std::string& prefix, std::size_t depth) {
    const std::string path = prefix.empty() ? name : prefix + "/" + name;
    struct stat info{};
    if (::fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0)
      return fail_errno(Code::system, "stat of '{}'", path);
    const bool ignored = ignore_.ignores(path);
    if (ignored && listing_.left_out.size() < kMaxLeftOut) listing_.left_out.push_back(path);
    if (ignored && !(S_ISDIR(info.st_mode) && ignore_.has_exceptions())) return {};

    ContextEntry entry{path, EntryKind::file, static_cast<std::uint32_t>(info.st_mode & 07777), 0, {}, {}};
    if (S_ISDIR(info.st_mode)) {
      entry.kind = EntryKind::directory;
      if (!ignored) listing_.entries.push_back(std::move(entry));
      Fd inside(::openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!inside) return fail_errno(Code::system, "opening '{}'", path);
      return walk(std::move(inside), path, depth + 1);
    }
    if (S_ISLNK(info.st_mode)) {
      entry.kind = EntryKind::symlink;
      std::array<char, PATH_MAX> target{};
      const ssize_t n = ::readlinkat(directory, name.c_str(), target.data(), target.size());
      if (n < 0) return fail_errno(Code::system, "readlink of '{}'", path);
      entry.target.assign(target.data(), static_cast<std::size_t>(n));
    } else if (S_ISREG(info.st_mode)) {
      TRY(digest(directory, name, entry));
    } else {
      return fail(Code::build_context_invalid, "'{}' is neither file, directory nor symbolic link", path);
    }
    listing_.entries.push_back(std::move(entry));
    return {};
  }

  Result<void> digest(int directory, const std::string& name, ContextEntry& entry) {
    const Fd file(::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file) return fail_errno(Code::system, "opening '{}'", entry.path);
    Sha256 hash;
    for (;;) {
      const ssize_t n = ::read(file.get(), buffer_.data(), buffer_.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail_errno(Code::system, "reading '{}'", entry.path);
      if (n == 0) break;
      hash.update({buffer_.data(), static_cast<std::size_t>(n)});
      entry.size += static_cast<std::uint64_t>(n);
      bytes_ += static_cast<std::uint64_t>(n);
      if (bytes_ > limits_.max_bytes)
        return fail(Code::too_large,
                    "the build context has more than {} bytes; leave files out in .dockerignore",
                    limits_.max_bytes);
    }
    entry.digest = hash.finish();
    return {};
  }

  ContextListing& listing_;
  const format::Dockerignore& ignore_;
  const ContextLimits& limits_;
  std::uint64_t bytes_ = 0;
  std::vector<char> buffer_ = std::vector<char>(256 << 10);
};

Result<std::optional<std::string>> read_optional(int root, const std::string& path) {
  const Fd file = open_beneath(root, path, O_RDONLY | O_NONBLOCK);
  if (!file && (errno == ENOENT || errno == ENOTDIR)) return std::optional<std::string>();
  if (!file) return fail_errno(Code::build_context_invalid, "opening {}", path);
  struct stat info{};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return fail(Code::build_context_invalid, "{} is not a file", path);
  return std::optional(TRY(read_all(file.get(), format::Dockerignore::kMaxBytes, path)));
}

}  // namespace

const ContextEntry* ContextListing::find(std::string_view path) const {
  const auto at = std::ranges::lower_bound(entries, path, {},
                                           [](const ContextEntry& e) -> std::string_view { return e.path; });
  return at != entries.end() && at->path == path ? &*at : nullptr;
}

Result<ContextListing> scan_context(const std::filesystem::path& checkout, std::string_view context,
                                    std::string_view dockerfile, const ContextLimits& limits) {
  const Fd root = TRY(open_checkout(checkout));
  const std::string folder = clean_relative(context);
  Fd directory = open_beneath(root.get(), folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY);
  if (!directory)
    return fail_errno(Code::build_context_invalid, "the build context '{}'", folder.empty() ? "." : folder);
  ContextListing listing;
  std::string file = clean_relative(dockerfile) + ".dockerignore";
  std::optional<std::string> text = TRY(read_optional(root.get(), file));
  if (!text) {
    file = folder.empty() ? ".dockerignore" : folder + "/.dockerignore";
    text = TRY(read_optional(root.get(), file));
  }
  const format::Dockerignore ignore = TRY(format::Dockerignore::parse(text.value_or(""), file));
  listing.ignore = std::move(text).value_or("");
  TRY(Scanner(listing, ignore, limits).walk(std::move(directory), "", 0));
  std::ranges::sort(listing.entries, {}, &ContextEntry::path);
  return listing;
}

Result<std::string> read_dockerfile(const std::filesystem::path& checkout, std::string_view path) {
  const Fd root = TRY(open_checkout(checkout));
  const std::string clean = clean_relative(path);
  const Fd file = open_beneath(root.get(), clean.empty() ? "." : clean, O_RDONLY | O_NONBLOCK);
  if (!file && errno == ELOOP)
    return fail(Code::build_context_invalid, "{}: a symbolic link, which is not followed", clean);
  if (!file) return fail_errno(Code::dockerfile_missing, "{}", clean);
  struct stat info{};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return fail(Code::dockerfile_missing, "{}: not a file", clean);
  return read_all(file.get(), format::kMaxDockerfileBytes, clean);
}

std::string clean_relative(std::string_view path) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at <= path.size();) {
    const auto slash = std::min(path.find('/', at), path.size());
    const auto part = path.substr(at, slash - at);
    at = slash + 1;
    if (part == ".." && !parts.empty()) parts.pop_back();
    if (part.empty() || part == "." || part == "..") continue;
    parts.push_back(part);
  }
  return fmt::format("{}", fmt::join(parts, "/"));
}

Result<std::string> resolve_in_root(std::string_view path, const ReadLink& read_link) {
  const auto split = [](std::string_view text, std::vector<std::string>& todo) {
    // Onto a stack, last component first.
    for (std::size_t end = text.size() + 1; end > 0;) {
      const auto slash = end < 2 ? text.npos : text.rfind('/', end - 2);
      const std::size_t from = slash == text.npos ? 0 : slash + 1;
      if (end - 1 > from) todo.emplace_back(text.substr(from, end - 1 - from));
      end = from;
    }
  };
  std::vector<std::string> todo, done;
  split(path, todo);
  int links = 0;
  while (!todo.empty()) {
    const std::string part = std::move(todo.back());
    todo.pop_back();
    if (part == ".") continue;
    if (part == "..") {
      if (!done.empty()) done.pop_back();
      continue;
    }
    done.push_back(part);
    const auto target = read_link(fmt::format("{}", fmt::join(done, "/")));
    if (!target) continue;
    if (++links > kMaxLinks)
      return fail(Code::build_context_invalid, "'{}': more than {} symbolic links", path, kMaxLinks);
    done.pop_back();
    if (target->starts_with('/')) done.clear();
    split(*target, todo);
  }
  return fmt::format("{}", fmt::join(done, "/"));
}

}  // namespace naru::build
