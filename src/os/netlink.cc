#include "os/netlink.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <charconv>
#include <cstring>
#include <thread>

namespace naru::os {

std::string ipv4_text(std::uint32_t host_order) {
  return fmt::format("{}.{}.{}.{}", host_order >> 24, (host_order >> 16) & 255, (host_order >> 8) & 255,
                     host_order & 255);
}

Result<std::uint32_t> parse_ipv4(std::string_view text) {
  const std::string copy(text.substr(0, 64));
  in_addr address{};
  if (inet_pton(AF_INET, copy.c_str(), &address) != 1 || copy.size() != text.size())
    return fail(Code::invalid_argument, "'{}' is not an IPv4 address", copy);
  return ntohl(address.s_addr);
}

Result<Ipv4Prefix> Ipv4Prefix::parse(std::string_view text) {
  const auto slash = text.find('/');
  Ipv4Prefix prefix;
  prefix.address = TRY(parse_ipv4(text.substr(0, slash)));
  if (slash == std::string_view::npos) return prefix;
  const std::string_view digits = text.substr(slash + 1);
  unsigned length = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (error != std::errc{} || end != digits.data() + digits.size() || length > 32 || digits.size() > 2)
    return fail(Code::invalid_argument, "'{}' is not an IPv4 block such as 10.88.0.0/13", text.substr(0, 64));
  prefix.length = static_cast<std::uint8_t>(length);
  return prefix;
}

std::string Ipv4Prefix::text() const {
  return fmt::format("{}/{}", ipv4_text(address), length);
}

struct Netlink::State {
  ~State() {
    if (socket != nullptr) mnl_socket_close(socket);
  }
  mnl_socket* socket = nullptr;
  std::uint32_t sequence = 0;
};

Netlink::Netlink(std::unique_ptr<State> state) : state_(std::move(state)) {}
Netlink::Netlink(Netlink&&) noexcept = default;
Netlink& Netlink::operator=(Netlink&&) noexcept = default;
Netlink::~Netlink() = default;

Result<Netlink> Netlink::open() {
  auto state = std::make_unique<State>();
  state->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (state->socket == nullptr) return fail_errno(Code::system, "netlink: socket");
  if (mnl_socket_bind(state->socket, 0, MNL_SOCKET_AUTOPID) < 0)
    return fail_errno(Code::system, "netlink: bind");
  const timeval patience{5, 0};  // the kernel answers at once; a lost answer must not hang us
  setsockopt(mnl_socket_get_fd(state->socket), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return Netlink(std::move(state));
}

namespace {

// One request under construction. 4 KiB are more than any message of ours.
struct Request {
  Request(std::uint16_t type, std::uint16_t flags) {
    head = mnl_nlmsg_put_header(buffer.data());
    head->nlmsg_type = type;
    head->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  }
  template <class T>
  T* extra() {
    return static_cast<T*>(mnl_nlmsg_put_extra_header(head, sizeof(T)));
  }
  alignas(nlmsghdr) std::array<char, 4096> buffer{};
  nlmsghdr* head;
};

using Visit = std::function<void(const nlmsghdr*)>;

int on_message(const nlmsghdr* message, void* data) {
  const auto& visit = *static_cast<const Visit*>(data);
  if (visit) visit(message);
  return MNL_CB_OK;
}

// Sends, and reads answers until the acknowledgement or the end of the dump.
Result<void> transact(mnl_socket* socket, std::uint32_t sequence, Request& request, std::string_view doing,
                      const Visit& visit = {}) {
  request.head->nlmsg_seq = sequence;
  if (mnl_socket_sendto(socket, request.head, request.head->nlmsg_len) < 0)
    return fail_errno(Code::system, "netlink: {}", doing);
  const unsigned port = mnl_socket_get_portid(socket);
  std::vector<char> answer(64UL << 10);
  while (true) {
    const auto got = mnl_socket_recvfrom(socket, answer.data(), answer.size());
    if (got < 0) {
      if (errno == EINTR) continue;
      return fail_errno(errno == EAGAIN ? Code::timeout : Code::system, "netlink: {}", doing);
    }
    // An answer of another sequence number belongs to a request that was given up: skipped.
    const int state = mnl_cb_run(answer.data(), static_cast<std::size_t>(got), sequence, port, on_message,
                                 const_cast<Visit*>(&visit));
    if (state == MNL_CB_STOP) return {};
    if (state < 0) {
      if (errno == EPROTO || errno == ESRCH) {
        const auto* head = reinterpret_cast<const nlmsghdr*>(answer.data());
        if (head->nlmsg_seq != sequence) continue;
      }
      const Code code = errno == EEXIST                      ? Code::already_exists
                        : errno == ENODEV || errno == ENOENT ? Code::not_found
                                                             : Code::system;
      return fail_errno(code, "netlink: {}", doing);
    }
  }
}

Result<void> check_name(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ)
    return fail(Code::invalid_argument, "'{}' cannot be a link's name: 1 to {} characters", name,
                IFNAMSIZ - 1);
  return {};
}

// mnl_attr_for_each, in a form that C++ accepts.
template <class F>
void each_attribute(const nlmsghdr* message, std::size_t header, F&& visit) {
  auto* attribute = static_cast<nlattr*>(mnl_nlmsg_get_payload_offset(message, header));
  while (mnl_attr_ok(attribute, static_cast<int>(static_cast<char*>(mnl_nlmsg_get_payload_tail(message)) -
                                                 reinterpret_cast<char*>(attribute)))) {
    visit(static_cast<const nlattr*>(attribute));
    attribute = mnl_attr_next(attribute);
  }
}

Link read_link(const nlmsghdr* message) {
  Link link;
  const auto* info = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  link.index = info->ifi_index;
  link.up = (info->ifi_flags & IFF_UP) != 0;
  each_attribute(message, sizeof(ifinfomsg), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == IFLA_IFNAME) link.name = mnl_attr_get_str(attribute);
    if (mnl_attr_get_type(attribute) == IFLA_MASTER)
      link.master = static_cast<int>(mnl_attr_get_u32(attribute));
  });
  return link;
}

}  // namespace

