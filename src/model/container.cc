// The fields of these types in JSON.
#include "model/container.h"

namespace naru {
NARU_JSON_FIELDS(ContainerMount, kind, source, target, read_only, tmpfs_bytes, shared)
NARU_JSON_FIELDS(ContainerSpec, id, app, hostname, layers, argv, env, cwd, user, mounts, resources,
                 read_only_root, cap_add, cap_drop, network, segments, internal, dns_search, stop_signal,
                 stop_grace, log_file_bytes, log_files, parent_cgroup, labels)
NARU_JSON_NAMES(ContainerState, {{ContainerState::created, "created"},
                                 {ContainerState::running, "running"},
                                 {ContainerState::exited, "exited"},
                                 {ContainerState::lost, "lost"}})
NARU_JSON_FIELDS(ContainerStatus, id, state, pid, address, exit_code, out_of_memory, stop_asked, started,
                 finished, labels, notices)
NARU_JSON_FIELDS(NetworkInfo, id, bridge, subnet, gateway, virtual_range, inner_port)
NARU_JSON_FIELDS(UdpTarget, virtual_address, port, address)
NARU_JSON_FIELDS(UdpException, caller, virtual_address)
NARU_JSON_FIELDS(UdpRoutes, targets, canary_callers, canary, exceptions)
}  // namespace naru
