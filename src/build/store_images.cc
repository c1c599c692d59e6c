#include "build/store_images.h"

namespace naru::build {

Result<image::Image> StoreImages::resolve(const format::ImageReference& reference, const Progress& progress,
                                          std::stop_token stop) {
  auto local = store_.resolve(reference);
  if (local) return local;
  if (local.error().code != Code::image_unknown) return local;
  if (!pull_) return fail(Code::base_image_missing, "the image {} is not here", reference.familiar());
  progress(fmt::format("pulling {}", reference.familiar()));
  auto pulled = pull_(reference, progress, stop);
  if (pulled || pulled.error().code == Code::build_cancelled) return pulled;
  const Error& cause = pulled.error();
  // What a person can do about a registry that is not allowed is known by who refused it.
  return std::unexpected(Error{Code::base_image_missing,
                               fmt::format("the image {} is not here, and could not be pulled: {}",
                                           reference.familiar(), cause.message()),
                               0, cause.code == Code::registry_refused ? std::string(cause.hint()) : ""});
}

}  // namespace naru::build
