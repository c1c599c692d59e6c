// What the operator allows each application, kept where control cannot write: DATA/grants.json, root's. Only
// requests of root change it (launcher.cc asks the kernel who is at the other end); control may read it and
// take away. Decided in docs/decisions/0011. Thread-safe.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "launcher/machine_folders.h"
#include "model/grant.h"

namespace naru::launcher {

class Grants {
 public:
  static constexpr std::size_t kMaxApps = 1000;  // that have or had something

  // A file that cannot be read gives nothing to anybody, which is logged. `data`: absolute.
  static std::unique_ptr<Grants> open(std::filesystem::path data, const Clock& clock,
                                      MachineFolders folders = MachineFolders());

  // All or none; what the application has already stays as it is. invalid_argument, forbidden (can be given
  // to nobody), not_found (a folder that there is not), unreachable (its disk does not answer), conflict
  // (another application writes there), too_large.
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
  // A folder to be mounted, which is not Naru's own by another name. May block for some seconds: to be called
  // without any lock. forbidden, and what MachineFolders::open answers.
  Result<OpenedFolder> open_folder(const Grant& grant) const;

 private:
  Grants(std::filesystem::path data, const Clock& clock, MachineFolders folders)
      : data_(std::move(data)), clock_(clock), folders_(std::move(folders)) {}
  std::filesystem::path file() const { return data_ / "grants.json"; }
  std::set<std::string> names_of(const std::string& app) const;
  Result<void> check_only_writer(const std::string& app, const Grant& grant) const;
  Result<void> check_name(const Grant& grant) const;
  Result<void> check_place(const Grant& grant, const OpenedFolder& folder) const;
  std::unexpected<Error> refuse_own(const Grant& grant) const;
  Result<void> keep(std::map<std::string, AppGrants> apps);  // on an error the former ones stay

  std::filesystem::path data_, canonical_;
  const Clock& clock_;
  MachineFolders folders_;
  mutable std::mutex mutex_;
  std::map<std::string, AppGrants> apps_;
};

}  // namespace naru::launcher
