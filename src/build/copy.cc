#include "build/copy.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <climits>

#include "build/confined.h"
#include "build/context.h"
#include "format/dockerignore.h"
#include "format/path_glob.h"
#include "image/unpack.h"

namespace naru::build {

namespace {

Code write_code() {
  return errno == ENOSPC || errno == EDQUOT ? Code::disk_full : Code::system;
}

// The part of a path behind its last slash.
std::string base_name(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}
std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == path.npos ? std::string() : path.substr(0, slash);
}

class Copier {
 public:
  Copier(int source, int destination, const CopyRequest& request, const CopyLimits& limits)
      : source_(source),
        destination_(destination),
        request_(request),
        limits_(limits),
        from_checkout_(!request.from.checkout.empty()) {}

  Result<CopyReport> copy() {
    if (!request_.dest.starts_with('/'))
      return fail(Code::invalid_argument, "the destination '{}' is not absolute", request_.dest);
    if (!request_.chown.empty()) owner_ = TRY(find_owner(destination_, request_.chown));
    if (!request_.chmod.empty()) mode_ = TRY(parse_mode());
    if (from_checkout_) ignore_ = TRY(format::Dockerignore::parse(request_.ignore));
    if (request_.sources.empty()) {
      TRY(directory(request_.dest));
      return report_;
    }
    std::vector<std::string> sources;
    for (const std::string& pattern : request_.sources) {
      auto found = TRY(find_sources(pattern));
      std::ranges::move(found, std::back_inserter(sources));
    }
    const bool into = request_.dest.ends_with('/') || sources.size() > 1;
    for (const std::string& source : sources) TRY(copy_source(source, into));
    return report_;
  }

 private:
  Result<mode_t> parse_mode() const {
    unsigned mode = 0;
    const char* last = request_.chmod.data() + request_.chmod.size();
    const auto [end, error] = std::from_chars(request_.chmod.data(), last, mode, 8);
    if (error != std::errc() || end != last || mode > 07777)
      return fail(Code::invalid_argument, "--chmod={}: not an octal mode", request_.chmod);
    return static_cast<mode_t>(mode);
  }

  // The paths that a source names, unresolved; at least one.
  Result<std::vector<std::string>> find_sources(const std::string& pattern) {
    const std::string clean = clean_relative(pattern);
    std::vector<std::string> found{""};
    for (std::size_t at = 0; at < clean.size();) {
      const auto slash = std::min(clean.find('/', at), clean.size());
      TRY(descend(clean.substr(at, slash - at), found));
      at = slash + 1;
    }
    std::vector<std::string> there;
    for (const std::string& path : found) {
      const std::string resolved = TRY(source_.resolve(path));
      const auto entry = TRY(source_.look(resolved));
      if (entry.fd && TRY(visible(resolved, entry.info))) there.push_back(path);
    }
    if (there.empty()) return fail(Code::build_source_missing, "'{}' is not there", pattern);
    return there;
  }

  // One more component of a pattern.
  Result<void> descend(const std::string& part, std::vector<std::string>& paths) {
    const auto join = [](const std::string& path, const std::string& name) {
      return path.empty() ? name : path + "/" + name;
    };
    if (!format::PathGlob::has_wildcard(part)) {
      for (std::string& path : paths) path = join(path, part);
      return {};
    }
    const auto glob = TRY(format::PathGlob::parse(part, {}));
    std::vector<std::string> next;
    for (const std::string& path : paths) {
      const Fd folder = source_.open(TRY(source_.resolve(path)), O_RDONLY | O_DIRECTORY);
      if (!folder) continue;
      for (const std::string& name : TRY(names_of(folder.get(), path, limits_.max_entries)))
        if (glob.matches(name)) next.push_back(join(path, name));
      if (next.size() > limits_.max_entries)
        return fail(Code::too_large, "'{}' matches more than {} paths", part, limits_.max_entries);
    }
    paths = std::move(next);
    return {};
  }

  // An ignored directory still counts when an exception lies below it.
  Result<bool> visible(const std::string& path, const struct stat& info) {
    if (!left_out(path)) return true;
    if (!S_ISDIR(info.st_mode) || !ignore_.has_exceptions()) return false;
    const Fd folder = source_.open(path, O_RDONLY | O_DIRECTORY);
    if (!folder) return fail_errno(Code::system, "opening '{}'", path);
    return holds_exception(folder.get(), path, 0);
  }

  bool left_out(const std::string& path) const {
    return from_checkout_ && !path.empty() && ignore_.ignores(path);
  }

  Result<void> copy_source(const std::string& written, bool into) {
    const std::string path = TRY(source_.resolve(written));
    const auto entry = TRY(source_.look(path));
    if (!entry.fd) return fail(Code::build_source_missing, "'{}' is not there", written);
    if (S_ISDIR(entry.info.st_mode)) {
      bool created = false;
      const Fd target = TRY(directory(request_.dest, &created));
      const Fd folder = source_.open(path, O_RDONLY | O_DIRECTORY);
      if (!folder) return fail_errno(Code::system, "opening '{}'", written);
      TRY(copy_tree(folder.get(), target.get(), path, 0));
      // The root of a checkout is a folder of ours: its mode says nothing.
      if (created && !path.empty()) TRY(dress(target.get(), entry.info, written));
      return {};
    }
    if (request_.add && S_ISREG(entry.info.st_mode) && TRY(add_archive(path))) return {};
    const std::string target = TRY(file_target(written, into));
    const Fd folder = TRY(directory("/" + parent_of(target)));
    return copy_file(path, entry.info, folder.get(), base_name(target), target);
  }

