#include "control/pipeline_log.h"

#include <fstream>

#include "base/utf8.h"

namespace naru::control {

std::vector<std::string> secrets_of(const State& state, std::string_view app) {
  std::vector<std::string> secrets;
  for (const auto& [key, environment] : state.environments)
    if (app.empty() || environment.app == app)
      for (const auto& [name, value] : environment.variables) secrets.push_back(value);
  std::ranges::stable_sort(secrets, std::greater(), &std::string::size);
  return secrets;
}

std::vector<std::string> secrets_of(const Core& core, std::string_view app) {
  return core.read([&](const State& state) { return secrets_of(state, app); });
}

std::string mask(std::string text, const std::vector<std::string>& secrets) {
  for (const std::string& secret : secrets) {
    if (secret.size() < 4) continue;
    for (std::size_t at = text.find(secret); at != std::string::npos; at = text.find(secret, at + 3))
      text.replace(at, secret.size(), "***");
  }
  return text;
}

void PipelineLog::append(PipelineId id, std::string_view line, const std::vector<std::string>& secrets) {
  const std::lock_guard lock(mutex_);
  std::error_code ignored;
  const auto size = std::filesystem::file_size(path(id), ignored);
  if (!ignored && size > kMaxBytes) return;
  std::ofstream(path(id), std::ios::app) << printable(mask(std::string(line), secrets)) << '\n';
}

std::string PipelineLog::read(PipelineId id, std::uint64_t& offset) const {
  std::ifstream file(path(id), std::ios::binary);
  if (!file) return {};
  file.seekg(static_cast<std::streamoff>(offset));
  std::string text((std::istreambuf_iterator<char>(file)), {});
  offset += text.size();
  return text;
}

}  // namespace naru::control
