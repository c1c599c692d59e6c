// Where everything lies. One Naru, one data folder.
#pragma once

#include <filesystem>
#include <string>

namespace naru::ipc {

struct DataFolder {
  std::filesystem::path root;  // absolute

  // ---- root's
  std::filesystem::path lock() const { return root / "lock"; }  // held by `naru up`
  std::filesystem::path layers() const { return root / "layers"; }
  std::filesystem::path containers() const { return root / "containers"; }
  std::filesystem::path volumes() const { return root / "volumes"; }
  std::filesystem::path logs() const { return root / "logs"; }  // of containers; control reads them
  std::filesystem::path run() const { return root / "run"; }
  std::filesystem::path control_socket() const { return run() / "control.sock"; }
  std::filesystem::path launcher_socket() const { return run() / "launcher.sock"; }
  std::filesystem::path gateway_socket() const { return run() / "gateway.sock"; }
  std::filesystem::path process_log(const std::string& process) const {
    return root / "log" / (process + ".log");
  }

  // ---- naru's
  std::filesystem::path control() const { return root / "control"; }  // state.db, state.key
  std::filesystem::path git() const { return control() / "git"; }     // <app>.git
  std::filesystem::path repository(const std::string& app) const { return git() / (app + ".git"); }
  std::filesystem::path pipelines() const { return control() / "pipelines"; }  // <id>.log
  std::filesystem::path build_cache() const { return control() / "cache"; }
  std::filesystem::path old_logs() const { return control() / "logs"; }  // of containers that are gone
  std::filesystem::path images() const { return root / "images"; }
  std::filesystem::path checkouts() const { return root / "checkouts"; }  // <app>/<commit>
  std::filesystem::path gateway_table() const { return root / "gateway" / "routes.json"; }
};

}  // namespace naru::ipc
