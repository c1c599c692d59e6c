// What a request may ask for. The launcher is root and its caller is not: anything not understood is refused.
#include <filesystem>

#include "base/signal_name.h"
#include "container/engine.h"
#include "container/plan.h"
#include "model/container_bounds.h"

namespace naru::container {

namespace {

constexpr std::size_t kMaxLayers = 128, kMaxArguments = 4096, kMaxText = 128 << 10, kMaxBytes = 1 << 20;

bool plain_name(std::string_view name, std::size_t longest, std::string_view inner) {
  const auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (name.empty() || name.size() > longest || !alphanumeric(name[0])) return false;
  return std::ranges::all_of(name, [&](char c) { return alphanumeric(c) || inner.find(c) != inner.npos; });
}

bool plain_hostname(std::string_view name) {
  const auto alphanumeric = [](unsigned char c) { return c < 0x80 && std::isalnum(c) != 0; };
  return !name.empty() && name.size() <= 63 && alphanumeric(name[0]) &&
         std::ranges::all_of(
             name, [&](unsigned char c) { return alphanumeric(c) || c == '-' || c == '.' || c == '_'; });
}

Result<void> check_list(std::string_view field, const std::vector<std::string>& list) {
  std::size_t bytes = 0;
  if (list.size() > kMaxArguments)
    return fail(Code::invalid_argument, "{}: more than {} entries", field, kMaxArguments);
  for (const std::string& text : list) {
    if (text.find('\0') != text.npos)
      return fail(Code::invalid_argument, "{}: an entry contains a zero byte", field);
    if (text.size() >= kMaxText)
      return fail(Code::invalid_argument, "{}: an entry is longer than {} bytes", field, kMaxText);
    bytes += text.size() + 1;
  }
  if (bytes > kMaxBytes)
    return fail(Code::invalid_argument, "{}: together longer than {} bytes", field, kMaxBytes);
  return {};
}

Result<void> check_path(std::string_view field, const std::string& path) {
  if (!path.starts_with('/') || path.size() >= 4096 || path.find('\0') != path.npos)
    return fail(Code::invalid_argument, "{}: '{}' is not an absolute path below 4,096 bytes", field,
                path.substr(0, 200));
  for (const auto& part : std::filesystem::path(path))
    if (part == ".." || part.native().size() > 255)
      return fail(Code::invalid_argument, "{}: '{}' contains .. or a name above 255 bytes", field,
                  path.substr(0, 200));
  return {};
}

bool below(std::string_view path, std::string_view folder) {
  return path == folder ||
         (path.starts_with(folder) && path.size() > folder.size() && path[folder.size()] == '/');
}

Result<void> check_mount(const ContainerMount& mount) {
  TRY(check_path("mounts.target", mount.target));
  const std::string target = std::filesystem::path(mount.target).lexically_normal();
  if (target == "/") return fail(Code::forbidden, "mounts.target: nothing can be mounted over /");
  const bool shm = below(target, "/dev/shm");
  for (const std::string_view kernel : {"/proc", "/sys", "/dev"})
    if (below(target, kernel) && !shm)
      return fail(Code::forbidden, "mounts.target: {} lies in {}, which the kernel fills", target, kernel);
  if (mount.kind == MountKind::volume && !plain_name(mount.source, 192, "._-ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    return fail(Code::invalid_argument, "mounts.source: '{}' is not a volume's name",
                mount.source.substr(0, 80));
  if (mount.kind == MountKind::bind) TRY(check_path("mounts.source", mount.source));
  return {};
}

Result<void> check_texts(const ContainerSpec& spec) {
  if (spec.argv.empty() || spec.argv[0].empty())
    return fail(Code::invalid_argument, "argv: there is no program to run");
  TRY(check_list("argv", spec.argv));
  TRY(check_list("env", spec.env));
  for (const std::string& entry : spec.env)
    if (entry.find('=') == entry.npos || entry[0] == '=')
      return fail(Code::invalid_argument, "env: '{}' is not NAME=value", entry.substr(0, 80));
  if (!spec.hostname.empty() && !plain_hostname(spec.hostname))
    return fail(Code::invalid_argument,
                "hostname: '{}' is not 1 to 63 letters, digits, '-', '.' and '_', first a letter or a digit",
                spec.hostname.substr(0, 80));
  if (spec.dns_search.size() > 6) return fail(Code::invalid_argument, "dns_search: more than 6 domains");
  for (const std::string& domain : spec.dns_search)
    if (!plain_name(domain, 253, "-._"))
      return fail(Code::invalid_argument, "dns_search: '{}' is not a domain", domain.substr(0, 80));
  return check_path("cwd", spec.cwd);
}

}  // namespace

Result<void> validate(const ContainerSpec& spec, const std::vector<std::string>& granted_capabilities) {
  if (!plain_name(spec.id, 63, ".-"))
    return fail(Code::invalid_argument, "id: '{}' is not [a-z0-9][a-z0-9.-]{{0,62}}", spec.id.substr(0, 80));
  TRY(check_texts(spec));
  if (spec.layers.size() > kMaxLayers)
    return fail(Code::invalid_argument, "layers: more than {}", kMaxLayers);
  for (const Digest& layer : spec.layers)
    if (layer.empty()) return fail(Code::invalid_argument, "layers: an entry is not a digest");
  if (spec.mounts.size() > kMaxContainerMounts)
    return fail(Code::invalid_argument, "mounts: more than {}", kMaxContainerMounts);
  for (const ContainerMount& mount : spec.mounts) TRY(check_mount(mount));
  if (spec.parent_cgroup != "apps" && spec.parent_cgroup != "builds")
    return fail(Code::invalid_argument, "parent_cgroup: '{}' is neither apps nor builds",
                spec.parent_cgroup.substr(0, 80));
  if (spec.stop_grace < 0ms || spec.stop_grace > kMaxStopGrace)
    return fail(Code::invalid_argument, "stop_grace: not within 0 and {} ms", kMaxStopGrace.count());
  if (spec.resources.memory_bytes > 0 && spec.resources.memory_bytes < (1U << 20))
    return fail(Code::invalid_argument,
                "resources.memory_bytes: {} is below 1 MiB, in which no program starts",
                spec.resources.memory_bytes);
  TRY(parse_signal(spec.stop_signal));
  TRY(capabilities_of(spec, granted_capabilities));
  return {};
}

std::optional<int> exit_code_for(const Error& error) {
  if (error.code == Code::command_not_found) return 127;
  if (error.code == Code::command_not_executable) return 126;
  return std::nullopt;
}

}  // namespace naru::container
