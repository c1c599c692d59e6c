#include "os/mount_table.h"

#include <unistd.h>

#include <charconv>
#include <filesystem>

#include "base/take.h"
#include "os/file.h"

namespace naru::os {

namespace {

constexpr std::size_t kMaxTable = 64U << 20;

template <class Number>
bool read_number(std::string_view text, Number& number, int base = 10) {
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return read.ec == std::errc{} && read.ptr == text.data() + text.size();
}

// Space, tab, line feed and backslash stand as \040 and so on.
std::string unescaped(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    unsigned code = 0;
    if (text[0] == '\\' && text.size() >= 4 && read_number(text.substr(1, 3), code, 8)) {
      out += static_cast<char>(code);
      text.remove_prefix(4);
    } else {
      out += text[0];
      text.remove_prefix(1);
    }
  }
  return out;
}

Result<int> mount_of(int fd) {
  std::string about = TRY(read_file(fmt::format("/proc/self/fdinfo/{}", fd), 64U << 10));
  for (std::string_view rest = about; !rest.empty();) {
    std::string_view line = take_until(rest, '\n');
    if (take_until(line, '\t') != "mnt_id:") continue;
    if (int id = 0; read_number(line, id)) return id;
  }
  return fail(Code::malformed, "fdinfo names no mount");
}

}  // namespace

Result<std::vector<Mount>> parse_mount_table(std::string_view mountinfo) {
  std::vector<Mount> mounts;
  while (!mountinfo.empty()) {
    std::string_view line = take_until(mountinfo, '\n');
    const std::string_view whole = line;
    Mount mount;
    const bool numbered = read_number(take_until(line, ' '), mount.id);
    take_until(line, ' ');  // its parent
    mount.device = take_until(line, ' ');
    mount.root = unescaped(take_until(line, ' '));
    mount.point = unescaped(take_until(line, ' '));
    if (!numbered || mount.point.empty())
      return fail(Code::malformed, "mountinfo: '{}' has too few fields", whole.substr(0, 200));
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

Result<std::vector<Mount>> mount_table() {
  return parse_mount_table(TRY(read_file("/proc/self/mountinfo", kMaxTable)));
}

Result<Place> place_of(int fd, const std::vector<Mount>& mounts) {
  const int id = TRY(mount_of(fd));
  std::error_code error;
  const std::string path = std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", fd), error).string();
  if (error)
    return std::unexpected(Error{Code::system, "reading the name of a descriptor", error.value(), {}});
  for (const Mount& mount : mounts) {
    if (mount.id != id) continue;
    const std::string_view point = mount.point == "/" ? std::string_view() : mount.point;
    if (!path.starts_with(point)) break;  // it is mounted elsewhere by now
    const std::string below = path.substr(point.size());
    std::string at = (mount.root == "/" ? "" : mount.root) + (below == "/" ? "" : below);
    return Place{mount.device, at.empty() ? "/" : std::move(at)};
  }
  return fail(Code::not_found, "{}: its mount is not in the table", path);
}

}  // namespace naru::os
