// Where the command line writes: two sinks, and what the one for output can show. Also text measured in
// columns, so that tables stay aligned with Korean names in them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace naru::cli {

enum class Tone { plain, bold, dim, good, bad, warn, accent };

// Colour or none; decided once.
struct Style {
  bool colour = false;
  std::string paint(Tone tone, std::string_view text) const;
};

struct Terminal {
  std::function<void(std::string_view)> out, err;
  // A line that the person types; null where standard input is no terminal.
  std::function<std::string()> read_line;
  bool interactive = false;  // output is a terminal: redrawing makes sense
  Style style;
  int columns = 100;
  int rows = 0;  // 0: not known, nothing is cut
  // Asks the terminal again, for its window may have been resized; null where there is none.
  std::function<void(Terminal&)> measure;

  // Standard output and error; colours only on a terminal and without NO_COLOR (no-color.org).
  static Terminal system();
};

// Columns that UTF-8 text takes: East Asian wide characters and emoji two, combining marks none, escape
// sequences none.
int display_width(std::string_view text);
// One line without control characters, so that no commit message can steer the terminal; malformed UTF-8
// becomes '?'.
std::string clean(std::string_view text);
// A line that a program printed, for a terminal: nothing steers it but colours, which end with the line.
std::string clean_coloured(std::string_view line);
// Cut to `columns` with an ellipsis; colours end with it.
std::string fit(std::string_view text, int columns);
// What a window shows of a picture of several lines that is redrawn in place: the first lines, long
// ones cut, and a last one that says how many are hidden and that `command` prints them. No
// line break at its end, for that would scroll. `rows` 0: as it is.
std::string fit_rows(std::string_view picture, int columns, int rows, const Style& style,
                     std::string_view command);

// Rows under a heading, columns two spaces apart. Cells may be painted. Trailing blanks are left out.
class Table {
 public:
  explicit Table(std::vector<std::string> heading) : heading_(std::move(heading)) {}
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  std::string text(const Style& style, std::string_view indent = "") const;

 private:
  std::vector<std::string> heading_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace naru::cli
