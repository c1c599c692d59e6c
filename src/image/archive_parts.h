// The pieces of a docker-archive or oci-archive, read in one pass: blobs go to the store, small documents
// stay here. Internal to import.
#pragma once

#include <map>
#include <string>

#include "image/import.h"
#include "image/store.h"
#include "image/tar_stream.h"

namespace naru::image {

class ArchiveParts {
 public:
  static Result<ArchiveParts> read(const Store& store, TarStream& stream, const ImportLimits& limits);
  // The one image of it, stored, not tagged. `what` names the file in errors.
  Result<Image> assemble(const Store& store, std::string_view what) const;

 private:
  Result<Image> assemble_oci(const Store& store, std::string_view what) const;
  Result<Image> assemble_docker(const Store& store, std::string_view what) const;
  Result<Layer> docker_layer(const std::string& name, const Digest& diff_id, std::string_view what) const;

  std::map<std::string, std::string> documents_;  // name -> content of *.json and oci-layout
  std::map<std::string, BlobInfo> blobs_;         // name -> as stored
  std::map<std::string, format::Compression> compression_;
  std::map<std::string, std::string> aliases_;  // links, name -> target
};

// Looks for manifest.json or oci-layout among the entries; stops at the first that only a root file system
// has.
Result<bool> is_image_archive(TarStream& stream, std::size_t max_entries);

}  // namespace naru::image
