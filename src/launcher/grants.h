// What the operator allows each application, kept where control cannot write: DATA/grants.json, root's. Only
// requests of root change it (launcher.cc asks the kernel who is at the other end); control may read it and
// take away. Decided in docs/decisions/0011. Thread-safe.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "model/grant.h"

namespace naru::launcher {

class Grants {
 public:
  static constexpr std::size_t kMaxApps = 1000;  // that have or had something

  // A file that cannot be read gives nothing to anybody, which is logged. `data`: absolute.
  static std::unique_ptr<Grants> open(std::filesystem::path data, const Clock& clock);

  // All or none; what the application has already stays as it is. invalid_argument, forbidden (can be given
  // to nobody), not_found (a folder that there is not), conflict (another application writes there),
  // too_large.
  Result<AppGrants> allow(const std::string& app, const std::vector<std::string>& grants,
                          const std::string& by);
  // All or none. not_found: the application does not have one of them.
  Result<AppGrants> disallow(const std::string& app, const std::vector<std::string>& grants,
                             const std::string& by);
  // Of an application that is removed.
  Result<void> drop(const std::string& app);
  std::vector<AppGrants> list() const;

  // forbidden: it needs what its application was not given; the remedy is the command that gives it.
  Result<void> check(const std::string& app, std::span<const Grant> needs) const;

 private:
  Grants(std::filesystem::path data, const Clock& clock) : data_(std::move(data)), clock_(clock) {}
  std::filesystem::path file() const { return data_ / "grants.json"; }
  Result<void> check_folder(const Grant& grant) const;
  Result<void> check_only_writer(const std::string& app, const Grant& grant) const;
  Result<void> check_place(const Grant& grant) const;
  Result<void> keep(std::map<std::string, AppGrants> apps);  // on an error the former ones stay

  std::filesystem::path data_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::map<std::string, AppGrants> apps_;
};

}  // namespace naru::launcher
