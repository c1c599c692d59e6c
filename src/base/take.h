// Text taken apart from its beginning, without copies.
#pragma once

#include <algorithm>
#include <string_view>

namespace naru {

// What stands before the next `end`, or the rest when there is none; `text` goes on behind it.
inline std::string_view take_until(std::string_view& text, char end) {
  const auto at = std::min(text.find(end), text.size());
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return part;
}

}  // namespace naru
