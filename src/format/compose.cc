#include "format/compose.h"

#include "format/compose_parts.h"
#include "format/dotenv.h"

namespace naru::format {
namespace {

constexpr std::size_t kMaxInterpolatedFile = 4 << 20;
constexpr std::string_view kDotenv = ".env";

// Puts variables into every value of the tree that will be read. Keys are left alone (Compose Specification,
// 12).
class TreeInterpolation {
 public:
  TreeInterpolation(ComposeReading& reading, const std::map<std::string, std::string>& variables)
      : reading_(reading), variables_(variables) {}

  void root(YamlNode& node) {
    for (YamlEntry& entry : node.entries) {
      if (entry.key.starts_with("x-") && entry.key != "x-naru") continue;
      if (entry.key == "services")
        services(entry.value);
      else
        walk(entry.value, entry.key);
    }
  }

 private:
  void services(YamlNode& node) {
    for (YamlEntry& service : node.entries)
      for (YamlEntry& key : service.value.entries)
        if (!key.key.starts_with("x-") || key.key == "x-naru")
          walk(key.value, fmt::format("services.{}.{}", service.key, key.key));
  }

  void walk(YamlNode& node, const std::string& path) {
    for (std::size_t i = 0; i < node.items.size(); ++i) walk(node.items[i], fmt::format("{}[{}]", path, i));
    for (YamlEntry& entry : node.entries) walk(entry.value, fmt::format("{}.{}", path, entry.key));
    if (node.kind == YamlKind::scalar && node.text.find('$') != std::string::npos) scalar(node, path);
  }

  void scalar(YamlNode& node, const std::string& path) {
    const At at{&node, path};
    auto done = interpolate(node.text, [this](std::string_view name) -> std::optional<std::string> {
      const auto found = variables_.find(std::string(name));
      return found == variables_.end() ? std::nullopt : std::optional(found->second);
    });
    if (!done) return reading_.error(at, done.error().context, {"write $$ for a dollar sign"});
    for (const RequiredVariable& variable : done->required)
      reading_.error(at,
                     fmt::format("the variable {} is not set: {}", variable.name,
                                 variable.message.empty() ? "it is required" : variable.message),
                     {set_hint(variable.name)});
    for (const std::string& name : done->unset)
      if (told_.insert(name).second)
        reading_.warn(at, fmt::format("the variable {} is not set; empty text stands in its place", name),
                      {fmt::format("{}, or write ${{{}:-default}}", set_hint(name), name)});
    total_ += done->text.size();
    if (total_ > kMaxInterpolatedFile) {
      if (!overflow_)
        reading_.error(at, fmt::format("variables make the file larger than {} bytes", kMaxInterpolatedFile),
                       {{}, Code::too_large});
      overflow_ = true;
      return;
    }
    // What a variable brings in is never taken for "nothing was written here".
    if (done->text.empty()) node.plain = false;
    node.text = std::move(done->text);
  }

  std::string set_hint(const std::string& name) const {
    return fmt::format("naru env set {} {}=...", reading_.input().app, name);
  }

