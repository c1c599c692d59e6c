// The port to the privileged side of a build: a bench is a writable overlay on unpacked layers, on which one
// step works, and whose upper directory then becomes a layer. The launcher implements it (ops `layer.unpack`
// and `build.*` of ipc/launcher_protocol.h; the structs here are those ops' arguments and results, as JSON);
// tests have a twin in memory. One bench is used by one thread at a time; different benches may be used side
// by side.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "model/json.h"

namespace naru::build {

inline constexpr milliseconds kDefaultStepTimeout = std::chrono::minutes(60);

// A layer blob of the image store. op layer.unpack {blob, diff_id, media_type}: idempotent, under layers/<hex
// of diff id>.
struct LayerRef {
  Digest blob, diff_id;
  std::string media_type;
  std::uint64_t size = 0;  // of the blob
  bool operator==(const LayerRef&) const = default;
};
NARU_JSON(LayerRef)

// op build.begin. `layers`: diff ids, lowest first, all unpacked; may be empty (FROM scratch).
struct BeginRequest {
  std::string build;  // the bench's id: [a-z0-9][a-z0-9.-]{0,62}
  std::vector<Digest> layers;
};
NARU_JSON(BeginRequest)

// op build.run: a confined container on the bench, in the "builds" group. With `host_mounts` the launcher
// mounts the host's apt sources, CA bundle and resolver read-only over the bench for the time of the command;
// what it had to create as mount points for that is not in the layer. The host's proxy variables are in `env`
// already.
struct RunRequest {
  std::string build;
  std::vector<std::string> argv;
  std::vector<std::string> env;  // "K=V"
  std::string cwd = "/";         // created when absent
  std::string user;              // as in ContainerSpec
  bool network = true;
  bool host_mounts = true;
  milliseconds timeout = kDefaultStepTimeout;
};
NARU_JSON(RunRequest)

struct RunResult {
  std::int32_t exit_code = 0;  // 128 + signal when killed
  bool timed_out = false;
  bool out_of_memory = false;
};
NARU_JSON(RunResult)

// Where COPY and ADD read from: exactly one of the two is set.
struct CopyOrigin {
  std::string
      checkout;  // the build context, relative to checkouts/ ("shop/4f2a.../catalog"); no "..", no symlinks
  std::vector<Digest>
      layers;  // or the root of a stage or image: diff ids, lowest first, mounted read-only together
};
NARU_JSON(CopyOrigin)

// op build.copy: carried out by copy_into() of build/copy.h in a confined worker.
// Without sources only the directory `dest` is made (WORKDIR).
struct CopyRequest {
  std::string build;
  CopyOrigin from;
  std::vector<std::string> sources;  // relative to the origin; * ? [] match as in Dockerfiles
  std::string dest;                  // absolute; a trailing slash says: a directory
  std::string chown;   // "", "user", "user:group", names or numbers; names from the bench's /etc
  std::string chmod;   // "" or octal
  std::string ignore;  // text of the .dockerignore, applied to a checkout; "" = nothing is ignored
  bool add = false;    // ADD: a local tar archive is extracted into dest
};
NARU_JSON(CopyRequest)

// op build.commit: the upper directory as a layer blob in the image store. The launcher also keeps it
// unpacked under layers/, so that the next step can stand on it at once. `empty`: the step changed nothing;
// there is no blob then.
struct CommitResult {
  LayerRef layer;
  bool empty = false;
};
NARU_JSON(CommitResult)

// Called with whole or partial output, stdout and stderr together, in order; on the thread that called run().
using OutputCallback = std::function<void(std::string_view bytes)>;

class Workbench {
 public:
  virtual ~Workbench() = default;
  virtual Result<void> unpack(const LayerRef& layer) = 0;  // idempotent
  virtual Result<void> begin(const BeginRequest& request) = 0;
  // Blocks until the command ended; a stop request kills it and gives build_cancelled.
  virtual Result<RunResult> run(const RunRequest& request, const OutputCallback& output,
                                std::stop_token stop) = 0;
  // build_source_missing: a source that is not there.
  virtual Result<void> copy(const CopyRequest& request, std::stop_token stop) = 0;
  // Ends the bench.
  virtual Result<CommitResult> commit(const std::string& build) = 0;
  // Ends the bench without a layer; idempotent, never fails loudly: what is left is cleaned at the launcher's
  // start.
  virtual void discard(const std::string& build) noexcept = 0;
};

}  // namespace naru::build
