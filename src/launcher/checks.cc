#include "launcher/checks.h"

namespace naru::launcher {

namespace {

bool plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

std::string shown(std::string_view text) {
  std::string out(text.substr(0, 80));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < ' ') c = '?';
  return out;
}

bool is_name(std::string_view name, std::size_t longest, std::string_view others) {
  if (name.empty() || name.size() > longest || !plain(name.front()) ||
      name.find("..") != std::string_view::npos)
    return false;
  return std::ranges::all_of(name,
                             [&](char c) { return plain(c) || others.find(c) != std::string_view::npos; });
}

Result<void> check_mount(const ContainerMount& mount, const std::string& checkouts) {
  if (mount.target.empty() || mount.target.front() != '/' || mount.target.size() > 4095 ||
      mount.target.find('\0') != std::string::npos)
    return fail(Code::invalid_argument, "mount target '{}' is not an absolute path", shown(mount.target));
  switch (mount.kind) {
    case MountKind::volume:
      return check_volume_name(mount.source);
    case MountKind::tmpfs:
      if (!mount.source.empty())
        return fail(Code::invalid_argument, "tmpfs at {} has a source", shown(mount.target));
      return {};
    case MountKind::bind:
      break;
  }
  const std::string prefix = checkouts + "/";
  if (!mount.source.starts_with(prefix)) return {};  // of the machine: the grants' to check
  return check_relative_path(std::string_view(mount.source).substr(prefix.size()), "bind source");
}

}  // namespace

Result<void> check_id(std::string_view id, std::string_view what) {
  if (!is_name(id, 63, ".-"))
    return fail(Code::invalid_argument, "'{}' cannot be the id of a {}: [a-z0-9][a-z0-9.-]{{0,62}}",
                shown(id), what);
  return {};
}

Result<void> check_segment(std::string_view name) {
  if (name.empty() || name.size() > 63 || !std::ranges::all_of(name, [](char c) {
        return plain(c) || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';
      }))
    return fail(Code::invalid_argument, "'{}' cannot be a segment's name: [a-zA-Z0-9._-]{{1,63}}",
                shown(name));
  return {};
}

Result<void> check_volume_name(std::string_view name) {
  if (!is_name(name, 127, "._-"))
    return fail(Code::invalid_argument, "'{}' cannot be a volume's name: [a-z0-9][a-z0-9._-]{{0,126}}",
                shown(name));
  return {};
}

Result<void> check_digest(const Digest& digest, std::string_view what) {
  if (digest.empty() || digest.algorithm() != "sha256" || digest.hex().size() != 64)
    return fail(Code::invalid_argument, "the {} is not a sha256 digest: '{}'", what, shown(digest.text()));
  return {};
}

Result<void> check_layers(const std::vector<Digest>& layers, bool may_be_empty) {
  if (layers.empty() && !may_be_empty) return fail(Code::invalid_argument, "there are no layers");
  if (layers.size() > 128) return fail(Code::too_large, "{} layers; at most 128", layers.size());
  for (const Digest& layer : layers) TRY(check_digest(layer, "layer"));
  return {};
}

Result<void> check_duration(milliseconds value, milliseconds most, std::string_view what) {
  if (value < 0ms || value > most)
    return fail(Code::invalid_argument, "{}: {} ms is not within 0 and {} ms", what, value.count(),
                most.count());
  return {};
}

Result<void> check_argv(const std::vector<std::string>& argv, const std::vector<std::string>& env) {
  if (argv.empty() || argv.front().empty()) return fail(Code::invalid_argument, "there is no command");
  if (argv.size() > kMaxArguments || env.size() > kMaxArguments)
    return fail(Code::too_large, "{} arguments and {} variables; at most {} each", argv.size(), env.size(),
                kMaxArguments);
  std::size_t bytes = 0;
  for (const auto* list : {&argv, &env})
    for (const std::string& text : *list) {
      bytes += text.size() + 1;
      if (text.find('\0') != std::string::npos)
        return fail(Code::invalid_argument, "an argument or variable holds a NUL byte");
    }
  if (bytes > kMaxArgumentBytes)
    return fail(Code::too_large, "arguments and variables of {} bytes; at most {}", bytes, kMaxArgumentBytes);
  return {};
}

Result<void> check_relative_path(std::string_view path, std::string_view what) {
  if (path.empty() || path.size() > 1024 || path.find('\0') != std::string_view::npos)
    return fail(Code::invalid_argument, "{}: '{}' is not a path of 1 to 1,024 bytes", what, shown(path));
  std::size_t start = 0;
  while (start <= path.size()) {
    const std::size_t slash = std::min(path.find('/', start), path.size());
    const std::string_view part = path.substr(start, slash - start);
    if (part.empty() || part == "." || part == "..")
      return fail(Code::forbidden, "{}: '{}' is not a plain relative path", what, shown(path));
    start = slash + 1;
  }
  return {};
}

Result<void> check_spec(const ContainerSpec& spec, const std::string& checkouts) {
  TRY(check_id(spec.id, "container"));
  if (!spec.app.empty()) TRY(check_id(spec.app, "application"));
  if (spec.id.starts_with(kBuildPrefix))
    return fail(Code::forbidden, "container ids that begin with {} are the builder's", kBuildPrefix);
  if (spec.parent_cgroup != "apps")
    return fail(Code::forbidden, "parent_cgroup '{}': containers run in apps", shown(spec.parent_cgroup));
  TRY(check_layers(spec.layers, false));
  TRY(check_argv(spec.argv, spec.env));
  if (!spec.network.empty()) TRY(check_id(spec.network, "network"));
  if (spec.network == kBuildNetwork)
    return fail(Code::forbidden, "the network {} is the builder's", kBuildNetwork);
  if (spec.segments.size() > kMaxSegments)
    return fail(Code::too_large, "{} segments; at most {}", spec.segments.size(), kMaxSegments);
  for (const std::string& segment : spec.segments) TRY(check_segment(segment));
  TRY(check_duration(spec.stop_grace, kMaxStopGrace, "stop_grace"));
  if (spec.mounts.size() > kMaxContainerMounts)
    return fail(Code::too_large, "{} mounts; at most {}", spec.mounts.size(), kMaxContainerMounts);
  for (const ContainerMount& mount : spec.mounts) TRY(check_mount(mount, checkouts));
  if (spec.labels.size() > 64) return fail(Code::too_large, "{} labels; at most 64", spec.labels.size());
  if (spec.log_files == 0 || spec.log_files > 100 || spec.log_file_bytes < 4096 ||
      spec.log_file_bytes > (10ULL << 30))
    return fail(Code::invalid_argument, "logs: 1 to 100 files of 4 KiB to 10 GiB");
  return {};
}

Result<void> check_copy(const build::CopyRequest& request) {
  TRY(check_id(request.build, "build"));
  if (request.sources.size() > 4096)
    return fail(Code::too_large, "{} sources; at most 4,096", request.sources.size());
  if (request.ignore.size() > (1U << 20))
    return fail(Code::too_large, "a .dockerignore of {} bytes; at most 1 MiB", request.ignore.size());
  if (request.dest.empty() || request.dest.front() != '/')
    return fail(Code::invalid_argument, "dest '{}' is not an absolute path", shown(request.dest));
  if (request.sources.empty()) return {};
  if (request.from.checkout.empty() == request.from.layers.empty())
    return fail(Code::invalid_argument, "from: exactly one of checkout and layers is wanted");
  if (!request.from.checkout.empty()) return check_relative_path(request.from.checkout, "from.checkout");
  return check_layers(request.from.layers, false);
}

}  // namespace naru::launcher
