#include "sim/developers.h"

namespace naru::sim {

namespace {

ServiceSpec service(std::string name, std::vector<Dependency> depends_on = {}) {
  ServiceSpec spec;
  spec.name = std::move(name);
  spec.depends_on = std::move(depends_on);
  return spec;
}

RolloutPolicy policy(Rng& rng) {
  RolloutPolicy policy;
  policy.alpha = 1e-6;  // so that no false alarm is expected in all seeds together
  policy.steps.clear();
  const std::uint64_t steps = 1 + rng.below(3);
  for (std::uint64_t i = 0; i < steps; ++i)
    policy.steps.push_back({BasisPoints{static_cast<std::uint32_t>(500 + 2'250 * i + rng.below(500))},
                            between(rng, 1'000, 8'000), static_cast<std::uint32_t>(15 + rng.below(10))});
  policy.bake = between(rng, 0, 20'000);
  policy.warm_up = 1s;
  policy.ready_deadline = between(rng, 60'000, 90'000);
  if (rng.chance(0.1)) policy.strategy = rng.chance(0.5) ? StrategyKind::all_at_once : StrategyKind::recreate;
  return policy;
}

// None besides production; staging before it; three in a row; side by side.
std::vector<EnvironmentSpec> environments(Rng& rng) {
  const auto deploy = [&] { return rng.chance(0.1) ? DeployMode::manual : DeployMode::automatic; };
  switch (rng.below(6)) {
    case 0:
      return {{"staging", deploy(), ""}, {"production", deploy(), "staging"}};
    case 1:
      return {{"dev", deploy(), ""}, {"staging", deploy(), "dev"}, {"production", deploy(), "staging"}};
    case 2:
      return {{"dev", deploy(), ""}, {"staging", deploy(), ""}, {"production", deploy(), "staging"}};
    default:
      return {};
  }
}

// Of its production. Some lie where the platform assigns ports, too, and another application may want the
// same.
std::uint16_t host_port(Rng& rng) {
  return static_cast<std::uint16_t>((rng.chance(0.5) ? 5'432 : 20'000) + rng.below(4));
}

auto find_stateful(ApplicationSpec& spec) {
  return std::ranges::find_if(spec.services, [](const ServiceSpec& one) { return one.stateful(); });
}

// The same state under another name.
void rename(Commit& commit, ServiceSpec& state) {
  const std::string before = state.name, after = before == "db" ? "store" : "db";
  state.name = after;
  commit.images[after] = commit.images[before];
  commit.images.erase(before);
  for (ServiceSpec& one : commit.spec.services)
    for (Dependency& dependency : one.depends_on)
      if (dependency.service == before) dependency.service = after;
}

Digest manifest_of(const std::string& service, const std::string& version) {
  return Digest::of_sha256(service + "@" + version);
}

}  // namespace

Developers::Developers(std::string app, Rng& rng) : app_(std::move(app)) {
  ApplicationSpec& spec = base_.spec;
  spec.services = {service("web", {{"api", DependencyCondition::healthy}}), service("api")};
  spec.services[0].ports = {{8'080, std::nullopt, "", Transport::tcp, "http"}};
  spec.services[1].ports = {{5'353, std::nullopt, "", Transport::udp, ""}};
  if (rng.chance(0.4)) spec.services[rng.below(2)].replicas = 2;
  if (rng.chance(0.6)) {
    ServiceSpec db = service("db");
    db.mounts = {{MountKind::volume, "data", "/data", false, 0}};
    db.ports = {{5'432, host_port(rng), "", Transport::tcp, ""},
                {8'125, std::nullopt, "", Transport::udp, ""}};
    spec.services.push_back(db);
    spec.volumes = {"data"};
    spec.services[1].depends_on.push_back({"db", DependencyCondition::healthy});
  }
  if (rng.chance(0.5)) {
    spec.services.push_back(service("migrate"));
    if (spec.find("db") != nullptr) spec.services.back().depends_on = {{"db", DependencyCondition::healthy}};
    spec.services[1].depends_on.push_back({"migrate", DependencyCondition::completed});
  }
  spec.rollout = policy(rng);
  if (rng.chance(0.1)) spec.deploy = DeployMode::manual;
  spec.environments = environments(rng);
  for (const ServiceSpec& one : spec.services) base_.images[one.name] = "first";
}

const Commit& Developers::commit(Rng& rng, const Faults& faults) {
  Commit next = base_;
  next.id = fmt::format("{}{:07}", app_, commits_.size() + 1);
  if (!commits_.empty()) vary(next, rng);
  if (rng.chance(faults.bad_release)) spoil(next, rng);
  if (next.good) base_ = next;
  return commits_.insert_or_assign(next.id, std::move(next)).first->second;
}

void Developers::vary(Commit& next, Rng& rng) {
  const std::size_t changes = 1 + rng.below(2);
  for (std::size_t i = 0; i < changes; ++i)
    next.images[next.spec.services[rng.below(next.spec.services.size())].name] = next.id;
  if (rng.chance(0.2)) next.spec.rollout = policy(rng);
  if (rng.chance(0.05)) next.spec.environments = environments(rng);
  if (const auto state = find_stateful(next.spec); state != next.spec.services.end()) {
    if (rng.chance(0.05)) state->ports[0].host = host_port(rng);
    if (rng.chance(0.08)) rename(next, *state);
  }
  const auto cache = std::ranges::find(next.spec.services, "cache", &ServiceSpec::name);
  if (cache == next.spec.services.end()) {
    if (!rng.chance(0.1)) return;
    next.spec.services.push_back(service("cache"));
    next.images["cache"] = next.id;
  } else if (rng.chance(0.2)) {
    next.spec.services.erase(cache);
    next.images.erase("cache");
  }
}

void Developers::spoil(Commit& next, Rng& rng) {
  next.good = false;
  const std::string& victim = next.spec.services[rng.below(next.spec.services.size())].name;
  if (rng.chance(0.1)) {
    next.plan_fails = true;
    return;
  }
  if (rng.chance(0.15)) {
    next.build_fails = victim;
    return;
  }
  constexpr Behaviour kinds[] = {Behaviour::errors, Behaviour::errors, Behaviour::crashes_at_start,
                                 Behaviour::never_healthy, Behaviour::crashes_later};
  next.images[victim] = next.id;
  // Users of both releases meet a stateful service's errors, and nobody meets a one-shot's: no side would
  // show them.
  const bool sided = !next.spec.find(victim)->stateful() && victim != "migrate";
  behaviours_[manifest_of(victim, next.id)] =
      sided ? kinds[rng.below(std::size(kinds))] : Behaviour::crashes_at_start;
}

const Commit* Developers::find(const std::string& id) const {
  const auto found = commits_.find(id);
  return found == commits_.end() ? nullptr : &found->second;
}

Behaviour Developers::behaviour_of(const Digest& manifest) const {
  const auto found = behaviours_.find(manifest);
  return found == behaviours_.end() ? Behaviour::good : found->second;
}

ImageInfo Developers::image_of(const Commit& commit, const std::string& service) const {
  ImageInfo image;
  const auto version = commit.images.find(service);
  image.manifest = manifest_of(service, version == commit.images.end() ? "none" : version->second);
  image.exposed = {8'080};
  // A range, as EXPOSE 10000-11199 gives it, concerns nobody else.
  if (service == "api")
    for (std::uint16_t port = 10'000; port < 11'200; ++port) image.exposed.push_back(port);
  return image;
}

bool Developers::answers_errors(const Release& release) const {
  return std::ranges::any_of(release.services, [&](const ReleaseService& s) {
    return behaviour_of(s.image.manifest) == Behaviour::errors;
  });
}

}  // namespace naru::sim
