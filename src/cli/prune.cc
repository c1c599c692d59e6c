// `naru prune`.
#include "cli/fields.h"
#include "cli/verbs.h"

namespace naru::cli {

Done prune(const Session& session, const PruneOptions& options) {
  const Json report =
      TRY(session.control().post("/v1/prune", {{"dry_run", options.dry_run}, {"keep", options.keep}}));
  if (session.json) {
    session.document(report);
    return 0;
  }
  Table table({"WHAT", "COUNT", "SIZE"});
  const auto row = [&](std::string_view what, const char* count, const char* bytes) {
    if (number(report, count) == 0) return;
    table.row({std::string(what), std::to_string(number(report, count)),
               *bytes == '\0' ? "" : bytes_text(real(report, bytes))});
  };
  row("releases", "releases", "");
  row("rollouts", "rollouts", "");
  row("pipelines", "pipelines", "");
  row("names of images", "tags", "");
  row("image blobs", "blobs", "blob_bytes");
  row("unpacked layers", "layers", "layer_bytes");
  row("build cache records", "cache_records", "");
  row("checkouts", "checkouts", "checkout_bytes");
  row("repositories", "repositories", "repository_bytes");
  row("logs", "logs", "log_bytes");
  if (!table.empty()) session.say(table.text(session.terminal.style));
  session.print("{} {}\n", bytes_text(real(report, "bytes")),
                options.dry_run ? "would be freed" : "are freed");
  if (const std::string skipped = text(report, "skipped"); !skipped.empty())
    session.notice(fmt::format("left for the next time: {}", skipped));
  return 0;
}

}  // namespace naru::cli
