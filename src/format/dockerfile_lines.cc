#include "format/dockerfile_lines.h"

#include "format/dockerfile.h"

namespace naru::format {

namespace {

constexpr std::string_view kSpace = " \t\r\f\v";

std::string_view trim(std::string_view text) {
  const auto from = text.find_first_not_of(kSpace);
  if (from == text.npos) return {};
  return text.substr(from, text.find_last_not_of(kSpace) - from + 1);
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

// Index of the first byte that is not part of valid UTF-8 (RFC 3629), or npos.
std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    const std::size_t length = c < 0x80                ? 1
                               : c >= 0xC2 && c < 0xE0 ? 2
                               : c >= 0xE0 && c < 0xF0 ? 3
                               : c >= 0xF0 && c < 0xF5 ? 4
                                                       : 0;
    if (length == 0 || i + length > text.size()) return i;
    std::uint32_t point = length == 1 ? c : c & (0x7FU >> length);
    for (std::size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0U) != 0x80) return i;
      point = (point << 6) | (next & 0x3FU);
    }
    const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
    if (overlong || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) return i;
    i += length;
  }
  return std::string_view::npos;
}

bool is_comment(std::string_view line) {
  return trim(line).starts_with('#');
}

}  // namespace

LogicalLine::Piece LogicalLine::place(std::size_t offset) const {
  Piece best = pieces.front();
  for (const Piece& piece : pieces) {
    if (piece.offset > offset) break;
    best = piece;
  }
  return {offset, best.line, best.column + (offset - best.offset)};
}

std::string DockerfileSource::locate(LogicalLine::Piece at, std::string_view what) const {
  return fmt::format("{}:{}:{}: {}", path_, at.line, at.column, what);
}

std::unexpected<Error> DockerfileSource::error(Code code, LogicalLine::Piece at, std::size_t length,
                                               std::string_view what, std::string remedy) const {
  constexpr std::size_t kShown = 120;
  std::string shown = at.line <= physical_.size() ? physical_[at.line - 1] : std::string();
  std::size_t column = at.column;
  if (column > kShown) {  // keep the marked place in sight
    shown = shown.substr(std::min(shown.size(), column - kShown / 2));
    column = kShown / 2 + 1;
  }
  shown = shown.substr(0, kShown);
  while (!shown.empty() && find_invalid_utf8(shown) == 0) shown.erase(0, 1);  // a character cut in two
  if (const auto bad = find_invalid_utf8(shown); bad != shown.npos) shown.resize(bad);
  for (char& c : shown)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  const std::size_t room = shown.size() >= column ? shown.size() - column + 1 : 1;
  const std::string number = std::to_string(at.line);
  const std::string marker = "^" + std::string(std::clamp<std::size_t>(length, 1, room) - 1, '~');
  std::string context = fmt::format("{}\n  {} | {}\n  {} | {}{}", locate(at, what), number, shown,
                                    std::string(number.size(), ' '), std::string(column - 1, ' '), marker);
  return std::unexpected<Error>(Error{code, std::move(context), 0, std::move(remedy)});
}

Result<std::size_t> DockerfileSource::read_directives() {
  std::size_t index = 0;
  bool seen_escape = false, seen_syntax = false;
  for (; index < physical_.size(); ++index) {
    const std::string_view line = trim(physical_[index]);
    if (!line.starts_with('#')) break;
    const auto equals = line.find('=');
    if (equals == line.npos) break;  // a comment ends the directives
    const std::string key = lower(trim(line.substr(1, equals - 1)));
    const std::string_view value = trim(line.substr(equals + 1));
    const LogicalLine::Piece at{0, index + 1, physical_[index].find('#') + 1};
    if (key == "escape") {
      if (seen_escape)
        return error(Code::dockerfile_invalid, at, line.size(), "the directive 'escape' stands twice");
      if (value != "\\" && value != "`")
        return error(Code::dockerfile_invalid, at, line.size(),
                     fmt::format("escape '{}' is neither \\ nor `", value.substr(0, 40)));
      seen_escape = true;
      escape_ = value[0];
    } else if (key == "syntax") {
      if (seen_syntax)
        return error(Code::dockerfile_invalid, at, line.size(), "the directive 'syntax' stands twice");
      seen_syntax = true;
      if (!value.starts_with("docker/dockerfile:1") && value != "docker/dockerfile" &&
          !value.starts_with("docker.io/docker/dockerfile:1"))
        return error(
            Code::unsupported, at, line.size(),
            fmt::format("the syntax '{}' is not supported", value.substr(0, 80)),
            "Naru reads Dockerfiles itself: use `# syntax=docker/dockerfile:1`, or leave the directive out");
    } else if (key != "check") {
      break;
    }
  }
  return index;
}

void DockerfileSource::append_physical(std::size_t index, std::string_view content) {
  LogicalLine& line = logical_.back();
  line.pieces.push_back(
      {line.text.size(), index + 1, static_cast<std::size_t>(content.data() - physical_[index].data()) + 1});
  line.text += content;
}

void DockerfileSource::join_lines(std::size_t first) {
  bool open = false;  // the last logical line goes on
  for (std::size_t i = first; i < physical_.size(); ++i) {
    const std::string_view raw = physical_[i];
    // Inside a continuation, comments and empty lines are left out and the instruction goes on.
    if (is_comment(raw) || trim(raw).empty()) continue;
    const auto last = raw.find_last_not_of(kSpace);
    const bool goes_on = raw[last] == escape_;
    std::string_view content = goes_on ? raw.substr(0, last) : raw.substr(0, last + 1);
    if (!open) {
      content.remove_prefix(std::min(content.find_first_not_of(kSpace), content.size()));
      logical_.emplace_back();
    }
    append_physical(i, content);
    open = goes_on;
  }
}

Result<DockerfileSource> DockerfileSource::read(std::string_view bytes, std::string_view path) {
  DockerfileSource source;
  source.path_ = path;
  if (bytes.size() > kMaxDockerfileBytes)
    return fail(Code::too_large, "{}: {} bytes; a Dockerfile may have {}", path, bytes.size(),
                kMaxDockerfileBytes);
  if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);
  for (std::size_t at = 0; at < bytes.size();) {
    const auto newline = std::min(bytes.find('\n', at), bytes.size());
    source.physical_.emplace_back(bytes.substr(at, newline - at));
    at = newline + 1;
    if (const auto bad = find_invalid_utf8(source.physical_.back()); bad != std::string::npos) {
      // Messages travel as JSON, which is UTF-8.
      for (char& c : source.physical_.back())
        if (static_cast<unsigned char>(c) >= 0x80) c = '?';
      return source.error(Code::dockerfile_invalid, {0, source.physical_.size(), bad + 1}, 1,
                          "a byte that is not UTF-8");
    }
    if (const auto nul = source.physical_.back().find('\0'); nul != std::string::npos)
      return source.error(Code::dockerfile_invalid, {0, source.physical_.size(), nul + 1}, 1, "a NUL byte");
  }
  const std::size_t first = TRY(source.read_directives());
  source.join_lines(first);
  std::erase_if(source.logical_, [](const LogicalLine& line) { return trim(line.text).empty(); });
  return source;
}

}  // namespace naru::format
