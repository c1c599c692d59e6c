#include "format/dockerfile.h"

#include <charconv>
#include <set>

#include "base/spelling.h"
#include "format/dockerfile_lines.h"
#include "model/container_bounds.h"
#include "model/json.h"

namespace naru::format {

namespace {

constexpr std::string_view kSpace = " \t\r\f\v";

std::string upper(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return result;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

// Go's time.ParseDuration, as far as HEALTHCHECK needs it: "1m30s", "500ms", "1.5h".
std::optional<milliseconds> parse_duration(std::string_view text) {
  double total = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    double number = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc() || number < 0 || !(number < 1e9)) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    const auto unit_end = std::min(text.find_first_of("0123456789."), text.size());
    const std::string_view unit = text.substr(0, unit_end);
    const double factor = unit == "ns"   ? 1e-6
                          : unit == "us" ? 1e-3
                          : unit == "ms" ? 1
                          : unit == "s"  ? 1e3
                          : unit == "m"  ? 60e3
                          : unit == "h"  ? 3600e3
                                         : 0;
    if (factor == 0) return std::nullopt;
    total += number * factor;
    text.remove_prefix(unit_end);
  }
  if (total > 1e12) return std::nullopt;
  return milliseconds(static_cast<std::int64_t>(total));
}

struct Word {
  std::string text;
  std::size_t offset = 0;
};

struct Flag {
  std::string name, value;
  std::size_t offset = 0;
};

// What stands behind a keyword.
struct Arguments {
  const LogicalLine* line = nullptr;
  std::vector<Flag> flags;
  std::string_view rest;   // trimmed
  std::size_t offset = 0;  // of `rest` in the line
};

class Parser {
 public:
  explicit Parser(const DockerfileSource& source) : source_(source) {
    file_.path = source.path();
    file_.escape = source.escape();
  }

  Result<Dockerfile> parse();

 private:
  using Body = Result<InstructionBody>;

  Result<void> instruction(const LogicalLine& line);
  Result<void> from(const Arguments& args, std::string text);
  Body body(const std::string& keyword, const Arguments& args);
  Body run(const Arguments& args);
  Body copy(const Arguments& args, bool add);
  Body env(const Arguments& args);
  Body label(const Arguments& args);
  Body arg(const Arguments& args);
  Body healthcheck(const Arguments& args);
  Body one_word(const std::string& keyword, const Arguments& args);

  Result<Arguments> arguments(const LogicalLine& line, std::size_t offset);
  Result<void> only_flags(const std::string& keyword, const Arguments& args,
                          const std::vector<std::string_view>& known,
                          const std::vector<std::string_view>& not_yet = {});
  // Docker's rule: what is a JSON array of strings is the exec form, all else the shell form.
  std::optional<std::vector<std::string>> json_words(std::string_view text) const;
  DockerCommand command(const Arguments& args);
  std::vector<Word> plain_words(std::string_view text, std::size_t offset) const;
  Result<std::vector<Word>> quoted_words(const Arguments& args) const;
  Result<std::vector<Assignment>> assignments(const std::string& keyword, const Arguments& args);
  Result<void> no_heredoc(const Arguments& args);
  Result<void> check_from(const Arguments& args, const std::string& from);

  std::unexpected<Error> invalid(const Arguments& args, std::string_view what,
                                 std::string remedy = {}) const {
    return at(args, args.offset, args.rest.size(), what, std::move(remedy));
  }
  std::unexpected<Error> at(const Arguments& args, std::size_t offset, std::size_t length,
                            std::string_view what, std::string remedy = {},
                            Code code = Code::dockerfile_invalid) const {
    return source_.error(code, args.line->place(offset), length, what, std::move(remedy));
  }