Result<Link> Netlink::link(const std::string& name) {
  TRY(check_name(name));
  Request request(RTM_GETLINK, NLM_F_ACK);
  request.extra<ifinfomsg>()->ifi_family = AF_UNSPEC;
  mnl_attr_put_strz(request.head, IFLA_IFNAME, name.c_str());
  Link found;
  TRY(transact(state_->socket, ++state_->sequence, request, "look up link " + name, [&](const nlmsghdr* m) {
    if (m->nlmsg_type == RTM_NEWLINK) found = read_link(m);
  }));
  return found;
}

Result<std::vector<Link>> Netlink::links() {
  Request request(RTM_GETLINK, NLM_F_DUMP);
  request.extra<ifinfomsg>()->ifi_family = AF_UNSPEC;
  std::vector<Link> found;
  TRY(transact(state_->socket, ++state_->sequence, request, "list links", [&](const nlmsghdr* m) {
    if (m->nlmsg_type == RTM_NEWLINK) found.push_back(read_link(m));
  }));
  return found;
}

namespace {
void put_mac(nlmsghdr* head, std::uint64_t mac) {
  std::array<std::uint8_t, 6> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(mac >> (40 - 8 * i));
  mnl_attr_put(head, IFLA_ADDRESS, bytes.size(), bytes.data());
}
}  // namespace

Result<void> Netlink::create_bridge(const std::string& name, std::uint64_t mac) {
  TRY(check_name(name));
  Request request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
  request.extra<ifinfomsg>()->ifi_family = AF_UNSPEC;
  mnl_attr_put_strz(request.head, IFLA_IFNAME, name.c_str());
  put_mac(request.head, mac);
  nlattr* info = mnl_attr_nest_start(request.head, IFLA_LINKINFO);
  mnl_attr_put_strz(request.head, IFLA_INFO_KIND, "bridge");
  mnl_attr_nest_end(request.head, info);
  return transact(state_->socket, ++state_->sequence, request, "create bridge " + name);
}

