#include "image/tar_reader.h"

namespace naru::image {

namespace {
std::string text_of(const char* bytes, const char* utf8) {
  return bytes ? bytes : utf8 ? utf8 : "";
}
}  // namespace

std::string entry_name(archive_entry* entry) {
  return text_of(archive_entry_pathname(entry), archive_entry_pathname_utf8(entry));
}
std::string entry_hardlink(archive_entry* entry) {
  return text_of(archive_entry_hardlink(entry), archive_entry_hardlink_utf8(entry));
}
std::string entry_symlink(archive_entry* entry) {
  return text_of(archive_entry_symlink(entry), archive_entry_symlink_utf8(entry));
}

la_ssize_t TarReader::on_read(archive* handle, void* self, const void** into) {
  auto& reader = *static_cast<TarReader*>(self);
  auto bytes = reader.stream_.next();
  if (!bytes) {
    reader.stream_error_ = bytes.error();
    archive_set_error(handle, EIO, "stream");
    return ARCHIVE_FATAL;
  }
  *into = bytes->data();
  return static_cast<la_ssize_t>(bytes->size());
}

Result<std::unique_ptr<TarReader>> TarReader::open(TarStream& stream) {
  std::unique_ptr<TarReader> reader(new TarReader(stream));
  if (!reader->archive_) return fail(Code::internal, "libarchive does not start");
  archive_read_support_format_tar(reader->archive_);
  archive_read_support_format_empty(reader->archive_);
  if (archive_read_open(reader->archive_, reader.get(), nullptr, &TarReader::on_read, nullptr) != ARCHIVE_OK)
    return std::unexpected(reader->error("the archive"));
  return reader;
}

Error TarReader::error(std::string_view what) {
  if (stream_error_) return *stream_error_;
  const char* said = archive_error_string(archive_);
  return {Code::malformed, fmt::format("{}: not a valid tar: {}", what, said ? said : "damaged"), 0, {}};
}

Result<archive_entry*> TarReader::next() {
  archive_entry* entry = nullptr;
  const int code = archive_read_next_header(archive_, &entry);
  if (code == ARCHIVE_EOF) {
    // libarchive takes a stream that ends without the closing zero blocks for complete, and a failed read,
    // too.
    if (stream_error_) return std::unexpected(*stream_error_);
    return nullptr;
  }
  // A warning is a name that this locale cannot show; its bytes are still right.
  if (code != ARCHIVE_OK && code != ARCHIVE_WARN) return std::unexpected(error("the archive"));
  return entry;
}

Result<TarData> TarReader::read() {
  const void* bytes = nullptr;
  std::size_t size = 0;
  la_int64_t offset = 0;
  while (true) {
    const int code = archive_read_data_block(archive_, &bytes, &size, &offset);
    if (code == ARCHIVE_EOF) return TarData{};
    if (code != ARCHIVE_OK) return std::unexpected(error("a file's data"));
    if (size > 0)
      return TarData{std::string_view(static_cast<const char*>(bytes), size),
                     static_cast<std::uint64_t>(offset)};
  }
}

Result<std::string> TarReader::read_small(std::size_t max_bytes, std::string_view what) {
  std::string all;
  while (true) {
    const TarData data = TRY(read());
    if (data.bytes.empty()) return all;
    if (data.offset + data.bytes.size() > max_bytes)
      return fail(Code::too_large, "{}: larger than {} bytes", what, max_bytes);
    all.resize(data.offset);
    all += data.bytes;
  }
}

}  // namespace naru::image
