#include "build/plan_stage.h"

#include <charconv>

#include "base/signal_name.h"
#include "format/path_glob.h"
#include "model/json_text.h"

namespace naru::build {

namespace {

constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

void insert_sorted(std::vector<std::string>& set, std::string value) {
  const auto at = std::ranges::lower_bound(set, value);
  if (at == set.end() || *at != value) set.insert(at, std::move(value));
}

bool is_octal_mode(std::string_view text) {
  return !text.empty() && text.size() <= 4 &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '7'; });
}

// "8080", "53/udp", "8000-8010/tcp" as "8080/tcp", ...
Result<std::vector<std::string>> ports_of(std::string_view text) {
  const auto bad = [&] {
    return fail(Code::dockerfile_invalid, "'{}' is not a port: write 8080, 53/udp or 8000-8010",
                text.substr(0, 60));
  };
  const auto slash = text.find('/');
  const std::string_view protocol = slash == text.npos ? "tcp" : text.substr(slash + 1);
  if (protocol != "tcp" && protocol != "udp") return bad();
  const std::string_view range = text.substr(0, slash);
  const auto dash = range.find('-');
  const auto number = [](std::string_view digits) -> std::uint32_t {
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size() && value <= 65535 ? value : 0;
  };
  const std::uint32_t first = number(range.substr(0, dash));
  const std::uint32_t last = dash == range.npos ? first : number(range.substr(dash + 1));
  if (first == 0 || last < first) return bad();
  if (last - first > 1000) return fail(Code::too_large, "'{}': more than 1000 ports", text);
  std::vector<std::string> ports;
  for (auto port = first; port <= last; ++port) ports.push_back(fmt::format("{}/{}", port, protocol));
  return ports;
}

}  // namespace

bool is_proxy_variable(std::string_view name) {
  std::string lower(name);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower == "http_proxy" || lower == "https_proxy" || lower == "ftp_proxy" || lower == "no_proxy" ||
         lower == "all_proxy";
}

std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text) {
    const bool space = static_cast<unsigned char>(c) <= 0x20;
    if (!space)
      line += c;
    else if (!line.empty() && line.back() != ' ')
      line += ' ';
  }
  return line;
}

Result<void> StagePlanner::apply(const format::Instruction& instruction) {
  current_ = &instruction;
  const std::size_t steps = stage_.steps.size();
  auto done = std::visit(*this, instruction.body);
  if (!done) {
    Error error = std::move(done).error();
    error.context = format::at_line(scope_.file.path, instruction.line,
                                    fmt::format("{}: {}", instruction.keyword, error.context));
    return std::unexpected(std::move(error));
  }
  const bool stepped = stage_.steps.size() != steps;
  stage_.history.emplace_back(one_line(instruction.text), stepped ? std::optional(steps) : std::nullopt);
  return {};
}

std::optional<std::string> StagePlanner::variable(std::string_view name) const {
  // ENV wins over ARG of the same name (Dockerfile reference, "Using ARG variables").
  if (auto value = stage_.config.env_value(name)) return value;
  const auto at = args_.find(std::string(name));
  return at == args_.end() ? std::nullopt : at->second;
}

Result<std::string> StagePlanner::expand(std::string_view word) const {
  return format::expand_word(
      word, [this](std::string_view name) { return variable(name); }, scope_.file.escape);
}

std::vector<std::string> StagePlanner::argv(const format::DockerCommand& command) const {
  if (!command.shell) return command.words;
  std::vector<std::string> words = stage_.config.shell;
  if (words.empty()) words = {"/bin/sh", "-c"};
  words.push_back(command.words.front());
  return words;
}

std::string StagePlanner::absolute(std::string_view path) const {
  const bool directory =
      path.ends_with('/') || path == "." || path.ends_with("/.") || path == ".." || path.ends_with("/..");
  const std::string joined =
      path.starts_with('/') ? std::string(path) : stage_.config.working_dir + "/" + std::string(path);
  std::string clean = "/" + clean_relative(joined);
  if (directory && clean != "/") clean += '/';
  return clean;
}

void StagePlanner::add_step(PlanStep step) {
  step.line = current_->line;
  step.text = one_line(current_->text);
  step.parts.insert(step.parts.begin(), {"the step before", stage_.key.text()});
  step.key = key_of(step.parts);
  stage_.key = step.key;
  stage_.steps.push_back(std::move(step));
}

