#include "format/dotenv.h"

namespace naru::format {
namespace {

bool space(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

bool valid_key(std::string_view key) {
  if (key.empty() || (key[0] >= '0' && key[0] <= '9')) return false;
  return key.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") ==
         std::string_view::npos;
}

class DotenvParser {
 public:
  DotenvParser(std::string_view text, std::string_view file, const VariableLookup& lookup)
      : rest_(text), file_(file), lookup_(lookup) {}

  Result<std::vector<DotenvEntry>> run() {
    while (!rest_.empty()) TRY(line());
    return std::move(entries_);
  }

 private:
  std::string_view take_line() {
    const std::size_t end = rest_.find('\n');
    const std::string_view taken = rest_.substr(0, end);
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
    ++line_;
    return taken;
  }

  Result<> line() {
    std::string_view text = trim(take_line());
    if (text.empty() || text[0] == '#') return {};
    if (text.starts_with("export ")) text = trim(text.substr(7));
    const std::size_t equals = text.find('=');
    const std::string_view key = trim(text.substr(0, equals));
    if (!valid_key(key))
      return fail(Code::malformed, "{}:{}: found \"{}\", expected KEY=value", file_, line_,
                  text.substr(0, 60));
    DotenvEntry entry{std::string(key), std::nullopt, line_};
    if (equals != std::string_view::npos) entry.value = TRY(value(trim(text.substr(equals + 1))));
    if (entry.value) known_[entry.key] = *entry.value;
    entries_.push_back(std::move(entry));
    return {};
  }

  Result<std::string> value(std::string_view text) {
    if (text.starts_with('\'')) return quoted(text.substr(1), '\'');
    if (text.starts_with('"')) return expand(unescape(TRY(quoted(text.substr(1), '"'))));
    for (std::size_t i = 0; i < text.size(); ++i)
      if (text[i] == '#' && (i == 0 || space(text[i - 1]))) text = trim(text.substr(0, i));
    return expand(text);
  }

  // Text up to the closing quote, which may stand lines below; backslashes are kept.
  Result<std::string> quoted(std::string_view text, char quote) {
    const std::uint32_t first = line_;
    std::string out;
    while (true) {
      for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == quote) {
          const std::string_view after = trim(text.substr(i + 1));
          if (!after.empty() && after[0] != '#')
            return fail(Code::malformed, "{}:{}: found \"{}\" after the closing quote", file_, line_,
                        after.substr(0, 40));
          return out;
        }
        if (quote == '"' && text[i] == '\\' && i + 1 < text.size()) out += text[i++];
        out += text[i];
      }
      if (rest_.empty())
        return fail(Code::malformed, "{}:{}: found a {} that does not end", file_, first, quote);
      out += '\n';
      text = take_line();
    }
  }

  static std::string unescape(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 >= text.size()) {
        out += text[i];
        continue;
      }
      switch (const char c = text[++i]; c) {
        case 'n':
          out += '\n';
          break;
        case 'r':
          out += '\r';
          break;
        case 't':
          out += '\t';
          break;
        case '$':
          out += "$$";
          break;  // interpolation makes one of it
        default:
          out += c;
      }
    }
    return out;
  }

  Result<std::string> expand(std::string_view text) {
    const auto done = interpolate(text, [this](std::string_view name) -> std::optional<std::string> {
      if (auto value = lookup_ ? lookup_(name) : std::nullopt) return value;
      if (const auto found = known_.find(name); found != known_.end()) return found->second;
      return std::nullopt;
    });
    if (!done) return fail(done.error().code, "{}:{}: {}", file_, line_, done.error().context);
    if (!done->required.empty())
      return fail(Code::malformed, "{}:{}: {} must be set: {}", file_, line_, done->required[0].name,
                  done->required[0].message);
    return done->text;
  }

  std::string_view rest_, file_;
  const VariableLookup& lookup_;
  std::uint32_t line_ = 0;
  std::map<std::string, std::string, std::less<>> known_;
  std::vector<DotenvEntry> entries_;
};

}  // namespace

Result<std::vector<DotenvEntry>> parse_dotenv(std::string_view text, std::string_view file_name,
                                              const VariableLookup& lookup) {
  if (text.size() > kMaxDotenvBytes)
    return fail(Code::too_large, "{}: {} bytes; the bound is {}", file_name, text.size(), kMaxDotenvBytes);
  if (text.find('\0') != std::string_view::npos)
    return fail(Code::malformed, "{}: found a NUL byte, expected text", file_name);
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  return DotenvParser(text, file_name, lookup).run();
}

}  // namespace naru::format
