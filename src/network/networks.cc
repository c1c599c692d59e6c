#include "network/networks.h"

#include <fcntl.h>

#include <filesystem>
#include <mutex>

#include "base/log.h"
#include "network/record.h"
#include "network/ruleset.h"
#include "os/netlink.h"
#include "os/nftables.h"
#include "os/sockets.h"

namespace naru::network {

namespace {

constexpr std::size_t kMaxNetworks = 512;
constexpr std::size_t kMostUdpExceptionsTaken = 4096;  // per network; control asks for half (route/bounds.h)
constexpr std::size_t kMaxUdpTargets = 512;  // per network and side; format/compose_check.cc allows half

// `length` characters of [a-z2-7] from the text's digest: names of links have 15 characters at most.
std::string short_hash(std::string_view text, std::size_t length) {
  static constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz234567";
  const std::string hex(Digest::of_sha256(text).hex());
  std::string out;
  for (std::size_t i = 0; i < length; ++i)
    out += kLetters[static_cast<std::size_t>(std::stoi(hex.substr(i * 2, 2), nullptr, 16)) % kLetters.size()];
  return out;
}

std::string mac_text(std::uint64_t mac) {
  std::string text;
  for (int shift = 40; shift >= 0; shift -= 8)
    text += fmt::format("{}{:02x}", text.empty() ? "" : ":", (mac >> shift) & 0xff);
  return text;
}

std::uint64_t mac_of(const std::string& name) {
  const std::uint64_t bits =
      std::stoull(std::string(Digest::of_sha256(name).hex().substr(0, 10)), nullptr, 16);
  return 0x020000000000ULL | (bits & 0xffffffffffULL);  // locally administered, unicast
}

// Best effort: false when the file is not there or may not be written.
bool write_sysctl(const std::string& path, std::string_view value) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
}

char read_sysctl(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char value = 0;
  return file && ::read(file.get(), &value, 1) == 1 ? value : '\0';
}

}  // namespace

struct Networks::State {
  NetworksOptions options;
  std::string folder;        // <data>/networks
  std::string prefix;        // of all our links' names: "n" and 5 characters of the data folder's hash
  std::string table;         // of nftables
  mutable std::mutex mutex;  // everything below
  std::optional<os::Netlink> netlink;
  std::map<std::string, Record> records;
  std::vector<std::string> notices;
  bool rules_stale = false;  // an error left those of somebody who has gone, or none of somebody who came
  bool ports_ruled = false;  // the kernel has nftables for bridges: decided at the start, once
  bool ipv6_is_told = false;
  UdpSupport udp = UdpSupport::none;

  std::string bridge_prefix() const { return prefix + "b"; }
  std::string bridge_of(const std::string& id) const { return prefix + "b" + short_hash(id, 8); }
  std::string veth_of(const std::string& container) const { return prefix + "v" + short_hash(container, 8); }

  std::uint64_t mac_of_container(const std::string& container) const {
    return mac_of(prefix + " " + container);
  }
  RuledPort port_of(const std::string& container, const std::string& address) const {
    return {veth_of(container), mac_text(mac_of_container(container)), address};
  }

  std::vector<RuledMember> members_of(const Record& record) const;
  std::vector<RuledNetwork> ruled_networks() const;
  // Whether what is attached, or a change of it, is told to more than the table of ports.
  bool has_rules_inside(const Record& record) const;
  Result<void> apply_rules() const;
  Result<void> replace_port_rules() const;
  Result<void> apply_all_rules();
  Result<void> apply_rules_of_arrival();
  Result<void> apply_first_rules();
  Result<void> check(const NetworkInfo& info, const std::vector<UdpTarget>& targets) const;
  Result<void> check(const NetworkInfo& info, std::vector<UdpException>& exceptions) const;
  void apply_first_port_rules();
  void disable_ipv6(const std::string& bridge);
  Result<void> make_bridge(const NetworkInfo& info);
  Result<void> remove_link_if_there(const std::string& name);
  Result<void> remove_leftovers();
  Result<os::Ipv4Prefix> choose_block();
  void enable_forwarding();
  Result<void> reconcile();
  Result<std::string> lease(Record& record, const std::string& container, Place place);
  Result<void> release(const std::string& container);
};

