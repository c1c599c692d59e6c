#include "control/api_log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <charconv>
#include <ranges>

#include "base/fd.h"
#include "control/pipeline_log.h"

namespace naru::control {

namespace {

constexpr int kMaxRotated = 16;

// Reads at most `limit` bytes from `offset`; moves it on.
std::string read_from(int fd, std::uint64_t& offset, std::size_t limit) {
  std::string out(limit, '\0');
  std::size_t had = 0;
  while (had < limit) {
    const ssize_t got = ::pread(fd, out.data() + had, limit - had, static_cast<off_t>(offset));
    if (got <= 0) break;
    had += static_cast<std::size_t>(got);
    offset += static_cast<std::uint64_t>(got);
  }
  out.resize(had);
  return out;
}

struct Opened {
  Fd fd;
  std::uint64_t inode = 0, size = 0;
};
std::optional<Opened> open_log(const std::filesystem::path& path) {
  Opened out{Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)), 0, 0};
  struct stat info{};
  if (!out.fd || ::fstat(out.fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  out.inode = info.st_ino;
  out.size = static_cast<std::uint64_t>(info.st_size);
  return out;
}

template <class Number>
bool digits(std::string_view text, Number& into) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  return error == std::errc() && end == text.data() + text.size() && !text.empty() && text.front() != '-';
}

bool all_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

void sort_by_time(std::vector<LogLine>& lines) {
  std::ranges::stable_sort(lines, {}, &LogLine::time);
}

}  // namespace

std::optional<WallTime> parse_rfc3339(std::string_view text) {
  if (text.size() < 20 || text.back() != 'Z' || text[4] != '-' || text[7] != '-' || text[10] != 'T' ||
      text[13] != ':' || text[16] != ':')
    return std::nullopt;
  int year = 0, ms = 0;
  unsigned month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (!digits(text.substr(0, 4), year) || !digits(text.substr(5, 2), month) ||
      !digits(text.substr(8, 2), day) || !digits(text.substr(11, 2), hour) ||
      !digits(text.substr(14, 2), minute) || !digits(text.substr(17, 2), second))
    return std::nullopt;
  if (text.size() > 20 && (text[19] != '.' || text.size() < 22 ||
                           !digits(text.substr(20, std::min<std::size_t>(3, text.size() - 21)), ms)))
    return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month),
                                         std::chrono::day(day)};
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  return WallTime(std::chrono::sys_days(date)) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
         seconds(second) + milliseconds(ms);
}

std::optional<LogLine> parse_log_line(std::string_view line) {
  const auto first = line.find(' ');
  if (first == std::string_view::npos) return std::nullopt;
  const auto second = std::min(line.find(' ', first + 1), line.size());
  const auto time = parse_rfc3339(line.substr(0, first));
  const std::string_view stream = line.substr(first + 1, second - first - 1);
  if (!time || (stream != "stdout" && stream != "stderr")) return std::nullopt;
  return LogLine{
      *time, {}, {}, std::string(stream), std::string(line.substr(std::min(second + 1, line.size())))};
}

std::vector<LogReader::Named> LogReader::live() const {
  return core_.read([&](const State& state) {
    std::vector<Named> out;
    for (const auto& [id, instance] : state.instances) {
      if (instance.app != selection_.app || instance.environment != selection_.environment) continue;
      if (!selection_.service.empty() && instance.service != selection_.service) continue;
      if (!selection_.instance.empty() && id != selection_.instance) continue;
      // The attempt before it is often the one that people look for: why did it end?
      for (std::uint32_t attempt = instance.attempt > 2 ? instance.attempt - 2 : 1;
           attempt <= instance.attempt; ++attempt)
        if (out.size() < kMaxContainers)
          out.push_back({fmt::format("{}.{}", id, attempt), instance.service, id});
    }
    return out;
  });
}

// By their names, "<app>-<service>-<number>.<attempt>": only what can be nobody else's.
std::vector<LogReader::Named> LogReader::gone() const {
  std::set<std::string> services;
  std::vector<std::string> others;  // prefixes of other applications' services
  std::uint64_t first = 0;          // of this application: lower numbers are of one that had its name
  core_.read([&](const State& state) {
    if (const auto app = state.apps.find(selection_.app); app != state.apps.end())
      first = app->second.first_id;
    for (const auto& [id, release] : state.releases)
      for (const ReleaseService& service : release.services) {
        if (release.app != selection_.app)
          others.push_back(fmt::format("{}-{}-", release.app, service.spec.name));
        else if (selection_.service.empty() || service.spec.name == selection_.service)
          services.insert(service.spec.name);
      }
  });
  std::vector<Named> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(data_.old_logs(), error)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(".log") || out.size() >= kMaxContainers) continue;
    const std::string container = name.substr(0, name.size() - 4);
    const auto dot = container.rfind('.'), dash = container.rfind('-');
    if (dot == std::string::npos || dash == std::string::npos || dash > dot) continue;
    std::uint64_t number_of_instance = 0;
    if (!digits(std::string_view(container).substr(dash + 1, dot - dash - 1), number_of_instance) ||
        !all_digits(std::string_view(container).substr(dot + 1)) || number_of_instance < first)
      continue;
    const std::string prefix = container.substr(0, dash + 1), instance = container.substr(0, dot);
    if (std::ranges::find(others, prefix) != others.end()) continue;
    if (!selection_.instance.empty() && instance != selection_.instance) continue;
    for (const std::string& service : services)
      if (prefix == fmt::format("{}-{}-", selection_.app, service))
        out.push_back({container, service, instance});
  }
  return out;
}