Result<void> StagePlanner::operator()(const format::RunInstruction& i) {
  PlanStep step;
  step.kind = StepKind::run;
  step.run.argv = argv(i.command);
  step.run.cwd = stage_.config.working_dir.empty() ? "/" : stage_.config.working_dir;
  step.run.user = stage_.config.user;
  std::vector<std::string>& env = step.run.env;
  env = stage_.config.env;
  step.parts.push_back({"the command", json_text(step.run.argv)});
  for (const std::string& variable : env) {
    const auto equals = std::min(variable.find('='), variable.size());
    step.parts.push_back({"the variable " + variable.substr(0, equals), variable.substr(equals)});
  }
  for (const auto& [name, value] : args_) {
    if (!value || stage_.config.env_value(name)) continue;
    env.push_back(name + "=" + *value);
    step.parts.push_back({"the argument " + name, "=" + *value});
  }
  step.parts.push_back({"the working directory", step.run.cwd});
  step.parts.push_back({"the user", step.run.user});
  // The runtime's own, and the host's: no part of the key.
  if (!stage_.config.env_value("PATH")) env.push_back(fmt::format("PATH={}", kDefaultPath));
  for (const auto& [name, value] : scope_.options.proxy)
    if (is_proxy_variable(name) && !variable(name)) env.push_back(name + "=" + value);
  add_step(std::move(step));
  return {};
}

Result<void> StagePlanner::operator()(const format::CopyInstruction& i) {
  PlanStep step;
  step.kind = StepKind::copy;
  CopyRequest& copy = step.copy;
  copy.add = i.add;
  for (const std::string& source : i.sources) {
    copy.sources.push_back(clean_relative(TRY(expand(source))));
  }
  const std::string dest = TRY(expand(i.dest));
  if (dest.empty()) return fail(Code::dockerfile_invalid, "the destination is empty after substitution");
  copy.dest = absolute(dest);
  copy.chown = TRY(expand(i.chown));
  copy.chmod = TRY(expand(i.chmod));
  if (!copy.chmod.empty() && !is_octal_mode(copy.chmod))
    return fail(Code::dockerfile_invalid, "--chmod={}: write an octal mode such as 0755",
                copy.chmod.substr(0, 40));
  if (copy.sources.size() > 1 && !copy.dest.ends_with('/'))
    return fail(Code::dockerfile_invalid,
                "with several sources the destination must be a directory and end with '/'");
  step.parts = {{i.add ? "ADD's sources" : "the sources", json_text(copy.sources)},
                {"the destination", copy.dest},
                {"the owner", copy.chown},
                {"the mode", copy.chmod}};
  if (i.from.empty()) {
    copy.ignore = scope_.context.ignore;
    TRY(add_context_files(copy.sources, step.parts));
  } else {
    const auto& [index, key] = scope_.origins.at(i.from);
    step.copy_from = index;
    step.parts.push_back({"what --from=" + i.from + " holds", key.text()});
  }
  add_step(std::move(step));
  return {};
}

Result<std::vector<const ContextEntry*>> StagePlanner::match(const std::string& source) const {
  const ContextListing& context = scope_.context;
  const auto read_link = [&](const std::string& path) -> std::optional<std::string> {
    const ContextEntry* entry = context.find(path);
    if (entry == nullptr || entry->kind != EntryKind::symlink) return std::nullopt;
    return entry->target;
  };
  std::vector<const ContextEntry*> found;
  if (!format::PathGlob::has_wildcard(source)) {
    const std::string path = TRY(resolve_in_root(source, read_link));
    if (const ContextEntry* entry = context.find(path)) found.push_back(entry);
    return found;
  }
  auto glob = format::PathGlob::parse(source, {});
  if (!glob) return fail(Code::dockerfile_invalid, "{}", glob.error().context);
  for (const ContextEntry& entry : context.entries) {
    if (!glob->matches(entry.path)) continue;
    found.push_back(&entry);
    if (entry.kind != EntryKind::symlink) continue;
    const std::string path = TRY(resolve_in_root(entry.path, read_link));
    if (const ContextEntry* target = context.find(path)) found.push_back(target);
  }
  return found;
}

Result<void> StagePlanner::add_context_files(const std::vector<std::string>& sources,
                                             std::vector<KeyPart>& parts) const {
  const auto describe = [](const ContextEntry& entry) {
    if (entry.kind == EntryKind::symlink) return "link " + entry.target;
    if (entry.kind == EntryKind::directory) return fmt::format("directory {:04o}", entry.mode);
    return fmt::format("file {:04o} {}", entry.mode, entry.digest.text());
  };
  std::map<std::string, std::string> files;
  const auto add_below = [&](const std::string& prefix) {
    auto at = std::ranges::lower_bound(scope_.context.entries, prefix, {}, &ContextEntry::path);
    for (; at != scope_.context.entries.end() && at->path.starts_with(prefix); ++at)
      files[at->path] = describe(*at);
  };
  for (const std::string& source : sources) {
    if (source.empty()) {
      add_below("");
      continue;
    }
    const auto found = TRY(match(source));
    if (found.empty()) {
      const auto& out = scope_.context.left_out;
      const bool ignored = std::ranges::any_of(
          out, [&](const std::string& path) { return source == path || source.starts_with(path + "/"); });
      return std::unexpected<Error>(
          Error{Code::build_source_missing,
                fmt::format("'{}' {}", source,
                            ignored ? "is left out by .dockerignore" : "is not in the build context"),
                0, ignored ? "take it out of .dockerignore" : ""});
    }
    for (const ContextEntry* entry : found) {
      files[entry->path] = describe(*entry);
      if (entry->kind == EntryKind::directory) add_below(entry->path + "/");
    }
  }
  for (auto& [path, value] : files) parts.push_back({path, std::move(value)});
  return {};
}

