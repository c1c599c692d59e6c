// What control may ask the launcher, over run/launcher.sock. Every message is one JSON object behind a
// four-byte little-endian length (ipc/channel.h); a request carries "id" and "op", its answer the same "id" and
// either "result" or "error" {code, context, errno, remedy}. Answers may come in any order. Events carry "event" and no id.
// The launcher validates everything: it is root and control is not.
//
//   op                 arguments                                  result
//   hello              {}                                         {version, boot_id, cgroup: "v1"|"hybrid"|"v2", notices: [..]}
//   network.ensure     {network: id}                              NetworkInfo; idempotent
//   network.remove     {network: id}                              {}
//   container.start    {spec: ContainerSpec}                      ContainerStatus; idempotent by spec.id
//   container.stop     {container: id, grace_ms?}                 ContainerStatus (exited); idempotent
//   container.remove   {container: id}                            {}; must not run; its logs go with it after copying
//   container.list     {}                                         {containers: [ContainerStatus]}
//   container.exec     {container, argv, env?, user?, cwd?, tty?, rows?, cols?, timeout_ms?}
//                      + answer carries fds: tty: [pty]; else [stdin, stdout, stderr]; result {exec: id}
//                      later event {event: "exec_exited", exec, exit_code, timed_out}
//   container.probe    {container, argv, timeout_ms}              {exit_code, output (first 4 KiB), timed_out}
//   container.stats    {container}                                {memory_bytes, cpu_usec, pids}
//   volume.ensure      {volume: name}                             {}
//   volume.remove      {volume: name}                             {}; conflict while mounted
//   volume.list        {}                                         {volumes: [{name, bytes}]}
//   layer.unpack       {blob: digest, diff_id: digest, media_type}  {}; idempotent; a confined worker
//   build.begin        {build: id, layers: [diff ids]}            {}; a writable overlay on these layers
//   build.run          {build, argv, env, cwd, user, network: bool, timeout_ms, host_mounts: bool}
//                      + answer carries fds [output]; result {}; later event {event: "build_exited", build, exit_code}
//   build.copy         {build, from: {checkout: relpath} | {layers: [..]} , sources: [{path, ignore..}], dest, chown?, chmod?}
//                      result {}; a confined worker; exact arguments in build/workbench.h
//   build.commit       {build}                                    {blob, diff_id, size}; the upper as a layer blob in images/
//   build.discard      {build}                                    {}
//
// Events to every connected control: {event: "container_exited", status: ContainerStatus}.
#pragma once