  const DockerfileSource& source_;
  Dockerfile file_;
  std::size_t instructions_ = 0;
};

const std::vector<std::string_view> kKeywords{
    "FROM",   "RUN",        "COPY", "ADD",   "ENV",    "ARG",         "WORKDIR", "USER",
    "EXPOSE", "ENTRYPOINT", "CMD",  "LABEL", "VOLUME", "HEALTHCHECK", "SHELL",   "STOPSIGNAL"};

Result<Dockerfile> Parser::parse() {
  for (const LogicalLine& line : source_.lines()) TRY(instruction(line));
  if (file_.stages.empty())
    return std::unexpected<Error>(Error{
        Code::dockerfile_invalid, fmt::format("{}: no FROM: a Dockerfile needs at least one", file_.path), 0,
        "begin with a line such as `FROM debian:bookworm-slim`"});
  return std::move(file_);
}

Result<void> Parser::instruction(const LogicalLine& line) {
  const auto end = std::min(line.text.find_first_of(kSpace), line.text.size());
  const std::string written = line.text.substr(0, end);
  const std::string keyword = upper(written);
  const auto begin = line.place(0);
  if (keyword == "ONBUILD")
    return source_.error(Code::unsupported, begin, end, "ONBUILD is not supported",
                         "put the instruction into the Dockerfiles that build on this one");
  if (keyword == "MAINTAINER")
    return source_.error(Code::unsupported, begin, end, "MAINTAINER is deprecated and not supported",
                         "write `LABEL org.opencontainers.image.authors=\"...\"`");
  if (std::ranges::find(kKeywords, keyword) == kKeywords.end())
    return source_.error(Code::dockerfile_invalid, begin, end,
                         fmt::format("unknown instruction '{}'", written.substr(0, 40)),
                         did_you_mean(keyword, kKeywords));
  if (++instructions_ > kMaxDockerfileInstructions)
    return source_.error(Code::too_large, begin, end,
                         fmt::format("more than {} instructions", kMaxDockerfileInstructions));

  const Arguments args = TRY(arguments(line, end));
  std::string text =
      keyword + (args.rest.empty() && args.flags.empty() ? "" : " ") +
      std::string(line.text.substr(std::min(line.text.find_first_not_of(kSpace, end), line.text.size())));
  if (keyword == "FROM") return from(args, std::move(text));
  if (args.rest.empty())
    return source_.error(Code::dockerfile_invalid, begin, end, fmt::format("{} needs an argument", keyword));
  InstructionBody parsed = TRY(body(keyword, args));
  if (file_.stages.empty()) {
    auto* declared = std::get_if<ArgInstruction>(&parsed);
    if (declared == nullptr)
      return source_.error(Code::dockerfile_invalid, begin, end,
                           fmt::format("{} stands before the first FROM", keyword),
                           "only ARG may stand before FROM");
    std::ranges::move(declared->declarations, std::back_inserter(file_.global_args));
    return {};
  }
  file_.stages.back().instructions.push_back({begin.line, keyword, std::move(text), std::move(parsed)});
  return {};
}

Result<Arguments> Parser::arguments(const LogicalLine& line, std::size_t offset) {
  Arguments args{&line, {}, {}, 0};
  const std::string_view text = line.text;
  const auto skip = [&] { offset = std::min(text.find_first_not_of(kSpace, offset), text.size()); };
  skip();
  while (text.substr(offset).starts_with("--")) {
    const auto end = std::min(text.find_first_of(kSpace, offset), text.size());
    const std::string_view word = text.substr(offset, end - offset);
    if (word == "--") break;
    const auto equals = word.find('=');
    const std::string name(word.substr(2, equals == word.npos ? word.npos : equals - 2));
    for (const Flag& flag : args.flags)
      if (flag.name == name && name != "mount")
        return at(args, offset, word.size(), fmt::format("--{} stands twice", name));
    args.flags.push_back(
        {name, equals == word.npos ? std::string() : std::string(word.substr(equals + 1)), offset});
    offset = end;
    skip();
  }
  args.offset = offset;
  args.rest = text.substr(offset);
  if (const auto last = args.rest.find_last_not_of(kSpace); last != args.rest.npos)
    args.rest = args.rest.substr(0, last + 1);
  return args;
}

Result<void> Parser::only_flags(const std::string& keyword, const Arguments& args,
                                const std::vector<std::string_view>& known,
                                const std::vector<std::string_view>& not_yet) {
  for (const Flag& flag : args.flags) {
    const std::size_t length = flag.name.size() + 2;
    if (std::ranges::find(not_yet, flag.name) != not_yet.end())
      return at(args, flag.offset, length, fmt::format("{} --{} is not supported", keyword, flag.name),
                fmt::format("leave --{} out", flag.name), Code::unsupported);
    if (std::ranges::find(known, flag.name) == known.end()) {
      std::string remedy = did_you_mean(flag.name, known);
      return at(args, flag.offset, length,
                fmt::format("unknown flag --{} of {}", flag.name.substr(0, 40), keyword), std::move(remedy));
    }
    if (flag.value.empty())
      return at(args, flag.offset, length, fmt::format("--{} needs a value: --{}=...", flag.name, flag.name));
  }
  return {};
}

std::optional<std::vector<std::string>> Parser::json_words(std::string_view text) const {
  if (!text.starts_with('[')) return std::nullopt;
  const Json parsed = Json::parse(text, nullptr, false);
  if (!parsed.is_array()) return std::nullopt;
  std::vector<std::string> words;
  for (const Json& item : parsed) {
    if (!item.is_string()) return std::nullopt;
    words.push_back(item.get<std::string>());
    if (words.back().find('\0') != std::string::npos) return std::nullopt;
  }
  return words;
}

DockerCommand Parser::command(const Arguments& args) {
  if (auto words = json_words(args.rest)) return {false, std::move(*words)};
  if (args.rest.starts_with('[') && args.rest.ends_with(']'))
    file_.warnings.push_back(
        source_.locate(args.line->place(args.offset),
                       "not a JSON array of double-quoted strings, so the shell will run it as it stands"));
  return {true, {std::string(args.rest)}};
}

std::vector<Word> Parser::plain_words(std::string_view text, std::size_t offset) const {
  std::vector<Word> words;
  for (std::size_t i = 0; i < text.size();) {
    i = text.find_first_not_of(kSpace, i);
    if (i == text.npos) break;
    const auto end = std::min(text.find_first_of(kSpace, i), text.size());
    words.push_back({std::string(text.substr(i, end - i)), offset + i});
    i = end;
  }
  return words;
}

// Words that keep their quotes and escapes, which only protect spaces here (BuildKit's parseWords).
Result<std::vector<Word>> Parser::quoted_words(const Arguments& args) const {
  std::vector<Word> words;
  const std::string_view text = args.rest;
  for (std::size_t i = 0; i < text.size();) {
    i = text.find_first_not_of(kSpace, i);
    if (i == text.npos) break;
    const std::size_t from = i;
    char quote = 0;
    for (; i < text.size() && (quote != 0 || kSpace.find(text[i]) == kSpace.npos); ++i) {
      if (quote == 0 && (text[i] == '"' || text[i] == '\''))
        quote = text[i];
      else if (quote != 0 && text[i] == quote)
        quote = 0;
      else if (text[i] == file_.escape && quote != '\'' && i + 1 < text.size())
        ++i;
    }
    i = std::min(i, text.size());
    if (quote != 0)
      return at(args, args.offset + from, i - from, fmt::format("a quote {} without its end", quote));
    words.push_back({std::string(text.substr(from, i - from)), args.offset + from});
  }
  return words;
}

Result<std::vector<Assignment>> Parser::assignments(const std::string& keyword, const Arguments& args) {
  TRY(only_flags(keyword, args, {}));
  // The old form: everything behind the name is the value.
  const auto first_end = std::min(args.rest.find_first_of(kSpace), args.rest.size());
  if (args.rest.substr(0, first_end).find('=') == args.rest.npos) {
    const auto value = args.rest.find_first_not_of(kSpace, first_end);
    if (value == args.rest.npos) return invalid(args, fmt::format("{} needs a value: NAME=VALUE", keyword));
    return std::vector<Assignment>{
        {std::string(args.rest.substr(0, first_end)), std::string(args.rest.substr(value))}};
  }
  std::vector<Assignment> result;
  for (const Word& word : TRY(quoted_words(args))) {
    const auto equals = word.text.find('=');
    if (equals == std::string::npos)
      return at(args, word.offset, word.text.size(),
                fmt::format("'{}' is not NAME=VALUE", word.text.substr(0, 60)),
                "quote a value that has spaces: NAME=\"a b\"");
    if (equals == 0) return at(args, word.offset, word.text.size(), "a name is missing before '='");
    result.push_back({word.text.substr(0, equals), word.text.substr(equals + 1)});
  }
  return result;
}

Result<void> Parser::no_heredoc(const Arguments& args) {
  for (const Word& word : plain_words(args.rest, args.offset)) {
    std::string_view text = word.text;
    text.remove_prefix(std::min(text.find_first_not_of("0123456789"), text.size()));
    if (!text.starts_with("<<")) continue;
    text.remove_prefix(2);
    if (text.starts_with('-')) text.remove_prefix(1);
    if (text.empty() || text.find('<') != text.npos || text.starts_with('(')) continue;
    return at(args, word.offset, word.text.size(), "here-documents are not supported",
              "join the commands with `&& \\`, or COPY a script and run it", Code::unsupported);
  }
  return {};
}

Result<void> Parser::from(const Arguments& args, std::string text) {
  TRY(only_flags("FROM", args, {"platform"}));
  const std::vector<Word> words = plain_words(args.rest, args.offset);
  if (words.empty())
    return source_.error(Code::dockerfile_invalid, args.line->place(0), 4, "FROM needs an image");
  if (words.size() != 1 && !(words.size() == 3 && upper(words[1].text) == "AS"))
    return invalid(args, "expected `FROM <image>` or `FROM <image> AS <name>`");
  if (file_.stages.size() == kMaxDockerfileStages)
    return source_.error(Code::too_large, args.line->place(0), 4,
                         fmt::format("more than {} stages", kMaxDockerfileStages));
  Stage stage;
  stage.line = args.line->place(0).line;
  stage.base = words[0].text;
  stage.text = std::move(text);
  if (!args.flags.empty()) stage.platform = args.flags.front().value;
  if (words.size() == 3) {
    stage.name = lower(words[2].text);
    const auto valid = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    };
    if (stage.name[0] < 'a' || stage.name[0] > 'z' || !std::ranges::all_of(stage.name, valid) ||
        stage.name.size() > 128)
      return at(args, words[2].offset, words[2].text.size(),
                fmt::format("'{}' cannot name a stage", words[2].text.substr(0, 60)),
                "a name begins with a letter and goes on with letters, digits, '-', '_' or '.'");
    for (const Stage& other : file_.stages)
      if (other.name == stage.name)
        return at(args, words[2].offset, words[2].text.size(),
                  fmt::format("the stage '{}' stands in line {} already", stage.name, other.line));
  }
  file_.stages.push_back(std::move(stage));
  return {};
}

