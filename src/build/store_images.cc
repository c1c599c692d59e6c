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
  return fail(Code::base_image_missing, "the image {} is not here, and could not be pulled: {}",
              reference.familiar(), pulled.error().message());
}

}  // namespace naru::build
