// The process `naru launcher`: root, parent of every container. It listens on an inherited Unix socket,
// validates every request of ipc/launcher_protocol.h and carries it out; nothing it is asked can block
// another request. SIGTERM ends it at once; containers live on and are adopted by the next one.
// ipc::kEndForGood ends it after `down --all`: bridges, nftables table and cgroups of this Naru go first.
#pragma once

#include <string>

#include "base/result.h"

namespace naru::launcher {

struct LauncherOptions {
  std::string
      data;  // the data folder: layers/, containers/, volumes/, checkouts/, images/, networks/, builds/
  int listen_fd = -1;        // listening Unix stream socket, inherited; not closed
  unsigned allowed_uid = 0;  // besides root: the uid that control runs as
  unsigned worker_threads = 8;
  std::size_t max_clients = 16;
};

// Returns the process's exit status: 0 after SIGTERM.
int run(const LauncherOptions& options);

}  // namespace naru::launcher