Parser::Body Parser::body(const std::string& keyword, const Arguments& args) {
  if (keyword == "RUN") return run(args);
  if (keyword == "COPY") return copy(args, false);
  if (keyword == "ADD") return copy(args, true);
  if (keyword == "ENV") return env(args);
  if (keyword == "ARG") return arg(args);
  if (keyword == "LABEL") return label(args);
  if (keyword == "HEALTHCHECK") return healthcheck(args);
  TRY(only_flags(keyword, args, {}));
  if (keyword == "ENTRYPOINT") return EntrypointInstruction{command(args)};
  if (keyword == "CMD") return CmdInstruction{command(args)};
  return one_word(keyword, args);
}

Parser::Body Parser::one_word(const std::string& keyword, const Arguments& args) {
  const auto words = [&] {
    std::vector<std::string> texts;
    for (Word& word : plain_words(args.rest, args.offset)) texts.push_back(std::move(word.text));
    return texts;
  };
  if (keyword == "WORKDIR") return WorkdirInstruction{std::string(args.rest)};
  if (keyword == "EXPOSE") return ExposeInstruction{words()};
  if (keyword == "VOLUME") {
    VolumeInstruction volume{json_words(args.rest).value_or(std::vector<std::string>())};
    if (volume.paths.empty() && !args.rest.starts_with('[')) volume.paths = words();
    if (volume.paths.empty()) return invalid(args, "VOLUME needs at least one path");
    return volume;
  }
  if (keyword == "SHELL") {
    auto shell = json_words(args.rest);
    if (!shell || shell->empty())
      return invalid(args, "SHELL needs the exec form", "write SHELL [\"/bin/bash\", \"-c\"]");
    return ShellInstruction{std::move(*shell)};
  }
  if (words().size() != 1) return invalid(args, fmt::format("{} takes one word", keyword));
  if (keyword == "USER") return UserInstruction{std::string(args.rest)};
  return StopsignalInstruction{std::string(args.rest)};
}

