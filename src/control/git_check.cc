#include "control/git_check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/utf8.h"
#include "control/disk_room.h"
#include "control/views.h"
#include "format/dockerfile.h"
#include "os/file.h"
#include "pipeline/pipeline.h"
#include "route/table.h"

namespace naru::control {

namespace {

namespace fs = std::filesystem;

// 0, or the errno of binding and listening there.
int try_to_listen(int family, const std::string& ip, std::uint16_t port) {
  const Fd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return 0;
  const int one = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &one,
               sizeof one);  // old connections in TIME_WAIT are nobody
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  v4.sin_port = v6.sin6_port = htons(port);
  if (!ip.empty() && ::inet_pton(family, ip.c_str(),
                                 family == AF_INET ? static_cast<void*>(&v4.sin_addr) : &v6.sin6_addr) != 1)
    return 0;
  if (family == AF_INET6) ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
  const auto* address =
      family == AF_INET ? reinterpret_cast<const sockaddr*>(&v4) : reinterpret_cast<const sockaddr*>(&v6);
  const socklen_t length = family == AF_INET ? sizeof v4 : sizeof v6;
  if (::bind(socket.get(), address, length) != 0 || ::listen(socket.get(), 1) != 0) return errno;
  return 0;
}

// A port that anybody has on any address is taken: [::1]:7433 beside control on 127.0.0.1:7433 would pass for
// it.
bool taken_on_host(const PortSpec& port) {
  if (try_to_listen(AF_INET, "", *port.host) == EADDRINUSE ||
      try_to_listen(AF_INET6, "", *port.host) == EADDRINUSE)
    return true;
  const bool v6 = port.host_ip.find(':') != std::string::npos;
  if (!v6 && try_to_listen(AF_INET, port.host_ip, *port.host) == EADDRINUSE) return true;
  return (v6 || port.host_ip.empty()) && try_to_listen(AF_INET6, port.host_ip, *port.host) == EADDRINUSE;
}

// Who has the port in what runs, waits or is being built.
std::optional<std::string> owner_of(const State& state, const std::string& app, std::uint16_t port) {
  const auto in = [&](const ServiceSpec& service) {
    return std::ranges::any_of(
        service.ports, [&](const PortSpec& p) { return p.host == port && p.transport == Transport::tcp; });
  };
  for (const auto& [key, environment] : state.environments) {
    if (environment.app == app || environment.name != kProduction) continue;
    const Rollout* rollout = state.active_rollout(environment);
    for (const Release* release : {state.release(environment.stable), state.release(environment.pending),
                                   rollout == nullptr ? nullptr : state.release(rollout->to)})
      if (release != nullptr)
        for (const ReleaseService& service : release->services)
          if (in(service.spec)) return fmt::format("service {} of {}", service.spec.name, environment.app);
    const Pipeline* pipeline = newest_pipeline(state, environment.app);
    if (pipeline != nullptr &&
        (pipeline->state == StageState::running || pipeline->state == StageState::waiting))
      for (const ServiceSpec& service : pipeline->spec.services)
        if (in(service)) return fmt::format("service {} of {}", service.name, environment.app);
  }
  return std::nullopt;
}

class Check {
 public:
  Check(const Core& core, const ipc::DataFolder& data, const std::string& app,
        const GitEnvironment& quarantine)
      : core_(core), data_(data), app_(app), quarantine_(quarantine) {}

  PushVerdict run(const std::vector<RefUpdate>& updates) {
    if (updates.size() > kMaxRefUpdates) {
      say_error({Code::too_large,
                 fmt::format("{} refs at once; {} is the most", updates.size(), kMaxRefUpdates), 0,
                 "push in smaller parts"});
      return std::move(verdict_);
    }
    const auto branch = core_.read([&](const State& state) -> std::optional<std::string> {
      const auto found = state.apps.find(app_);
      if (found == state.apps.end()) return std::nullopt;
      return found->second.branch;
    });
    if (!branch) {
      say_error({Code::not_found, fmt::format("there is no application '{}'", app_), 0,
                 fmt::format("create it with `naru app create {}`", app_)});
      return std::move(verdict_);
    }
    for (const RefUpdate& update : updates) check(update, "refs/heads/" + *branch);
    return std::move(verdict_);
  }

 private:
  void say(std::string_view text) {
    while (true) {
      const auto end = text.find('\n');
      verdict_.lines.push_back(printable(text.substr(0, end)));
      if (end == std::string_view::npos) return;
      text.remove_prefix(end + 1);
    }
  }
  void say_error(const Error& error) {
    verdict_.accepted = false;
    say(error.message());
    // Errors of files bring their hints with each line.
    if (error.message().find("hint: ") == std::string::npos) say(fmt::format("hint: {}", error.hint()));
  }

  void check(const RefUpdate& update, const std::string& delivered) {
    if (auto named = check_ref_name(update.ref); !named) return say_error(named.error());
    if (update.deletes()) {
      if (update.ref == delivered)
        say_error({Code::push_refused,
                   fmt::format("{} is what is delivered; it cannot be deleted", update.ref), 0,
                   "push another commit to it instead"});
      return;
    }
    if (update.ref != delivered) return;
    if (auto first = check_first(update); !first) return say_error(first.error());
    if (auto fine = check_commit(update.commit); !fine) say_error(fine.error());
  }

