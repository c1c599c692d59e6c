#include "model/grant.h"

#include "base/take.h"
#include "model/capabilities.h"

namespace naru {

NARU_JSON_FIELDS(GrantRecord, grant, by, at)
NARU_JSON_FIELDS(AppGrants, app, grants, by, changed)

namespace {

constexpr std::size_t kMaxPath = 1024;

struct Grantable {
  std::string_view name, reach;
};
// Those only that work under the containers' seccomp filter and do not give the machine away by themselves.
// SYS_PTRACE is none of them: what `naru exec` and health checks start would be traced before it has given
// up the launcher's rights. SYS_RESOURCE and SYS_TIME reach the memory and the clock of everybody.
constexpr Grantable kGrantable[] = {
    {"IPC_LOCK", "It can keep its memory from being swapped, up to the service's memory limit"},
    {"NET_ADMIN",
     "It can reconfigure its own network; root in a container is the host's root, so that the kernel also "
     "lets "
     "it add and remove links of the machine"},
    {"NET_BROADCAST", "It can send broadcasts and listen to multicasts in its own network"},
    {"SYS_NICE", "It can take CPU time before every other program of the machine"}};

const Grantable* grantable(std::string_view capability) {
  const auto found = std::ranges::find(kGrantable, capability, &Grantable::name);
  return found == std::end(kGrantable) ? nullptr : found;
}

// Whoever holds one of these, or a folder that it lies in, holds the machine, or another engine's containers.
constexpr std::string_view kNever[] = {"/boot",
                                       "/dev",
                                       "/etc",
                                       "/proc",
                                       "/root",
                                       "/run",
                                       "/sys",
                                       "/var/lib/containerd",
                                       "/var/lib/containers",
                                       "/var/lib/docker",
                                       "/var/lib/incus",
                                       "/var/lib/kubelet",
                                       "/var/lib/libvirt",
                                       "/var/lib/lxc",
                                       "/var/lib/lxd",
                                       "/var/lib/machines",
                                       "/var/lib/rancher",
                                       "/var/run",
                                       "/var/snap",
                                       "/var/spool/at",
                                       "/var/spool/cron"};
constexpr std::string_view kNeverWritten[] = {"/bin",  "/lib", "/lib32",        "/lib64",          "/libx32",
                                              "/sbin", "/usr", "/var/lib/dpkg", "/var/lib/systemd"};

std::string why_no_bind(const Grant& grant) {
  if (grant.name.ends_with(".sock"))
    return "who speaks to a socket acts as who listens there; sockets cannot be granted yet";
  for (const std::string_view never : kNever)
    if (folders_meet(grant.name, never))
      return grant.name == never ? fmt::format("{} is the machine's own, and no application's", never)
             : lies_in(grant.name, never) ? fmt::format("it lies in {}, which is the machine's own", never)
                                          : fmt::format("{} lies in it, which is the machine's own", never);
  if (grant.writable)
    for (const std::string_view never : kNeverWritten)
      if (folders_meet(grant.name, never))
        return fmt::format("what the machine runs lies in {}: no application writes there", never);
  return {};
}

Result<Grant> parse_bind(std::string_view text, std::string_view whole) {
  Grant grant{GrantKind::bind, {}, text.ends_with(":rw")};
  if (grant.writable || text.ends_with(":ro")) text.remove_suffix(3);
  auto path = machine_path(text);
  if (!path)
    return std::unexpected(Error{
        Code::invalid_argument,
        fmt::format("'{}' names no folder: it takes an absolute path of at most {} bytes without \"..\" "
                    "and ':'",
                    whole.substr(0, 80), kMaxPath),
        0, "as bind:/srv/photos, or bind:/srv/photos:rw to let it be written"});
  grant.name = std::move(*path);
  return grant;
}

Result<Grant> parse_capability(std::string_view text) {
  Grant grant;
  for (const char c : text) grant.name += static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  if (grant.name.starts_with("CAP_")) grant.name = grant.name.substr(4);
  const bool plain =
      std::ranges::all_of(grant.name, [](char c) { return (c >= 'A' && c <= 'Z') || c == '_'; });
  if (!plain || grant.name.empty() || grant.name.size() > 40)
    return std::unexpected(Error{Code::invalid_argument,
                                 fmt::format("'{}' is no name of a capability", text.substr(0, 80)), 0,
                                 "as cap:NET_ADMIN; capabilities(7) lists them"});
  return grant;
}

// For a shell.
std::string as_one_word(const std::string& text) {
  const bool plain = std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./:@+,").contains(c);
  });
  if (plain) return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::vector<Grant> capabilities_in(const std::vector<std::string>& cap_add) {
  std::vector<Grant> needs;
  for (const std::string& name : cap_add)
    if (std::ranges::find(kContainerCapabilities, name) == std::end(kContainerCapabilities))
      needs.push_back({GrantKind::capability, name, false});
  return needs;
}

}  // namespace