Parser::Body Parser::run(const Arguments& args) {
  TRY(only_flags("RUN", args, {}, {"mount", "network", "security", "device"}));
  TRY(no_heredoc(args));
  RunInstruction result{command(args)};
  if (result.command.words.empty()) return invalid(args, "RUN needs a command");
  return result;
}

Result<void> Parser::check_from(const Arguments& args, const std::string& from) {
  const auto offset = args.line->text.find("--from=");
  if (from.find('$') != std::string::npos)
    return at(args, offset, from.size() + 7, "variables in --from are not supported",
              "give the image a name with `FROM image AS name` and copy from that", Code::unsupported);
  const std::size_t current = file_.stages.empty() ? 0 : file_.stages.size() - 1;
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(from.data(), from.data() + from.size(), number);
  const bool numeric = error == std::errc() && end == from.data() + from.size();
  if ((numeric && number >= current) || (!file_.stages.empty() && lower(from) == file_.stages[current].name))
    return at(args, offset, from.size() + 7, fmt::format("--from={} names no earlier stage", from));
  return {};
}

Parser::Body Parser::copy(const Arguments& args, bool add) {
  const std::string keyword = add ? "ADD" : "COPY";
  if (add)
    TRY(only_flags(keyword, args, {"chown", "chmod"},
                   {"checksum", "keep-git-dir", "link", "exclude", "unpack"}));
  else
    TRY(only_flags(keyword, args, {"from", "chown", "chmod"}, {"link", "parents", "exclude"}));
  TRY(no_heredoc(args));
  CopyInstruction result;
  result.add = add;
  for (const Flag& flag : args.flags) {
    if (flag.name == "from") result.from = flag.value;
    if (flag.name == "chown") result.chown = flag.value;
    if (flag.name == "chmod") result.chmod = flag.value;
  }
  if (!result.from.empty()) TRY(check_from(args, result.from));
  std::vector<std::string> words;
  if (auto json = json_words(args.rest)) {
    words = std::move(*json);
  } else {
    for (Word& word : plain_words(args.rest, args.offset)) words.push_back(std::move(word.text));
  }
  if (words.size() < 2)
    return invalid(args, fmt::format("{} needs at least a source and a destination", keyword));
  result.dest = std::move(words.back());
  words.pop_back();
  for (const std::string& source : words) {
    const bool remote = source.find("://") != std::string::npos || source.starts_with("git@");
    if (add && remote)
      return at(args, args.offset, args.rest.size(),
                fmt::format("ADD of the address {} is not supported", source.substr(0, 80)),
                "fetch it in a RUN step and check its digest there", Code::unsupported);
    if (source.empty()) return invalid(args, "an empty source", "write `.` for the whole context");
  }
  result.sources = std::move(words);
  return result;
}

