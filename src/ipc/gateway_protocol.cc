// The fields of these types in JSON.
#include "ipc/gateway_protocol.h"

namespace naru::ipc {
NARU_JSON_FIELDS(ListenersMessage, listeners, more)
NARU_JSON_FIELDS(GatewayStats, generation, revision, connections, held_requests, retried_requests,
                 refused_heads, refused_calls)
}  // namespace naru::ipc
