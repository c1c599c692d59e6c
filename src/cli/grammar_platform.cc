// The verbs of the platform, of applications and of images.
#include "cli/grammar.h"
#include "model/push_bounds.h"

namespace naru::cli {

namespace {

void add_up_and_down(Grammar& grammar) {
  const auto up_options = std::make_shared<UpOptions>();
  CLI::App* verb = grammar.verb(
      &grammar.root(), "up", "Start Naru on this machine (as root)",
      {"sudo naru up              # in the foreground, until Ctrl-C",
       "sudo naru up --detach     # return when it is up", "sudo naru up --data /srv/naru --gateway-port 80",
       "sudo naru up --tls-listen :7443 --tls-cert fullchain.pem --tls-key privkey.pem"},
      [up_options](const Session& session) { return up(session, *up_options); });
  verb->add_option("--port", up_options->port, "Port of control, on 127.0.0.1 (NARU_PORT; 7433)")
      ->type_name("PORT")
      ->check(CLI::Range(1, 65535).description(""));
  verb->add_option("--gateway-port", up_options->gateway_port,
                   "Port of the gateway, where users come in (NARU_GATEWAY_PORT; 8080)")
      ->type_name("PORT")
      ->check(CLI::Range(1, 65535).description(""));
  verb->add_option("--listen", up_options->listen, "Address of the gateway (every address)")
      ->type_name("ADDRESS")
      ->check(CLI::Validator(CLI::ValidIPV4).description(""));
  verb->add_option("--tls-listen", up_options->tls_listen,
                   "Where other machines reach control, by TLS alone (nowhere)")
      ->type_name("ADDRESS:PORT");
  verb->add_option("--tls-cert", up_options->tls_certificate,
                   "Its certificate with its chain, PEM; read again when it changes")
      ->type_name("FILE");
  verb->add_option("--tls-key", up_options->tls_key, "The certificate's key, PEM")->type_name("FILE");
  verb->add_option("--max-push-mb", up_options->max_push_mb, "The largest push, in MiB (256)")
      ->type_name("N")
      ->check(CLI::Range(1U, kMostPushMiB).description(""));
  verb->add_option("--allow-registry", up_options->allowed_registries,
                   "A registry on this machine that pushes may name; again for more")
      ->type_name("HOST:PORT")
      ->allow_extra_args(false);
  verb->add_flag("-d,--detach", up_options->detach, "Go on in the background");

  const auto down_options = std::make_shared<DownOptions>();
  verb = grammar.verb(&grammar.root(), "down", "Stop Naru; containers run on unless --all",
                      {"sudo naru down", "sudo naru down --all     # the containers, too; volumes stay"},
                      [down_options](const Session& session) { return down(session, *down_options); });
  verb->add_flag("--all", down_options->all, "Stop every container, too");
}

void add_app(Grammar& grammar) {
  CLI::App* group = grammar.group(
      &grammar.root(), "app", "Applications: create, connect, ls, rm, stop, start, allow, disallow",
      {"naru app create shop         # in its repository: then git push naru main", "naru app ls",
       "naru app stop shop/staging"});
  using Run = Done (*)(const Session&, const AppOptions&);
  constexpr const char* kWhole = "The application, as shop";
  constexpr const char* kApp = "The application, as shop or shop/staging";
  const auto add = [&](const char* name, const char* description, const char* what,
                       const std::vector<std::string>& examples, Run run) {
    const auto options = std::make_shared<AppOptions>();
    CLI::App* verb = grammar.verb(group, name, description, examples,
                                  [options, run](const Session& session) { return run(session, *options); });
    verb->add_option("APP", options->app, what)->required();
    return std::pair(verb, options);
  };
  add("create", "Make an application, and its git remote in this repository", kWhole,
      {"cd shop && naru app create shop && git push naru main", "naru app create shop --json"}, app_create);
  add("connect", "Make or mend the git remote `naru` and its token, as in a second clone", kWhole,
      {"git clone ... shop && cd shop && naru app connect shop && git push naru main",
       "NARU_URL=https://naru.example.org:7443 NARU_TOKEN=naru_... naru app connect shop    # elsewhere",
       "NARU_URL=http://127.0.0.1:7433 NARU_TOKEN=naru_... naru app connect shop    # by ssh -L, say"},
      app_connect);
  grammar.verb(group, "ls", "List applications with their environments",
               {"naru app ls", "naru app ls --json"},
               [](const Session& session) { return app_list(session); });
  const auto [remove, options] =
      add("rm", "Stop and remove an application, or one environment beside production; volumes stay", kApp,
          {"naru app rm shop            # with all its environments",
           "naru app rm shop/staging    # this one alone", "naru app rm shop --yes      # without asking"},
          app_remove);
  remove->add_flag("-y,--yes", options->yes, "Do not ask; needed where standard input is no terminal");
  add("stop",
      "Stop an application's containers, and wait (80 s and their stop_grace_period at most) until they are "
      "gone; volumes stay",
      kApp, {"naru app stop shop", "naru app stop shop/staging"}, app_stop);
  add("start", "Start a stopped application", kApp, {"naru app start shop", "naru app start shop/staging"},
      app_start);
}

void add_grants(Grammar& grammar) {
  CLI::App* group = grammar.root().get_subcommand("app");
  const auto add = [&](const char* name, const char* description, const std::vector<std::string>& examples,
                       Done (*run)(const Session&, const GrantOptions&)) {
    const auto options = std::make_shared<GrantOptions>();
    CLI::App* verb = grammar.verb(group, name, description, examples,
                                  [options, run](const Session& session) { return run(session, *options); });
    verb->add_option("APP", options->app, "The application, as shop")->required();
    return verb->add_option(
        "GRANT", options->grants,
        "A capability (cap:NET_ADMIN), a folder of the machine to read (bind:/srv/photos) "
        "or to write (bind:/srv/photos:rw)");
  };
  add("allow", "Let an application reach beyond its containers (as root, on the machine)",
      {"naru app allow shop                         # what it is allowed, and who uses it",
       "sudo naru app allow shop cap:NET_ADMIN      # cap_add: [NET_ADMIN]",
       "sudo naru app allow shop bind:/srv/photos   # volumes: [\"/srv/photos:/photos:ro\"]",
       "sudo naru app allow shop bind:/srv/photos:rw"},
      app_allow);
  add("disallow", "Take it back: what runs goes on, what starts from now is refused",
      {"sudo naru app disallow shop cap:NET_ADMIN", "sudo naru app disallow shop bind:/srv/photos:rw --json"},
      app_disallow)
      ->required();
}

void add_looking(Grammar& grammar) {
  const auto status_options = std::make_shared<StatusOptions>();
  CLI::App* verb = grammar.verb(
      &grammar.root(), "status", "Where an application stands",
      {"naru status              # all of them", "naru status shop", "naru status shop/staging --watch"},
      [status_options](const Session& session) { return status(session, *status_options); });
  verb->add_option("APP", status_options->app, "The application, as shop or shop/staging");
  verb->add_flag("-w,--watch", status_options->watch, "Go on showing it, live");

  const auto ps_options = std::make_shared<AppOptions>();
  verb = grammar.verb(&grammar.root(), "ps", "What runs",
                      {"naru ps", "naru ps shop", "naru ps shop/staging --json"},
                      [ps_options](const Session& session) { return ps(session, *ps_options); });
  verb->add_option("APP", ps_options->app, "The application, as shop or shop/staging");

  const auto logs_options = std::make_shared<LogsOptions>();
  verb = grammar.verb(&grammar.root(), "logs", "What containers print",
                      {"naru logs shop", "naru logs -f shop/catalog", "naru logs -n 20 shop/staging/catalog"},
                      [logs_options](const Session& session) { return logs(session, *logs_options); });
  verb->add_option("APP[/SERVICE]", logs_options->target, "As shop, shop/catalog or shop/staging/catalog")
      ->required();
  verb->add_flag("-f,--follow", logs_options->follow, "Go on with what is printed from now");
  verb->add_option("-n,--lines", logs_options->lines, "How many of the last lines (100)")
      ->type_name("N")
      ->check(CLI::Range(0, 100000).description(""));
}

void add_image(Grammar& grammar) {
  CLI::App* group =
      grammar.group(&grammar.root(), "image", "Images: ls, pull, import, rm, history, bootstrap",
                    {"sudo naru image bootstrap              # makes debian:bookworm-slim",
                     "naru image pull docker.io/library/redis:7", "naru image ls"});
  using Run = Done (*)(const Session&, const ImageOptions&);
  const auto add = [&](const char* name, const char* description, const std::vector<std::string>& examples,
                       Run run) {
    const auto options = std::make_shared<ImageOptions>();
    return std::pair(grammar.verb(group, name, description, examples,
                                  [options, run](const Session& session) { return run(session, *options); }),
                     options);
  };
  grammar.verb(group, "ls", "List images", {"naru image ls", "naru image ls --json"},
               [](const Session& session) { return image_list(session); });
  {
    const auto [verb, options] =
        add("pull", "Pull an image from a registry",
            {"naru image pull debian:bookworm-slim", "naru image pull 127.0.0.1:5000/redis:7"}, image_pull);
    verb->add_option("REFERENCE", options->reference, "As debian:bookworm-slim")->required();
  }
  {
    const auto [verb, options] =
        add("import", "Import an image archive (docker save, OCI layout) or a root filesystem as tar",
            {"naru image import root.tar debian:bookworm-slim",
             "docker save shop/web | gzip > web.tgz && naru image import web.tgz shop/web:v1"},
            image_import);
    verb->add_option("FILE", options->file, "The tar")->required();
    verb->add_option("REFERENCE", options->reference, "The name it gets, as debian:bookworm-slim");
    verb->add_option("--reference", options->reference)->group("");  // as scripts write it
  }
  {
    const auto [verb, options] =
        add("rm", "Remove an image's name; its layers go when nothing uses them",
            {"naru image rm debian:bookworm-slim", "naru image rm shop/web:v1"}, image_remove);
    verb->add_option("REFERENCE", options->reference, "As `naru image ls` shows it")->required();
  }
  {
    const auto [verb, options] = add(
        "history", "Show how an image was made",
        {"naru image history debian:bookworm-slim", "naru image history shop/web:v1 --json"}, image_history);
    verb->add_option("REFERENCE", options->reference, "As `naru image ls` shows it")->required();
  }
  const auto [verb, options] =
      add("bootstrap", "Make a Debian base image from this machine's apt sources (as root)",
          {"sudo naru image bootstrap     # makes debian:bookworm-slim",
           "sudo naru image bootstrap --include curl --reference base:curl"},
          image_bootstrap);
  verb->add_option("--suite", options->suite, "The Debian release (bookworm)")->type_name("NAME");
  verb->add_option("--include", options->include, "A package more; may be repeated")
      ->type_name("PACKAGE")
      ->allow_extra_args(false);
  verb->add_option("--reference", options->reference,
                   "The name it gets (docker.io/library/debian:bookworm-slim)")
      ->type_name("NAME");
}

void add_prune(Grammar& grammar) {
  const auto options = std::make_shared<PruneOptions>();
  CLI::App* verb =
      grammar.verb(&grammar.root(), "prune", "Free what nobody needs: old releases, images, layers, logs",
                   {"naru prune --dry-run     # what would go", "naru prune", "naru prune --keep 3 --json"},
                   [options](const Session& session) { return prune(session, *options); });
  verb->add_flag("--dry-run", options->dry_run, "Only show what would go");
  verb->add_option("--keep", options->keep, "Newest releases of each application that stay (10)")
      ->type_name("N")
      ->check(CLI::Range(1, 1000).description(""));
}

}  // namespace

void add_platform_verbs(Grammar& grammar) {
  add_up_and_down(grammar);
  add_app(grammar);
  add_grants(grammar);
  add_looking(grammar);
  add_image(grammar);
  add_prune(grammar);
}

}  // namespace naru::cli
