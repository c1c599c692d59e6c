#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>

#include "base/environment.h"
#include "base/utf8.h"

namespace naru::cli {

namespace {

// Coarse ranges of Unicode's East Asian Width (UAX 11) and of marks without a width of their own.
int character_width(char32_t c) {
  struct Range {
    char32_t first, last;
  };
  static constexpr Range kZero[] = {{0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},   {0x610, 0x61a},
                                    {0x64b, 0x65f},   {0x200b, 0x200f}, {0x202a, 0x202e}, {0x2060, 0x2064},
                                    {0x20d0, 0x20ff}, {0x1160, 0x11ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f},
                                    {0xfeff, 0xfeff}};
  static constexpr Range kWide[] = {
      {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},  {0xa960, 0xa97f}, {0xac00, 0xd7a3},
      {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},  {0xffe0, 0xffe6}, {0x1f300, 0x1f64f},
      {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};
  const auto within = [c](const Range& range) { return c >= range.first && c <= range.last; };
  if (std::ranges::any_of(kZero, within)) return 0;
  return std::ranges::any_of(kWide, within) ? 2 : 1;
}

// Length of an escape sequence "ESC [ ... letter" at the front, or 0.
std::size_t escape_length(std::string_view text) {
  if (!text.starts_with("\x1b[")) return 0;
  for (std::size_t i = 2; i < text.size(); ++i)
    if (text[i] >= '@' && text[i] <= '~') return i + 1;
  return text.size();
}

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(fd == STDOUT_FILENO ? 1 : 0);  // nobody reads us any more (`naru ps | head`)
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

// "ESC [ 1 ; 31 m" at the front (ECMA-48, SGR), or 0: colours, weight, underlining.
std::size_t colour_length(std::string_view text) {
  const std::size_t length = escape_length(text);
  if (length == 0 || text[length - 1] != 'm') return 0;
  return text.substr(2, length - 3).find_first_not_of("0123456789;:") == std::string_view::npos ? length : 0;
}

// With `keep` the bytes at the front that stay as they are: how many.
template <class Keep>
std::string cleaned(std::string_view text, Keep keep) {
  std::string out;
  while (!text.empty()) {
    const std::size_t kept = keep(text);
    const Character c = first_character(text);
    if (kept > 0)
      out += text.substr(0, kept);
    else if (c.code == '\n' || c.code == '\t')
      out += ' ';
    else
      out += printable(text.substr(0, c.bytes));
    text.remove_prefix(kept > 0 ? kept : c.bytes);
  }
  return out;
}

std::string line_of_stdin() {
  std::string line;
  char c = 0;
  while (line.size() < 256) {
    const ssize_t n = ::read(STDIN_FILENO, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 || c == '\n') break;
    line += c;
  }
  return line;
}

constexpr int kMostOfWindow = 4;  // a line of a picture takes at most the fourth part of a window

void measure_output(Terminal& terminal) {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return;
  if (size.ws_col > 0) terminal.columns = size.ws_col;
  terminal.rows = size.ws_row;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(text.size(), end + 1));
  }
  return lines;
}

}  // namespace

std::string Style::paint(Tone tone, std::string_view text) const {
  if (!colour || tone == Tone::plain || text.empty()) return std::string(text);
  static constexpr std::string_view kCodes[] = {"0", "1", "2", "32", "31", "33", "36"};
  std::string out = "\x1b[";
  out += kCodes[static_cast<std::size_t>(tone)];
  out += 'm';
  out += text;
  return out += "\x1b[0m";
}

