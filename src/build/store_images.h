// The image store as the builder sees it: local images first, else a pull.
#pragma once

#include "build/ports.h"

namespace naru::build {

class StoreImages final : public Images {
 public:
  // What fetches an image that is not here and tags it; empty: nothing is ever fetched. Called on the build's
  // thread.
  using Pull =
      std::function<Result<image::Image>(const format::ImageReference&, const Progress&, std::stop_token)>;
  StoreImages(image::Store store, Pull pull) : store_(std::move(store)), pull_(std::move(pull)) {}

  Result<image::Image> resolve(const format::ImageReference& reference, const Progress& progress,
                               std::stop_token stop) override;
  bool has_blob(const Digest& blob) override { return store_.has(blob); }
  Result<image::Image> put(const format::ImageConfig& config,
                           const std::vector<image::Layer>& layers) override {
    return store_.put_image(config, layers);
  }

 private:
  image::Store store_;
  Pull pull_;
};

}  // namespace naru::build