std::vector<RuledMember> Networks::State::members_of(const Record& record) const {
  std::vector<RuledMember> members;
  for (const auto& [container, address] : record.leases) {
    RuledMember member{.address = address, .port = veth_of(container), .segments = {"default"}};
    if (const auto place = record.places.find(container); place != record.places.end()) {
      if (const auto& names = place->second.segments; !names.empty())
        member.segments = {names.begin(), names.end()};
      member.internal = place->second.internal;
    }
    members.push_back(std::move(member));
  }
  return members;
}

std::vector<RuledNetwork> Networks::State::ruled_networks() const {
  std::vector<RuledNetwork> ruled;
  for (const auto& [id, record] : records)
    ruled.push_back({record.info, record.udp_routes, members_of(record)});
  return ruled;
}

bool Networks::State::has_rules_inside(const Record& record) const {
  const auto members = members_of(record);
  return is_separated(members) || std::ranges::any_of(members, &RuledMember::internal);
}

Result<void> Networks::State::apply_rules() const {
  TRY(os::run_nftables(render_ruleset(table, bridge_prefix(), options.inner_port, ruled_networks(), udp)));
  return {};
}

Result<void> Networks::State::replace_port_rules() const {
  std::vector<RuledPort> ports;
  for (const auto& [id, record] : records)
    for (const auto& [container, address] : record.leases) ports.push_back(port_of(container, address));
  TRY(os::run_nftables(render_port_rules(table, prefix + "v", ports, ruled_networks())));
  return {};
}

// Each table changes at once; between the two nobody is in the network whom either does not know. What the
// kernel does not take is stale until it does.
Result<void> Networks::State::apply_all_rules() {
  rules_stale = true;
  TRY(apply_rules());
  if (ports_ruled) TRY(replace_port_rules());
  rules_stale = false;
  return {};
}

// busy: the kernel took rules like these before, so it refuses for a while only, and the same is asked again.
Result<void> Networks::State::apply_rules_of_arrival() {
  auto applied = apply_all_rules();
  if (applied) return {};
  log_event(Level::warn, "network.rules_refused", {{"error", applied.error().message()}});
  return std::unexpected(Error{Code::busy, applied.error().message(), 0,
                               "it is tried again by itself; nft monitor shows who else changes rules"});
}

// What the kernel cannot is left out and said.
Result<void> Networks::State::apply_first_rules() {
  udp = options.most_udp;
  auto applied = apply_rules();
  const std::string why = applied ? "" : ": " + applied.error().message();
  for (const UdpSupport less : {UdpSupport::new_only, UdpSupport::none}) {
    if (applied || less >= udp) continue;
    udp = less;
    applied = apply_rules();
  }
  TRY(std::move(applied));
  if (udp == UdpSupport::new_only)
    notices.push_back(
        "UDP between services: a client that goes on sending from one port stays with the instance that it "
        "had, also when that is gone; the kernel has no conntrack zones (CONFIG_NF_CONNTRACK_ZONES)" +
        why);
  if (udp == UdpSupport::none)
    notices.push_back("UDP between services is not forwarded: the kernel's nftables cannot (CONFIG_NFT_NAT)" +
                      why);
  return {};
}

// Without it containers still reach nothing outside of their network that they should not.
void Networks::State::apply_first_port_rules() {
  const auto applied = replace_port_rules();
  // A table that an earlier launcher made lets nobody pass whom it does not know; the kernel can, just not
  // now.
  const bool made_before =
      !applied && os::run_nftables(fmt::format("list table bridge {}\n", table)).has_value();
  ports_ruled = applied || made_before;
  rules_stale = made_before;
  if (!ports_ruled)
    notices.push_back(
        "containers of one environment can take each other's address, and reach each other by address "
        "whatever networks their services have (by name they do not): " +
        applied.error().message());
}