Terminal Terminal::system() {
  Terminal terminal;
  terminal.out = [](std::string_view text) { write_all(STDOUT_FILENO, text); };
  terminal.err = [](std::string_view text) { write_all(STDERR_FILENO, text); };
  if (::isatty(STDIN_FILENO) == 1) terminal.read_line = line_of_stdin;
  terminal.interactive = ::isatty(STDOUT_FILENO) == 1;
  const bool plain =
      environment_variable("TERM") == "dumb" || !environment_variable("NO_COLOR").value_or("").empty();
  terminal.style.colour = terminal.interactive && !plain;
  if (terminal.interactive) {
    terminal.measure = measure_output;
    measure_output(terminal);
  }
  return terminal;
}

int display_width(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    if (const std::size_t escape = escape_length(text)) {
      text.remove_prefix(escape);
      continue;
    }
    const Character c = first_character(text);
    width += character_width(c.code);
    text.remove_prefix(c.bytes);
  }
  return width;
}

std::string clean(std::string_view text) {
  return cleaned(text, [](std::string_view) { return std::size_t{0}; });
}

std::string clean_coloured(std::string_view line) {
  bool coloured = false;
  std::string out = cleaned(line, [&](std::string_view rest) {
    const std::size_t colour = colour_length(rest);
    coloured = coloured || colour > 0;
    return rest.front() == '\t' ? 1 : colour;
  });
  return coloured ? out + "\x1b[0m" : out;
}

std::string fit(std::string_view text, int columns) {
  if (display_width(text) <= columns) return std::string(text);
  std::string out;
  int width = 0;
  bool coloured = false;
  while (!text.empty()) {
    if (const std::size_t escape = escape_length(text)) {
      out += text.substr(0, escape);
      text.remove_prefix(escape);
      coloured = true;
      continue;
    }
    const Character c = first_character(text);
    width += character_width(c.code);
    if (width > columns - 1) break;
    out += text.substr(0, c.bytes);
    text.remove_prefix(c.bytes);
  }
  return out + (coloured ? "…\x1b[0m" : "…");
}

std::string fit_rows(std::string_view picture, int columns, int rows, const Style& style,
                     std::string_view command) {
  columns = std::max(1, columns);
  const auto lines = lines_of(picture);
  const auto rows_of = [columns](std::string_view line) {
    return 1 + std::max(0, display_width(line) - 1) / columns;
  };
  int needed = 0;
  for (const std::string_view line : lines) needed += rows_of(line);
  if (rows <= 0 || needed <= rows) return fmt::format("{}", fmt::join(lines, "\n"));
  std::vector<std::string> shown;
  int left = rows;
  for (std::size_t i = 0; i < lines.size() && left > 0; ++i) {
    std::string line = fit(lines[i], columns * std::max(1, rows / kMostOfWindow));
    const bool last = i + 1 == lines.size();
    const int taken = rows_of(line);
    if (rows > 1 && taken > left - (last ? 0 : 1)) {
      line = style.paint(Tone::dim,
                         fit(fmt::format("  … {} more lines: {}", lines.size() - i, command), columns));
      shown.push_back(std::move(line));
      break;
    }
    left -= taken;
    shown.push_back(std::move(line));
  }
  return fmt::format("{}", fmt::join(shown, "\n"));
}

std::string Table::text(const Style& style, std::string_view indent) const {
  std::vector<int> widths;
  const auto measure = [&](const std::vector<std::string>& cells) {
    widths.resize(std::max(widths.size(), cells.size()));
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], display_width(cells[i]));
  };
  measure(heading_);
  for (const auto& cells : rows_) measure(cells);
  std::string out;
  const auto line = [&](const std::vector<std::string>& cells, Tone tone) {
    out += indent;
    std::string blanks;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (!cells[i].empty()) {
        out += blanks + style.paint(tone, cells[i]);
        blanks.clear();
      }
      const int gap = widths[i] - display_width(cells[i]) + 2;
      blanks.append(static_cast<std::size_t>(gap), ' ');
    }
    out += '\n';
  };
  if (!heading_.empty()) line(heading_, Tone::dim);
  for (const auto& cells : rows_) line(cells, Tone::plain);
  return out;
}

}  // namespace naru::cli