  // Where a file goes, resolved: into the destination when that is a directory or has to be one.
  Result<std::string> file_target(const std::string& written, bool into) {
    std::string dest = TRY(destination_.resolve(request_.dest));
    const auto there = TRY(destination_.look(dest));
    if (!into && !(there.fd && S_ISDIR(there.info.st_mode))) return dest;
    if (dest.empty()) return base_name(written);
    return dest + "/" + base_name(written);
  }

  Result<bool> add_archive(const std::string& path) {
    const Fd file = source_.open(path, O_RDONLY | O_NONBLOCK);
    if (!file) return fail_errno(Code::system, "opening '{}'", path);
    if (!TRY(is_local_archive(file.get()))) return false;
    const Fd target = TRY(directory(request_.dest));
    TRY(image::extract_archive(file.get(), target.get()));
    return true;
  }

  // Opens a directory of the destination, making what is missing.
  Result<Fd> directory(std::string_view path, bool* created = nullptr) {
    const std::string resolved = TRY(destination_.resolve(path));
    for (std::size_t at = 0; at < resolved.size();) {
      at = std::min(resolved.find('/', at + 1), resolved.size());
      const std::string so_far = resolved.substr(0, at);
      const auto there = TRY(destination_.look(so_far));
      if (there.fd && !S_ISDIR(there.info.st_mode))
        return fail(Code::invalid_argument, "'/{}' is not a directory in the image", so_far);
      if (there.fd) continue;
      const Fd parent = destination_.open(parent_of(so_far), O_RDONLY | O_DIRECTORY);
      if (!parent) return fail_errno(Code::system, "opening '/{}' of the image", parent_of(so_far));
      TRY(make_directory(parent.get(), base_name(so_far), so_far));
      if (created != nullptr) *created = at == resolved.size();
    }
    Fd made = destination_.open(resolved, O_RDONLY | O_DIRECTORY);
    if (!made)
      return fail_errno(errno == ENOTDIR ? Code::invalid_argument : Code::system,
                        "opening '/{}' of the image", resolved);
    return made;
  }

  Result<Fd> make_directory(int parent, const std::string& name, const std::string& path) {
    if (::mkdirat(parent, name.c_str(), 0755) != 0)
      return fail_errno(write_code(), "making the directory '/{}'", path);
    Fd made(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!made) return fail_errno(Code::system, "opening '/{}' of the image", path);
    if (::fchmod(made.get(), 0755) != 0)
      return fail_errno(Code::system, "chmod of '/{}'", path);  // whatever the umask
    if (owner_ && ::fchown(made.get(), owner_->uid, owner_->gid) != 0)
      return fail_errno(Code::system, "chown of '/{}'", path);
    ++report_.directories;
    return made;
  }