void Networks::State::disable_ipv6(const std::string& bridge) {
  const std::string path = "/proc/sys/net/ipv6/conf/" + bridge + "/disable_ipv6";
  // A kernel without IPv6 has no such file.
  if (write_sysctl(path, "1") || read_sysctl(path) != '0' || std::exchange(ipv6_is_told, true)) return;
  notices.emplace_back(
      "net.ipv6.conf of the bridges: disable_ipv6 cannot be set to 1, and this host has an IPv6 address in "
      "each "
      "network of containers; what they send there is dropped by Naru's nftables rules alone");
}

Result<void> Networks::State::make_bridge(const NetworkInfo& info) {
  if (auto made = netlink->create_bridge(info.bridge, mac_of(info.bridge));
      !made && made.error().code != Code::already_exists)
    return made;
  os::Ipv4Prefix gateway = TRY(os::Ipv4Prefix::parse(info.subnet));
  gateway.address = TRY(os::parse_ipv4(info.gateway));
  // Before it is up: nothing of the host answers on a link-local IPv6 address, no redirects towards
  // neighbours.
  disable_ipv6(info.bridge);
  write_sysctl("/proc/sys/net/ipv4/conf/" + info.bridge + "/send_redirects", "0");
  write_sysctl("/proc/sys/net/ipv4/conf/" + info.bridge + "/route_localnet", "0");
  if (auto added = netlink->add_address(info.bridge, gateway);
      !added && added.error().code != Code::already_exists)
    return added;
  return netlink->set_up(info.bridge);
}

Result<void> Networks::State::remove_link_if_there(const std::string& name) {
  auto removed = netlink->remove_link(name);
  if (!removed && removed.error().code != Code::not_found) return removed;
  return {};
}

Result<void> Networks::State::remove_leftovers() {
  std::set<std::string> wanted;
  for (const auto& [id, record] : records) {
    wanted.insert(record.info.bridge);
    for (const auto& [container, address] : record.leases) wanted.insert(veth_of(container));
  }
  for (const os::Link& link : TRY(netlink->links())) {
    if (!link.name.starts_with(bridge_prefix()) && !link.name.starts_with(prefix + "v")) continue;
    if (wanted.contains(link.name)) continue;
    log_event(Level::info, "network.leftover_removed", {{"link", link.name}});
    TRY(remove_link_if_there(link.name));
  }
  return {};
}

Result<os::Ipv4Prefix> Networks::State::choose_block() {
  std::vector<os::Ipv4Prefix> taken = TRY(netlink->routes());
  for (const os::Ipv4Prefix& address : TRY(netlink->addresses())) taken.push_back(address);
  // Of another Naru whose bridge somebody took away: its supervisor goes on listening on the gateway address.
  for (const std::uint32_t address : os::bound_addresses()) taken.push_back({address, 32});
  for (const auto& [id, record] : records) {
    taken.push_back(TRY(os::Ipv4Prefix::parse(record.info.subnet)));
    taken.push_back(TRY(os::Ipv4Prefix::parse(record.info.virtual_range)));
  }
  for (const std::string& text : options.pools) {
    const os::Ipv4Prefix pool = TRY(os::Ipv4Prefix::parse(text));
    for (std::uint64_t first = pool.first(); first + 1023 <= pool.last(); first += 1024) {
      const os::Ipv4Prefix block{static_cast<std::uint32_t>(first), 22};
      if (std::ranges::none_of(taken, [&](const os::Ipv4Prefix& other) { return block.overlaps(other); }))
        return block;
    }
  }
  return fail(Code::network_exhausted,
              "no free /22 in {}: {} networks of this Naru and the host's routes and sockets take them all",
              fmt::join(options.pools, ", "), records.size());
}

void Networks::State::enable_forwarding() {
  const std::string path = "/proc/sys/net/ipv4/ip_forward";
  if (read_sysctl(path) == '1') return;
  if (write_sysctl(path, "1"))
    notices.emplace_back(
        "net.ipv4.ip_forward was 0 and is now 1: containers reach the outside through this host");
  else
    notices.emplace_back(
        "net.ipv4.ip_forward is 0 and cannot be changed: containers cannot reach the outside");
}

