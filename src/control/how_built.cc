#include "control/how_built.h"

namespace naru::control {

std::string_view how_built(const State& state, const Pipeline& pipeline, const ServiceSpec& service,
                           const Digest& manifest, bool cached) {
  if (!cached) return service.build ? "built" : "pulled";
  const Release* before = nullptr;
  for (const auto& [id, release] : state.releases)
    if (release.app == pipeline.app && release.environment == kProduction && release.pipeline < pipeline.id &&
        (before == nullptr || release.version > before->version))
      before = &release;
  const ReleaseService* same = before == nullptr ? nullptr : before->find(service.name);
  if (same != nullptr && same->image.manifest == manifest) return "unchanged";
  return service.build ? "layers cached" : "here already";
}

}  // namespace naru::control
