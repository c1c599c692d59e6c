// What each verb does, apart from how it is written on the command line (grammar.h). Each returns the exit
// status; an error is printed by the caller.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/session.h"

namespace naru::cli {

using Done = Result<int>;

struct UpOptions {
  std::optional<std::uint16_t> port, gateway_port;  // else NARU_PORT, NARU_GATEWAY_PORT, else the usual ones
  std::string listen;
  std::string tls_listen, tls_certificate, tls_key;
  std::uint32_t max_push_mb = 256;
  std::vector<std::string> allowed_registries;
  bool detach = false;
};
Done up(const Session& session, const UpOptions& options);
struct DownOptions {
  bool all = false;
};
Done down(const Session& session, const DownOptions& options);
Done open_console(const Session& session);
Done version(const Session& session);
Done doctor(const Session& session);

struct AppOptions {
  std::string app;
  bool yes = false;
};
Done app_create(const Session& session, const AppOptions& options);
Done app_connect(const Session& session, const AppOptions& options);
Done app_list(const Session& session);
Done app_remove(const Session& session, const AppOptions& options);
Done app_stop(const Session& session, const AppOptions& options);
Done app_start(const Session& session, const AppOptions& options);

struct GrantOptions {
  std::string app;
  std::vector<std::string> grants;
};
Done app_allow(const Session& session, const GrantOptions& options);
Done app_disallow(const Session& session, const GrantOptions& options);

struct StatusOptions {
  std::string app;  // "" = all, shortly
  bool watch = false;
};
Done status(const Session& session, const StatusOptions& options);
Done ps(const Session& session, const AppOptions& options);

struct LogsOptions {
  std::string target;
  bool follow = false;
  std::uint32_t lines = 100;
};
Done logs(const Session& session, const LogsOptions& options);
struct EventsOptions {
  std::string app;
  bool follow = false;
  std::uint32_t limit = 50;
};
Done events(const Session& session, const EventsOptions& options);

struct RolloutOptions {
  std::string app, version;
};
Done rollout(const Session& session, const RolloutOptions& options);
Done promote(const Session& session, const RolloutOptions& options);
Done abort_rollout(const Session& session, const RolloutOptions& options);
Done rollback(const Session& session, const RolloutOptions& options);
Done releases(const Session& session, const AppOptions& options);
struct PipelineOptions {
  std::string app;
  std::uint64_t id = 0;  // 0: the newest
  bool log = false, follow = false;
};
Done pipeline(const Session& session, const PipelineOptions& options);
Done pipeline_retry(const Session& session, const PipelineOptions& options);

struct VariableOptions {
  std::string app, file;
  std::vector<std::string> words;  // K=V or K
  bool reveal = false;
};
Done variables_set(const Session& session, const VariableOptions& options);
Done variables_unset(const Session& session, const VariableOptions& options);
Done variables_list(const Session& session, const VariableOptions& options);
Done variables_import(const Session& session, const VariableOptions& options);

struct ExecOptions {
  std::string target, user, cwd;
  std::vector<std::string> env, argv;
  bool interactive = false, tty = false;
};
Done exec(const Session& session, const ExecOptions& options);

struct ImageOptions {
  std::string reference, file, suite = "bookworm";
  std::vector<std::string> include;
};
Done image_list(const Session& session);
Done image_pull(const Session& session, const ImageOptions& options);
Done image_import(const Session& session, const ImageOptions& options);
Done image_remove(const Session& session, const ImageOptions& options);
Done image_history(const Session& session, const ImageOptions& options);
Done image_bootstrap(const Session& session, const ImageOptions& options);

struct PruneOptions {
  bool dry_run = false;
  std::uint32_t keep = 10;
};
Done prune(const Session& session, const PruneOptions& options);

struct VolumeOptions {
  std::string name;
  bool yes = false;
};
Done volume_list(const Session& session);
Done volume_remove(const Session& session, const VolumeOptions& options);

struct TokenOptions {
  std::string name, app;
};
Done token_create(const Session& session, const TokenOptions& options);
Done token_list(const Session& session);
Done token_remove(const Session& session, const TokenOptions& options);

struct CompletionOptions {
  std::string shell;
};
Done completion(const Session& session, const CompletionOptions& options);

}  // namespace naru::cli
