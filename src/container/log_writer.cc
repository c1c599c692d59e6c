#include "container/log_writer.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "os/file.h"

namespace naru::container {

namespace {

struct Stream {
  Fd fd;
  std::string_view name;
  std::string partial;  // reader thread only
};

struct Log {
  std::string id;
  std::filesystem::path folder;
  LogLimits limits;
  Stream streams[2];
  // Under State::mutex:
  std::string backlog;
  std::uint64_t dropped = 0, unreported = 0;
  int open_streams = 2;
  bool writing = false;
  // Writer thread only:
  Fd file;
  std::uint64_t size = 0;
};

struct Source {
  std::shared_ptr<Log> log;
  int stream = 0;
};

}  // namespace

struct LogWriter::State {
  mutable std::mutex mutex;
  std::condition_variable work, written;
  std::map<std::string, std::shared_ptr<Log>> logs;
  std::map<int, Source> sources;  // by descriptor
  bool stopping = false;
  Fd epoll, wake;
  SystemClock clock;
  std::thread reader, writer;

  void read_loop();
  void write_loop();
  void read_some(const Source& source);
  void close_stream(Log& log, int stream);
  void append(Log& log, std::string_view stream, std::string_view text, const std::string& now,
              std::string& into);
  void hand_over(Log& log, std::string lines, std::uint64_t count);
  void write_out(Log& log, std::string_view lines);
  bool open_file(Log& log);
  void forget(Log& log);
};

namespace {
bool rotate(const std::filesystem::path& folder, std::uint32_t files) {
  const auto name = [&](std::uint32_t i) { return folder / fmt::format("{}.log", i); };
  for (std::uint32_t i = files; i > 1; --i) {
    if (i == files)
      ::unlink(name(i - 1).c_str());
    else
      ::rename(name(i - 1).c_str(), name(i).c_str());
  }
  const auto current = folder / "current.log";
  return files <= 1 ? ::unlink(current.c_str()) == 0 : ::rename(current.c_str(), name(1).c_str()) == 0;
}
}  // namespace

bool LogWriter::State::open_file(Log& log) {
  const auto path = log.folder / "current.log";
  if (log.file.valid() && log.size >= log.limits.file_bytes) {
    log.file.reset();
    rotate(log.folder, log.limits.files);
  }
  if (log.file.valid()) return true;
  log.file.reset(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644));
  struct stat info{};
  if (!log.file || ::fstat(log.file.get(), &info) != 0) return false;
  log.size = static_cast<std::uint64_t>(info.st_size);
  return true;
}

// Splits at line ends so that a rotated file ends with a whole line.
void LogWriter::State::write_out(Log& log, std::string_view lines) {
  while (!lines.empty()) {
    std::size_t part = 0;
    const bool opened = open_file(log);
    const std::uint64_t room =
        opened && log.size < log.limits.file_bytes ? log.limits.file_bytes - log.size : 1;
    do part = std::min(lines.find('\n', part), lines.size() - 1) + 1;
    while (part < lines.size() && part < room && part < 65536);
    if (!opened || !os::write_all(log.file.get(), lines.substr(0, part), log.folder.native())) {
      const auto lost = static_cast<std::uint64_t>(std::ranges::count(lines, '\n'));
      log.file.reset();  // opened again later: the disk may have room then
      const std::lock_guard lock(mutex);
      log.dropped += lost;
      log.unreported += lost;
      return;
    }
    log.size += part;
    lines.remove_prefix(part);
  }
}

void LogWriter::State::write_loop() {
  std::unique_lock lock(mutex);
  while (true) {
    std::vector<std::shared_ptr<Log>> ready;
    for (const auto& [id, log] : logs)
      if (!log->backlog.empty()) ready.push_back(log);
    if (ready.empty()) {
      if (stopping) return;
      work.wait(lock);
      continue;
    }
    for (const auto& log : ready) {
      std::string lines = std::exchange(log->backlog, {});
      if (log->unreported > 0) {
        const std::uint64_t count = std::exchange(log->unreported, 0);
        lines += fmt::format("{} stderr naru: {} lines were dropped: the log's disk was slow or full\n",
                             to_rfc3339(clock.wall()), count);
      }
      log->writing = true;
      lock.unlock();
      write_out(*log, lines);
      lock.lock();
      log->writing = false;
    }
    written.notify_all();
  }
}

void LogWriter::State::append(Log&, std::string_view stream, std::string_view text, const std::string& now,
                              std::string& into) {
  into += now;
  into += ' ';
  into += stream;
  into += ' ';
  into += text;
  into += '\n';
}

void LogWriter::State::hand_over(Log& log, std::string lines, std::uint64_t count) {
  if (count == 0) return;
  const std::lock_guard lock(mutex);
  if (log.backlog.size() + lines.size() > kMaxLogBacklog) {
    log.dropped += count;
    log.unreported += count;
    return;
  }
  log.backlog += lines;
  work.notify_one();
}

