// How a service came to its image, in a word or two.
#pragma once

#include <string_view>

#include "model/state.h"

namespace naru::control {

// "built" or "pulled"; when nothing had to be done for it, "unchanged" only if the newest release made before
// had the very same image, else "layers cached" or "here already".
std::string_view how_built(const State& state, const Pipeline& pipeline, const ServiceSpec& service,
                           const Digest& manifest, bool cached);

}  // namespace naru::control
