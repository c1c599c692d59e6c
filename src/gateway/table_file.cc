#include "gateway/table_file.h"

#include "base/log.h"
#include "os/file.h"

namespace naru::gateway {
namespace {

constexpr std::size_t kMaxTableBytes = 64U << 20;

}  // namespace

Result<RouteTable> read_route_table(const Json& json) {
  try {
    return json.get<RouteTable>();
  } catch (const Json::exception& error) {
    return fail(Code::malformed, "route table: {}", error.what());
  }
}

Result<RouteTable> TableFile::load(const std::string& path) {
  const std::string bytes = TRY(os::read_file(path, kMaxTableBytes));
  const Json json = TRY(parse_json(bytes, path));
  return read_route_table(json);
}

TableFile::TableFile(std::string path) : path_(std::move(path)) {
  if (!path_.empty()) thread_ = std::thread([this] { work(); });
}

TableFile::~TableFile() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void TableFile::save(std::string json) {
  if (path_.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    next_ = std::move(json);
  }
  wake_.notify_one();
}

void TableFile::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || next_; });
    if (!next_) return;
    const std::string bytes = std::move(*next_);
    next_.reset();
    lock.unlock();
    if (const auto written = os::write_file_atomically(path_, bytes, {.durable = os::Durable::yes}); !written)
      log_event(Level::error, "gateway.table_not_kept", {{"error", written.error().message()}});
    lock.lock();
  }
}

}  // namespace naru::gateway
