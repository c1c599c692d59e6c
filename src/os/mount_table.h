// Where a folder lies, whatever it is called: one folder has as many names as it is mounted on places.
// /proc/self/mountinfo (proc(5)) says which part of which file system a mount shows.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace naru::os {

struct Mount {
  int id = 0;
  std::string device;  // "8:1", of the file system
  std::string root;    // what of it is shown, "/" or a folder in it
  std::string point;   // where
};
// malformed when a line is not as proc(5) says. Pure.
Result<std::vector<Mount>> parse_mount_table(std::string_view mountinfo);
Result<std::vector<Mount>> mount_table();

// A path in a file system instead of in the machine's tree.
struct Place {
  std::string device, path;
  bool operator==(const Place&) const = default;
};
// Of a descriptor, O_PATH too; asks no disk. not_found: its mount is not in the table.
Result<Place> place_of(int fd, const std::vector<Mount>& mounts);

}  // namespace naru::os
