// Texts of users on their way to somebody's terminal: commit messages, names in files, output of builds.
#pragma once

#include <string>
#include <string_view>

namespace naru::control {

// Control characters (C0 but tab and newline, DEL, and C1, which are U+0080 to U+009F) and bytes that are not
// UTF-8 become '?': nothing moves a cursor, sets a title or hides a line.
std::string printable(std::string_view text);

}  // namespace naru::control
