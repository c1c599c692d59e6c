#include "os/mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/file.h"

namespace naru::os {

namespace {

// The kernel explains a refusal as text on the context: "e overlay: ...".
std::string explanation(int context) {
  char text[512];
  const ssize_t got = ::read(context, text, sizeof text);
  if (got <= 2) return {};
  std::string line(text + 2, static_cast<std::size_t>(got) - 2);
  while (!line.empty() && line.back() == '\n') line.pop_back();
  return " (" + line + ")";
}

Result<void> set(int context, const char* type, const char* key, const std::string& value) {
  if (::fsconfig(context, FSCONFIG_SET_STRING, key, value.c_str(), 0) != 0) {
    const int saved = errno;
    const std::string why = explanation(context);
    errno = saved;
    return fail_errno(Code::system, "{}: option {}={}{}", type, key, value, why);
  }
  return {};
}

Result<Fd> finish(const Fd& context, const char* type, std::uint64_t attributes) {
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    const int saved = errno;
    const std::string why = explanation(context.get());
    errno = saved;
    return fail_errno(Code::system, "create {}{}", type, why);
  }
  Fd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes)));
  if (!mount) return fail_errno(Code::system, "fsmount {}", type);
  return mount;
}

Result<Fd> context_of(const char* type) {
  Fd context(::fsopen(type, FSOPEN_CLOEXEC));
  if (!context) return fail_errno(Code::system, "fsopen {}", type);
  return context;
}

// Layers by descriptor keep the option string short: a page holds about 200 of them.
Result<Fd> legacy_overlay(const OverlayLayers& layers, std::uint64_t attributes, const std::string& place) {
  std::vector<Fd> held;
  const auto short_name = [&](const std::string& path) -> Result<std::string> {
    held.push_back(TRY(open_folder(path)));
    return fmt::format("/proc/self/fd/{}", held.back().get());
  };
  std::string options = "lowerdir=";
  for (std::size_t i = 0; i < layers.lower.size(); ++i)
    options += (i ? ":" : "") + TRY(short_name(layers.lower[i]));
  if (!layers.upper.empty()) {
    options += ",upperdir=" + TRY(short_name(layers.upper));
    options += ",workdir=" + TRY(short_name(layers.work));
    if (layers.volatile_upper) options += ",volatile";
  }
  if (options.size() >= 4096)
    return fail(Code::too_large, "{} layers are too many for this kernel's overlay options",
                layers.lower.size());
  if (::mount("overlay", place.c_str(), "overlay", 0, options.c_str()) != 0)
    return fail_errno(Code::system, "mount overlay on {}", place);
  auto copy = [&]() -> Result<Fd> {
    const Fd top = TRY(open_folder(place));
    return bind_mount(top.get(), attributes);
  }();
  ::umount2(place.c_str(), MNT_DETACH);
  return copy;
}

}  // namespace

Result<Fd> overlay_mount(const OverlayLayers& layers, std::uint64_t attributes, const std::string& place,
                         bool legacy) {
  if (layers.lower.empty()) return fail(Code::invalid_argument, "an overlay needs at least one layer");
  if (legacy) return legacy_overlay(layers, attributes, place);
  const Fd context = TRY(context_of("overlay"));
  for (const std::string& lower : layers.lower) {
    if (::fsconfig(context.get(), FSCONFIG_SET_STRING, "lowerdir+", lower.c_str(), 0) == 0) continue;
    if (errno == EINVAL)
      return legacy_overlay(layers, attributes, place);  // before 6.5, or a path above 255 bytes
    const int saved = errno;
    const std::string why = explanation(context.get());
    errno = saved;
    return fail_errno(file_code(saved), "overlay: layer {}{}", lower, why);
  }
  if (!layers.upper.empty()) {
    if (layers.upper.size() > 250 || layers.work.size() > 250)
      return legacy_overlay(layers, attributes, place);
    TRY(set(context.get(), "overlay", "upperdir", layers.upper));
    TRY(set(context.get(), "overlay", "workdir", layers.work));
    if (layers.volatile_upper && ::fsconfig(context.get(), FSCONFIG_SET_FLAG, "volatile", nullptr, 0) != 0)
      return fail_errno(Code::system, "overlay: option volatile");
  }
  return finish(context, "overlay", attributes);
}

Result<Fd> filesystem_mount(const char* type, const std::vector<std::string>& options,
                            std::uint64_t attributes) {
  const Fd context = TRY(context_of(type));
  for (const std::string& option : options) {
    const auto equals = option.find('=');
    if (equals != std::string::npos) {
      TRY(set(context.get(), type, option.substr(0, equals).c_str(), option.substr(equals + 1)));
    } else if (::fsconfig(context.get(), FSCONFIG_SET_FLAG, option.c_str(), nullptr, 0) != 0) {
      return fail_errno(Code::system, "{}: option {}", type, option);
    }
  }
  return finish(context, type, attributes);
}

Result<Fd> tmpfs_mount(std::uint64_t bytes, std::string_view mode, std::uint64_t attributes) {
  return filesystem_mount("tmpfs", {fmt::format("size={}", bytes), fmt::format("mode={}", mode)}, attributes);
}

Result<Fd> bind_mount(int source, std::uint64_t attributes) {
  Fd tree(::open_tree(source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
  if (!tree) return fail_errno(Code::system, "open_tree");
  mount_attr change{};
  change.attr_set = attributes;
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &change, sizeof change) != 0)
    return fail_errno(Code::system, "mount_setattr");
  return tree;
}

}  // namespace naru::os