Result<void> Netlink::create_veth(const std::string& name, const std::string& peer, int peer_netns,
                                  int master, std::uint64_t peer_mac) {
  TRY(check_name(name));
  TRY(check_name(peer));
  Request request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
  auto* self = request.extra<ifinfomsg>();
  self->ifi_family = AF_UNSPEC;
  self->ifi_flags = IFF_UP;
  self->ifi_change = IFF_UP;
  mnl_attr_put_strz(request.head, IFLA_IFNAME, name.c_str());
  if (master != 0) mnl_attr_put_u32(request.head, IFLA_MASTER, static_cast<std::uint32_t>(master));
  nlattr* info = mnl_attr_nest_start(request.head, IFLA_LINKINFO);
  mnl_attr_put_strz(request.head, IFLA_INFO_KIND, "veth");
  nlattr* data = mnl_attr_nest_start(request.head, IFLA_INFO_DATA);
  nlattr* other = mnl_attr_nest_start(request.head, VETH_INFO_PEER);
  request.extra<ifinfomsg>()->ifi_family = AF_UNSPEC;  // the peer's own header, inside the attribute
  mnl_attr_put_strz(request.head, IFLA_IFNAME, peer.c_str());
  if (peer_mac != 0) put_mac(request.head, peer_mac);
  mnl_attr_put_u32(request.head, IFLA_NET_NS_FD, static_cast<std::uint32_t>(peer_netns));
  mnl_attr_nest_end(request.head, other);
  mnl_attr_nest_end(request.head, data);
  mnl_attr_nest_end(request.head, info);
  return transact(state_->socket, ++state_->sequence, request, "create veth pair " + name);
}

Result<void> Netlink::isolate_port(const std::string& name) {
  const Link port = TRY(link(name));
  Request request(RTM_SETLINK, NLM_F_ACK);
  auto* self = request.extra<ifinfomsg>();
  self->ifi_family = AF_BRIDGE;
  self->ifi_index = port.index;
  nlattr* options = mnl_attr_nest_start(request.head, IFLA_PROTINFO);
  mnl_attr_put_u8(request.head, IFLA_BRPORT_ISOLATED, 1);
  mnl_attr_nest_end(request.head, options);
  return transact(state_->socket, ++state_->sequence, request, "isolate port " + name);
}

Result<void> Netlink::remove_link(const std::string& name) {
  TRY(check_name(name));
  Request request(RTM_DELLINK, NLM_F_ACK);
  request.extra<ifinfomsg>()->ifi_family = AF_UNSPEC;
  mnl_attr_put_strz(request.head, IFLA_IFNAME, name.c_str());
  return transact(state_->socket, ++state_->sequence, request, "remove link " + name);
}

Result<void> Netlink::set_up(const std::string& name) {
  TRY(check_name(name));
  Request request(RTM_NEWLINK, NLM_F_ACK);
  auto* info = request.extra<ifinfomsg>();
  info->ifi_family = AF_UNSPEC;
  info->ifi_flags = IFF_UP;
  info->ifi_change = IFF_UP;
  mnl_attr_put_strz(request.head, IFLA_IFNAME, name.c_str());
  return transact(state_->socket, ++state_->sequence, request, "set up link " + name);
}

Result<void> Netlink::add_address(const std::string& link_name, const Ipv4Prefix& address) {
  const Link target = TRY(link(link_name));
  Request request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
  auto* info = request.extra<ifaddrmsg>();
  info->ifa_family = AF_INET;
  info->ifa_prefixlen = address.length;
  info->ifa_index = static_cast<std::uint32_t>(target.index);
  mnl_attr_put_u32(request.head, IFA_LOCAL, htonl(address.address));
  mnl_attr_put_u32(request.head, IFA_ADDRESS, htonl(address.address));
  if (address.length < 31) mnl_attr_put_u32(request.head, IFA_BROADCAST, htonl(address.last()));
  return transact(state_->socket, ++state_->sequence, request,
                  fmt::format("add address {} to {}", address.text(), link_name));
}