// One bounded read, so that a container that prints without end leaves room for the others.
void LogWriter::State::read_some(const Source& source) {
  Log& log = *source.log;
  Stream& stream = log.streams[source.stream];
  char chunk[65536];
  const ssize_t got = ::read(stream.fd.get(), chunk, sizeof chunk);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  std::string lines;
  std::uint64_t count = 0;
  const std::string now = to_rfc3339(clock.wall());
  std::string_view text(chunk, got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::size_t take =
        std::min({end == text.npos ? text.size() : end, kMaxLogLine - stream.partial.size()});
    stream.partial += text.substr(0, take);
    const bool whole = take < text.size() && text[take] == '\n';
    text.remove_prefix(take + (whole ? 1 : 0));
    if (!whole && stream.partial.size() < kMaxLogLine) continue;
    append(log, stream.name, stream.partial, now, lines);
    stream.partial.clear();
    ++count;
  }
  if (got <= 0 && !stream.partial.empty()) {
    append(log, stream.name, std::exchange(stream.partial, {}), now, lines);
    ++count;
  }
  hand_over(log, std::move(lines), count);
  if (got <= 0) close_stream(log, source.stream);
}

void LogWriter::State::close_stream(Log& log, int stream) {
  const std::lock_guard lock(mutex);
  if (!log.streams[stream].fd) return;
  sources.erase(log.streams[stream].fd.get());
  log.streams[stream].fd.reset();
  --log.open_streams;
  written.notify_all();
}

void LogWriter::State::read_loop() {
  epoll_event events[64];
  while (true) {
    const int count = ::epoll_wait(epoll.get(), events, 64, -1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd == wake.get()) return;
      Source source;
      {
        const std::lock_guard lock(mutex);
        const auto found = sources.find(events[i].data.fd);
        if (found == sources.end()) continue;
        source = found->second;
      }
      read_some(source);
    }
  }
}

LogWriter::LogWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<LogWriter>> LogWriter::start() {
  auto state = std::make_unique<State>();
  state->epoll.reset(::epoll_create1(EPOLL_CLOEXEC));
  state->wake.reset(::eventfd(0, EFD_CLOEXEC));
  if (!state->epoll || !state->wake) return fail_errno(Code::system, "epoll for logs");
  epoll_event event{EPOLLIN, {.fd = state->wake.get()}};
  if (::epoll_ctl(state->epoll.get(), EPOLL_CTL_ADD, state->wake.get(), &event) != 0)
    return fail_errno(Code::system, "epoll_ctl");
  State* raw = state.get();
  state->reader = std::thread([raw] { raw->read_loop(); });
  state->writer = std::thread([raw] { raw->write_loop(); });
  return std::unique_ptr<LogWriter>(new LogWriter(std::move(state)));
}

LogWriter::~LogWriter() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto woken = ::write(state_->wake.get(), &one, sizeof one);
  state_->reader.join();
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    // A line begun but not ended belongs in the file: the next launcher starts with the rest of it.
    for (const auto& [id, log] : state_->logs)
      for (Stream& stream : log->streams)
        if (!stream.partial.empty())
          state_->append(*log, stream.name, stream.partial, to_rfc3339(state_->clock.wall()), log->backlog);
  }
  state_->work.notify_one();
  state_->writer.join();
}

void LogWriter::State::forget(Log& log) {
  for (Stream& stream : log.streams)
    if (stream.fd) {
      ::epoll_ctl(epoll.get(), EPOLL_CTL_DEL, stream.fd.get(), nullptr);
      sources.erase(stream.fd.get());
    }
}

Result<void> LogWriter::add(const std::string& id, Fd out, Fd err, const std::filesystem::path& folder,
                            LogLimits limits) {
  TRY(os::make_dirs(folder, 0755));
  auto log = std::make_shared<Log>();
  log->id = id;
  log->folder = folder;
  log->limits = {std::max<std::uint64_t>(limits.file_bytes, 4096),
                 std::clamp<std::uint32_t>(limits.files, 1, 100)};
  log->streams[0] = {std::move(out), "stdout", {}};
  log->streams[1] = {std::move(err), "stderr", {}};
  const std::lock_guard lock(state_->mutex);
  if (const auto old = state_->logs.find(id); old != state_->logs.end()) state_->forget(*old->second);
  state_->logs[id] = log;
  for (int i = 0; i < 2; ++i) {
    const int fd = log->streams[i].fd.get();
    state_->sources[fd] = {log, i};
    epoll_event event{EPOLLIN, {.fd = fd}};
    if (::epoll_ctl(state_->epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0)
      return fail_errno(Code::system, "epoll_ctl for the log of {}", id);
  }
  return {};
}

bool LogWriter::drain(const std::string& id, milliseconds timeout) {
  std::unique_lock lock(state_->mutex);
  const auto found = state_->logs.find(id);
  if (found == state_->logs.end()) return true;
  const std::shared_ptr<Log> log = found->second;
  return state_->written.wait_for(
      lock, timeout, [&] { return log->open_streams == 0 && log->backlog.empty() && !log->writing; });
}

void LogWriter::remove(const std::string& id) {
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->logs.find(id);
  if (found == state_->logs.end()) return;
  state_->forget(*found->second);
  state_->logs.erase(found);
}

std::uint64_t LogWriter::dropped(const std::string& id) const {
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->logs.find(id);
  return found == state_->logs.end() ? 0 : found->second->dropped;
}

}  // namespace naru::container
