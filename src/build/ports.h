// What the builder needs of the image store, so that tests can hand in one in memory.
#pragma once

#include <functional>
#include <stop_token>
#include <string_view>

#include "image/store.h"

namespace naru::build {

class Images {
 public:
  using Progress = std::function<void(std::string_view line)>;
  virtual ~Images() = default;
  // From the local store, else pulled. base_image_missing when it is nowhere.
  virtual Result<image::Image> resolve(const format::ImageReference& reference, const Progress& progress,
                                       std::stop_token stop) = 0;
  virtual bool has_blob(const Digest& blob) = 0;
  virtual Result<image::Image> put(const format::ImageConfig& config,
                                   const std::vector<image::Layer>& layers) = 0;
};

}  // namespace naru::build
