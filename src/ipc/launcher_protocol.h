// What control may ask the launcher, over run/launcher.sock. Every message is one JSON object behind a
// four-byte little-endian length (ipc/channel.h); a request carries "id" and "op", its answer the same "id"
// and either "result" or "error" {code, context, errno, remedy}. Answers may come in any order. Events carry
// "event" and no id. The launcher validates everything: it is root and control is not.
//
//   op                 arguments                                  result
//   hello              {}                                         {version, boot_id, cgroup:
//   "v1"|"hybrid"|"v2", notices: [..], forward_drops?: [..]} network.ensure     {network: id} NetworkInfo;
//   idempotent network.remove     {network: id}                              {} container.start    {spec:
//   ContainerSpec}                      ContainerStatus; idempotent by spec.id container.stop     {container:
//   id, grace_ms?}                 ContainerStatus (exited); idempotent container.remove   {container: id}
//   {}; must not run; its logs go with it after copying container.list     {} {containers: [ContainerStatus]}
//   container.exec     {container, argv, env?, user?, cwd?, tty?, rows?, cols?, timeout_ms?}
//                      + answer carries fds: tty: [pty]; else [stdin, stdout, stderr]; result {exec: id}
//                      later event {event: "exec_exited", exec, exit_code, timed_out}
//   container.probe    {container, argv, timeout_ms}              {exit_code, output (first 4 KiB),
//   timed_out} container.stats    {container}                                {memory_bytes, cpu_usec, pids}
//   volume.ensure      {volume: name}                             {}
//   volume.remove      {volume: name}                             {}; conflict while mounted
//   volume.list        {}                                         {volumes: [{name, bytes}]}
//   container.sizes    {}                                         {containers: [{name, bytes}]}: what they
//   wrote layer.list         {}                                         {layers: [diff id]} layer.size
//   {layers: [diff id]}                        {bytes} layer.sweep        {} {bytes}: deletes what
//   layer.remove set aside layer.remove       {layers: [diff id], dry_run?}              {removed, in_use};
//   launcher/layers.h says when one may go; busy layer.unpack       LayerRef of build/workbench.h {blob,
//   diff_id, media_type, size}  {}; idempotent; a confined worker network.udp        {network, routes:
//   UdpRoutes} {}; replaces all of the network's; unsupported when the kernel cannot exec.kill {exec} {}
//   build.begin BeginRequest of build/workbench.h          {}; idempotent: a bench of that name is begun anew
//   build.run RunRequest + answer carries fds [output]   {}; later event {event: "build_exited", build,
//   result: RunResult} build.kill         {build}                                    {}; what build.run
//   started build.copy CopyRequest                                {}; a confined worker build.commit {build}
//   CommitResult; the upper as a layer blob in images/ build.discard      {build} {}; idempotent
//
//   grant.allow        {app, grants: [text], by}   AppGrants; of root alone (SO_PEERCRED), not of control
//   grant.disallow     {app, grants: [text], by}   AppGrants; of root alone
//   grant.list         {}                          {apps: [AppGrants]}
//   grant.drop         {app}                       {}; of an application that is removed
//
// Events to every connected control: {event: "grants_changed"}: ask for them anew (it comes before the answer
// to who changed them); {event: "container_exited", status: ContainerStatus}. exec_exited and
// build_exited go to the connection that asked; what a connection had running as exec or build is killed when
// it closes.
#pragma once

#include <signal.h>

namespace naru::ipc {

// To the launcher, from its supervisor: end, and leave nothing of this Naru in the kernel.
inline constexpr int kEndForGood = SIGUSR1;

}  // namespace naru::ipc