Result<void> Networks::State::reconcile() {
  const std::scoped_lock lock(mutex);
  LoadedRecords loaded = TRY(load_records(folder));
  for (const std::string& problem : loaded.unreadable) {
    notices.push_back("a network's file was set aside: " + problem);
    log_event(Level::error, "network.record_unreadable", {{"problem", problem}});
  }
  records = std::move(loaded.records);
  // A data folder that was moved: the names follow it.
  for (auto& [id, record] : records) record.info.bridge = bridge_of(id);
  netlink = TRY(os::Netlink::open());
  enable_forwarding();
  TRY(apply_first_rules());  // before the bridges: nothing of ours is ever open
  apply_first_port_rules();
  for (const auto& [id, record] : records) TRY(make_bridge(record.info));
  return remove_leftovers();
}

Result<std::unique_ptr<Networks>> Networks::open(NetworksOptions options) {
  auto state = std::make_unique<State>();
  std::error_code error;
  const std::string canonical = std::filesystem::weakly_canonical(options.data, error).string();
  if (error || canonical.empty())
    return fail(Code::invalid_argument, "'{}' is not a data folder", options.data);
  state->prefix = "n" + short_hash(canonical, 5);
  state->table = "naru_" + short_hash(canonical, 5);
  state->folder = canonical + "/networks";
  state->options = std::move(options);
  TRY(state->reconcile());
  return std::unique_ptr<Networks>(new Networks(std::move(state)));
}

Networks::Networks(std::unique_ptr<State> state) : state_(std::move(state)) {}
Networks::~Networks() = default;

Result<NetworkInfo> Networks::ensure(const std::string& id) {
  if (!valid_id(id))
    return fail(Code::invalid_argument, "'{}' cannot be a network's id: [a-z0-9][a-z0-9.-]{{0,62}}",
                id.substr(0, 80));
  const std::scoped_lock lock(state_->mutex);
  if (const auto found = state_->records.find(id); found != state_->records.end()) {
    if (state_->rules_stale) TRY(state_->apply_all_rules());
    TRY(state_->make_bridge(found->second.info));  // somebody may have taken it away
    return found->second.info;
  }
  if (state_->records.size() >= kMaxNetworks)
    return fail(Code::network_exhausted,
                "there are {} networks already; remove environments that are no longer needed", kMaxNetworks);
  const os::Ipv4Prefix block = TRY(state_->choose_block());
  Record record;
  record.info = {id,
                 state_->bridge_of(id),
                 os::Ipv4Prefix{block.first(), 23}.text(),
                 os::ipv4_text(block.first() + 1),
                 os::Ipv4Prefix{block.first() + 512, 23}.text(),
                 state_->options.inner_port};
  TRY(save_record(state_->folder, record));
  state_->records[id] = record;
  TRY(state_->apply_all_rules());
  TRY(state_->make_bridge(record.info));
  return record.info;
}

Result<void> Networks::remove(const std::string& id) {
  const std::scoped_lock lock(state_->mutex);
  const auto found = state_->records.find(id);
  if (found == state_->records.end()) return state_->rules_stale ? state_->apply_all_rules() : Result<void>();
  if (!found->second.leases.empty())
    return fail(Code::conflict, "network {}: {} containers are attached to it, for example {}", id,
                found->second.leases.size(), found->second.leases.begin()->first);
  TRY(state_->remove_link_if_there(found->second.info.bridge));
  TRY(remove_record(state_->folder, id));
  state_->records.erase(found);
  return state_->apply_all_rules();
}

std::vector<NetworkInfo> Networks::list() const {
  const std::scoped_lock lock(state_->mutex);
  std::vector<NetworkInfo> infos;
  for (const auto& [id, record] : state_->records) infos.push_back(record.info);
  return infos;
}

Result<std::string> Networks::State::lease(Record& record, const std::string& container, Place place) {
  const Record before = record;
  if (!record.leases.contains(container)) {
    const auto address = next_free_address(record);
    if (!address)
      return fail(Code::network_exhausted, "network {}: all {} addresses of {} are taken", record.info.id,
                  record.leases.size(), record.info.subnet);
    record.leases[container] = *address;
  }
  record.places.erase(container);
  if (place != Place{}) record.places[container] = std::move(place);
  if (record.leases == before.leases && record.places == before.places) return record.leases[container];
  if (auto saved = save_leases(folder, record); !saved) {
    record = before;
    return std::unexpected(std::move(saved).error());
  }
  return record.leases[container];
}