  ComposeReading& reading_;
  const std::map<std::string, std::string>& variables_;
  std::set<std::string> told_;
  std::size_t total_ = 0;
  bool overflow_ = false;
};

// The environment's variables over those of `.env`.
ComposeScope read_scope(ComposeReading& reading) {
  ComposeScope scope{reading.input().variables};
  if (!reading.input().files.read_file) return scope;
  const auto content = reading.input().files.read_file(std::string(kDotenv));
  if (!content) {
    if (content.error().code != Code::not_found)
      reading.error({}, fmt::format("cannot read {}: {}", kDotenv, content.error().message()));
    return scope;
  }
  const auto entries =
      parse_dotenv(*content, kDotenv, [&](std::string_view name) -> std::optional<std::string> {
        const auto found = reading.input().variables.find(std::string(name));
        return found == reading.input().variables.end() ? std::nullopt : std::optional(found->second);
      });
  if (!entries) {
    reading.error({}, entries.error().context);
    return scope;
  }
  std::map<std::string, std::string> from_file;
  for (const DotenvEntry& entry : *entries)
    if (entry.value) from_file[entry.key] = *entry.value;
  scope.variables.merge(from_file);
  return scope;
}

void read_volume(ComposeReading& reading, const At& at) {
  if (at.node->is_null()) return;
  reading.fields(
      at,
      {
          {"external", reading.unsupported("every environment has volumes of its own; take `external` out")},
          {"driver",
           [&](const At& v) {
             if (v.node->text != "local") reading.unsupported("local is the only driver")(v);
           }},
          {"driver_opts", reading.unsupported("volumes are folders of Naru's")},
          {"name", reading.ignored("every environment names its volumes itself")},
          {"labels", reading.silent()},
      });
}

// What a network's name may be here: the launcher takes no other (Compose Specification, 6).
bool is_network_name(std::string_view name) {
  return !name.empty() && name.size() <= 63 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

// Whether it is internal.
bool read_network(ComposeReading& reading, const At& at) {
  bool internal = false;
  if (at.node->is_null()) return internal;
  reading.fields(
      at, {
              {"external",
               reading.unsupported(
                   "every environment has a network of its own; applications meet through host ports")},
              {"driver",
               [&](const At& v) {
                 if (v.node->text != "bridge" && v.node->text != "default")
                   reading.unsupported("bridge is the only driver")(v);
               }},
              {"driver_opts", reading.unsupported("")},
              {"ipam", reading.unsupported("addresses are given by Naru")},
              {"internal", [&](const At& v) { internal = reading.boolean(v).value_or(false); }},
              {"enable_ipv4", reading.silent()},
              {"enable_ipv6", reading.unsupported("containers have IPv4 addresses")},
              {"attachable", reading.silent()},
              {"name", reading.ignored("every environment names its networks itself")},
              {"labels", reading.silent()},
          });
  return internal;
}

// Their names are noted; those of internal ones in `internal`.
void read_all_networks(ComposeReading& reading, ApplicationSpec& spec, std::vector<std::string>& internal,
                       const At& at) {
  std::size_t count = 0;
  reading.entries(at, "a mapping of networks", [&](const std::string& name, const At& network) {
    if (name.starts_with("x-")) return;
    if (++count == kMaxNetworks + 1)
      reading.error(network, fmt::format("found more than {} networks", kMaxNetworks), {{}, Code::too_large});
    if (!is_network_name(name))
      reading.error(network, fmt::format("found the name \"{}\"", name.substr(0, 80)),
                    {"a network's name takes 1 to 63 letters, digits, '.', '_' and '-'"});
    if (read_network(reading, network)) internal.push_back(name);
    if (name != "default") spec.networks.push_back(name);
  });
}

std::vector<ServiceDraft> read_services(ComposeReading& reading, const ComposeScope& scope, const At& at) {
  std::vector<ServiceDraft> services;
  reading.entries(at, "a mapping of services", [&](const std::string& name, const At& service) {
    if (name.starts_with("x-")) return;
    if (services.size() < kMaxServices)
      services.push_back(read_service(reading, scope, name, service));
    else if (services.size() == kMaxServices)
      reading.error(service, fmt::format("found more than {} services", kMaxServices), {{}, Code::too_large});
  });
  return services;
}

std::vector<ServiceDraft> read_root(ComposeReading& reading, const ComposeScope& scope, ApplicationSpec& spec,
                                    const At& root) {
  std::vector<ServiceDraft> services;
  std::vector<std::string> internal;
  reading.fields(root, {
                           {"services", [&](const At& v) { services = read_services(reading, scope, v); }},
                           {"volumes",
                            [&](const At& v) {
                              reading.entries(v, "a mapping of volumes",
                                              [&](const std::string& name, const At& volume) {
                                                if (name.starts_with("x-")) return;
                                                read_volume(reading, volume);
                                                spec.volumes.push_back(name);
                                              });
                            }},
                           {"networks", [&](const At& v) { read_all_networks(reading, spec, internal, v); }},
                           {"name", reading.silent()},
                           {"version", reading.silent()},
                           {"secrets", reading.unsupported("use `naru env set`")},
                           {"configs", reading.unsupported("put the file into the image, or mount ./file")},
                           {"include", reading.unsupported("one application has one file; use anchors")},
                           {"models", reading.unsupported("")},
                           {"x-naru", [&](const At& v) { read_root_extension(reading, spec, v); }},
                       });
  for (ServiceDraft& draft : services) {
    const auto& names = draft.spec.networks;
    const auto is_internal = [&](std::string_view name) {
      return std::ranges::find(internal, name) != internal.end();
    };
    draft.spec.internal = names.empty() ? is_internal("default") : std::ranges::all_of(names, is_internal);
  }
  return services;
}

// Who is waited for to complete runs once: without a `restart` of its own it does not restart.
void settle_one_shots(std::vector<ServiceDraft>& services) {
  for (const ServiceDraft& draft : services)
    for (const Dependency& dependency : draft.spec.depends_on)
      for (ServiceDraft& target : services)
        if (dependency.condition == DependencyCondition::completed &&
            target.spec.name == dependency.service && !target.has_restart)
          target.spec.restart.mode = RestartMode::no;
}

// An optional dependency (required: false) on a service that is not there is none.
void drop_absent(std::vector<ServiceDraft>& services) {
  std::set<std::string, std::less<>> names;
  for (const ServiceDraft& draft : services) names.insert(draft.spec.name);
  for (ServiceDraft& draft : services)
    std::erase_if(draft.spec.depends_on,
                  [&](const Dependency& dependency) { return !names.contains(dependency.service); });
}

std::map<std::string, ComposeDiagnostic> places_of(const ComposeReading& reading,
                                                   const std::vector<ServiceDraft>& services) {
  std::map<std::string, ComposeDiagnostic> places;
  for (const ServiceDraft& draft : services) {
    const std::string path = "services." + draft.spec.name;
    places.emplace(path, reading.place(draft.at.child_or_self(draft.spec.build ? "build" : "image")));
    for (std::size_t i = 0; i < draft.spec.ports.size(); ++i)
      if (const auto host = draft.spec.ports[i].host)
        places.emplace(fmt::format("{}.ports:{}", path, *host), reading.place(draft.port_places[i]));
  }
  return places;
}

}  // namespace

Result<ComposeFile> parse_compose(std::string_view text, const ComposeInput& input) {
  auto tree = parse_yaml(text, input.file_name, {.bytes = kMaxComposeBytes});
  if (!tree) {
    Error error = std::move(tree).error();
    if (error.code == Code::malformed) error.code = Code::compose_invalid;
    return std::unexpected(std::move(error));
  }
  ComposeReading reading(text, input);
  const ComposeScope scope = read_scope(reading);
  TreeInterpolation(reading, scope.variables).root(*tree);
  // Half-filled values would only produce errors about themselves.
  if (reading.failed()) return reading.errors();
  const At root{&*tree, ""};
  ComposeFile out;
  std::vector<ServiceDraft> services = read_root(reading, scope, out.spec, root);
  check_application(reading, services, out.spec, root);
  settle_probe(reading, services, out.spec, root);
  if (reading.failed()) return reading.errors();
  settle_one_shots(services);
  drop_absent(services);
  out.places = places_of(reading, services);
  for (ServiceDraft& draft : services) out.spec.services.push_back(std::move(draft.spec));
  out.warnings = reading.take_warnings();
  return out;
}

}  // namespace naru::format
