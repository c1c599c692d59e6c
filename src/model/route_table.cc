// The fields of these types in JSON.
#include "model/route_table.h"

namespace naru {
NARU_JSON_FIELDS(Endpoint, instance, address)
NARU_JSON_FIELDS(RouteSide, release, slot, endpoints)
NARU_JSON_FIELDS(ServicePort, port, app_protocol)
NARU_JSON_FIELDS(ServiceRoute, name, virtual_address, ports, stable, canary, hold)
NARU_JSON_FIELDS(Split, rollout, stable_release, canary_release, salt, weight, evidence_slot, slow_us,
                 cohort_cookie, cohort_header, step)
NARU_JSON_FIELDS(Caller, address, service, release, reach, canary_reach)
NARU_JSON_FIELDS(Reach, services, outside)
NARU_JSON_FIELDS(EnvironmentRoute, app, environment, network, split, services, callers, reaches)
NARU_JSON_FIELDS(HostPortRoute, listener, app, environment, service, port)
NARU_JSON_FIELDS(RouteTable, revision, user_key, environments, host_ports)
NARU_JSON_NAMES(ListenerKind, {{ListenerKind::http, "http"},
                               {ListenerKind::tcp, "tcp"},
                               {ListenerKind::inner, "inner"},
                               {ListenerKind::dns_udp, "dns-udp"},
                               {ListenerKind::dns_tcp, "dns-tcp"}})
NARU_JSON_FIELDS(ListenerSpec, name, kind, address, port)
}  // namespace naru
