#include "control/addresses.h"

#include "route/table.h"

namespace naru::control {

namespace {

// As an address of the web has it (RFC 3986: IPv6 in brackets).
std::string host_of(const std::string& ip) {
  if (ip.empty() || ip == "0.0.0.0" || ip == "::") return "localhost";
  return ip.find(':') == std::string::npos ? ip : "[" + ip + "]";
}

// Of what the file gives no port the neighbours know the name, and people need none. What only the image
// names is told when it surely speaks HTTP.
bool has_name(const ReleaseService& service) {
  if (route::edge_port(service.spec)) return true;
  const auto edge = route::edge_port(service);
  return edge && speaks(*edge) == Speaks::http && !service.spec.ports.empty();
}

}  // namespace

std::vector<Address> addresses_of(const State& state, const Environment& environment, const Release& release,
                                  std::uint16_t gateway_port) {
  std::vector<Address> out;
  for (const route::PublishedPort& port : route::published_ports(state, environment, release)) {
    const std::string scheme = speaks(*port.spec) == Speaks::http ? "http" : "tcp";
    out.push_back({port.service, fmt::format("{}://{}:{}", scheme, host_of(port.spec->host_ip), port.host)});
  }
  for (const ReleaseService& service : release.services)
    if (has_name(service))
      out.push_back({service.spec.name, fmt::format("http://{}.{}.{}.localhost:{}", service.spec.name,
                                                    environment.name, environment.app, gateway_port)});
  return out;
}

}  // namespace naru::control
