#include "format/oci.h"

#include <sys/utsname.h>

#include <algorithm>

#include "model/json_text.h"

namespace naru::format {

namespace {

constexpr std::size_t kMaxString = 64U << 10;
constexpr std::size_t kMaxItems = 10'000;  // of any list or map in a configuration

Result<Json> parse_object(std::string_view bytes, std::size_t max_bytes, std::string_view what) {
  if (bytes.size() > max_bytes)
    return fail(Code::too_large, "{}: {} bytes, the bound is {}", what, bytes.size(), max_bytes);
  Json parsed = TRY(parse_json(bytes, what));
  if (!parsed.is_object()) return fail(Code::malformed, "{}: expected a JSON object", what);
  return parsed;
}

// The member, or nullptr when it is missing or null (Docker writes null for empty).
const Json* member(const Json& object, std::string_view key) {
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

Result<std::string> text_of(const Json& value, std::string_view where) {
  if (!value.is_string()) return fail(Code::malformed, "{}: expected a string", where);
  const auto& text = value.get_ref<const std::string&>();
  if (text.size() > kMaxString)
    return fail(Code::too_large, "{}: {} bytes, the bound is {}", where, text.size(), kMaxString);
  if (text.contains('\0')) return fail(Code::malformed, "{}: contains a zero byte", where);
  return text;
}

Result<std::string> text_at(const Json& object, std::string_view key, std::string_view where) {
  const Json* value = member(object, key);
  return value ? text_of(*value, fmt::format("{}.{}", where, key)) : Result<std::string>(std::string());
}

Result<std::vector<std::string>> texts_at(const Json& object, std::string_view key, std::string_view where) {
  std::vector<std::string> texts;
  const Json* value = member(object, key);
  if (!value) return texts;
  if (!value->is_array()) return fail(Code::malformed, "{}.{}: expected a list of strings", where, key);
  if (value->size() > kMaxItems)
    return fail(Code::too_large, "{}.{}: more than {} items", where, key, kMaxItems);
  for (const Json& item : *value) texts.push_back(TRY(text_of(item, fmt::format("{}.{}", where, key))));
  return texts;
}

// The keys of {"8080/tcp": {}}, Go's way of writing a set.
Result<std::vector<std::string>> set_at(const Json& object, std::string_view key, std::string_view where) {
  std::vector<std::string> keys;
  const Json* value = member(object, key);
  if (!value) return keys;
  if (!value->is_object()) return fail(Code::malformed, "{}.{}: expected an object", where, key);
  if (value->size() > kMaxItems)
    return fail(Code::too_large, "{}.{}: more than {} items", where, key, kMaxItems);
  for (const auto& [name, ignored] : value->items())
    keys.push_back(TRY(text_of(Json(name), fmt::format("{}.{}", where, key))));
  return keys;
}

Result<std::map<std::string, std::string>> map_at(const Json& object, std::string_view key,
                                                  std::string_view where) {
  std::map<std::string, std::string> map;
  const Json* value = member(object, key);
  if (!value) return map;
  if (!value->is_object()) return fail(Code::malformed, "{}.{}: expected an object", where, key);
  if (value->size() > kMaxItems)
    return fail(Code::too_large, "{}.{}: more than {} items", where, key, kMaxItems);
  for (const auto& [name, item] : value->items())
    map[name] = TRY(text_of(item, fmt::format("{}.{}", where, key)));
  return map;
}

Result<Digest> digest_of(const std::string& text, std::string_view where) {
  auto digest = Digest::parse(text);
  if (!digest) return fail(Code::malformed, "{}: {}", where, digest.error().message());
  if (digest->algorithm() != "sha256")
    return fail(Code::unsupported, "{}: only sha256 digests are supported", where);
  return *digest;
}

Result<std::int64_t> integer_at(const Json& object, std::string_view key, std::string_view where) {
  const Json* value = member(object, key);
  if (!value) return 0;
  if (!value->is_number_integer() || (value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX))
    return fail(Code::malformed, "{}.{}: expected an integer", where, key);
  return value->get<std::int64_t>();
}

Result<bool> flag_at(const Json& object, std::string_view key, std::string_view where) {
  const Json* value = member(object, key);
  if (!value) return false;
  if (!value->is_boolean()) return fail(Code::malformed, "{}.{}: expected true or false", where, key);
  return value->get<bool>();
}

Result<Platform> platform_at(const Json& json, std::string_view where) {
  Platform platform;
  platform.os = TRY(text_at(json, "os", where));
  platform.architecture = TRY(text_at(json, "architecture", where));
  platform.variant = TRY(text_at(json, "variant", where));
  return platform;
}

Result<Descriptor> parse_descriptor(const Json& json, std::string_view where) {
  if (!json.is_object()) return fail(Code::malformed, "{}: expected a descriptor", where);
  Descriptor descriptor;
  descriptor.media_type = TRY(text_at(json, "mediaType", where));
  descriptor.digest = TRY(digest_of(TRY(text_at(json, "digest", where)), fmt::format("{}.digest", where)));
  const std::int64_t size = TRY(integer_at(json, "size", where));
  if (size < 0) return fail(Code::malformed, "{}.size: {} is negative", where, size);
  descriptor.size = static_cast<std::uint64_t>(size);
  descriptor.annotations = TRY(map_at(json, "annotations", where));
  if (const Json* platform = member(json, "platform")) {
    if (!platform->is_object()) return fail(Code::malformed, "{}.platform: expected an object", where);
    descriptor.platform = TRY(platform_at(*platform, where));
  }
  return descriptor;
}

Json descriptor_json(const Descriptor& descriptor) {
  Json json{
      {"mediaType", descriptor.media_type}, {"digest", descriptor.digest.text()}, {"size", descriptor.size}};
  if (!descriptor.annotations.empty()) json["annotations"] = descriptor.annotations;
  if (descriptor.platform) {
    json["platform"] = {{"os", descriptor.platform->os}, {"architecture", descriptor.platform->architecture}};
    if (!descriptor.platform->variant.empty()) json["platform"]["variant"] = descriptor.platform->variant;
  }
  return json;
}

Result<milliseconds> duration_at(const Json& object, std::string_view key, milliseconds otherwise,
                                 std::string_view where) {
  const std::int64_t ns = TRY(integer_at(object, key, where));
  if (ns < 0) return fail(Code::malformed, "{}.{}: negative", where, key);
  return ns == 0 ? otherwise : std::chrono::ceil<milliseconds>(nanoseconds(ns));
}

Result<std::optional<HealthSpec>> parse_health(const Json& config, const std::vector<std::string>& shell) {
  const Json* json = member(config, "Healthcheck");
  if (!json) return std::optional<HealthSpec>();
  constexpr std::string_view where = "config.Healthcheck";
  if (!json->is_object()) return fail(Code::malformed, "{}: expected an object", where);
  HealthSpec health;
  auto test = TRY(texts_at(*json, "Test", where));
  if (test.empty()) return std::optional<HealthSpec>();  // inherited: there is nothing below an image's own
  const std::string kind = test.front();
  test.erase(test.begin());
  if (kind == "NONE")
    health.disabled = true;
  else if (kind == "CMD")
    health.test = test;
  else if (kind == "CMD-SHELL" && test.size() == 1) {
    health.test = shell.empty() ? std::vector<std::string>{"/bin/sh", "-c"} : shell;
    health.test.push_back(test.front());
  } else
    return fail(Code::malformed, "{}.Test: expected NONE, CMD or CMD-SHELL, found '{}'", where,
                kind.substr(0, 40));
  health.interval = TRY(duration_at(*json, "Interval", health.interval, where));
  health.timeout = TRY(duration_at(*json, "Timeout", health.timeout, where));
  health.start_period = TRY(duration_at(*json, "StartPeriod", health.start_period, where));
  health.start_interval = TRY(duration_at(*json, "StartInterval", health.start_interval, where));
  const std::int64_t retries = TRY(integer_at(*json, "Retries", where));
  if (retries < 0 || retries > 1'000'000)
    return fail(Code::malformed, "{}.Retries: {} is out of range", where, retries);
  if (retries > 0) health.retries = static_cast<std::uint32_t>(retries);
  return std::optional(health);
}

Json health_json(const HealthSpec& health) {
  if (health.disabled) return {{"Test", {"NONE"}}};
  std::vector<std::string> test{"CMD"};
  test.insert(test.end(), health.test.begin(), health.test.end());
  const auto ns = [](milliseconds ms) { return std::chrono::duration_cast<nanoseconds>(ms).count(); };
  return {{"Test", test},
          {"Interval", ns(health.interval)},
          {"Timeout", ns(health.timeout)},
          {"StartPeriod", ns(health.start_period)},
          {"StartInterval", ns(health.start_interval)},
          {"Retries", health.retries}};
}

Result<std::vector<HistoryEntry>> parse_history(const Json& root) {
  std::vector<HistoryEntry> history;
  const Json* list = member(root, "history");
  if (!list) return history;
  if (!list->is_array()) return fail(Code::malformed, "config.history: expected a list");
  if (list->size() > kMaxItems) return fail(Code::too_large, "config.history: more than {} items", kMaxItems);
  for (const Json& item : *list) {
    if (!item.is_object()) return fail(Code::malformed, "config.history: expected objects");
    HistoryEntry entry;
    entry.created = TRY(text_at(item, "created", "config.history"));
    entry.created_by = TRY(text_at(item, "created_by", "config.history"));
    entry.author = TRY(text_at(item, "author", "config.history"));
    entry.comment = TRY(text_at(item, "comment", "config.history"));
    entry.empty_layer = TRY(flag_at(item, "empty_layer", "config.history"));
    history.push_back(std::move(entry));
  }
  return history;
}

Result<> parse_run_config(const Json& json, ImageConfig& config) {
  constexpr std::string_view where = "config.config";
  if (!json.is_object()) return fail(Code::malformed, "{}: expected an object", where);
  config.env = TRY(texts_at(json, "Env", where));
  for (const std::string& variable : config.env)
    if (variable.starts_with('=') || !variable.contains('='))
      return fail(Code::malformed, "{}.Env: '{}' is not NAME=VALUE", where, variable.substr(0, 80));
  config.entrypoint = TRY(texts_at(json, "Entrypoint", where));
  config.cmd = TRY(texts_at(json, "Cmd", where));
  config.working_dir = TRY(text_at(json, "WorkingDir", where));
  config.user = TRY(text_at(json, "User", where));
  config.stop_signal = TRY(text_at(json, "StopSignal", where));
  config.exposed_ports = TRY(set_at(json, "ExposedPorts", where));
  config.volumes = TRY(set_at(json, "Volumes", where));
  config.labels = TRY(map_at(json, "Labels", where));
  config.shell = TRY(texts_at(json, "Shell", where));
  config.health = TRY(parse_health(json, config.shell));
  return {};
}

void put(Json& json, const char* key, const std::string& value) {
  if (!value.empty()) json[key] = value;
}
void put(Json& json, const char* key, const std::vector<std::string>& value) {
  if (!value.empty()) json[key] = value;
}
void put_set(Json& json, const char* key, const std::vector<std::string>& value) {
  for (const std::string& name : value) json[key][name] = Json::object();
}

}  // namespace

Result<Compression> layer_compression(std::string_view media_type) {
  if (media_type == kOciLayerGzip || media_type == kDockerLayerGzip) return Compression::gzip;
  if (media_type == kOciLayerZstd) return Compression::zstd;
  if (media_type == kOciLayerTar || media_type == kDockerLayerTar) return Compression::none;
  return fail(Code::unsupported, "a layer of media type '{}' cannot be unpacked", media_type.substr(0, 120));
}

std::string_view layer_media_type(Compression compression) {
  return compression == Compression::gzip   ? kOciLayerGzip
         : compression == Compression::zstd ? kOciLayerZstd
                                            : kOciLayerTar;
}

Platform host_platform() {
  utsname names{};
  ::uname(&names);
  const std::string_view machine = names.machine;
  if (machine == "aarch64") return {.os = "linux", .architecture = "arm64", .variant = {}};
  return {.os = "linux", .architecture = machine == "x86_64" ? "amd64" : std::string(machine), .variant = {}};
}

bool is_manifest_type(std::string_view media_type) {
  return media_type == kOciManifest || media_type == kDockerManifest;
}
bool is_index_type(std::string_view media_type) {
  return media_type == kOciIndex || media_type == kDockerList;
}

Result<Descriptor> ImageIndex::select(const Platform& platform) const {
  std::string offered;
  for (const Descriptor& entry : manifests) {
    if (!entry.platform) continue;
    const Platform& p = *entry.platform;
    if (p.os == platform.os && p.architecture == platform.architecture &&
        (platform.variant.empty() || p.variant == platform.variant))
      return entry;
    if (offered.size() < 300)
      offered += fmt::format("{}{}/{}{}", offered.empty() ? "" : ", ", p.os, p.architecture,
                             p.variant.empty() ? "" : "/" + p.variant);
  }
  if (manifests.size() == 1 && !manifests.front().platform) return manifests.front();
  return fail(Code::image_unknown, "the image does not exist for {}/{}; there is: {}", platform.os,
              platform.architecture, offered.empty() ? "nothing with a platform" : offered);
}

Result<ImageManifest> parse_manifest(std::string_view bytes, std::string_view media_type) {
  const Json json = TRY(parse_object(bytes, kMaxManifestBytes, "manifest"));
  if (const Json* version = member(json, "schemaVersion"); version && *version != 2)
    return fail(Code::unsupported,
                "manifest: schema version {} (only 2 is supported; push the image again with a current tool)",
                json_text(*version).substr(0, 20));
  const std::string named = TRY(text_at(json, "mediaType", "manifest"));
  // CVE-2021-41190: one document must not be a manifest to one reader and an index to another.
  if (member(json, "manifests") || is_index_type(named))
    return fail(Code::malformed, "manifest: it is an index");
  if (!named.empty() && !media_type.empty() && named != media_type)
    return fail(Code::malformed, "manifest: it says '{}', the server '{}'", named.substr(0, 120),
                media_type.substr(0, 120));
  ImageManifest manifest;
  manifest.media_type = !named.empty()        ? named
                        : !media_type.empty() ? std::string(media_type)
                                              : std::string(kOciManifest);
  if (!is_manifest_type(manifest.media_type))
    return fail(Code::unsupported, "manifest: media type '{}'", manifest.media_type.substr(0, 120));
  const Json* config = member(json, "config");
  if (!config) return fail(Code::malformed, "manifest.config: missing");
  manifest.config = TRY(parse_descriptor(*config, "manifest.config"));
  const Json* layers = member(json, "layers");
  if (!layers || !layers->is_array()) return fail(Code::malformed, "manifest.layers: expected a list");
  if (layers->size() > kMaxLayers)
    return fail(Code::too_large, "manifest.layers: {} layers, the bound is {}", layers->size(), kMaxLayers);
  for (std::size_t i = 0; i < layers->size(); ++i)
    manifest.layers.push_back(TRY(parse_descriptor((*layers)[i], fmt::format("manifest.layers[{}]", i))));
  manifest.annotations = TRY(map_at(json, "annotations", "manifest"));
  return manifest;
}

Result<ImageIndex> parse_index(std::string_view bytes) {
  const Json json = TRY(parse_object(bytes, kMaxManifestBytes, "index"));
  const std::string named = TRY(text_at(json, "mediaType", "index"));
  if (member(json, "layers") || member(json, "config") || (!named.empty() && !is_index_type(named)))
    return fail(Code::malformed, "index: it is something else ('{}')", named.substr(0, 120));
  const Json* list = member(json, "manifests");
  if (!list || !list->is_array()) return fail(Code::malformed, "index.manifests: expected a list");
  if (list->size() > kMaxItems)
    return fail(Code::too_large, "index.manifests: more than {} entries", kMaxItems);
  ImageIndex index;
  for (std::size_t i = 0; i < list->size(); ++i)
    index.manifests.push_back(TRY(parse_descriptor((*list)[i], fmt::format("index.manifests[{}]", i))));
  return index;
}

Result<ImageConfig> parse_config(std::string_view bytes) {
  const Json json = TRY(parse_object(bytes, kMaxConfigBytes, "config"));
  ImageConfig config;
  config.platform = TRY(platform_at(json, "config"));
  config.created = TRY(text_at(json, "created", "config"));
  config.author = TRY(text_at(json, "author", "config"));
  if (const Json* run = member(json, "config")) TRY(parse_run_config(*run, config));
  const Json* rootfs = member(json, "rootfs");
  if (!rootfs || !rootfs->is_object()) return fail(Code::malformed, "config.rootfs: expected an object");
  for (const std::string& id : TRY(texts_at(*rootfs, "diff_ids", "config.rootfs")))
    config.diff_ids.push_back(TRY(digest_of(id, "config.rootfs.diff_ids")));
  if (config.diff_ids.size() > kMaxLayers)
    return fail(Code::too_large, "config.rootfs.diff_ids: more than {} layers", kMaxLayers);
  config.history = TRY(parse_history(json));
  return config;
}

std::string write_manifest(const ImageManifest& manifest) {
  Json json{{"schemaVersion", 2},
            {"mediaType", manifest.media_type},
            {"config", descriptor_json(manifest.config)},
            {"layers", Json::array()}};
  for (const Descriptor& layer : manifest.layers) json["layers"].push_back(descriptor_json(layer));
  if (!manifest.annotations.empty()) json["annotations"] = manifest.annotations;
  return json_text(json);
}

std::string write_index(const ImageIndex& index) {
  Json json{{"schemaVersion", 2}, {"mediaType", kOciIndex}, {"manifests", Json::array()}};
  for (const Descriptor& entry : index.manifests) json["manifests"].push_back(descriptor_json(entry));
  return json_text(json);
}

std::string write_config(const ImageConfig& config) {
  Json run = Json::object();
  put(run, "Env", config.env);
  put(run, "Entrypoint", config.entrypoint);
  put(run, "Cmd", config.cmd);
  put(run, "WorkingDir", config.working_dir);
  put(run, "User", config.user);
  put(run, "StopSignal", config.stop_signal);
  put(run, "Shell", config.shell);
  put_set(run, "ExposedPorts", config.exposed_ports);
  put_set(run, "Volumes", config.volumes);
  if (!config.labels.empty()) run["Labels"] = config.labels;
  if (config.health) run["Healthcheck"] = health_json(*config.health);
  Json json{
      {"os", config.platform.os}, {"architecture", config.platform.architecture}, {"config", std::move(run)}};
  put(json, "variant", config.platform.variant);
  put(json, "created", config.created);
  put(json, "author", config.author);
  json["rootfs"] = {{"type", "layers"}, {"diff_ids", Json::array()}};
  for (const Digest& id : config.diff_ids) json["rootfs"]["diff_ids"].push_back(id.text());
  for (const HistoryEntry& entry : config.history) {
    Json item = Json::object();
    put(item, "created", entry.created);
    put(item, "created_by", entry.created_by);
    put(item, "author", entry.author);
    put(item, "comment", entry.comment);
    if (entry.empty_layer) item["empty_layer"] = true;
    json["history"].push_back(std::move(item));
  }
  return json_text(json);
}

std::optional<std::string> ImageConfig::env_value(std::string_view name) const {
  for (const std::string& variable : env)
    if (variable.size() > name.size() && variable[name.size()] == '=' && variable.starts_with(name))
      return variable.substr(name.size() + 1);
  return std::nullopt;
}

void ImageConfig::set_env(std::string_view name, std::string_view value) {
  std::string entry = fmt::format("{}={}", name, value);
  for (std::string& variable : env) {
    if (variable.size() > name.size() && variable[name.size()] == '=' && variable.starts_with(name)) {
      variable = std::move(entry);
      return;
    }
  }
  env.push_back(std::move(entry));
}

}  // namespace naru::format
