#include "format/shell_words.h"

#include <optional>

namespace naru::format {

Result<std::vector<std::string>> split_shell_words(std::string_view text) {
  std::vector<std::string> words;
  std::optional<std::string> word;  // a quoted empty word is a word
  const auto open = [&]() -> std::string& { return word ? *word : word.emplace(); };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      if (word) words.push_back(std::move(*word));
      word.reset();
    } else if (c == '\'') {
      const std::size_t end = text.find('\'', i + 1);
      if (end == std::string_view::npos)
        return fail(Code::malformed, "found a single quote that does not end");
      open() += text.substr(i + 1, end - i - 1);
      i = end;
    } else if (c == '"') {
      std::string& out = open();
      for (++i; i < text.size() && text[i] != '"'; ++i) {
        // Inside double quotes a backslash is special only before these (POSIX 2.2.3).
        if (text[i] == '\\' && i + 1 < text.size() &&
            std::string_view("$`\"\\\n").find(text[i + 1]) != std::string_view::npos)
          ++i;
        out += text[i];
      }
      if (i >= text.size()) return fail(Code::malformed, "found a double quote that does not end");
    } else if (c == '\\') {
      if (++i >= text.size()) return fail(Code::malformed, "found a backslash with nothing after it");
      if (text[i] != '\n') open() += text[i];
    } else {
      open() += c;
    }
  }
  if (word) words.push_back(std::move(*word));
  return words;
}

}  // namespace naru::format
