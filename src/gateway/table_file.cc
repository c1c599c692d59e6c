#include "gateway/table_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"

namespace naru::gateway {
namespace {

constexpr std::size_t kMaxTableBytes = 64U << 20;

Result<void> write_all(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno(errno == ENOSPC ? Code::disk_full : Code::system, "writing {}", path);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

// Whole or not at all: written beside, synced, renamed.
Result<void> write_file(const std::string& path, std::string_view bytes) {
  const std::string beside = fmt::format("{}.{}.new", path, getpid());
  Fd fd(open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return fail_errno(Code::system, "creating {}", beside);
  auto written = write_all(fd.get(), bytes, beside);
  if (written && fsync(fd.get()) != 0) written = fail_errno(Code::system, "fsync of {}", beside);
  if (written && rename(beside.c_str(), path.c_str()) != 0)
    written = fail_errno(Code::system, "renaming {} to {}", beside, path);
  if (!written) unlink(beside.c_str());
  return written;
}

Result<std::string> read_file(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno(errno == ENOENT ? Code::not_found : Code::system, "opening {}", path);
  struct stat status{};
  if (fstat(fd.get(), &status) != 0) return fail_errno(Code::system, "fstat of {}", path);
  if (static_cast<std::size_t>(status.st_size) > kMaxTableBytes)
    return fail(Code::too_large, "{}: {} bytes", path, status.st_size);
  std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = read(fd.get(), bytes.data() + have, bytes.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(Code::system, "reading {}", path);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

}  // namespace

Result<RouteTable> read_route_table(const Json& json) {
  try {
    return json.get<RouteTable>();
  } catch (const Json::exception& error) {
    return fail(Code::malformed, "route table: {}", error.what());
  }
}

Result<RouteTable> TableFile::load(const std::string& path) {
  const std::string bytes = TRY(read_file(path));
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
    if (const auto written = write_file(path_, bytes); !written)
      log_event(Level::error, "gateway.table_not_kept", {{"error", written.error().message()}});
    lock.lock();
  }
}

}  // namespace naru::gateway
