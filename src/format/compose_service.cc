// One service: which key is read by what.
#include "base/signal_name.h"
#include "format/compose_parts.h"
#include "format/dotenv.h"
#include "format/shell_words.h"
#include "model/container_bounds.h"

namespace naru::format {
namespace {

constexpr std::string_view kSignals[] = {"HUP",  "INT",    "QUIT", "ILL",   "TRAP", "ABRT", "BUS",  "FPE",
                                         "KILL", "USR1",   "SEGV", "USR2",  "PIPE", "ALRM", "TERM", "STKFLT",
                                         "CHLD", "CONT",   "STOP", "TSTP",  "TTIN", "TTOU", "URG",  "XCPU",
                                         "XFSZ", "VTALRM", "PROF", "WINCH", "IO",   "PWR",  "SYS"};

std::optional<std::string> read_signal(ComposeReading& reading, const At& at) {
  auto text = reading.text(at, "a signal");
  if (!text) return std::nullopt;
  const std::string_view name =
      text->starts_with("SIG") ? std::string_view(*text).substr(3) : std::string_view(*text);
  if (parse_signal(*text)) return yaml_int(*text) ? *text : fmt::format("SIG{}", name);
  reading.error(at, fmt::format("found {}, expected a signal such as SIGTERM", found(*at.node)),
                {did_you_mean(name, {std::begin(kSignals), std::end(kSignals)})});
  return std::nullopt;
}

bool only(std::string_view text, std::string_view allowed, std::size_t most) {
  return !text.empty() && text.size() <= most && text.find_first_not_of(allowed) == std::string_view::npos;
}
constexpr std::string_view kWordCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

std::function<void(const At&)> text_into(ComposeReading& reading, std::string& into, std::string_view extra,
                                         std::size_t most, std::string_view expected) {
  return [&reading, &into, extra, most, expected](const At& at) {
    const auto text = reading.text(at, expected);
    if (!text) return;
    if (only(*text, std::string(kWordCharacters) + std::string(extra), most))
      into = *text;
    else
      reading.error(at, fmt::format("found {}, expected {}", found(*at.node), expected));
  };
}

void read_hostname(ComposeReading& reading, std::string& into, const At& at) {
  const auto text = reading.text(at, "a host name");
  if (!text) return;
  if (only(*text, std::string(kWordCharacters) + ".-", 63) && !text->starts_with('-') &&
      !text->starts_with('.'))
    into = *text;
  else
    reading.error(at, fmt::format("found {}, expected a host name", found(*at.node)),
                  {"up to 63 letters, digits, '-' and '.', the first of them a letter or a digit"});
}

std::optional<milliseconds> read_grace(ComposeReading& reading, const At& at) {
  const auto grace = reading.duration(at);
  if (!grace || *grace <= kMaxStopGrace) return grace;
  reading.error(at,
                fmt::format("found {}, expected at most {}m", found(*at.node),
                            std::chrono::duration_cast<std::chrono::minutes>(kMaxStopGrace).count()),
                {"work that takes longer belongs where a restart finds it again", Code::too_large});
  return std::nullopt;
}

void read_working_dir(ComposeReading& reading, std::string& into, const At& at) {
  const auto text = reading.text(at, "an absolute path");
  if (!text) return;
  const auto normal = text->starts_with('/') && text->size() <= 1024
                          ? normalise("", std::string_view(*text).substr(1))
                          : std::nullopt;
  if (normal)
    into = *normal == "." ? "/" : "/" + *normal;
  else
    reading.error(at, fmt::format("found {}, expected an absolute path", found(*at.node)));
}

void refuse_host(ComposeReading& reading, const At& at, std::string_view what) {
  const std::string word = reading.text(at).value_or("");
  if (word == "host" || word.starts_with("container:"))
    return reading.forbidden(fmt::format("it would share {} with the machine or a neighbour", what))(at);
  if (word != "private" && word != "shareable" && word != "bridge" && word != "default" && !word.empty())
    reading.unsupported("leave it out: every container has its own")(at);
}

std::map<std::string, std::string> read_labels(ComposeReading& reading, const At& at) {
  std::map<std::string, std::string> labels;
  for (KeyValue& pair : reading.key_values(at)) labels[pair.key] = pair.value.value_or("");
  return labels;
}

std::map<std::string, std::string> read_args(ComposeReading& reading, const ComposeScope& scope,
                                             const At& at) {
  std::map<std::string, std::string> args;
  for (KeyValue& pair : reading.key_values(at)) {
    if (pair.value)
      args[pair.key] = *pair.value;
    else if (const auto given = scope.variables.find(pair.key); given != scope.variables.end())
      args[pair.key] = given->second;
  }
  return args;
}

// Pushes "NAME" of a null value to what the environment's variables say; an unset one stays away, as with
// docker compose.
void put_variable(std::map<std::string, std::string>& into, const ComposeScope& scope, const std::string& key,
                  const std::optional<std::string>& value) {
  if (value)
    into[key] = *value;
  else if (const auto given = scope.variables.find(key); given != scope.variables.end())
    into[key] = given->second;
}

void read_env_file(ComposeReading& reading, const ComposeScope& scope,
                   std::map<std::string, std::string>& into, const std::string& path, bool required,
                   const At& at) {
  const auto inside = reading.inside(at, "", path, "a file");
  if (!inside) return;
  const auto& read_file = reading.input().files.read_file;
  const auto content =
      read_file ? read_file(*inside) : Result<std::string>(fail(Code::not_found, "{}", *inside));
  if (!content) {
    if (content.error().code != Code::not_found)
      return reading.error(at, fmt::format("cannot read {}: {}", *inside, content.error().message()));
    if (required)
      reading.error(at, fmt::format("the env file \"{}\" is not in the pushed commit", *inside),
                    {fmt::format("commit it; secrets belong to `naru env set {} NAME=...` instead",
                                 reading.input().app)});
    return;
  }
  const auto entries =
      parse_dotenv(*content, *inside, [&](std::string_view name) -> std::optional<std::string> {
        const auto given = scope.variables.find(std::string(name));
        return given == scope.variables.end() ? std::nullopt : std::optional(given->second);
      });
  if (!entries) return reading.error(at, entries.error().context);
  for (const DotenvEntry& entry : *entries) put_variable(into, scope, entry.key, entry.value);
}

bool check_name(ComposeReading& reading, const std::string& name, const At& at) {
  const bool good =
      only(name, "abcdefghijklmnopqrstuvwxyz0123456789-", 40) && name.front() != '-' && name.back() != '-';
  // "<app>-<service>-<number>.<attempt>" names a container: 63 characters, 18 of them for what is not the
  // names.
  const std::string_view app = std::string_view(reading.input().app).substr(0, reading.input().app.find('/'));
  const std::size_t most = 45 - std::min<std::size_t>(app.size(), 24);
  if (good && name.size() > most) {
    reading.error(at,
                  fmt::format("found a service name of {} characters, expected at most {} in the application "
                              "\"{}\": containers are named after both",
                              name.size(), most, app),
                  {"give the service a shorter name"});
    return false;
  }
  if (good) return true;
  std::string better;
  for (const char c : name.substr(0, 40)) {
    if (c >= 'A' && c <= 'Z')
      better += static_cast<char>(c - 'A' + 'a');
    else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
      better += c;
    else if ((c == '_' || c == '.' || c == '-') && !better.empty())
      better += '-';
  }
  reading.error(
      at,
      "found a service name that is no host name, expected at most 40 lower-case letters, digits and hyphens",
      {better.empty() ? "" : fmt::format("call it \"{}\"", better)});
  return false;
}

// Keys that Naru knows and does not do, each with what it says of them.
bool read_other(ComposeReading& reading, const std::string& key, const At& at) {
  static const std::map<std::string_view, std::string_view> kIgnored{
      {"container_name", "Naru names containers itself, since there may be several"},
      {"logging", "Naru keeps and rotates the logs itself"},
      {"stdin_open", "nobody types into a service"},
      {"tty", "nobody types into a service"},
      {"pull_policy", "images are kept by digest"},
      {"platform", "images are of this machine's platform"},
      {"mem_reservation", "only limits count"},
      {"cpu_shares", "only limits count"},
      {"annotations", "nothing reads them"}};
  static const std::map<std::string_view, std::string_view> kForbidden{
      {"privileged", "a privileged container is root of the machine"},
      {"devices", "devices belong to the machine"},
      {"device_cgroup_rules", "devices belong to the machine"},
      {"cgroup_parent", "Naru places containers itself"},
      {"sysctls", "kernel settings belong to the machine"},
      {"oom_kill_disable", "it could take the machine's memory"},
      {"oom_score_adj", "it could take the machine's memory"},
      {"external_links", "it reaches into a neighbour"},
      {"use_api_socket", "it hands out the container engine"}};
  static const std::map<std::string_view, std::string_view> kUnsupported{
      {"profiles", "put optional services into a compose file of their own"},
      {"extends", "use anchors and merge keys (<<)"},
      {"secrets", "use `naru env set`"},
      {"configs", "put the file into the image, or mount ./file"},
      {"links", "services reach each other by name; use depends_on"},
      {"volumes_from", "name the volumes in both services"},
      {"extra_hosts", ""},
      {"dns", "names are answered by Naru"},
      {"dns_search", "names are answered by Naru"},
      {"dns_opt", "names are answered by Naru"},
      {"ulimits", "use deploy.resources.limits"},
      {"shm_size", "mount a tmpfs on /dev/shm"},
      {"group_add", ""},
      {"domainname", "use hostname"},
      {"mac_address", ""},
      {"memswap_limit", "containers do not swap"},
      {"mem_swappiness", "containers do not swap"},
      {"cpu_quota", "use cpus"},
      {"cpu_period", "use cpus"},
      {"cpu_count", "use cpus"},
      {"cpu_percent", "use cpus"},
      {"cpuset", "use cpus"},
      {"cpu_rt_runtime", ""},
      {"cpu_rt_period", ""},
      {"blkio_config", ""},
      {"runtime", "Naru is the runtime"},
      {"isolation", ""},
      {"storage_opt", ""},
      {"credential_spec", ""},
      {"label_file", "use labels"},
      {"post_start", ""},
      {"pre_stop", "handle stop_signal in the program"},
      {"gpus", ""},
      {"provider", ""},
      {"models", ""}};
  if (const auto it = kIgnored.find(key); it != kIgnored.end())
    return reading.ignored(std::string(it->second))(at), true;
  if (const auto it = kForbidden.find(key); it != kForbidden.end())
    return reading.forbidden(std::string(it->second))(at), true;
  if (const auto it = kUnsupported.find(key); it != kUnsupported.end())
    return reading.unsupported(std::string(it->second))(at), true;
  return key == "attach" || key == "develop";
}

}  // namespace

std::vector<std::string> read_words(ComposeReading& reading, const At& at) {
  if (at.node->kind != YamlKind::scalar) return reading.texts(at, "a command: text or a list");
  const auto text = reading.text(at, "a command");
  if (!text) return {};
  auto words = split_shell_words(*text);
  if (!words) reading.error(at, fmt::format("{}, in {}", words.error().context, found(*at.node)));
  return words ? std::move(*words) : std::vector<std::string>();
}

BuildSpec read_build(ComposeReading& reading, const ComposeScope& scope, const At& at) {
  BuildSpec build;
  At context_at = at, dockerfile_at = at;
  std::string context = ".";
  if (at.node->kind == YamlKind::scalar) {
    context = reading.text(at, "a folder").value_or(".");
  } else if (at.node->kind == YamlKind::sequence) {
    reading.error(at, fmt::format("found {}, expected a folder, or a mapping", found(*at.node)));
    return build;
  } else {
    reading.fields(at, {
                           {"context",
                            [&](const At& v) {
                              context_at = v;
                              context = reading.text(v, "a folder").value_or(".");
                            }},
                           {"dockerfile",
                            [&](const At& v) {
                              dockerfile_at = v;
                              build.dockerfile = reading.text(v, "a file").value_or(build.dockerfile);
                            }},
                           {"target", text_into(reading, build.target, "_.-", 100, "the name of a stage")},
                           {"args", [&](const At& v) { build.args = read_args(reading, scope, v); }},
                           {"dockerfile_inline", reading.unsupported("put it into a file")},
                           {"additional_contexts", reading.unsupported("")},
                           {"ssh", reading.unsupported("")},
                           {"secrets", reading.unsupported("")},
                           {"network", reading.unsupported("builds have a network of their own")},
                           {"entitlements", reading.forbidden("builds are confined")},
                           {"privileged", reading.forbidden("builds are confined")},
                           {"extra_hosts", reading.unsupported("")},
                           {"isolation", reading.unsupported("")},
                           {"ulimits", reading.unsupported("")},
                           {"shm_size", reading.unsupported("")},
                           {"cache_from", reading.ignored("Naru keeps its own cache")},
                           {"cache_to", reading.ignored("Naru keeps its own cache")},
                           {"no_cache", reading.ignored("a step is cached by the digest of what goes in")},
                           {"pull", reading.ignored("images are kept by digest")},
                           {"tags", reading.ignored("releases are numbered")},
                           {"platforms", reading.ignored("images are of this machine's platform")},
                           {"labels", reading.ignored("write LABEL into the Dockerfile")},
                           {"provenance", reading.silent()},
                           {"sbom", reading.silent()},
                       });
  }
  if (context.find("://") != std::string::npos || context.starts_with("git@")) {
    reading.error(context_at,
                  fmt::format("found {}, expected a folder of the repository", found(*context_at.node)),
                  {{}, Code::unsupported});
    return build;
  }
  const auto folder = reading.inside(context_at, "", context, "a folder");
  if (!folder) return build;
  build.context = *folder;
  if (!reading.exists(*folder)) {
    reading.error(context_at, fmt::format("the folder \"{}\" is not in the pushed commit", *folder),
                  {"git does not keep empty folders; is it in .gitignore?"});
    return build;
  }
  const auto dockerfile = reading.inside(dockerfile_at, *folder, build.dockerfile, "a Dockerfile");
  if (dockerfile && !reading.exists(*dockerfile))
    reading.error(dockerfile_at, fmt::format("there is no \"{}\" in the pushed commit", *dockerfile),
                  {"name it with build.dockerfile, relative to build.context"});
  return build;
}

std::map<std::string, std::string> read_environment(ComposeReading& reading, const ComposeScope& scope,
                                                    const At& at) {
  std::map<std::string, std::string> out;
  for (const KeyValue& pair : reading.key_values(at)) put_variable(out, scope, pair.key, pair.value);
  return out;
}

std::map<std::string, std::string> read_env_files(ComposeReading& reading, const ComposeScope& scope,
                                                  const At& at) {
  std::map<std::string, std::string> out;
  const auto one = [&](const At& item) {
    if (item.node->kind != YamlKind::mapping) {
      if (const auto path = reading.text(item, "a file"))
        read_env_file(reading, scope, out, *path, true, item);
      return;
    }
    std::string path;
    bool required = true;
    reading.fields(item, {{"path", [&](const At& v) { path = reading.text(v, "a file").value_or(""); }},
                          {"required", [&](const At& v) { required = reading.boolean(v).value_or(true); }},
                          {"format", reading.unsupported("KEY=value with variables is the only format")}});
    if (path.empty()) return reading.error(item, "found an env file without `path`");
    read_env_file(reading, scope, out, path, required, item);
  };
  if (at.node->kind == YamlKind::sequence)
    reading.each(at, "", one);
  else
    one(at);
  return out;
}

ServiceDraft read_service(ComposeReading& reading, const ComposeScope& scope, const std::string& name,
                          const At& at) {
  ServiceDraft draft;
  ServiceSpec& spec = draft.spec;
  draft.at = at;
  spec.name = name;
  if (!check_name(reading, name, at)) return draft;
  if (at.node->is_null() || at.node->kind != YamlKind::mapping) {
    reading.error(
        at, fmt::format("found {}, expected a mapping with at least `image` or `build`", found(*at.node)));
    return draft;
  }
  std::map<std::string, std::string> environment, from_files;
  ResourceSpec limits;
  At expose;
  reading.fields(
      at,
      {
          {"build", [&](const At& v) { spec.build = read_build(reading, scope, v); }},
          {"image", text_into(reading, spec.image, "._-/:@", 512, "an image such as debian:bookworm-slim")},
          {"command", [&](const At& v) { spec.command = read_words(reading, v); }},
          {"entrypoint", [&](const At& v) { spec.entrypoint = read_words(reading, v); }},
          {"environment", [&](const At& v) { environment = read_environment(reading, scope, v); }},
          {"env_file", [&](const At& v) { from_files = read_env_files(reading, scope, v); }},
          {"ports", [&](const At& v) { read_ports(reading, draft, v); }},
          {"expose", [&](const At& v) { expose = v; }},
          {"depends_on", [&](const At& v) { read_depends_on(reading, draft, v); }},
          {"healthcheck", [&](const At& v) { spec.health = read_health(reading, v); }},
          {"volumes", [&](const At& v) { read_mounts(reading, draft, v); }},
          {"tmpfs", [&](const At& v) { read_tmpfs(reading, draft, v); }},
          {"networks", [&](const At& v) { read_networks(reading, draft, v); }},
          {"restart",
           [&](const At& v) {
             spec.restart = read_restart(reading, v);
             draft.has_restart = true;
             draft.restart_at = v;
           }},
          {"deploy", [&](const At& v) { read_deploy(reading, draft, limits, v); }},
          {"scale",
           [&](const At& v) {
             spec.replicas = static_cast<std::uint32_t>(reading.whole(v, 0, 100).value_or(1));
             draft.replicas_at = v;
           }},
          {"mem_limit", [&](const At& v) { spec.resources.memory_bytes = read_memory(reading, v); }},
          {"cpus", [&](const At& v) { spec.resources.cpu_millis = read_cpus(reading, v); }},
          {"pids_limit",
           [&](const At& v) {
             if (v.node->text != "-1")
               spec.resources.pids = static_cast<std::uint32_t>(reading.whole(v, 0, 4'000'000).value_or(0));
           }},
          {"user", text_into(reading, spec.user, "_.:-$", 100, "a user such as 1000:1000 or www-data")},
          {"working_dir", [&](const At& v) { read_working_dir(reading, spec.working_dir, v); }},
          {"hostname", [&](const At& v) { read_hostname(reading, spec.hostname, v); }},
          {"stop_signal", [&](const At& v) { spec.stop_signal = read_signal(reading, v); }},
          {"stop_grace_period",
           [&](const At& v) { spec.stop_grace = read_grace(reading, v).value_or(spec.stop_grace); }},
          {"read_only", [&](const At& v) { spec.read_only = reading.boolean(v).value_or(false); }},
          {"init",
           [&](const At& v) {
             if (reading.boolean(v).value_or(false))
               reading.warn(v, "ignored: the first process of a container is its own program",
                            {"when it leaves zombies behind, let the image's entrypoint be an init such as "
                             "tini"});
           }},
          {"cap_add", [&](const At& v) { spec.cap_add = read_capabilities(reading, v, true); }},
          {"cap_drop", [&](const At& v) { spec.cap_drop = read_capabilities(reading, v, false); }},
          {"security_opt", [&](const At& v) { read_security_opt(reading, v); }},
          {"labels", [&](const At& v) { spec.labels = read_labels(reading, v); }},
          {"network_mode", [&](const At& v) { refuse_host(reading, v, "the network"); }},
          {"pid", [&](const At& v) { refuse_host(reading, v, "the processes"); }},
          {"ipc", [&](const At& v) { refuse_host(reading, v, "shared memory"); }},
          {"uts", [&](const At& v) { refuse_host(reading, v, "the host name"); }},
          {"cgroup", [&](const At& v) { refuse_host(reading, v, "the cgroup tree"); }},
          {"userns_mode", [&](const At& v) { refuse_host(reading, v, "the users"); }},
          {"x-naru", [&](const At& v) { read_service_extension(reading, spec, v); }},
      },
      ComposeReading::Unknown::warn,
      [&](const std::string& key, const At& v) { return read_other(reading, key, v); });
  if (expose.node != nullptr) read_expose(reading, draft, expose);
  // What stands nearer to the service wins: environment over env files, deploy's limits over the older keys.
  spec.environment = std::move(environment);
  spec.environment.merge(from_files);
  if (limits.memory_bytes != 0) spec.resources.memory_bytes = limits.memory_bytes;
  if (limits.cpu_millis != 0) spec.resources.cpu_millis = limits.cpu_millis;
  if (limits.pids != 0) spec.resources.pids = limits.pids;
  if (!spec.build && spec.image.empty() && at.node->find("build") == nullptr &&
      at.node->find("image") == nullptr)
    reading.error(at, "found neither `image` nor `build`, expected at least one of them");
  return draft;
}

}  // namespace naru::format
