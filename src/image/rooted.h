// Operations on names below a folder that cannot leave it, whatever symbolic links it holds (openat2(2)).
// Internal: where unpack touches the file system with hostile names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace naru::image {

// "./a//b/" -> "a/b"; "" is the root. A leading "/" counts as relative to the root.
// layer_escape: a ".." component. malformed: a zero byte. too_large: longer or deeper than the bounds.
Result<std::string> clean_name(std::string_view name, std::size_t max_bytes, std::size_t max_depth);

class RootedFolder {
 public:
  explicit RootedFolder(int root_fd) : root_(root_fd) {}  // borrowed

  struct Place {
    int parent = -1;   // borrowed, valid until the next call
    std::string base;  // one component, no slash; never "." or ".."
  };
  // Where `name` (clean, not "") is created; missing folders on the way are made (0755). malformed: the way
  // leads through something that is no folder.
  Result<Place> place_of(const std::string& name);
  // As place_of, but makes nothing; not_found.
  Result<Place> find(const std::string& name);
  // Opens what `name` is itself (O_NOFOLLOW for the last component).
  Result<Fd> open(const std::string& name, int flags);
  // After something was removed: the remembered way may lead elsewhere now. A Place taken before stays valid.
  void forget() { cached_name_ = "/"; }

 private:
  Result<Fd> open_in_root(const std::string& name, int flags);
  Result<int> folder(const std::string& name, bool create);
  Result<Fd> make_folders(const std::string& name);

  int root_;
  Fd cached_;
  std::string cached_name_;
};

// Removes `base` in `parent`, a folder with all that is in it, never following a link.
Result<> remove_tree(int parent, const std::string& base);

}  // namespace naru::image
