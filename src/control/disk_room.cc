#include "control/disk_room.h"

namespace naru::control {

namespace {
constexpr std::uint64_t kMostFloor = 512ULL << 20;
constexpr std::size_t kNamed = 5;
constexpr std::uint64_t kWorthNaming = 1'000'000;
}  // namespace

std::uint64_t disk_floor(std::uint64_t total_bytes) {
  return std::min(total_bytes / 50, kMostFloor);
}

Result<void> check_room(std::uint64_t free_bytes, std::uint64_t total_bytes, std::string_view what) {
  const std::uint64_t floor = disk_floor(total_bytes);
  if (free_bytes >= floor) return {};
  return std::unexpected(
      Error{Code::disk_full,
            fmt::format(
                "{} MiB are free on the disk of Naru's data; below {} MiB {} is not taken, so that what runs "
                "can go on",
                free_bytes >> 20, floor >> 20, what),
            0, "free space, e.g. with `naru prune` or `naru image rm`; `naru doctor` names what is largest"});
}

Result<void> check_room(const std::filesystem::path& folder, std::string_view what) {
  std::error_code error;
  const auto space = std::filesystem::space(folder, error);
  return error ? Result<void>() : check_room(space.available, space.capacity, what);
}

std::string largest(std::vector<std::pair<std::string, std::uint64_t>> sizes) {
  std::erase_if(sizes, [](const auto& entry) { return entry.second < kWorthNaming; });
  std::ranges::sort(sizes, std::greater(), [](const auto& entry) { return entry.second; });
  if (sizes.size() > kNamed) sizes.resize(kNamed);
  std::string text;
  for (const auto& [name, bytes] : sizes)
    text += fmt::format("{}{} {} MB", text.empty() ? "" : ", ", name, bytes / 1'000'000);
  return text;
}

}  // namespace naru::control