  // git refuses the later one of two pushes itself, but takes its pack first. Those that come here at once
  // both pass: then run_git says the same.
  Result<void> check_first(const RefUpdate& update) {
    const auto now = os::read_file(data_.repository(app_) / update.ref, 128);
    if (!now || now->starts_with(update.old_commit)) return {};  // packed, or new: git looks itself
    return std::unexpected(
        Error{Code::push_refused,
              fmt::format("another push came first: {} is at {} now", update.ref, now->substr(0, 10)), 0,
              second_push_remedy(update.ref)});
  }

  Result<void> check_commit(const std::string& commit) {
    TRY(check_room(data_.root, "a push"));
    std::error_code ignored;
    const bool was_there = fs::exists(data_.checkouts() / app_ / commit, ignored);
    const auto info = commit_info(data_, app_, commit, quarantine_);
    if (!info) return fail(Code::push_refused, "{} is not a commit", commit.substr(0, 40));
    const fs::path checkout = TRY(check_out(data_, app_, commit, quarantine_));
    auto fine = check_files(checkout);
    // What was refused leaves nothing; what runs from an earlier push of the same commit stays.
    if (!fine && !was_there) (void)os::remove_tree(checkout);
    return fine;
  }

  Result<void> check_files(const fs::path& checkout) {
    const Plan plan = TRY(read_plan(core_, checkout, app_));
    for (const std::string& warning : plan.warnings) say("warning: " + warning);
    for (const ServiceSpec& service : plan.spec.services)
      if (service.build) TRY(check_dockerfile(checkout, service));
    return core_.read([&](const State& state) -> Result<void> {
      TRY(pipeline::check_environments(state, app_, plan.spec));
      return check_host_ports(state, app_, plan);
    });
  }

  Result<void> check_dockerfile(const fs::path& checkout, const ServiceSpec& service) {
    const std::string path =
        (fs::path(service.build->context) / service.build->dockerfile).lexically_normal().string();
    const Fd root = TRY(os::open_folder(checkout));
    auto file = os::open_in_root(root.get(), path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (!file) return fail(Code::dockerfile_missing, "service {}: {} cannot be read", service.name, path);
    const std::string text = TRY(os::read_fd(file->get(), format::kMaxDockerfileBytes, path));
    const format::Dockerfile parsed = TRY(format::parse_dockerfile(text, path));
    for (const std::string& warning : parsed.warnings) say("warning: " + warning);
    if (!service.build->target.empty() && !parsed.find_stage(service.build->target))
      return fail(Code::dockerfile_invalid, "service {}: {} has no stage '{}' (build.target)", service.name,
                  path, service.build->target);
    return {};
  }

  const Core& core_;
  const ipc::DataFolder& data_;
  const std::string& app_;
  const GitEnvironment& quarantine_;
  PushVerdict verdict_;
};

}  // namespace

std::string second_push_remedy(std::string_view ref) {
  return fmt::format("take it in with `git pull --rebase naru {}` and push again", ref.substr(kHeads.size()));
}

Result<void> check_ref_name(std::string_view ref) {
  std::string_view name = ref;
  if (name.starts_with(kHeads))
    name.remove_prefix(kHeads.size());
  else if (name.starts_with("refs/tags/"))
    name.remove_prefix(10);
  else
    return std::unexpected(Error{Code::push_refused,
                                 fmt::format("'{}' is neither a branch nor a tag", ref.substr(0, 120)), 0,
                                 "push to refs/heads/... or refs/tags/..."});
  const bool plain = std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-' || c == '/';
  });
  if (plain && !name.empty() && name.size() <= 100 && !name.starts_with('-') && !name.starts_with('.'))
    return {};
  std::string shown(name.substr(0, 120));
  for (char& c : shown)
    if (static_cast<unsigned char>(c) < ' ' || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  return std::unexpected(
      Error{Code::push_refused, fmt::format("the name '{}' cannot be kept here", shown), 0,
            "names of branches and tags take 1 to 100 letters, digits, '.', '_', '-' and '/'"});
}

Result<void> check_host_ports(const State& state, const std::string& app, const Plan& plan) {
  TRY(route::check_host_ports_fit(state, app, plan.spec));
  std::set<std::uint16_t> ours;  // the supervisor listens for us already
  for (const ListenerSpec& listener : route::listeners_of(state))
    if (listener.name.starts_with("host:")) ours.insert(listener.port);
  for (const ServiceSpec& service : plan.spec.services)
    for (const PortSpec& port : service.ports) {
      if (!port.host || port.transport != Transport::tcp) continue;
      const std::string place = fmt::format("services.{}.ports:{}", service.name, *port.host);
      if (const auto owner = owner_of(state, app, *port.host))
        return plan.error_at(place, Code::port_taken,
                             fmt::format("host port {} belongs to {}", *port.host, *owner),
                             "choose another host port, or push a release of its owner that gives it up");
      if (!ours.contains(*port.host) && taken_on_host(port))
        return plan.error_at(
            place, Code::port_taken, fmt::format("host port {} is taken on this machine", *port.host),
            fmt::format("choose another host port, or stop who listens there (`ss -ltnp 'sport = :{}'` shows "
                        "who); Naru's own two are moved by `naru up --port` and `--gateway-port`",
                        *port.host));
    }
  return {};
}

PushVerdict check_push(const Core& core, const ipc::DataFolder& data, const std::string& app,
                       const std::vector<RefUpdate>& updates, const GitEnvironment& quarantine) {
  return Check(core, data, app, quarantine).run(updates);
}

}  // namespace naru::control
