#include "launcher/benches.h"

#include <fcntl.h>
#include <signal.h>

#include <sys/stat.h>

#include <ranges>

#include "base/log.h"
#include "base/rng.h"
#include "base/take.h"
#include "launcher/checks.h"
#include "launcher/jobs.h"
#include "os/file.h"
#include "os/netlink.h"

namespace naru::launcher {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMaxBenches = 64;
constexpr std::string_view kGone = ".gone-";  // no build's id

// What apt needs to fetch as the host does: sources, keys, and settings that only say how to acquire (a
// host's hooks would call programs that the image does not have). A file that not everybody on the host may
// read holds a secret, and a step of a build is nobody that the host knows.
std::vector<container::HostMount> apt_mounts() {
  std::vector<container::HostMount> mounts;
  std::error_code error;
  const auto add = [&](const fs::path& source, const std::string& target) {
    const auto others = fs::status(source, error).permissions() & fs::perms::others_read;
    if (!error && others != fs::perms::none) mounts.push_back({source, target, true});
  };
  add("/etc/apt/sources.list", "/etc/apt/sources.list");
  for (const auto& entry : fs::directory_iterator("/etc/apt/sources.list.d", error))
    add(entry.path(), "/etc/apt/sources.list.d/" + entry.path().filename().string());
  add("/etc/apt/trusted.gpg.d", "/etc/apt/trusted.gpg.d");
  add("/etc/apt/apt.conf", "/etc/apt/apt.conf");
  add("/usr/share/keyrings", "/usr/share/keyrings");
  for (const auto& entry : fs::directory_iterator("/etc/apt/apt.conf.d", error)) {
    const auto text = os::read_file(entry.path(), 64U << 10);
    if (!text || text->find("Acquire::") == std::string::npos) continue;
    if (text->find("Invoke") != std::string::npos || text->find("DPkg::") != std::string::npos) continue;
    add(entry.path(), "/etc/apt/apt.conf.d/" + entry.path().filename().string());
  }
  return mounts;
}

// Not over the image's own bundle: installing ca-certificates replaces that file, which a mount would forbid.
constexpr std::string_view kHostBundle = "/etc/ssl/certs/ca-certificates.crt";
constexpr std::string_view kBundlePlace = "/run/naru/ca-certificates.crt";

void add_host_mounts(container::StartOptions& options, std::vector<std::string>& env) {
  options.host_mounts = apt_mounts();
  std::error_code error;
  if (!fs::exists(kHostBundle, error)) return;
  options.host_mounts.push_back({kHostBundle, std::string(kBundlePlace), true});
  for (const char* name : {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE",
                           "PIP_CERT", "NODE_EXTRA_CA_CERTS"})
    if (std::ranges::none_of(env,
                             [&](const std::string& e) { return e.starts_with(std::string(name) + "="); }))
      env.push_back(fmt::format("{}={}", name, kBundlePlace));
}

std::string host_nameserver() {
  for (const char* path : {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"})
    if (const auto text = os::read_file(path, 64U << 10))
      if (std::string found = reachable_nameserver(*text); !found.empty()) return found;
  return {};
}

std::string container_of(const std::string& build) {
  return std::string(kBuildPrefix) + std::string(Digest::of_sha256(build).hex().substr(0, 24));
}

}  // namespace

std::string reachable_nameserver(std::string_view resolv_conf) {
  while (!resolv_conf.empty()) {
    std::string_view line = take_until(resolv_conf, '\n');
    constexpr std::string_view kKey = "nameserver";
    if (!line.starts_with(kKey)) continue;
    line.remove_prefix(kKey.size());
    const auto first = line.find_first_not_of(" \t");
    if (first == 0 || first == std::string_view::npos) continue;
    line = line.substr(first);
    line = line.substr(0, line.find_first_of(" \t\r#;"));
    if (auto address = os::parse_ipv4(line); address && (*address >> 24) != 127) return std::string(line);
  }
  return {};
}

Benches::Benches(container::Engine& engine, network::Networks& networks, Nursery& nursery, Layers& layers)
    : engine_(engine),
      networks_(networks),
      nursery_(nursery),
      layers_(layers),
      builds_(engine.paths().data / "builds"),
      empty_(builds_ / ".empty") {}

Result<std::unique_ptr<Benches>> Benches::open(container::Engine& engine, network::Networks& networks,
                                               Nursery& nursery, Layers& layers) {
  std::unique_ptr<Benches> benches(new Benches(engine, networks, nursery, layers));
  TRY(os::make_dirs(benches->builds_, 0700));
  TRY(os::make_dirs(benches->empty_, 0755));
  std::error_code error;
  std::vector<fs::path> left;
  for (const auto& entry : fs::directory_iterator(benches->builds_, error))
    if (entry.path() != benches->empty_) left.push_back(entry.path());
  // What does not go is in nobody's way: no build takes over what it finds.
  for (const fs::path& path : left)
    if (const auto removed = os::remove_tree(path); !removed)
      log_event(Level::warn, "launcher.cannot_remove", {{"error", removed.error().message()}});
  return benches;
}

Benches::Use::~Use() {
  if (benches_ == nullptr) return;
  const std::scoped_lock lock(benches_->mutex_);
  if (const auto found = benches_->benches_.find(id_); found != benches_->benches_.end())
    found->second.busy = false;
}

bool Benches::Use::keep_busy(std::string container) {
  const std::scoped_lock lock(benches_->mutex_);
  const auto found = benches_->benches_.find(id_);
  const bool wanted = found != benches_->benches_.end() && !found->second.abandoned;
  if (found != benches_->benches_.end()) found->second.container = std::move(container);
  benches_ = nullptr;
  return wanted;
}

void Benches::Use::end() {
  const std::scoped_lock lock(benches_->mutex_);
  benches_->benches_.erase(id_);
  benches_ = nullptr;
}

Result<Benches::Use> Benches::use(const std::string& build) {
  TRY(check_id(build, "build"));
  const std::scoped_lock lock(mutex_);
  const auto found = benches_.find(build);
  if (found == benches_.end()) return fail(Code::not_found, "there is no build {}; begin it first", build);
  if (found->second.busy) return fail(Code::conflict, "build {} is in use by another operation", build);
  found->second.busy = true;
  return Use(*this, build, found->second);
}

Result<std::vector<std::string>> Benches::lower_paths(const std::vector<Digest>& layers,
                                                      bool with_upper) const {
  std::vector<std::string> paths;  // topmost first
  for (const Digest& layer : std::views::reverse(layers)) {
    const fs::path path = engine_.paths().layers / std::string(layer.hex());
    std::error_code error;
    if (!fs::is_directory(path, error))
      return fail(Code::not_found, "layer {} is not unpacked", layer.text());
    paths.push_back(path.string());
  }
  // An overlay without an upper needs two layers, with one it needs one (overlayfs.rst).
  while (paths.size() < (with_upper ? 1U : 2U)) paths.push_back(empty_.string());
  if (!with_upper && paths.size() == 2 && paths[0] == paths[1])
    return fail(Code::invalid_argument, "there are no layers to copy from");
  return paths;
}

Result<void> Benches::unpack(const build::LayerRef& layer) {
  TRY(check_digest(layer.blob, "blob"));
  TRY(check_digest(layer.diff_id, "diff id"));
  if (layer.media_type.size() > 256)
    return fail(Code::invalid_argument, "a media type of {} bytes", layer.media_type.size());
  std::error_code error;
  if (fs::is_directory(engine_.paths().layers / std::string(layer.diff_id.hex()), error)) return {};
  // The store is control's: opened without following links, so that no other file of the host can be named.
  const Fd data = TRY(os::open_folder(engine_.paths().data));
  const Fd blob = TRY(os::open_beneath(data.get(), "images/blobs/sha256/" + std::string(layer.blob.hex()),
                                       O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  TRY(nursery_.run(unpack_job(engine_.paths().layers, blob.get(), layer)));
  return {};
}

bool Benches::abandon(std::uint64_t owner) {
  bool any = false;
  const std::scoped_lock lock(mutex_);
  for (auto& [id, bench] : benches_)
    if (bench.owner == owner) any = bench.abandoned = true;
  return any;
}

void Benches::discard_abandoned() {
  std::vector<std::string> idle;
  {
    const std::scoped_lock lock(mutex_);
    for (const auto& [id, bench] : benches_)
      if (bench.abandoned && !bench.busy) idle.push_back(id);
  }
  for (const std::string& id : idle)
    if (auto gone = discard(id); !gone)
      log_event(Level::warn, "launcher.bench_left", {{"build", id}, {"reason", gone.error().message()}});
}

Result<void> Benches::begin(const build::BeginRequest& request, std::uint64_t owner) {
  TRY(check_id(request.build, "build"));
  TRY(check_layers(request.layers, true));
  TRY(discard(request.build));
  discard_abandoned();
  const auto held = layers_.hold();
  TRY(lower_paths(request.layers, true));
  {
    const std::scoped_lock lock(mutex_);
    if (benches_.size() >= kMaxBenches)
      return fail(Code::unavailable, "{} builds are open already", kMaxBenches);
    if (!benches_.emplace(request.build, Bench{request.layers, true, owner, false, {}}).second)
      return fail(Code::conflict, "build {} was begun twice at once", request.build);
  }
  Use using_it(*this, request.build, Bench{request.layers, true, owner, false, {}});
  // Made, never found: what somebody left under this name must not become part of a layer.
  const fs::path bench = folder(request.build);
  for (const fs::path& path : {bench, bench / "upper", bench / "work"}) {
    if (::mkdir(path.c_str(), 0755) == 0) continue;
    auto failed = fail_errno(errno == ENOSPC ? Code::disk_full : Code::system, "mkdir {}", path.string());
    if (auto removed = remove(using_it, request.build); !removed)
      log_event(Level::warn, "launcher.cannot_remove", {{"error", removed.error().message()}});
    return failed;
  }
  return {};
}

Result<container::RunningContainer> Benches::start_step(const build::RunRequest& request, ContainerSpec spec,
                                                        int output_fd) {
  if (request.network) TRY(networks_.ensure(std::string(kBuildNetwork)));
  const network::Attachment attachment =
      TRY(networks_.attach(request.network ? std::string(kBuildNetwork) : "", spec.id, {.isolated = true}));
  container::StartOptions options;
  options.network.netns_fd = attachment.netns.get();
  options.network.address = attachment.address;
  if (request.network) options.network.nameserver = host_nameserver();
  options.overlay = folder(request.build);
  options.output_fd = output_fd;
  if (request.host_mounts) add_host_mounts(options, spec.env);
  return engine_.start(spec, options);
}

Result<StartedStep> Benches::run(const build::RunRequest& request) {
  TRY(check_argv(request.argv, request.env));
  TRY(check_duration(request.timeout, kMaxBuildStep, "timeout"));
  Use using_it = TRY(use(request.build));
  ContainerSpec spec;
  spec.id = container_of(request.build);
  spec.hostname = "build";
  spec.layers = using_it.bench.layers;
  spec.argv = request.argv;
  spec.env = request.env;
  spec.cwd = request.cwd;
  spec.user = request.user;
  spec.parent_cgroup = "builds";
  // No step needs to forge packets, and all builds share one bridge.
  spec.cap_drop = {"NET_RAW"};
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return fail_errno(Code::system, "pipe for the output of build {}", request.build);
  Fd reading(ends[0]), writing(ends[1]);
  TRY(engine_.remove(spec.id));
  auto started = start_step(request, spec, writing.get());
  if (!started) {
    if (auto released = networks_.release(spec.id); !released)
      log_event(Level::warn, "launcher.release_failed",
                {{"container", spec.id}, {"error", released.error().message()}});
    return std::unexpected(std::move(started).error());
  }
  // Who discarded it while the step was being started had nothing to kill yet.
  if (!using_it.keep_busy(spec.id))
    if (auto killed = kill_step(request.build); !killed)
      log_event(Level::warn, "launcher.bench_left",
                {{"build", request.build}, {"reason", killed.error().message()}});
  return StartedStep{spec.id, std::move(started->pidfd), std::move(reading)};
}

std::set<Digest> Benches::layers_in_use() const {
  std::set<Digest> layers;
  const std::scoped_lock lock(mutex_);
  for (const auto& [id, bench] : benches_) layers.insert(bench.layers.begin(), bench.layers.end());
  return layers;
}

Result<void> Benches::kill_step(const std::string& build) {
  TRY(check_id(build, "build"));
  std::string container;
  {
    const std::scoped_lock lock(mutex_);
    if (const auto found = benches_.find(build); found != benches_.end()) container = found->second.container;
  }
  if (container.empty()) return {};  // it has ended
  auto sent = engine_.signal(container, SIGKILL);
  if (!sent && (sent.error().code == Code::conflict || sent.error().code == Code::not_found))
    return {};  // so has it
  return sent;
}

Result<build::RunResult> Benches::finish_step(const std::string& build, bool timed_out) {
  const std::string container = container_of(build);
  auto status = engine_.settle(container, true);
  auto removed = engine_.remove(container);
  // The step did what it did, also when its address cannot be given back just now.
  if (auto released = networks_.release(container); !released)
    log_event(Level::warn, "launcher.release_failed",
              {{"container", container}, {"error", released.error().message()}});
  {
    const std::scoped_lock lock(mutex_);
    if (const auto found = benches_.find(build); found != benches_.end()) {
      found->second.busy = false;
      found->second.container.clear();
    }
  }
  const ContainerStatus ended = TRY(std::move(status));
  TRY(std::move(removed));
  return build::RunResult{ended.exit_code.value_or(137), timed_out, ended.out_of_memory};
}

Result<void> Benches::copy(const build::CopyRequest& request) {
  TRY(check_copy(request));
  const auto held = layers_.hold();  // of the origin's, which no bench names
  Use using_it = TRY(use(request.build));
  WorkerFolder bench;
  bench.access = FolderAccess::read_write;
  bench.lower = TRY(lower_paths(using_it.bench.layers, true));
  bench.upper = (folder(request.build) / "upper").string();
  bench.work = (folder(request.build) / "work").string();
  std::optional<WorkerFolder> source;
  if (!request.sources.empty()) {
    source.emplace();
    if (request.from.checkout.empty()) {
      source->lower = TRY(lower_paths(request.from.layers, false));
    } else {
      source->root = engine_.paths().checkouts.string();
      source->path = request.from.checkout;
    }
  }
  TRY(nursery_.run(copy_job(request, std::move(bench), std::move(source))));
  return {};
}

Result<build::CommitResult> Benches::commit(const std::string& build) {
  const auto held = layers_.hold();
  Use using_it = TRY(use(build));
  const fs::path upper = folder(build) / "upper";
  WorkerFolder lower;
  if (using_it.bench.layers.empty())
    lower.root = empty_.string();
  else
    lower.lower = TRY(lower_paths(using_it.bench.layers, false));
  const Json answer = TRY(nursery_.run(commit_job(upper, std::move(lower), engine_.paths().data)));
  const auto committed = TRY(whole<Committed>(answer, "the commit worker's answer"));
  if (!committed.result.empty) {
    TRY(check_digest(committed.result.layer.diff_id, "diff id of the commit worker"));
    // The upper is the layer already: the next step can stand on it without unpacking.
    const fs::path layer = engine_.paths().layers / std::string(committed.result.layer.diff_id.hex());
    if (::rename(upper.c_str(), layer.c_str()) != 0 && errno != EEXIST && errno != ENOTEMPTY)
      return fail_errno(Code::system, "rename {} to {}", upper.string(), layer.string());
  }
  // What stays of the bench is in nobody's way; the layer is made.
  if (auto removed = remove(using_it, build); !removed)
    log_event(Level::warn, "launcher.cannot_remove", {{"error", removed.error().message()}});
  return committed.result;
}

Result<void> Benches::remove(Use& using_it, const std::string& build) {
  const fs::path path = folder(build), aside = builds_ / (std::string(kGone) + secure_random_hex(8));
  if (::rename(path.c_str(), aside.c_str()) != 0 && errno != ENOENT)
    return fail_errno(Code::system, "rename {}", path.string());
  using_it.end();
  return os::remove_tree(aside);
}

Result<void> Benches::discard(const std::string& build) {
  TRY(check_id(build, "build"));
  {
    const std::scoped_lock lock(mutex_);
    const auto found = benches_.find(build);
    if (found == benches_.end()) return {};
    found->second.abandoned = true;  // so that one in use goes later
  }
  TRY(kill_step(build));
  Use using_it = TRY(use(build));
  return remove(using_it, build);
}

}  // namespace naru::launcher
