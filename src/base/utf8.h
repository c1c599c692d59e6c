// UTF-8 (RFC 3629), and which of its characters steer a terminal instead of being shown.
#pragma once

#include <string>
#include <string_view>

namespace naru {

struct Character {
  char32_t code = 0;
  std::size_t bytes = 1;
  bool malformed = false;  // then one byte, its code U+FFFD
};

// As much of a text as `most` bytes hold, and no half character at its end.
std::string_view beginning(std::string_view text, std::size_t most);

// The one that a text, which is not empty, begins with.
Character first_character(std::string_view text);

// Control characters (C0, DEL and C1), and what turns the direction of the text around it (UAX 9).
bool steers_terminal(char32_t code);

// A text of a stranger for somebody's terminal: what would steer it, but newline and tab, becomes '?', and so
// does each byte that is not UTF-8. Nothing moves a cursor, sets a title or hides a line.
std::string printable(std::string_view text);

}  // namespace naru
