// ports and expose.
#include "format/compose_parts.h"

namespace naru::format {
namespace {

constexpr std::size_t kMaxOfService = 200;  // ranges expanded

struct PortRange {
  std::uint16_t first = 0, last = 0;
  std::uint32_t size() const { return static_cast<std::uint32_t>(last - first) + 1; }
};

std::optional<std::uint16_t> parse_port(std::string_view text) {
  if (text.empty() || text.size() > 5 || text.find_first_not_of("0123456789") != std::string_view::npos)
    return std::nullopt;
  const auto value = yaml_int(text);
  if (!value || *value < 1 || *value > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(*value);
}

std::optional<PortRange> parse_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const auto first = parse_port(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : parse_port(text.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return PortRange{*first, *last};
}

// IPv4 dotted, or IPv6 in brackets without them afterwards; nothing when neither.
std::optional<std::string> parse_host_ip(std::string_view text) {
  if (text.starts_with('[') && text.ends_with(']') && text.size() > 3) {
    text = text.substr(1, text.size() - 2);
    if (text.find_first_not_of("0123456789abcdefABCDEF:.") == std::string_view::npos &&
        text.find(':') != std::string_view::npos)
      return std::string(text);
    return std::nullopt;
  }
  int parts = 0;
  for (std::string_view rest = text;;) {
    const std::size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    if (part.empty() || part.size() > 3 || part.find_first_not_of("0123456789") != std::string_view::npos ||
        *yaml_int(part) > 255)
      return std::nullopt;
    ++parts;
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  return parts == 4 ? std::optional(std::string(text)) : std::nullopt;
}

std::optional<Transport> parse_transport(std::string_view text) {
  if (text == "tcp") return Transport::tcp;
  if (text == "udp") return Transport::udp;
  return std::nullopt;
}

void add_port(ComposeReading& reading, ServiceDraft& draft, PortSpec port, const At& at) {
  // An address that means every address.
  if (port.host_ip == "0.0.0.0" || port.host_ip == "::") port.host_ip.clear();
  if (draft.spec.ports.size() >= kMaxOfService)
    return reading.error(at, fmt::format("found more than {} ports of one service", kMaxOfService),
                         {{}, Code::too_large});
  draft.spec.ports.push_back(std::move(port));
  draft.port_places.push_back(at);
}

void add_range(ComposeReading& reading, ServiceDraft& draft, PortSpec port, PortRange container,
               std::optional<PortRange> host, const At& at) {
  if (host && host->size() != container.size())
    return reading.error(
        at, fmt::format("found {} host ports for {} container ports, expected as many of each", host->size(),
                        container.size()));
  if (container.size() > kMaxOfService)
    return reading.error(
        at, fmt::format("found a range of {} ports, expected at most {}", container.size(), kMaxOfService),
        {{}, Code::too_large});
  for (std::uint32_t i = 0; i < container.size(); ++i) {
    port.container = static_cast<std::uint16_t>(container.first + i);
    if (host) port.host = static_cast<std::uint16_t>(host->first + i);
    add_port(reading, draft, port, at);
  }
}

// "[HOST_IP:][HOST:]CONTAINER[/PROTOCOL]"
void read_short_port(ComposeReading& reading, ServiceDraft& draft, const At& at) {
  static constexpr std::string_view kExpected =
      "expected [HOST_IP:][HOST:]CONTAINER[/tcp|udp] such as \"8080:80\"";
  const auto whole = reading.text(at, "a port such as \"8080:80\"");
  if (!whole) return;
  const auto refuse = [&](std::string_view why) {
    reading.error(at, fmt::format("found {}{}, {}", found(*at.node), why, kExpected));
  };
  std::string_view rest = *whole;
  PortSpec port;
  if (const std::size_t slash = rest.find('/'); slash != std::string_view::npos) {
    const auto transport = parse_transport(rest.substr(slash + 1));
    if (!transport) return refuse(" with an unknown protocol");
    port.transport = *transport;
    rest = rest.substr(0, slash);
  }
  const std::size_t colon = rest.rfind(':');
  const auto container = parse_range(colon == std::string_view::npos ? rest : rest.substr(colon + 1));
  if (!container) return refuse("");
  if (colon == std::string_view::npos) return add_range(reading, draft, port, *container, std::nullopt, at);
  rest = rest.substr(0, colon);
  if (const std::size_t ip_end = rest.rfind(':'); ip_end != std::string_view::npos) {
    const auto ip = parse_host_ip(rest.substr(0, ip_end));
    if (!ip) return refuse(" with an address that is none");
    port.host_ip = *ip;
    rest = rest.substr(ip_end + 1);
  }
  // "127.0.0.1::80" asks for a free host port, which nobody could know: reachable by name.
  if (rest.empty() && !port.host_ip.empty())
    return add_range(reading, draft, port, *container, std::nullopt, at);
  const auto host = parse_range(rest);
  if (!host) return refuse("");
  add_range(reading, draft, port, *container, host, at);
}

void read_long_port(ComposeReading& reading, ServiceDraft& draft, const At& at) {
  PortSpec port;
  std::optional<PortRange> container, host;
  const auto range = [&](std::optional<PortRange>& into) {
    return [&](const At& value) {
      const auto text = reading.text(value, "a port");
      if (text) into = parse_range(*text);
      if (text && !into)
        reading.error(value, fmt::format("found {}, expected a port from 1 to 65535", found(*value.node)));
    };
  };
  bool has_target = at.node->find("target") != nullptr;
  reading.fields(
      at, {
              {"target", range(container)},
              {"published", range(host)},
              {"host_ip",
               [&](const At& value) {
                 const auto text = reading.text(value, "an address");
                 if (!text) return;
                 const auto ip =
                     parse_host_ip(text->find(':') == std::string::npos ? *text : "[" + *text + "]");
                 if (ip)
                   port.host_ip = *ip;
                 else
                   reading.error(value, fmt::format("found {}, expected an IP address", found(*value.node)));
               }},
              {"protocol",
               [&](const At& value) {
                 const auto transport = parse_transport(reading.text(value).value_or("tcp"));
                 if (transport)
                   port.transport = *transport;
                 else
                   reading.error(value, fmt::format("found {}, expected tcp or udp", found(*value.node)));
               }},
              {"app_protocol",
               [&](const At& value) {
                 static constexpr std::string_view kKnown[] = {"http", "tcp", "grpc",  "http2",
                                                               "h2c",  "ws",  "https", "tls"};
                 const std::string text = reading.text(value).value_or("");
                 if (text == "http" || text == "ws" || text == "grpc" || text == "http2" || text == "h2c")
                   port.app_protocol = "http";
                 else if (text == "tcp" || text == "https" || text == "tls")
                   port.app_protocol = "tcp";
                 else
                   reading.error(value, fmt::format("found {}, expected http or tcp", found(*value.node)),
                                 {did_you_mean(text, {std::begin(kKnown), std::end(kKnown)})});
               }},
              {"mode", reading.silent()},
              {"name", reading.silent()},
          });
  if (!has_target)
    return reading.error(at, "found a port without `target`, expected the port in the container");
  if (container) add_range(reading, draft, port, *container, host, at);
}

}  // namespace

void read_ports(ComposeReading& reading, ServiceDraft& draft, const At& at) {
  reading.each(at, "a list of ports", [&](const At& item) {
    if (item.node->kind == YamlKind::mapping)
      read_long_port(reading, draft, item);
    else
      read_short_port(reading, draft, item);
  });
}

void read_expose(ComposeReading& reading, ServiceDraft& draft, const At& at) {
  reading.each(at, "a list of ports", [&](const At& item) {
    const auto text = reading.text(item, "a port");
    if (!text) return;
    const std::size_t slash = text->find('/');
    const auto container = parse_range(std::string_view(*text).substr(0, slash));
    const auto transport = slash == std::string::npos
                               ? std::optional(Transport::tcp)
                               : parse_transport(std::string_view(*text).substr(slash + 1));
    if (!container || !transport)
      return reading.error(
          item, fmt::format("found {}, expected a container port such as \"3000\"", found(*item.node)));
    PortSpec port;
    port.transport = *transport;
    add_range(reading, draft, port, *container, std::nullopt, item);
  });
}

}  // namespace naru::format