Result<Attachment> Networks::attach(const std::string& network, const std::string& container,
                                    AttachOptions wanted) {
  if (!valid_id(container))
    return fail(Code::invalid_argument, "'{}' cannot be a container's id", container.substr(0, 80));
  os::NetworkNamespace space = TRY(os::create_network_namespace());
  if (network.empty()) return Attachment{std::move(space.fd), "", ""};
  const std::scoped_lock lock(state_->mutex);
  const auto found = state_->records.find(network);
  if (found == state_->records.end())
    return fail(Code::not_found, "there is no network {}; ensure it first", network);
  Record& record = found->second;
  // Before its address and its port are: a kernel that refuses lets nobody in.
  const bool ruled_before = state_->has_rules_inside(record);
  const std::string address =
      TRY(state_->lease(record, container, {std::move(wanted.segments), wanted.internal}));
  if (ruled_before || state_->has_rules_inside(record) || state_->rules_stale)
    TRY(state_->apply_rules_of_arrival());
  const std::string veth = state_->veth_of(container);
  TRY(state_->remove_link_if_there(veth));
  const os::Link bridge = TRY(state_->netlink->link(record.info.bridge));
  // Whole again when it fails: somebody may have flushed the host's rules.
  if (state_->ports_ruled &&
      !os::run_nftables(render_port_added(state_->table, state_->port_of(container, address))))
    TRY(state_->apply_rules_of_arrival());
  TRY(state_->netlink->create_veth(veth, "eth0", space.fd.get(), bridge.index,
                                   state_->mac_of_container(container)));
  // Nobody is inside yet, so there is no moment in which it is not isolated.
  if (wanted.isolated) TRY(state_->netlink->isolate_port(veth));
  os::Ipv4Prefix own = TRY(os::Ipv4Prefix::parse(record.info.subnet));
  own.address = TRY(os::parse_ipv4(address));
  TRY(space.inside.add_address("eth0", own));
  TRY(space.inside.set_up("eth0"));
  TRY(space.inside.add_default_route(TRY(os::parse_ipv4(record.info.gateway))));
  return Attachment{std::move(space.fd), address, record.info.gateway};
}

Result<void> Networks::State::release(const std::string& container) {
  TRY(remove_link_if_there(veth_of(container)));
  for (auto& [id, record] : records) {
    const auto lease = record.leases.find(container);
    if (lease == record.leases.end()) continue;
    const RuledPort port = port_of(container, lease->second);
    const Record before = record;
    record.leases.erase(lease);
    record.places.erase(container);
    if (auto saved = save_leases(folder, record); !saved) {
      record = before;
      return saved;
    }
    if (has_rules_inside(before) || (ports_ruled && !os::run_nftables(render_port_removed(table, port))))
      rules_stale = true;
  }
  // Also for one whose lease is forgotten already: the kernel may have refused the last time.
  if (rules_stale) TRY(apply_all_rules());
  return {};
}

Result<void> Networks::release(const std::string& container) {
  const std::scoped_lock lock(state_->mutex);
  return state_->release(container);
}

Result<void> Networks::keep_only(const std::set<std::string>& known) {
  const std::scoped_lock lock(state_->mutex);
  std::vector<std::string> gone;
  for (const auto& [id, record] : state_->records)
    for (const auto& [container, address] : record.leases)
      if (!known.contains(container)) gone.push_back(container);
  Result<void> first;
  for (const std::string& container : gone)
    if (auto released = state_->release(container); !released && first) first = std::move(released);
  return first;
}

