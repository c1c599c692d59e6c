// `naru image`.
#include <unistd.h>

#include <filesystem>

#include "base/environment.h"
#include "cli/event_stream.h"
#include "cli/verbs.h"
#include "image/bootstrap.h"

namespace naru::cli {

namespace {

namespace fs = std::filesystem;

// A folder that goes when it goes out of scope.
class WorkFolder {
 public:
  static Result<WorkFolder> create() {
    const std::string base = environment_variable("TMPDIR").value_or("");
    std::string path = fmt::format("{}/naru-bootstrap-XXXXXX", base.empty() ? "/tmp" : base);
    if (::mkdtemp(path.data()) == nullptr) return fail_errno(Code::system, "{}: mkdtemp", path);
    return WorkFolder(std::move(path));
  }
  WorkFolder(WorkFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  WorkFolder& operator=(WorkFolder&&) = delete;
  ~WorkFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  fs::path file(std::string_view name) const { return fs::path(path_) / name; }

 private:
  explicit WorkFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// Redrawn on a terminal; otherwise silent but for its end.
class Progress {
 public:
  Progress(const Session& session, std::string what)
      : session_(session), what_(std::move(what)), drawn_(session.terminal.interactive && !session.json) {}
  ~Progress() {
    if (drawn_ && shown_) session_.say("\r\x1b[K");
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void show(std::string_view text) {
    if (!drawn_) return;
    shown_ = true;
    if (session_.terminal.measure) session_.terminal.measure(session_.terminal);
    session_.print("\r\x1b[K{}", fit(fmt::format("{}: {}", what_, clean(text)),
                                     std::max(20, session_.terminal.columns - 1)));
  }
  void bytes(std::uint64_t sent, std::uint64_t all) {
    const auto percent = all == 0 ? 100 : sent * 100 / all;
    if (std::exchange(percent_, percent) == percent) return;
    show(sent == all ? "unpacking" : fmt::format("{}% of {}", percent, bytes_text(static_cast<double>(all))));
  }

 private:
  const Session& session_;
  std::string what_;
  bool drawn_, shown_ = false;
  std::uint64_t percent_ = ~std::uint64_t{0};
};

Result<Json> import_tar(const Session& session, const std::string& reference, const fs::path& tar) {
  Progress progress(session, "importing " + reference);
  return session.control().upload("/v1/images/import?" + query_part("reference", reference), tar,
                                  [&](std::uint64_t sent, std::uint64_t all) { progress.bytes(sent, all); });
}

void show_imported(const Session& session, const Json& imported) {
  if (session.json)
    session.document(imported);
  else
    session.print("{}  {}\n", text(imported, "reference"),
                  session.paint(Tone::dim, text(imported, "manifest")));
}

// Images that can be made again bit by bit carry the beginning of time.
std::string made_when(const std::string& created) {
  return created.empty() || created.starts_with("1970-01-01") || created.starts_with("0001-")
             ? "-"
             : created.substr(0, 10);
}

}  // namespace

Done image_list(const Session& session) {
  const Json answer = TRY(session.control().get("/v1/images"));
  if (session.json) {
    session.document(answer);
    return 0;
  }
  Table table({"IMAGE", "MANIFEST", "SIZE", "CREATED"});
  for (const Json& image : list(answer, "images")) {
    const std::string manifest = text(image, "manifest");
    const std::string name = text(image, "name"), created = text(image, "created");
    table.row({name.empty() ? text(image, "reference") : name,
               session.paint(Tone::dim, manifest.substr(0, 19)), bytes_text(real(image, "size")),
               made_when(created)});
  }
  session.say(table.empty() ? "There is no image yet. Make a base image: sudo naru image bootstrap\n"
                            : table.text(session.terminal.style));
  return 0;
}

Done image_pull(const Session& session, const ImageOptions& options) {
  std::optional<Error> failed;
  LineStream lines([&](std::string_view line) -> Result<void> {
    if (line.starts_with("error: "))
      failed = Error{Code::registry_refused, clean(line.substr(7)), 0, {}};
    else if (failed && line.starts_with("hint: "))
      failed->remedy = clean(line.substr(6));
    else if (session.json)
      session.json_line({{"progress", line}});
    else
      session.print("{}\n", clean(line));
    return {};
  });
  TRY(session.control().stream("POST", "/v1/images/pull", Json{{"reference", options.reference}},
                               [&](std::string_view bytes) { return lines.feed(bytes); }));
  TRY(lines.finish());
  if (failed) return std::unexpected(*failed);
  return 0;
}

Done image_import(const Session& session, const ImageOptions& options) {
  if (options.reference.empty())
    return std::unexpected(Error{Code::invalid_argument, "the image needs a name", 0,
                                 fmt::format("as: naru image import {} debian:bookworm-slim", options.file)});
  show_imported(session, TRY(import_tar(session, options.reference, options.file)));
  return 0;
}

Done image_remove(const Session& session, const ImageOptions& options) {
  const Json answer =
      TRY(session.control().remove("/v1/images?" + query_part("reference", options.reference)));
  if (session.json)
    session.document(answer);
  else
    session.print("{} is removed; {} are free\n{}", clean(options.reference),
                  bytes_text(real(answer, "bytes")),
                  text(answer, "skipped").empty()
                      ? ""
                      : fmt::format("left for `naru prune`: {}\n", text(answer, "skipped")));
  return 0;
}

Done image_history(const Session& session, const ImageOptions& options) {
  const Json answer =
      TRY(session.control().get("/v1/images/history?" + query_part("reference", options.reference)));
  if (session.json) {
    session.document(answer);
    return 0;
  }
  Table table({"SIZE", "CREATED BY"});
  for (const Json& step : list(answer, "history"))
    table.row({flag(step, "empty") ? "-" : bytes_text(real(step, "size")),
               fit(text(step, "created_by"), std::max(40, session.columns() - 12))});
  session.say(table.text(session.terminal.style));
  return 0;
}

Done image_bootstrap(const Session& session, const ImageOptions& options) {
  if (::geteuid() != 0)
    return std::unexpected(
        Error{Code::forbidden, "making a base image needs to be root", 0, "run it with sudo"});
  // Asked before minutes of work: the tar can be imported only when control is there.
  TRY(session.control().get("/v1/version"));
  const std::string reference =
      options.reference.empty() ? std::string(image::kBootstrapReference) : options.reference;
  const WorkFolder folder = TRY(WorkFolder::create());
  image::BootstrapOptions wanted;
  wanted.suite = options.suite;
  wanted.include.insert(wanted.include.end(), options.include.begin(), options.include.end());
  {
    Progress progress(session, "making " + reference);
    if (!session.terminal.interactive && !session.json)
      session.print("making {} from this machine's apt sources; about a minute\n", reference);
    wanted.progress = [&](std::string_view line) { progress.show(line); };
    TRY(image::bootstrap(wanted, folder.file("root.tar")));
  }
  show_imported(session, TRY(import_tar(session, reference, folder.file("root.tar"))));
  return 0;
}

}  // namespace naru::cli