Parser::Body Parser::env(const Arguments& args) {
  return EnvInstruction{TRY(assignments("ENV", args))};
}
Parser::Body Parser::label(const Arguments& args) {
  return LabelInstruction{TRY(assignments("LABEL", args))};
}

Parser::Body Parser::arg(const Arguments& args) {
  TRY(only_flags("ARG", args, {}));
  ArgInstruction result;
  for (const Word& word : TRY(quoted_words(args))) {
    const auto equals = word.text.find('=');
    ArgInstruction::Declaration declaration{word.text.substr(0, equals), std::nullopt};
    if (equals != std::string::npos) declaration.value = word.text.substr(equals + 1);
    const auto valid = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.';
    };
    if (declaration.name.empty() || !std::ranges::all_of(declaration.name, valid))
      return at(args, word.offset, word.text.size(),
                fmt::format("'{}' cannot name an argument", declaration.name.substr(0, 60)));
    result.declarations.push_back(std::move(declaration));
  }
  return result;
}

Parser::Body Parser::healthcheck(const Arguments& args) {
  TRY(only_flags("HEALTHCHECK", args, {"interval", "timeout", "start-period", "start-interval", "retries"}));
  HealthcheckInstruction result;
  for (const Flag& flag : args.flags) {
    const std::size_t length = flag.name.size() + flag.value.size() + 3;
    if (flag.name == "retries") {
      const char* last = flag.value.data() + flag.value.size();
      const auto [end, error] = std::from_chars(flag.value.data(), last, result.retries);
      if (error != std::errc() || end != last || result.retries > 10'000)
        return at(args, flag.offset, length, "--retries needs a number from 0 to 10000");
      continue;
    }
    const auto duration = parse_duration(flag.value);
    if (!duration)
      return at(args, flag.offset, length, fmt::format("'{}' is not a duration", flag.value.substr(0, 40)),
                "write it as 500ms, 10s or 1m30s");
    if (flag.name == "timeout" && *duration > kMaxHealthTimeout)
      file_.warnings.push_back(source_.locate(
          args.line->place(flag.offset),
          fmt::format("--timeout={} is taken as {}: a probe that takes longer has failed; let the program "
                      "answer its check from memory",
                      flag.value, humanize(kMaxHealthTimeout))));
    (flag.name == "interval"       ? result.interval
     : flag.name == "timeout"      ? result.timeout
     : flag.name == "start-period" ? result.start_period
                                   : result.start_interval) = *duration;
  }
  const auto end = std::min(args.rest.find_first_of(kSpace), args.rest.size());
  const std::string kind = upper(args.rest.substr(0, end));
  Arguments inner = args;
  inner.rest = args.rest.substr(std::min(args.rest.find_first_not_of(kSpace, end), args.rest.size()));
  inner.offset = args.offset + static_cast<std::size_t>(inner.rest.data() - args.rest.data());
  if (kind == "NONE") {
    if (!inner.rest.empty() || !args.flags.empty())
      return invalid(args, "HEALTHCHECK NONE takes nothing else");
    return result;
  }
  if (kind != "CMD")
    return invalid(
        args,
        fmt::format("expected CMD or NONE, found '{}'", args.rest.substr(0, std::min<std::size_t>(end, 40))),
        "write HEALTHCHECK CMD curl -f http://localhost/ || exit 1");
  result.command = command(inner);
  if (result.command->words.empty() || result.command->words.front().empty())
    return invalid(args, "HEALTHCHECK CMD needs a command");
  return result;
}

}  // namespace

std::optional<std::size_t> Dockerfile::find_stage(std::string_view name) const {
  for (std::size_t i = 0; i < stages.size(); ++i)
    if (!stages[i].name.empty() && stages[i].name == lower(name)) return i;
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error == std::errc() && end == name.data() + name.size() && !name.empty() && number < stages.size())
    return number;
  return std::nullopt;
}

Result<Dockerfile> parse_dockerfile(std::string_view bytes, std::string_view path) {
  const DockerfileSource source = TRY(DockerfileSource::read(bytes, path));
  return Parser(source).parse();
}

std::string at_line(std::string_view path, std::size_t line, std::string_view what) {
  return fmt::format("{}:{}: {}", path, line, what);
}

}  // namespace naru::format
