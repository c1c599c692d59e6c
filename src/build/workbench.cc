// The fields of these types in JSON.
#include "build/workbench.h"

namespace naru::build {
NARU_JSON_FIELDS(LayerRef, blob, diff_id, media_type, size)
NARU_JSON_FIELDS(BeginRequest, build, layers)
NARU_JSON_FIELDS(RunRequest, build, argv, env, cwd, user, network, host_mounts, timeout)
NARU_JSON_FIELDS(RunResult, exit_code, timed_out, out_of_memory)
NARU_JSON_FIELDS(CopyOrigin, checkout, layers)
NARU_JSON_FIELDS(CopyRequest, build, from, sources, dest, chown, chmod, ignore, add)
NARU_JSON_FIELDS(CommitResult, layer, empty)
}  // namespace naru::build
