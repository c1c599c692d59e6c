// The verbs of delivery, of operators, and of people at work in a container.
#include "cli/grammar.h"

namespace naru::cli {

namespace {

template <class Options>
std::pair<CLI::App*, std::shared_ptr<Options>> add(Grammar& grammar, CLI::App* parent, const char* name,
                                                   const char* description,
                                                   const std::vector<std::string>& examples,
                                                   Done (*run)(const Session&, const Options&)) {
  const auto options = std::make_shared<Options>();
  return {grammar.verb(parent, name, description, examples,
                       [options, run](const Session& session) { return run(session, *options); }),
          options};
}

void add_plain(Grammar& grammar, CLI::App* parent, const char* name, const char* description,
               const std::vector<std::string>& examples, Done (*run)(const Session&)) {
  grammar.verb(parent, name, description, examples, [run](const Session& session) { return run(session); });
}

constexpr const char* kApp = "The application, as shop or shop/staging";

void add_rollouts(Grammar& grammar) {
  CLI::App* root = &grammar.root();
  const auto on_app = [&](const char* name, const char* description, const std::vector<std::string>& examples,
                          Done (*run)(const Session&, const RolloutOptions&)) {
    const auto made = add<RolloutOptions>(grammar, root, name, description, examples, run);
    made.first->add_option("APP", made.second->app, kApp)->required();
    return made;
  };
  on_app("rollout", "The newest rollout: steps, traffic split, verdict and evidence",
         {"naru rollout shop", "naru rollout shop/staging --json"}, rollout);
  const auto [on, wanted_release] =
      on_app("promote", "Go on with a rollout without waiting, deliver what waits, or try a release again",
             {"naru promote shop", "naru promote shop/staging",
              "naru promote shop v7        # a canary of v7, which was taken back or aborted"},
             promote);
  on->add_option("RELEASE", wanted_release->version, "As v7; what is under way or waits when left out");
  on_app("abort", "End a rollout: everybody back to the release before",
         {"naru abort shop", "naru abort shop/staging"}, abort_rollout);
  const auto [back, options] =
      on_app("rollback", "Go back to an earlier release",
             {"naru rollback shop        # to the one before", "naru rollback shop v3"}, rollback);
  back->add_option("RELEASE", options->version, "As v3, which was live; the one before when left out");
  const auto [list, app] = add<AppOptions>(grammar, root, "releases", "Releases, newest first",
                                           {"naru releases shop", "naru releases shop --json"}, releases);
  list->add_option("APP", app->app, kApp)->required();
  const auto [pipe, wanted] = add<PipelineOptions>(
      grammar, root, "pipeline", "A push on its way: what was built, and its log",
      {"naru pipeline shop", "naru pipeline shop --log     # follows it", "naru pipeline shop 17",
       "naru pipeline retry shop     # after one that failed: see `naru pipeline retry --help`"},
      pipeline);
  pipe->add_option("APP", wanted->app, kApp);  // not for `retry`
  pipe->add_option("ID", wanted->id, "Its number; the newest when left out")->type_name("");
  pipe->add_flag("--log", wanted->log, "Its log, to its end");
  const auto [retry, again] = add<PipelineOptions>(
      grammar, pipe, "retry", "Run a pipeline that failed once more: the same commit",
      {"naru pipeline retry shop     # what a base image, a registry or the disk stood in the way of",
       "naru pipeline retry shop 17", "naru pipeline retry shop --log"},
      pipeline_retry);
  retry->add_option("APP", again->app, kApp)->required();
  retry->add_option("ID", again->id, "Its number; the newest when left out")->type_name("");
  retry->add_flag("--log", again->log, "Its log, to its end");
}

void add_variables(Grammar& grammar) {
  CLI::App* group = grammar.group(&grammar.root(), "env", "Variables and secrets: set, unset, ls, import",
                                  {"naru env set shop API_KEY=secret     # delivers the commit again with it",
                                   "naru env ls shop/staging", "naru env import shop .env"});
  {
    const auto [verb, options] = add<VariableOptions>(
        grammar, group, "set",
        "Set variables; the current commit is delivered again with them, if a service sees a change",
        {"naru env set shop API_KEY=secret", "naru env set shop/staging A=1 B=2"}, variables_set);
    verb->add_option("APP", options->app, kApp)->required();
    verb->add_option("NAME=VALUE", options->words, "What to set")->required()->type_name("");
  }
  {
    const auto [verb, options] = add<VariableOptions>(
        grammar, group, "unset", "Remove variables; one that was not set is told, and is no error",
        {"naru env unset shop API_KEY", "naru env unset shop/staging A B"}, variables_unset);
    verb->add_option("APP", options->app, kApp)->required();
    verb->add_option("NAME", options->words, "What to remove")->required()->type_name("");
  }
  {
    const auto [verb, options] =
        add<VariableOptions>(grammar, group, "ls", "List variables, their values masked",
                             {"naru env ls shop", "naru env ls shop --reveal"}, variables_list);
    verb->add_option("APP", options->app, kApp)->required();
    verb->add_flag("--reveal", options->reveal, "Show the values");
  }
  const auto [verb, options] =
      add<VariableOptions>(grammar, group, "import", "Set the variables that a file in .env format names",
                           {"naru env import shop          # .env of this folder",
                            "naru env import shop/staging staging.env", "naru env import shop - < .env"},
                           variables_import);
  options->file = ".env";
  verb->add_option("APP", options->app, kApp)->required();
  verb->add_option("FILE", options->file, "The file (.env); - for standard input")->type_name("");
}

void add_exec_and_events(Grammar& grammar) {
  const auto [verb, options] =
      add<ExecOptions>(grammar, &grammar.root(), "exec", "Run a command in a running container",
                       {"naru exec shop/web -- sh", "naru exec shop/staging/web -u root -w /srv -- ls -l",
                        "echo 'select 1' | naru exec -i shop/db -- psql -U shop"},
                       exec);
  verb->add_option("-u,--user", options->user, "As this user of the image")->type_name("USER");
  verb->add_option("-w,--workdir", options->cwd, "In this folder")->type_name("DIR");
  verb->add_option("-e,--env", options->env, "With this variable; may be repeated")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  verb->add_flag("-i,--interactive", options->interactive, "Pass standard input on");
  verb->add_flag("-t,--tty", options->tty, "Give it a terminal (by itself when you have one)");
  verb->add_option("APP/SERVICE", options->target,
                   "As shop/catalog or shop/staging/catalog; an instance's name, too")
      ->required();
  verb->add_option("COMMAND", options->argv, "The command and its arguments, after --")
      ->required()
      ->type_name("");

  const auto [feed, wanted] =
      add<EventsOptions>(grammar, &grammar.root(), "events", "What happened",
                         {"naru events", "naru events shop -f", "naru events shop -n 200 --json"}, events);
  feed->add_option("APP", wanted->app, "Only of this application");
  feed->add_flag("-f,--follow", wanted->follow, "Go on with what happens from now");
  feed->add_option("-n,--limit", wanted->limit, "How many of the last (50)")
      ->type_name("N")
      ->check(CLI::Range(0, 1000).description(""));
}

void add_operator(Grammar& grammar) {
  CLI::App* root = &grammar.root();
  CLI::App* volume = grammar.group(root, "volume", "Volumes: ls, rm",
                                   {"naru volume ls", "naru volume rm shop.production.data"});
  add_plain(grammar, volume, "ls", "List volumes", {"naru volume ls", "naru volume ls --json"}, volume_list);
  const auto [remove, name] = add<VolumeOptions>(
      grammar, volume, "rm", "Remove a volume and what it holds",
      {"naru volume rm shop.production.data", "naru volume rm shop.staging.data --yes    # without asking"},
      volume_remove);
  remove->add_option("VOLUME", name->name, "As `naru volume ls` shows it")->required();
  remove->add_flag("-y,--yes", name->yes, "Do not ask; needed where standard input is no terminal");

  CLI::App* token =
      grammar.group(root, "token", "Tokens of the API and of git: create, ls, rm",
                    {"naru token create laptop             # for everything",
                     "naru token create ci --app shop      # for one application", "naru token rm laptop"});
  const auto [create, wanted] =
      add<TokenOptions>(grammar, token, "create", "Make a token, shown once",
                        {"naru token create laptop", "naru token create ci --app shop"}, token_create);
  create->add_option("NAME", wanted->name, "What it is called")->required();
  create->add_option("--app", wanted->app, "For this application only")->type_name("APP");
  add_plain(grammar, token, "ls", "List tokens", {"naru token ls", "naru token ls --json"}, token_list);
  const auto [drop, gone] = add<TokenOptions>(grammar, token, "rm", "Make a token invalid",
                                              {"naru token rm laptop", "naru token rm ci"}, token_remove);
  drop->add_option("NAME", gone->name, "Its name")->required();

  add_plain(grammar, root, "open", "Print a link to the console, valid once",
            {"sudo naru open", "xdg-open \"$(sudo naru open)\""}, open_console);
  add_plain(grammar, root, "doctor", "Look for what is wrong, also when Naru is down",
            {"sudo naru doctor", "naru doctor --json"}, doctor);
  add_plain(grammar, root, "version", "Versions of this program and of the Naru that runs",
            {"naru version", "naru version --json"}, version);
  const auto [shells, shell] =
      add<CompletionOptions>(grammar, root, "completion", "Print a shell's completion",
                             {"source <(naru completion bash)", "naru completion zsh > ~/.zfunc/_naru",
                              "naru completion fish > ~/.config/fish/completions/naru.fish"},
                             completion);
  shells->add_option("SHELL", shell->shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}).description(""));
}

}  // namespace

void add_delivery_verbs(Grammar& grammar) {
  add_rollouts(grammar);
  add_variables(grammar);
  add_exec_and_events(grammar);
  add_operator(grammar);
}

}  // namespace naru::cli
