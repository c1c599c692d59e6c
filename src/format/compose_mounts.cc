// volumes and tmpfs of a service.
#include "format/compose_parts.h"
#include "format/quantity.h"
#include "model/container_bounds.h"

namespace naru::format {
namespace {

bool is_path(std::string_view source) {
  return source.starts_with('.') || source.starts_with('/') || source.starts_with('~');
}

bool valid_volume_name(std::string_view name) {
  if (name.empty() || name.size() > 64 || name[0] == '-' || name[0] == '.' || name[0] == '_') return false;
  // What the launcher takes for a folder's name, after "<app>.<environment>.".
  return name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.-") == std::string_view::npos &&
         name.find("..") == std::string_view::npos;
}

// The target, without a trailing slash; nothing (and a remark) when it is not a place to mount on.
std::optional<std::string> mount_target(ComposeReading& reading, const At& at, const std::string& text) {
  const auto normal = text.starts_with('/') ? normalise("", std::string_view(text).substr(1)) : std::nullopt;
  if (!normal || *normal == "." || text.contains('\n') || text.size() > 1024) {
    reading.error(
        at, fmt::format("found the target \"{}\", expected an absolute path below /", text.substr(0, 80)));
    return std::nullopt;
  }
  std::string target = "/" + *normal;
  for (const std::string_view own : {"/proc", "/sys", "/dev"}) {
    if (target == "/dev/shm" || (target != own && !target.starts_with(std::string(own) + "/"))) continue;
    reading.error(at, fmt::format("found the target \"{}\", which belongs to the container engine", target),
                  {"mount elsewhere", Code::forbidden});
    return std::nullopt;
  }
  return target;
}

void add_mount(ComposeReading& reading, ServiceDraft& draft, MountSpec mount, const At& at) {
  for (const MountSpec& other : draft.spec.mounts)
    if (other.target == mount.target)
      return reading.error(at, fmt::format("found a second mount on {}, expected one", mount.target));
  if (draft.spec.mounts.size() >= kMaxContainerMounts)
    return reading.error(at, fmt::format("found more than {} mounts", kMaxContainerMounts),
                         {{}, Code::too_large});
  draft.spec.mounts.push_back(std::move(mount));
  draft.mount_places.push_back(at);
}

// A folder of the machine: the operator's to allow.
bool set_machine_folder(ComposeReading& reading, MountSpec& mount, const std::string& source, const At& at) {
  auto path = machine_path(source);
  if (!path) {
    reading.error(
        at,
        fmt::format("found the folder \"{}\" of the machine, expected one of the application, or an absolute "
                    "path without \"..\" and ':'",
                    source.substr(0, 80)),
        {"put the files into the repository and mount ./folder, or use a named volume", Code::forbidden});
    return false;
  }
  mount.source = std::move(*path);
  return reading.granted(at, {GrantKind::bind, mount.source, !mount.read_only});
}

// Sets the source of a bind or a volume; false after a fault.
bool set_source(ComposeReading& reading, MountSpec& mount, const std::string& source, const At& at) {
  if (mount.kind == MountKind::volume) {
    if (!valid_volume_name(source)) {
      reading.error(at,
                    fmt::format("found the volume \"{}\", expected a name of at most 64 lower-case letters, "
                                "digits, - _ and .",
                                source.substr(0, 80)),
                    {source.find('/') != std::string::npos
                         ? fmt::format("a folder of the application is written ./{}", source.substr(0, 80))
                         : "begin it with a letter or a digit, and write it so under `volumes`, too"});
      return false;
    }
    mount.source = source;
    return true;
  }
  if (source.starts_with('/') || source.starts_with('~'))
    return set_machine_folder(reading, mount, source, at);
  const auto inside = reading.inside(at, "", source, "a folder");
  if (!inside) return false;
  if (!reading.exists(*inside)) {
    reading.error(at, fmt::format("\"{}\" is not in the pushed commit", *inside),
                  {"commit it, or use a named volume"});
    return false;
  }
  if (reading.passes_link(*inside)) {
    reading.error(
        at, fmt::format("\"{}\" is a symbolic link, or lies behind one; a mount follows none", *inside),
        {"mount what the link points to, or commit the files themselves in its place", Code::forbidden});
    return false;
  }
  mount.source = *inside;
  return true;
}

// A commit's files are what a release is made of, now and when it is built again: nobody writes to them.
void keep_from_writing(ComposeReading& reading, MountSpec& mount, const At& at) {
  if (mount.kind != MountKind::bind || mount.read_only || mount.of_machine()) return;
  mount.read_only = true;
  reading.warn(at, "this bind mount is read-only: a release does not change",
               {"add :ro, or use a named volume for what is written"});
}

// "[SOURCE:]TARGET[:OPTIONS]"
void read_short_mount(ComposeReading& reading, ServiceDraft& draft, const At& at) {
  const auto text = reading.text(at, "SOURCE:TARGET[:ro]");
  if (!text) return;
  const std::size_t first = text->find(':');
  if (first == std::string::npos)
    return reading.error(
        at, fmt::format("found {} without a source: Naru does not make anonymous volumes", found(*at.node)),
        {"name a volume (data:/path), or use `tmpfs` for what need not stay", Code::unsupported});
  const std::size_t second = text->find(':', first + 1);
  MountSpec mount;
  const std::string source = text->substr(0, first);
  mount.kind = is_path(source) ? MountKind::bind : MountKind::volume;
  std::string_view options =
      second == std::string::npos ? std::string_view() : std::string_view(*text).substr(second + 1);
  while (!options.empty()) {
    const std::string_view option = options.substr(0, options.find(','));
    options.remove_prefix(std::min(options.size(), option.size() + 1));
    if (option == "ro")
      mount.read_only = true;
    else if (option != "rw" && option != "z" && option != "Z" && option != "nocopy" && option != "cached" &&
             option != "delegated" && option != "consistent")
      return reading.error(at,
                           fmt::format("found the option \"{}\", expected ro or rw", option.substr(0, 40)));
  }
  const auto target = mount_target(
      reading, at, text->substr(first + 1, second == std::string::npos ? second : second - first - 1));
  if (!target || !set_source(reading, mount, source, at)) return;
  mount.target = *target;
  keep_from_writing(reading, mount, at);
  add_mount(reading, draft, std::move(mount), at);
}

void read_long_mount(ComposeReading& reading, ServiceDraft& draft, const At& at) {
  MountSpec mount;
  std::string type, source, target;
  bool good = true;
  reading.fields(
      at, {
              {"type", [&](const At& v) { type = reading.text(v).value_or(""); }},
              {"source", [&](const At& v) { source = reading.text(v).value_or(""); }},
              {"target", [&](const At& v) { target = reading.text(v).value_or(""); }},
              {"read_only", [&](const At& v) { mount.read_only = reading.boolean(v).value_or(false); }},
              {"consistency", reading.silent()},
              {"bind",
               [&](const At& v) {
                 reading.fields(v, {{"create_host_path", reading.silent()},
                                    {"selinux", reading.silent()},
                                    {"propagation", reading.forbidden("mounts do not propagate")},
                                    {"recursive", reading.silent()}});
               }},
              {"volume",
               [&](const At& v) {
                 reading.fields(
                     v, {{"nocopy", reading.unsupported("a new volume starts with what the image has there")},
                         {"subpath", reading.unsupported("mount the whole volume")},
                         {"labels", reading.silent()}});
               }},
              {"tmpfs",
               [&](const At& v) {
                 reading.fields(
                     v,
                     {{"size", [&](const At& size) { mount.tmpfs_bytes = reading.bytes(size).value_or(0); }},
                      {"mode", reading.ignored("a tmpfs has mode 1777")}});
               }},
          });
  if (type == "volume")
    mount.kind = MountKind::volume;
  else if (type == "bind")
    mount.kind = MountKind::bind;
  else if (type == "tmpfs")
    mount.kind = MountKind::tmpfs;
  else
    return reading.error(
        at.child_or_self("type"),
        type.empty() ? "found a mount without `type`, expected volume, bind or tmpfs"
                     : fmt::format("found \"{}\", expected volume, bind or tmpfs", type.substr(0, 40)),
        {type.empty() ? "" : did_you_mean(type, {"volume", "bind", "tmpfs"})});
  const auto place = mount_target(reading, at.child_or_self("target"), target);
  if (mount.kind == MountKind::tmpfs) {
    if (!source.empty())
      reading.error(at.child_or_self("source"), "found a `source`, expected none for a tmpfs");
  } else {
    good = set_source(reading, mount, source, at.child_or_self("source"));
  }
  if (!place || !good) return;
  mount.target = *place;
  keep_from_writing(reading, mount, at);
  add_mount(reading, draft, std::move(mount), at);
}

}  // namespace

void read_mounts(ComposeReading& reading, ServiceDraft& draft, const At& at) {
  reading.each(at, "a list of mounts", [&](const At& item) {
    if (item.node->kind == YamlKind::mapping)
      read_long_mount(reading, draft, item);
    else
      read_short_mount(reading, draft, item);
  });
}

void read_tmpfs(ComposeReading& reading, ServiceDraft& draft, const At& at) {
  for (const std::string& text : reading.texts(at, "a path, or a list of paths")) {
    const std::size_t colon = text.find(':');
    MountSpec mount;
    mount.kind = MountKind::tmpfs;
    std::string_view options =
        colon == std::string::npos ? std::string_view() : std::string_view(text).substr(colon + 1);
    while (!options.empty()) {
      const std::string_view option = options.substr(0, options.find(','));
      options.remove_prefix(std::min(options.size(), option.size() + 1));
      if (!option.starts_with("size=")) {
        reading.warn(at, fmt::format("the tmpfs option \"{}\" is ignored", option.substr(0, 40)));
        continue;
      }
      const auto bytes = parse_bytes(option.substr(5));
      if (!bytes)
        reading.error(at, fmt::format("found \"{}\", expected a size like size=64m", option.substr(0, 40)));
      mount.tmpfs_bytes = bytes.value_or(0);
    }
    const auto target = mount_target(reading, at, text.substr(0, colon));
    if (!target) continue;
    mount.target = *target;
    add_mount(reading, draft, std::move(mount), at);
  }
}

}  // namespace naru::format