  Result<void> copy_tree(int from, int to, const std::string& path, std::size_t depth) {
    if (depth > limits_.max_depth)
      return fail(Code::too_large, "'{}': more than {} directories deep", path, limits_.max_depth);
    for (const std::string& name : TRY(names_of(from, path, limits_.max_entries))) {
      const std::string inner = path.empty() ? name : path + "/" + name;
      struct stat info{};
      if (::fstatat(from, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0)
        return fail_errno(Code::system, "stat of '{}'", inner);
      const bool ignored = left_out(inner);
      if (ignored && !(S_ISDIR(info.st_mode) && ignore_.has_exceptions())) continue;
      if (++entries_ > limits_.max_entries)
        return fail(Code::too_large, "more than {} files to copy", limits_.max_entries);
      if (!S_ISDIR(info.st_mode)) {
        TRY(copy_file(inner, info, to, name, inner));
        continue;
      }
      const Fd folder(::openat(from, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!folder) return fail_errno(Code::system, "opening '{}'", inner);
      if (ignored && !TRY(holds_exception(folder.get(), inner, depth + 1))) continue;
      TRY(copy_directory(folder.get(), info, to, name, inner, depth));
    }
    return {};
  }

  Result<void> copy_directory(int folder, const struct stat& info, int to, const std::string& name,
                              const std::string& path, std::size_t depth) {
    struct stat there{};
    const bool exists = ::fstatat(to, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0;
    if (exists && !S_ISDIR(there.st_mode))
      return fail(Code::invalid_argument,
                  "'{}' is a directory, but not in the image: it cannot be copied over it", path);
    Fd target = exists ? Fd(::openat(to, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC))
                       : TRY(make_directory(to, name, path));
    if (!target) return fail_errno(Code::system, "opening '{}' of the image", path);
    TRY(copy_tree(folder, target.get(), path, depth + 1));
    if (!exists) TRY(dress(target.get(), info, path));
    return {};
  }

  // Whether a `!` pattern brings back anything below an ignored directory.
  Result<bool> holds_exception(int folder, const std::string& path, std::size_t depth) {
    if (depth > limits_.max_depth)
      return fail(Code::too_large, "'{}': more than {} directories deep", path, limits_.max_depth);
    for (const std::string& name : TRY(names_of(folder, path, limits_.max_entries))) {
      const std::string inner = path + "/" + name;
      if (!left_out(inner)) return true;
      const Fd below(::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (below && TRY(holds_exception(below.get(), inner, depth + 1))) return true;
    }
    return false;
  }

  // Removes what stands where a file or link goes; a directory stays, and is an error.
  Result<void> make_room(int folder, const std::string& name, const std::string& path) {
    if (::unlinkat(folder, name.c_str(), 0) == 0 || errno == ENOENT) return {};
    if (errno == EISDIR)
      return fail(Code::invalid_argument, "'{}' is a directory in the image: a file cannot replace it", path);
    return fail_errno(Code::system, "replacing '{}'", path);
  }

  Result<void> copy_file(const std::string& from, const struct stat& info, int folder,
                         const std::string& name, const std::string& path) {
    if (S_ISLNK(info.st_mode)) return copy_link(from, info, folder, name, path);
    if (!S_ISREG(info.st_mode))
      return fail(Code::build_context_invalid, "'{}' is neither file, directory nor symbolic link", from);
    const Fd source = source_.open(from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!source) return fail_errno(Code::system, "opening '{}'", from);
    TRY(make_room(folder, name, path));
    const Fd target(
        ::openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!target) return fail_errno(write_code(), "making '{}'", path);
    TRY(copy_bytes(source.get(), target.get(), path));
    ++report_.files;
    TRY(dress(target.get(), info, path));
    if (!from_checkout_) copy_capability(source.get(), target.get());
    return {};
  }

  Result<void> copy_bytes(int source, int target, const std::string& path) {
    for (;;) {
      const ssize_t n = ::sendfile(target, source, nullptr, 1 << 20);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail_errno(write_code(), "copying '{}'", path);
      if (n == 0) return {};
      report_.bytes += static_cast<std::uint64_t>(n);
      if (report_.bytes > limits_.max_bytes)
        return fail(Code::too_large, "more than {} bytes to copy", limits_.max_bytes);
    }
  }

  Result<void> copy_link(const std::string& from, const struct stat& info, int folder,
                         const std::string& name, const std::string& path) {
    const Fd link = source_.open(from, O_PATH | O_NOFOLLOW);
    std::array<char, PATH_MAX + 1> target{};
    const ssize_t n = link ? ::readlinkat(link.get(), "", target.data(), PATH_MAX) : -1;
    if (n < 0) return fail_errno(Code::system, "readlink of '{}'", from);
    TRY(make_room(folder, name, path));
    if (::symlinkat(target.data(), folder, name.c_str()) != 0)
      return fail_errno(write_code(), "linking '{}'", path);
    const Owner owner = owner_of(info);
    if (::fchownat(folder, name.c_str(), owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) != 0)
      return fail_errno(Code::system, "chown of '{}'", path);
    const std::array<timespec, 2> times{info.st_mtim, info.st_mtim};
    ::utimensat(folder, name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW);
    ++report_.symlinks;
    return {};
  }

  Owner owner_of(const struct stat& info) const {
    if (owner_) return *owner_;
    return from_checkout_ ? Owner{} : Owner{info.st_uid, info.st_gid};
  }

  // Owner, then mode (chown clears set-id bits), then time.
  Result<void> dress(int fd, const struct stat& info, const std::string& path) {
    const Owner owner = owner_of(info);
    if (::fchown(fd, owner.uid, owner.gid) != 0) return fail_errno(Code::system, "chown of '{}'", path);
    if (::fchmod(fd, mode_.value_or(info.st_mode & 07777)) != 0)
      return fail_errno(Code::system, "chmod of '{}'", path);
    const std::array<timespec, 2> times{info.st_mtim, info.st_mtim};
    if (::futimens(fd, times.data()) != 0) return fail_errno(Code::system, "setting the time of '{}'", path);
    return {};
  }

  // A program that a stage gave a capability keeps it; without the right to set one it goes without.
  static void copy_capability(int source, int target) {
    std::array<char, 64> value{};
    const ssize_t n = ::fgetxattr(source, "security.capability", value.data(), value.size());
    if (n > 0) (void)::fsetxattr(target, "security.capability", value.data(), static_cast<std::size_t>(n), 0);
  }

  ConfinedRoot source_, destination_;
  const CopyRequest& request_;
  const CopyLimits& limits_;
  bool from_checkout_;
  std::optional<Owner> owner_;
  std::optional<mode_t> mode_;
  format::Dockerignore ignore_;
  CopyReport report_;
  std::uint64_t entries_ = 0;
};

}  // namespace

Result<CopyReport> copy_into(int source_root, int destination_root, const CopyRequest& request,
                             const CopyLimits& limits) {
  return Copier(source_root, destination_root, request, limits).copy();
}

}  // namespace naru::build
