#include "launcher/jobs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "build/copy.h"
#include "image/diff.h"
#include "image/unpack.h"
#include "os/file.h"
#include "os/listing.h"

namespace naru::launcher {

namespace {

Result<Json> unpack(const Json& arguments, const std::vector<Fd>& fds) {
  const auto layer = arguments.get<build::LayerRef>();
  if (fds.size() != 1) return fail(Code::internal, "unpack: {} descriptors", fds.size());
  const auto report = TRY(image::unpack_layer(fds[0].get(), layer.media_type, layer.diff_id,
                                              "/layers/" + std::string(layer.diff_id.hex())));
  return Json{{"already_there", report.already_there}, {"entries", report.entries}, {"bytes", report.bytes}};
}

Result<Json> copy(const Json& arguments, const std::vector<Fd>&) {
  const auto request = arguments.get<build::CopyRequest>();
  const Fd bench = TRY(os::open_folder("/bench"));
  Fd source;
  if (!request.sources.empty()) source = TRY(os::open_folder("/source"));
  const auto report = TRY(build::copy_into(source.get(), bench.get(), request));
  return Json{{"files", report.files}, {"bytes", report.bytes}};
}

bool empty_folder(const char* path) {
  std::error_code error;
  return std::filesystem::directory_iterator(path, error) == std::filesystem::directory_iterator();
}

constexpr int kMaxDepth = 256;

bool same_folder(int upper, int lower) {
  struct stat a{}, b{};
  if (::fstat(upper, &a) != 0 || ::fstat(lower, &b) != 0) return false;
  return a.st_mode == b.st_mode && a.st_uid == b.st_uid && a.st_gid == b.st_gid &&
         ::fgetxattr(upper, "trusted.overlay.opaque", nullptr, 0) < 0;
}

// Takes away folders of the upper that say nothing: empty, and as they are below. Mount points of the host's
// files and the like leave such folders behind; without this, no step would ever be seen to have changed
// nothing.
void prune(int upper, int lower, int depth) {
  auto listing = os::Listing::open(upper, "upper");
  if (!listing) return;
  while (const auto entry = listing->next().value_or(std::nullopt)) {
    if (!entry->folder) continue;
    const char* const name = entry->name.c_str();
    const Fd child(::openat(upper, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    const Fd below(::openat(lower, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!child || !below) continue;  // new here: whatever it holds is new
    if (depth < kMaxDepth) prune(child.get(), below.get(), depth + 1);
    if (same_folder(child.get(), below.get()))
      ::unlinkat(upper, name, AT_REMOVEDIR);  // refused when not empty
  }
}

Result<Json> commit(const Json&, const std::vector<Fd>&) {
  Committed committed;
  const Fd upper(::open("/upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const Fd lower(::open("/lower", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!upper || !lower) return fail_errno(Code::system, "commit: open the bench");
  prune(upper.get(), lower.get(), 0);
  if (empty_folder("/upper")) {
    committed.result.empty = true;
    return Json(committed);
  }
  const image::DiffReport report = TRY(image::commit_layer_to_layout("/upper", "/images"));
  // The store belongs to control: it must be able to read and to collect what root wrote there.
  struct stat owner{};
  const std::string blob = "/images/blobs/sha256/" + std::string(report.blob.hex());
  if (::lstat("/images/blobs/sha256", &owner) != 0 || ::lchown(blob.c_str(), owner.st_uid, owner.st_gid) != 0)
    return fail_errno(Code::system, "commit: chown of the blob {}", report.blob.text());
  committed.result.layer = {report.blob, report.diff_id, report.media_type, report.size};
  committed.left_out = report.left_out;
  return Json(committed);
}

}  // namespace

JobTable worker_jobs() {
  return {{"unpack", unpack}, {"copy", copy}, {"commit", commit}};
}

Job unpack_job(const std::filesystem::path& layers, int blob, const build::LayerRef& layer) {
  Job job{.kind = "unpack", .arguments = layer, .folders = {}, .fds = {blob}};
  job.folders.push_back({.place = "layers",
                         .access = FolderAccess::read_write,
                         .root = layers.string(),
                         .path = {},
                         .lower = {},
                         .upper = {},
                         .work = {}});
  return job;
}

Job copy_job(const build::CopyRequest& request, WorkerFolder bench, std::optional<WorkerFolder> source) {
  Job job{.kind = "copy", .arguments = request, .folders = {}, .fds = {}};
  bench.place = "bench";
  job.folders.push_back(std::move(bench));
  if (source) {
    source->place = "source";
    source->access = FolderAccess::read_only;
    job.folders.push_back(std::move(*source));
  }
  return job;
}

Job commit_job(const std::filesystem::path& upper, WorkerFolder lower, const std::filesystem::path& data) {
  Job job{.kind = "commit", .arguments = Json::object(), .folders = {}, .fds = {}};
  job.folders.push_back({.place = "upper",
                         .access = FolderAccess::read_write,
                         .root = upper.string(),
                         .path = {},
                         .lower = {},
                         .upper = {},
                         .work = {}});
  lower.place = "lower";
  lower.access = FolderAccess::read_only;
  job.folders.push_back(std::move(lower));
  // images/ is control's folder: opened below the data folder without following links.
  job.folders.push_back({.place = "images",
                         .access = FolderAccess::read_write,
                         .root = data.string(),
                         .path = "images",
                         .lower = {},
                         .upper = {},
                         .work = {}});
  return job;
}

NARU_JSON_FIELDS(Committed, result, left_out)
}  // namespace naru::launcher
