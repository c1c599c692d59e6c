// The last route table on disk, so that a gateway that starts routes at once. Written by a thread of its own:
// a slow disk stalls nobody; of tables that come faster than the disk, the last one is written.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/result.h"
#include "model/route_table.h"

namespace naru::gateway {

class TableFile {
 public:
  explicit TableFile(std::string path);  // "" = nothing is kept
  ~TableFile();                          // writes what is still to be written

  // not_found: there is none yet; malformed; system
  static Result<RouteTable> load(const std::string& path);
  void save(std::string json);

 private:
  void work();
  std::string path_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::optional<std::string> next_;
  bool stopping_ = false;
  std::thread thread_;
};

// Also used for what arrives over the socket: exceptions of the JSON library end here.
Result<RouteTable> read_route_table(const Json& json);

}  // namespace naru::gateway