void LogReader::take(std::string_view bytes, Container& container, std::vector<LogLine>& lines) const {
  container.partial.append(bytes);
  std::string_view rest = container.partial;
  while (true) {
    const auto end = rest.find('\n');
    if (end == std::string_view::npos) break;
    if (auto line = parse_log_line(rest.substr(0, end)); line && line->time >= selection_.since) {
      line->service = container.service;
      line->instance = container.instance;
      lines.push_back(std::move(*line));
    }
    rest.remove_prefix(end + 1);
  }
  container.partial = rest.size() > kMaxRead ? std::string() : std::string(rest);
}

// From the newest file backwards until there are enough lines.
void LogReader::read_tail(const Named& named, std::vector<LogLine>& lines) {
  Container container{named.service, named.instance, 0, 0, {}};
  std::vector<std::string> pieces;
  std::size_t newlines = 0;
  std::uint64_t room = kMaxTailBytes;
  const auto folder = data_.logs() / named.container;
  for (int i = 0; i <= kMaxRotated && room > 0 && newlines <= selection_.tail; ++i) {
    auto file = open_log(i == 0 ? folder / "current.log" : folder / fmt::format("{}.log", i));
    if (!file && i == 0) file = open_log(data_.old_logs() / (named.container + ".log"));
    if (!file) break;
    std::uint64_t offset = file->size > room ? file->size - room : 0;
    pieces.push_back(read_from(file->fd.get(), offset, static_cast<std::size_t>(std::min(file->size, room))));
    room -= std::min<std::uint64_t>(room, pieces.back().size());
    newlines += static_cast<std::size_t>(std::ranges::count(pieces.back(), '\n'));
    if (i == 0) {
      container.inode = file->inode;
      container.offset = offset;
    }
  }
  std::vector<LogLine> own;
  for (auto& piece : std::views::reverse(pieces)) take(piece, container, own);
  if (own.size() > selection_.tail)
    own.erase(own.begin(), own.end() - static_cast<std::ptrdiff_t>(selection_.tail));
  std::ranges::move(own, std::back_inserter(lines));
  containers_[named.container] = std::move(container);
}

void LogReader::mask_secrets(std::vector<LogLine>& lines) const {
  if (lines.empty()) return;
  const auto secrets = core_.read([&](const State& state) { return secrets_of(state, selection_.app); });
  for (LogLine& line : lines) line.text = mask(std::move(line.text), secrets);
}

std::vector<LogLine> LogReader::tail() {
  std::vector<LogLine> lines;
  selection_.tail = std::min(selection_.tail, kMaxTail);
  auto all = live();
  std::set<std::string> seen;
  for (const Named& named : all) seen.insert(named.container);
  for (Named& named : gone())
    if (seen.insert(named.container).second) all.push_back(std::move(named));
  for (const Named& named : all) read_tail(named, lines);
  sort_by_time(lines);
  if (lines.size() > selection_.tail)
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(selection_.tail));
  mask_secrets(lines);
  return lines;
}

void LogReader::read_fresh(const std::string& name, Container& container, std::vector<LogLine>& lines) {
  const auto folder = data_.logs() / name;
  auto file = open_log(folder / "current.log");
  if (!file) return;
  if (container.inode != 0 && file->inode != container.inode) {
    // Rotated meanwhile: first the rest of the file that we were in.
    const auto before = open_log(folder / "1.log");
    if (before && before->inode == container.inode)
      take(read_from(before->fd.get(), container.offset, kMaxRead), container, lines);
    container.offset = 0;
  }
  container.inode = file->inode;
  if (file->size > container.offset)
    take(read_from(file->fd.get(), container.offset, kMaxRead), container, lines);
}

std::vector<LogLine> LogReader::fresh() {
  for (const Named& named : live())
    containers_.try_emplace(named.container, Container{named.service, named.instance, 0, 0, {}});
  std::vector<LogLine> lines;
  for (auto& [name, container] : containers_) read_fresh(name, container, lines);
  sort_by_time(lines);
  mask_secrets(lines);
  return lines;
}

}  // namespace naru::control