std::string Grant::text() const {
  if (kind == GrantKind::capability) return "cap:" + name;
  return fmt::format("bind:{}{}", name, writable ? ":rw" : "");
}

bool Grant::covers(const Grant& need) const {
  if (kind != need.kind) return false;
  if (kind == GrantKind::capability) return name == need.name;
  return lies_in(need.name, name) && (writable || !need.writable);
}

Result<Grant> parse_grant(std::string_view text) {
  const auto parse = [&]() -> Result<Grant> {
    if (text.starts_with("cap:")) return parse_capability(text.substr(4));
    if (text.starts_with("bind:")) return parse_bind(text.substr(5), text);
    return std::unexpected(Error{
        Code::invalid_argument, fmt::format("'{}' is nothing that can be allowed", text.substr(0, 80)), 0,
        "a capability (cap:NET_ADMIN) or a folder of the machine (bind:/srv/photos, "
        "bind:/srv/photos:rw); privileged, devices and the namespaces of the machine "
        "cannot be granted yet"});
  };
  Grant grant = TRY(parse());
  if (const std::string why = why_never(grant); !why.empty())
    return std::unexpected(Error{Code::forbidden, fmt::format("{}: {}", grant.text(), why), 0,
                                 grant.kind == GrantKind::bind
                                     ? "let the application have a folder of its own, below /srv say"
                                     : "take it out of the compose file: it cannot be granted yet"});
  return grant;
}

std::string why_never(const Grant& grant) {
  if (grant.kind == GrantKind::bind) return why_no_bind(grant);
  if (std::ranges::find(kContainerCapabilities, grant.name) != std::end(kContainerCapabilities))
    return "every container has it";
  return grantable(grant.name) != nullptr ? "" : "it reaches beyond the container";
}

std::vector<std::string_view> grantable_capabilities() {
  std::vector<std::string_view> names;
  for (const Grantable& one : kGrantable) names.push_back(one.name);
  return names;
}

std::string reach_of(const Grant& grant) {
  if (grant.kind == GrantKind::capability) {
    const Grantable* known = grantable(grant.name);
    return known == nullptr ? "" : std::string(known->reach);
  }
  if (!grant.writable)
    return "It can read all that lies there, whoever it belongs to, and speak as the machine's root to who "
           "listens at a socket or FIFO in it";
  return "It can speak to who listens at a socket or FIFO in it, and change all that lies there as the "
         "machine's root, also make programs that run as root: keep "
         "other users of the machine out of the folder (chmod 700)";
}

std::optional<std::string> machine_path(std::string_view text) {
  if (!text.starts_with('/') || text.size() > kMaxPath) return std::nullopt;
  for (const char c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f || c == ':') return std::nullopt;
  std::string path;
  while (!text.empty()) {
    const std::string_view part = take_until(text, '/');
    if (part == "..") return std::nullopt;
    if (!part.empty() && part != ".") path.append("/").append(part);
  }
  return path.empty() ? "/" : path;
}

std::vector<Grant> needs_of(const ContainerSpec& container, std::string_view checkouts) {
  std::vector<Grant> needs = capabilities_in(container.cap_add);
  for (const ContainerMount& mount : container.mounts)
    if (mount.kind == MountKind::bind && !mount.source.starts_with(fmt::format("{}/", checkouts)))
      needs.push_back({GrantKind::bind, mount.source, !mount.read_only});
  return needs;
}

std::vector<Grant> needs_of(const ServiceSpec& service) {
  std::vector<Grant> needs = capabilities_in(service.cap_add);
  for (const MountSpec& mount : service.mounts)
    if (mount.of_machine()) needs.push_back({GrantKind::bind, mount.source, !mount.read_only});
  return needs;
}

bool is_covered(const Grant& need, std::span<const Grant> grants) {
  return std::ranges::any_of(grants, [&](const Grant& grant) { return grant.covers(need); });
}

// Who pushed chose the path, and root types the command.
std::string allow_command(std::string_view app, const Grant& need) {
  return fmt::format("naru app allow {} {}", app.substr(0, app.find('/')), as_one_word(need.text()));
}

std::vector<Grant> grants_in(const std::vector<GrantRecord>& records) {
  std::vector<Grant> grants;
  for (const GrantRecord& record : records)
    if (auto grant = parse_grant(record.grant)) grants.push_back(std::move(*grant));
  return grants;
}

}  // namespace naru
