#include "launcher/jobs.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "build/copy.h"
#include "image/diff.h"
#include "image/unpack.h"
#include "os/file.h"

namespace naru::launcher {

namespace {

Result<Json> unpack(const Json& arguments, const std::vector<Fd>& fds) {
  const auto layer = arguments.get<build::LayerRef>();
  if (fds.size() != 1) return fail(Code::internal, "unpack: {} descriptors", fds.size());
  const auto report = TRY(image::unpack_layer(fds[0].get(), layer.media_type, layer.diff_id, "/layers/" + std::string(layer.diff_id.hex())));
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

Result<Json> commit(const Json&, const std::vector<Fd>&) {
  Committed committed;
  if (empty_folder("/upper")) {
    committed.result.empty = true;
    return Json(committed);
  }
  const image::DiffReport report = TRY(image::commit_layer_to_layout("/upper", "/images"));
  // The store belongs to control: it must be able to read and to collect what root wrote there.
  struct stat owner {};
  const std::string blob = "/images/blobs/sha256/" + std::string(report.blob.hex());
  if (::lstat("/images/blobs/sha256", &owner) != 0 || ::lchown(blob.c_str(), owner.st_uid, owner.st_gid) != 0)
    return fail_errno(Code::system, "commit: chown of the blob {}", report.blob.text());
  committed.result.layer = {report.blob, report.diff_id, report.media_type, report.size};
  committed.left_out = report.left_out;
  return Json(committed);
}

}  // namespace

JobTable worker_jobs() { return {{"unpack", unpack}, {"copy", copy}, {"commit", commit}}; }

Job unpack_job(const std::filesystem::path& layers, int blob, const build::LayerRef& layer) {
  Job job{.kind = "unpack", .arguments = layer, .folders = {}, .fds = {blob}};
  job.folders.push_back({.place = "layers", .access = FolderAccess::read_write, .root = layers.string(), .path = {}, .lower = {}, .upper = {}, .work = {}});
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

Job commit_job(const std::filesystem::path& upper, const std::filesystem::path& data) {
  Job job{.kind = "commit", .arguments = Json::object(), .folders = {}, .fds = {}};
  job.folders.push_back({.place = "upper", .access = FolderAccess::read_only, .root = upper.string(), .path = {}, .lower = {}, .upper = {}, .work = {}});
  // images/ is control's folder: opened below the data folder without following links.
  job.folders.push_back({.place = "images", .access = FolderAccess::read_write, .root = data.string(), .path = "images", .lower = {}, .upper = {}, .work = {}});
  return job;
}

}  // namespace naru::launcher
