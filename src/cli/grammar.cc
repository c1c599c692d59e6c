#include "cli/grammar.h"

#include "base/spelling.h"
#include "base/version.h"

namespace naru::cli {

namespace {

std::vector<std::string> names_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    if (!sub->get_group().empty()) names.push_back(sub->get_name());
  return names;
}

constexpr const char* kFooter =
    "Every command explains itself: naru COMMAND --help\nWhere Naru is: --data DIR or NARU_DATA; elsewhere "
    "NARU_URL, NARU_TOKEN and, for a certificate of your own, NARU_CA.";

std::string path_of(const CLI::App* app) {
  return app->get_parent() == nullptr ? app->get_name() : path_of(app->get_parent()) + " " + app->get_name();
}

// A verb of its own beside its subcommands (`pipeline APP` and `pipeline retry APP`).
bool takes_words(const CLI::App& app) {
  return !app.get_options([](const CLI::Option* option) { return option->get_positional(); }).empty();
}

// Examples and usage as people copy them; CLI11's own layout for options.
class Help : public CLI::Formatter {
 public:
  Help() { column_width(26); }
  std::string make_usage(const CLI::App* app, std::string) const override {
    std::string out = "Usage: " + path_of(app);
    if (!app->get_subcommands([](const CLI::App*) { return true; }).empty() && !takes_words(*app))
      return out + " COMMAND ...\n";
    out += " [OPTIONS]";
    for (const CLI::Option* option :
         app->get_options([](const CLI::Option* o) { return o->get_positional(); })) {
      const std::string name =
          option->get_name(true, false) + (option->get_items_expected_max() > 1 ? "..." : "");
      out += option->get_required() ? " " + name : " [" + name + "]";
    }
    return out + "\n";
  }
  std::string make_footer(const CLI::App* app) const override {
    return app->get_footer().empty() ? "" : app->get_footer() + "\n";
  }
  // The type of an option's value; a positional's name says it all.
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_positional() || option->get_type_name().empty() ||
                   option->get_items_expected_max() == 0
               ? ""
               : " " + option->get_type_name();
  }
};

}  // namespace

std::string nearest_command(const std::string& word, const std::vector<std::string>& names) {
  const std::string_view best = nearest(word, {names.begin(), names.end()});
  if (!best.empty()) return std::string(best);
  for (const std::string& name : names)
    if (word.size() >= 2 && name.starts_with(word)) return name;
  return {};
}

Grammar::Grammar() : root_("Naru carries a change from a push to its users, safely.", "naru") {
  root_.formatter(std::make_shared<Help>());
  root_.set_help_flag("-h,--help", "Show this help");
  root_.set_version_flag("--version", fmt::format("naru {}", kVersion), "Print the version");
  add_common(&root_);  // also before the verb
  root_.require_subcommand(0, 1);
  root_.footer(kFooter);
  add_platform_verbs(*this);
  add_delivery_verbs(*this);
}

void Grammar::add_common(CLI::App* app) {
  app->add_flag("--json", json_, "Print JSON as the API gives it");
  app->add_option("--data", data_, "Data folder of the Naru that is meant (NARU_DATA; /var/lib/naru)")
      ->type_name("DIR");
}

namespace {

std::string examples_text(const std::vector<std::string>& examples) {
  std::string text = "Examples:";
  for (const std::string& example : examples) text += "\n  " + example;
  return text;
}

}  // namespace

CLI::App* Grammar::group(CLI::App* parent, const std::string& name, const std::string& description,
                         const std::vector<std::string>& examples) {
  CLI::App* group = parent->add_subcommand(name, description)->group("Commands");
  group->footer(examples_text(examples) + "\n\n" + kFooter);
  group->require_subcommand(0, 1);
  group->callback([group] {
    if (group->get_subcommands().empty()) throw CLI::CallForHelp();
  });
  return group;
}

CLI::App* Grammar::verb(CLI::App* parent, const std::string& name, const std::string& description,
                        const std::vector<std::string>& examples, Verb run) {
  CLI::App* verb = parent->add_subcommand(name, description)->group("Commands");
  add_common(verb);
  verb->footer(examples_text(examples));
  verb->callback([this, verb, run = std::move(run)] {
    if (verb->get_subcommands().empty()) chosen_ = run;  // else its own subcommand was meant
  });
  return verb;
}

std::optional<Error> Grammar::wrong_name(const std::vector<std::string>& words) const {
  const CLI::App* at = &root_;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--json" || word.starts_with("--data=")) continue;
    if (word == "--data") {
      ++i;
      continue;
    }
    const auto names = names_of(*at);
    if (names.empty() || word.starts_with('-')) return std::nullopt;
    const auto known = at->get_subcommands([&](const CLI::App* sub) { return sub->get_name() == word; });
    const CLI::App* next = known.empty() ? nullptr : known.front();
    if (next == nullptr && takes_words(*at)) return std::nullopt;
    if (next == nullptr) {
      const std::string meant = nearest_command(word, names);
      const std::string hint = meant.empty() ? fmt::format("see `{} --help`", path_of(at))
                                             : fmt::format("did you mean `{} {}`?", path_of(at), meant);
      const std::string path = path_of(at).substr(4);
      return Error{
          Code::invalid_argument,
          fmt::format("there is no command '{}'", clean(path.empty() ? word : path.substr(1) + " " + word)),
          0, hint};
    }
    at = next;
  }
  return std::nullopt;
}

Grammar::Parsed Grammar::parse(std::vector<std::string> words) {
  Parsed parsed;
  if (!words.empty() && words.front() == "help") {  // `naru help status`, as other programs have it
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  if (words.empty()) words = {"--help"};
  const auto last = std::ranges::find(words, "--");  // what follows is for another program
  parsed.json = std::find(words.begin(), last, "--json") != last;
  parsed.wrong = wrong_name(words);
  if (parsed.wrong) return parsed;
  const auto at = [this] {
    const CLI::App* app = &root_;
    while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
    return app;
  };
  const auto help = [&] {
    std::string text = at()->help(at() == &root_ ? "naru" : path_of(at()));
    // An option that is not shown leaves its empty line.
    for (auto blank = text.find("\n\n\n"); blank != std::string::npos; blank = text.find("\n\n\n"))
      text.erase(blank, 1);
    return text;
  };
  try {
    std::ranges::reverse(words);  // CLI11 takes them from the back
    root_.parse(std::move(words));
  } catch (const CLI::CallForVersion& version) {
    parsed.text = std::string(version.what()) + "\n";
    return parsed;
  } catch (const CLI::Success&) {  // --help
    parsed.text = help();
    return parsed;
  } catch (const CLI::ParseError& error) {
    parsed.wrong =
        Error{Code::invalid_argument, clean(error.what()), 0, fmt::format("see `{} --help`", path_of(at()))};
    return parsed;
  }
  if (!chosen_) parsed.text = help();
  parsed.verb = chosen_;
  parsed.json = json_;
  parsed.data = data_;
  return parsed;
}

}  // namespace naru::cli