Result<void> StagePlanner::operator()(const format::EnvInstruction& i) {
  // All of one instruction's values see the environment from before it.
  std::vector<std::pair<std::string, std::string>> values;
  for (const format::Assignment& a : i.assignments) {
    std::string name = TRY(expand(a.name));
    values.emplace_back(std::move(name), TRY(expand(a.value)));
  }
  for (const auto& [name, value] : values) {
    if (name.empty()) return fail(Code::dockerfile_invalid, "a variable without a name");
    stage_.config.set_env(name, value);
  }
  return {};
}

Result<void> StagePlanner::operator()(const format::ArgInstruction& i) {
  for (const auto& declaration : i.declarations) {
    std::optional<std::string> value;
    if (declaration.value) value = TRY(expand(*declaration.value));
    if (const auto global = scope_.global_args.find(declaration.name);
        global != scope_.global_args.end() && !value)
      value = global->second;
    if (const auto given = scope_.options.args.find(declaration.name); given != scope_.options.args.end())
      value = given->second;
    if (!value && is_proxy_variable(declaration.name)) continue;  // stays the predefined one
    args_[declaration.name] = std::move(value);
  }
  return {};
}

Result<void> StagePlanner::operator()(const format::WorkdirInstruction& i) {
  const std::string path = TRY(expand(i.path));
  if (path.empty()) return fail(Code::dockerfile_invalid, "the path is empty after substitution");
  std::string directory = absolute(path);
  if (directory.size() > 1 && directory.ends_with('/')) directory.pop_back();
  stage_.config.working_dir = directory;
  if (directory == "/") return {};
  PlanStep step;
  step.kind = StepKind::make_directory;
  step.copy.dest = directory + "/";
  step.parts = {{"the directory", directory}};
  add_step(std::move(step));
  return {};
}

Result<void> StagePlanner::operator()(const format::UserInstruction& i) {
  stage_.config.user = TRY(expand(i.user));
  if (stage_.config.user.empty())
    return fail(Code::dockerfile_invalid, "the user is empty after substitution");
  return {};
}

Result<void> StagePlanner::operator()(const format::ExposeInstruction& i) {
  for (const std::string& word : i.ports) {
    const std::string value = TRY(expand(word));
    // A variable may hold several.
    for (std::size_t at = 0; at < value.size();) {
      const auto end = std::min(value.find(' ', at), value.size());
      if (end > at)
        for (std::string& port : TRY(ports_of(std::string_view(value).substr(at, end - at))))
          insert_sorted(stage_.config.exposed_ports, std::move(port));
      at = end + 1;
    }
  }
  return {};
}

Result<void> StagePlanner::operator()(const format::EntrypointInstruction& i) {
  stage_.config.entrypoint = i.command.words.empty() ? std::vector<std::string>() : argv(i.command);
  // A CMD that came with the base image was meant for the base image's entrypoint.
  if (!cmd_set_) stage_.config.cmd.clear();
  return {};
}

Result<void> StagePlanner::operator()(const format::CmdInstruction& i) {
  stage_.config.cmd = i.command.words.empty() ? std::vector<std::string>() : argv(i.command);
  cmd_set_ = true;
  return {};
}

Result<void> StagePlanner::operator()(const format::LabelInstruction& i) {
  for (const format::Assignment& a : i.assignments) {
    std::string name = TRY(expand(a.name));
    stage_.config.labels[std::move(name)] = TRY(expand(a.value));
  }
  return {};
}

Result<void> StagePlanner::operator()(const format::VolumeInstruction& i) {
  for (const std::string& path : i.paths) {
    const std::string value = TRY(expand(path));
    if (value.empty()) return fail(Code::dockerfile_invalid, "a path is empty after substitution");
    insert_sorted(stage_.config.volumes, "/" + clean_relative(absolute(value)));
  }
  return {};
}

Result<void> StagePlanner::operator()(const format::HealthcheckInstruction& i) {
  HealthSpec health;
  if (!i.command) {
    health.disabled = true;
  } else {
    health.test = argv(*i.command);
    if (i.interval.count() > 0) health.interval = i.interval;
    if (i.timeout.count() > 0) health.timeout = i.timeout;
    if (i.start_period.count() > 0) health.start_period = i.start_period;
    if (i.start_interval.count() > 0) health.start_interval = i.start_interval;
    if (i.retries > 0) health.retries = i.retries;
  }
  stage_.config.health = std::move(health);
  return {};
}

Result<void> StagePlanner::operator()(const format::ShellInstruction& i) {
  stage_.config.shell = i.words;
  return {};
}

Result<void> StagePlanner::operator()(const format::StopsignalInstruction& i) {
  std::string signal = TRY(expand(i.signal));
  if (!parse_signal(signal))
    return fail(Code::dockerfile_invalid, "'{}' is not a signal: write SIGTERM or 15", signal.substr(0, 40));
  stage_.config.stop_signal = std::move(signal);
  return {};
}

}  // namespace naru::build
