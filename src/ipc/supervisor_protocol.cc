// The fields of these types in JSON.
#include "ipc/supervisor_protocol.h"

namespace naru::ipc {
NARU_JSON_FIELDS(ListenerError, name, message)
}  // namespace naru::ipc
