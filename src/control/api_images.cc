// The image store.
#include <fcntl.h>

#include "base/rng.h"
#include "control/api.h"
#include "control/disk_room.h"
#include "image/http_io.h"
#include "image/import.h"
#include "image/pull.h"
#include "os/file.h"

namespace naru::control {

namespace {

constexpr std::uint64_t kMaxImport = 8ULL << 30;
constexpr std::size_t kPiece = 1U << 20;
constexpr milliseconds kPoll{100};

Result<format::ImageReference> reference_of(const Call& call) {
  const std::string text = call.query("reference");
  if (text.empty()) return fail(Code::invalid_argument, "?reference= is missing");
  return format::ImageReference::parse(text);
}

Result<Json> list_json(const Context& context) {
  Json out = Json::array();
  for (const image::TaggedImage& image : TRY(context.images.list()))
    out.push_back({{"reference", image.reference.text()},
                   {"name", image.reference.familiar()},
                   {"manifest", image.manifest.text()},
                   {"size", image.size},
                   {"created", image.created}});
  return Json{{"images", std::move(out)}};
}

Answer list(Call& call) {
  auto job = [&context = call.context] { return list_json(context); };
  CO_TRY(const Json view, co_await call.work(std::move(job)));
  co_return co_await call.response.send_json(200, view);
}

Answer remove(Call& call) {
  CO_TRY(const auto reference, reference_of(call));
  auto job = [&context = call.context, reference] { return context.housekeeping.remove_image(reference); };
  CO_TRY(const HousekeepingReport report, co_await call.long_work(std::move(job)));
  const Json reply{{"removed", reference.text()},
                   {"blobs", report.blobs},
                   {"layers", report.layers},
                   {"bytes", report.blob_bytes + report.layer_bytes},
                   {"skipped", report.skipped}};
  co_return co_await call.response.send_json(200, reply);
}

Result<Json> history_json(const Context& context, const format::ImageReference& reference) {
  const image::Image image = TRY(context.images.resolve(reference));
  Json out = Json::array();
  std::size_t layer = 0;
  for (const format::HistoryEntry& entry : image.config.history) {
    const bool has_layer = !entry.empty_layer && layer < image.layers.size();
    out.push_back({{"created_by", entry.created_by},
                   {"created", entry.created},
                   {"size", has_layer ? image.layers[layer].size : 0},
                   {"empty", entry.empty_layer}});
    if (has_layer) ++layer;
  }
  return Json{{"history", std::move(out)}};
}

Answer history(Call& call) {
  CO_TRY(const auto reference, reference_of(call));
  auto job = [&context = call.context, reference] { return history_json(context, reference); };
  CO_TRY(const Json view, co_await call.work(std::move(job)));
  co_return co_await call.response.send_json(200, view);
}

// ---- pull: the worker writes lines, the answer carries them

struct Lines {
  std::mutex mutex;
  std::string text;
  bool ended = false;
  void add(std::string_view line) {
    const std::lock_guard lock(mutex);
    if (text.size() < (1U << 20)) text.append(line).append("\n");
  }
  std::pair<std::string, bool> take() {
    const std::lock_guard lock(mutex);
    return {std::exchange(text, {}), ended};
  }
};

void pull_into(Context& context, const format::ImageReference& reference, Lines& lines) {
  const auto using_images = context.gate.use();
  image::IoHttp http;
  image::PullOptions options;
  options.progress = [&lines](std::string_view line) { lines.add(line); };
  const auto pulled = image::pull(context.images, http, reference, options);
  if (pulled)
    lines.add(fmt::format("pulled {} {}", reference.familiar(), pulled->manifest.text()));
  else
    lines.add(fmt::format("error: {}\nhint: {}", pulled.error().message(), pulled.error().hint()));
  const std::lock_guard lock(lines.mutex);
  lines.ended = true;
}

Answer pull(Call& call) {
  CO_TRY(const Json body, co_await read_json(call));
  CO_TRY(const std::string text, text_member(body, "reference"));
  CO_TRY(const auto reference, format::ImageReference::parse(text));
  CO_TRY_VOID(check_room(call.context.data.root, "a pull"));
  const auto lines = std::make_shared<Lines>();
  CO_TRY(auto place, call.context.long_work.take());  // the pull goes on when its client has gone
  if (!call.context.pool.post([lines, reference, place = std::move(place), &context = call.context] {
        pull_into(context, reference, *lines);
      }))
    co_return fail(Code::busy, "too much work is waiting for a worker thread");
  CO_TRY_VOID(co_await call.response.start(200, std::nullopt, "text/plain; charset=utf-8"));
  while (!call.over()) {
    const auto [fresh, ended] = lines->take();
    CO_TRY_VOID(co_await call.response.write(fresh));
    if (ended) break;
    co_await io::sleep(call.context.reactor, kPoll);
  }
  co_return co_await call.response.finish();
}

// ---- import: the body goes to a file first

class TempFile {
 public:
  static Result<std::shared_ptr<TempFile>> create(const std::filesystem::path& folder) {
    auto file = std::make_shared<TempFile>();
    file->path_ = folder / ("import-" + secure_random_hex(8));
    file->fd_.reset(::open(file->path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file->fd_) return fail_errno(os::file_code(errno), "{}", file->path_.string());
    return file;
  }
  ~TempFile() {
    if (fd_) ::unlink(path_.c_str());
  }
  int fd() const { return fd_.get(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  Fd fd_;
};

Answer import_image(Call& call) {
  CO_TRY(const auto reference, reference_of(call));
  CO_TRY(auto place, call.context.long_work.take());  // before gigabytes are taken in vain
  CO_TRY_VOID(check_room(call.context.data.root, "an import"));
  call.request.limit_body(kMaxImport);
  CO_TRY(const auto file, TempFile::create(call.context.data.control()));
  const auto piece = std::make_shared<std::string>(kPiece, '\0');
  std::size_t held = 0;
  while (true) {
    CO_TRY(const std::size_t got, co_await call.request.read(std::span(*piece).subspan(held)));
    held += got;
    if (got != 0 && held < kPiece) continue;
    auto write = [file, piece, held] {
      return os::write_all(file->fd(), std::string_view(*piece).substr(0, held), file->path().string());
    };
    CO_TRY_VOID(co_await call.work(std::move(write)));
    held = 0;
    if (got == 0) break;
  }
  auto job = [&context = call.context, file, reference, place = std::move(place)] {
    const auto using_images = context.gate.use();
    return image::import_file(context.images, file->path(), reference);
  };
  CO_TRY(const image::Image image, co_await call.work(std::move(job)));
  const Json reply{{"reference", reference.text()}, {"manifest", image.manifest.text()}};
  co_return co_await call.response.send_json(200, reply);
}

constexpr Route kRoutes[] = {
    {"GET", "/v1/images", Access::admin, list},
    {"DELETE", "/v1/images", Access::admin, remove},
    {"POST", "/v1/images/pull", Access::admin, pull},
    {"POST", "/v1/images/import", Access::admin, import_image},
    {"GET", "/v1/images/history", Access::admin, history},
};

}  // namespace

std::span<const Route> image_routes() {
  return kRoutes;
}

}  // namespace naru::control