Result<std::vector<Ipv4Prefix>> Netlink::addresses(const std::string& link_name) {
  int index = 0;
  if (!link_name.empty()) index = TRY(link(link_name)).index;
  Request request(RTM_GETADDR, NLM_F_DUMP);
  request.extra<ifaddrmsg>()->ifa_family = AF_INET;
  std::vector<Ipv4Prefix> found;
  TRY(transact(state_->socket, ++state_->sequence, request, "list addresses", [&](const nlmsghdr* m) {
    if (m->nlmsg_type != RTM_NEWADDR) return;
    const auto* info = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(m));
    if (index != 0 && static_cast<int>(info->ifa_index) != index) return;
    each_attribute(m, sizeof(ifaddrmsg), [&](const nlattr* attribute) {
      if (mnl_attr_get_type(attribute) == IFA_LOCAL)
        found.push_back({ntohl(mnl_attr_get_u32(attribute)), info->ifa_prefixlen});
    });
  }));
  return found;
}

Result<void> Netlink::add_default_route(std::uint32_t gateway) {
  Request request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
  auto* route = request.extra<rtmsg>();
  route->rtm_family = AF_INET;
  route->rtm_table = RT_TABLE_MAIN;
  route->rtm_protocol = RTPROT_STATIC;
  route->rtm_scope = RT_SCOPE_UNIVERSE;
  route->rtm_type = RTN_UNICAST;
  mnl_attr_put_u32(request.head, RTA_GATEWAY, htonl(gateway));
  return transact(state_->socket, ++state_->sequence, request, "add default route via " + ipv4_text(gateway));
}

Result<std::vector<Ipv4Prefix>> Netlink::routes() {
  Request request(RTM_GETROUTE, NLM_F_DUMP);
  request.extra<rtmsg>()->rtm_family = AF_INET;
  std::vector<Ipv4Prefix> found;
  TRY(transact(state_->socket, ++state_->sequence, request, "list routes", [&](const nlmsghdr* m) {
    if (m->nlmsg_type != RTM_NEWROUTE) return;
    const auto* route = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(m));
    if (route->rtm_dst_len == 0) return;
    each_attribute(m, sizeof(rtmsg), [&](const nlattr* attribute) {
      if (mnl_attr_get_type(attribute) == RTA_DST)
        found.push_back({ntohl(mnl_attr_get_u32(attribute)), route->rtm_dst_len});
    });
  }));
  return found;
}

Result<NetworkNamespace> create_network_namespace() {
  Result<NetworkNamespace> made =
      fail(Code::internal, "the thread that makes a network namespace did not run");
  // unshare(2) acts on the calling thread: a thread of its own leaves the caller where it is.
  std::thread([&made] {
    made = [&]() -> Result<NetworkNamespace> {
      if (::unshare(CLONE_NEWNET) != 0) return fail_errno(Code::system, "unshare: a new network namespace");
      Fd fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
      if (!fd) return fail_errno(Code::system, "open /proc/thread-self/ns/net");
      Netlink inside = TRY(Netlink::open());
      TRY(inside.set_up("lo"));
      // As other engines do: an image's unprivileged user may bind port 80 and ping in a namespace of its
      // own.
      for (const auto& [path, value] : {std::pair("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
                                        std::pair("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")}) {
        const Fd file(::open(path, O_WRONLY | O_CLOEXEC));
        if (!file) continue;
        [[maybe_unused]] const auto written = ::write(file.get(), value, std::strlen(value));
      }
      return NetworkNamespace{std::move(fd), std::move(inside)};
    }();
  }).join();
  return made;
}

}  // namespace naru::os