Result<void> Networks::State::check(const NetworkInfo& info, const std::vector<UdpTarget>& targets) const {
  if (targets.size() > kMaxUdpTargets)
    return fail(Code::too_large, "network {}: {} UDP targets; at most {}", info.id, targets.size(),
                kMaxUdpTargets);
  const os::Ipv4Prefix subnet = TRY(os::Ipv4Prefix::parse(info.subnet));
  const os::Ipv4Prefix range = TRY(os::Ipv4Prefix::parse(info.virtual_range));
  std::set<std::pair<std::string, std::uint16_t>> seen;
  for (const UdpTarget& target : targets) {
    if (!range.overlaps({TRY(os::parse_ipv4(target.virtual_address)), 32}) ||
        !subnet.overlaps({TRY(os::parse_ipv4(target.address)), 32}) || target.port == 0)
      return fail(Code::invalid_argument, "network {}: UDP {}:{} -> {} lies outside of it", info.id,
                  target.virtual_address, target.port, target.address);
    if (!seen.emplace(target.virtual_address, target.port).second)
      return fail(Code::invalid_argument, "network {}: UDP {}:{} is named twice", info.id,
                  target.virtual_address, target.port);
  }
  return {};
}

Result<void> Networks::State::check(const NetworkInfo& info, std::vector<UdpException>& exceptions) const {
  if (exceptions.size() > kMostUdpExceptionsTaken)
    return fail(Code::too_large, "network {}: {} exceptions for UDP; at most {}", info.id, exceptions.size(),
                kMostUdpExceptionsTaken);
  const os::Ipv4Prefix subnet = TRY(os::Ipv4Prefix::parse(info.subnet));
  const os::Ipv4Prefix range = TRY(os::Ipv4Prefix::parse(info.virtual_range));
  for (const UdpException& one : exceptions)
    if (!range.overlaps({TRY(os::parse_ipv4(one.virtual_address)), 32}) ||
        !subnet.overlaps({TRY(os::parse_ipv4(one.caller)), 32}))
      return fail(Code::invalid_argument, "network {}: the exception for {} -> {} lies outside of it",
                  info.id, one.caller, one.virtual_address);
  std::ranges::sort(exceptions);
  exceptions.erase(std::unique(exceptions.begin(), exceptions.end()), exceptions.end());
  return {};
}

Result<void> Networks::set_udp_routes(const std::string& network, UdpRoutes routes) {
  const std::scoped_lock lock(state_->mutex);
  const auto found = state_->records.find(network);
  if (found == state_->records.end())
    return fail(Code::not_found, "there is no network {}; ensure it first", network);
  const NetworkInfo& info = found->second.info;
  TRY(state_->check(info, routes.targets));
  TRY(state_->check(info, routes.canary));
  const os::Ipv4Prefix subnet = TRY(os::Ipv4Prefix::parse(info.subnet));
  const std::set<std::string> callers(routes.canary_callers.begin(), routes.canary_callers.end());
  for (const std::string& caller : callers)
    if (!subnet.overlaps({TRY(os::parse_ipv4(caller)), 32}))
      return fail(Code::invalid_argument, "network {}: the caller {} lies outside of it", network, caller);
  routes.canary_callers.assign(callers.begin(), callers.end());
  TRY(state_->check(info, routes.exceptions));
  if (!routes.empty() && state_->udp == UdpSupport::none)
    return fail(Code::unsupported, "network {}: the kernel's nftables cannot forward UDP (CONFIG_NFT_NAT)",
                network);
  if (found->second.udp_routes != routes) {
    found->second.udp_routes = std::move(routes);
    TRY(save_record(state_->folder, found->second));
  }
  return state_->rules_stale ? state_->apply_all_rules() : state_->apply_rules();
}

std::vector<std::string> Networks::notices() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->notices;
}

Result<void> Networks::remove_all() {
  {
    const std::scoped_lock lock(state_->mutex);
    for (const auto& [id, record] : state_->records) TRY(remove_record(state_->folder, id));
  }
  return clear_host();
}

Result<void> Networks::clear_host() {
  const std::scoped_lock lock(state_->mutex);
  state_->records.clear();
  TRY(state_->remove_leftovers());
  TRY(os::run_nftables(fmt::format("add table inet {0}\ndelete table inet {0}\n", state_->table)));
  if (state_->ports_ruled)
    TRY(os::run_nftables(fmt::format("add table bridge {0}\ndelete table bridge {0}\n", state_->table)));
  return {};
}

}  // namespace naru::network
