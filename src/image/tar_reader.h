// The entries of a tar, by libarchive over a TarStream. A thin owner of its handle; all content is hostile.
#pragma once

#include <archive.h>
#include <archive_entry.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "image/tar_stream.h"

namespace naru::image {

struct TarData {
  std::string_view bytes;    // empty at the end of the entry
  std::uint64_t offset = 0;  // in the file (sparse files skip)
};

class TarReader {
 public:
  // `stream` outlives the reader.
  static Result<std::unique_ptr<TarReader>> open(TarStream& stream);
  ~TarReader() { archive_read_free(archive_); }
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  // The next entry, owned by the reader until the next call; nullptr at the end.
  Result<archive_entry*> next();
  Result<TarData> read();  // of the current entry
  // The rest of the current entry; too_large beyond the bound.
  Result<std::string> read_small(std::size_t max_bytes, std::string_view what);

 private:
  explicit TarReader(TarStream& stream) : stream_(stream), archive_(archive_read_new()) {}
  Error error(std::string_view what);
  static la_ssize_t on_read(archive*, void* self, const void** into);

  TarStream& stream_;
  archive* archive_;
  std::optional<Error> stream_error_;
};

// The name's bytes as they stand in the tar, whatever the locale.
std::string entry_name(archive_entry* entry);
std::string entry_hardlink(archive_entry* entry);  // "" = none
std::string entry_symlink(archive_entry* entry);

}  // namespace naru::image
