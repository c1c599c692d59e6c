#include "image/tar_writer.h"

#include <array>
#include <cstring>

namespace naru::image {

namespace {

constexpr std::size_t kBlock = 512;
constexpr std::uint64_t kMaxOctal7 = 07777777;       // 8-byte fields
constexpr std::uint64_t kMaxOctal11 = 077777777777;  // 12-byte fields

bool ascii(std::string_view text) {
  for (const char c : text)
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  return true;
}

// "<length> <key>=<value>\n", where the length counts its own digits.
std::string pax_record(std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;
  std::size_t length = rest + std::to_string(rest).size();
  length = rest + std::to_string(length).size();
  return fmt::format("{} {}={}\n", length, key, value);
}

// Splits at a slash so that ustar's prefix (155) and name (100) hold it.
bool split_name(std::string_view name, std::string_view& prefix, std::string_view& base) {
  if (name.size() <= 100) {
    base = name;
    return true;
  }
  // npos is larger than 155.
  for (std::size_t slash = name.find('/'); slash <= 155; slash = name.find('/', slash + 1)) {
    if (slash == 0 || name.size() - slash - 1 > 100 || slash + 1 == name.size()) continue;
    prefix = name.substr(0, slash);
    base = name.substr(slash + 1);
    return true;
  }
  return false;
}

template <std::size_t N>
void put_octal(std::array<char, kBlock>& block, std::size_t at, std::uint64_t value) {
  const std::string text = fmt::format("{:0{}o}", value, N - 1);
  std::memcpy(block.data() + at, text.data(), N - 1);
}

void put_text(std::array<char, kBlock>& block, std::size_t at, std::string_view text, std::size_t room) {
  std::ranges::copy(text.substr(0, room), block.begin() + static_cast<std::ptrdiff_t>(at));
}

}  // namespace

Result<> TarWriter::pad(std::uint64_t size) {
  static constexpr std::array<char, kBlock> kZero{};
  const std::size_t over = size % kBlock;
  return over == 0 ? Result<>() : sink_(std::string_view(kZero.data(), kBlock - over));
}

Result<> TarWriter::header(const TarEntry& entry, char kind, std::string_view name, std::string_view target,
                           std::uint64_t size) {
  std::array<char, kBlock> block{};
  std::string_view prefix, base = name.substr(0, 100);
  split_name(name, prefix, base);
  put_text(block, 0, base, 100);
  put_octal<8>(block, 100, entry.mode & 07777);
  put_octal<8>(block, 108, entry.uid > kMaxOctal7 ? 0 : entry.uid);
  put_octal<8>(block, 116, entry.gid > kMaxOctal7 ? 0 : entry.gid);
  put_octal<12>(block, 124, size > kMaxOctal11 ? 0 : size);
  const bool time_fits = entry.mtime >= 0 && static_cast<std::uint64_t>(entry.mtime) <= kMaxOctal11;
  put_octal<12>(block, 136, time_fits ? static_cast<std::uint64_t>(entry.mtime) : 0);
  block[156] = kind;
  put_text(block, 157, target, 100);
  std::memcpy(block.data() + 257, "ustar\00000", 8);
  put_octal<8>(block, 329, 0);
  put_octal<8>(block, 337, 0);
  put_text(block, 345, prefix, 155);
  std::memset(block.data() + 148, ' ', 8);
  unsigned sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  const std::string text = fmt::format("{:06o}", sum);
  std::memcpy(block.data() + 148, text.data(), 6);
  block[154] = '\0';
  return sink_(std::string_view(block.data(), block.size()));
}

Result<> TarWriter::begin(const TarEntry& entry) {
  std::string pax;
  std::string_view prefix, base;
  if (!split_name(entry.name, prefix, base) || !ascii(entry.name)) pax += pax_record("path", entry.name);
  if (entry.target.size() > 100 || !ascii(entry.target)) pax += pax_record("linkpath", entry.target);
  if (entry.size > kMaxOctal11) pax += pax_record("size", std::to_string(entry.size));
  if (entry.uid > kMaxOctal7) pax += pax_record("uid", std::to_string(entry.uid));
  if (entry.gid > kMaxOctal7) pax += pax_record("gid", std::to_string(entry.gid));
  if (entry.mtime < 0 || static_cast<std::uint64_t>(entry.mtime) > kMaxOctal11)
    pax += pax_record("mtime", std::to_string(entry.mtime));
  for (const auto& [name, value] : entry.xattrs) pax += pax_record("SCHILY.xattr." + name, value);
  if (!pax.empty()) {
    TarEntry extension;
    TRY(header(extension, 'x', "PaxHeader", "", pax.size()));
    TRY(sink_(pax));
    TRY(pad(pax.size()));
  }
  const std::uint64_t size = entry.kind == TarEntry::Kind::file ? entry.size : 0;
  expected_ = size;
  written_ = 0;
  return header(entry, static_cast<char>(entry.kind), entry.name, entry.target, size);
}

Result<> TarWriter::data(std::string_view bytes) {
  written_ += bytes.size();
  if (written_ > expected_) return fail(Code::conflict, "a file grew while it was read");
  return sink_(bytes);
}

Result<> TarWriter::end() {
  if (written_ != expected_)
    return fail(Code::conflict, "a file shrank while it was read ({} of {} bytes)", written_, expected_);
  return pad(expected_);
}

Result<> TarWriter::finish() {
  static constexpr std::array<char, 2 * kBlock> kEnd{};
  return sink_(std::string_view(kEnd.data(), kEnd.size()));
}

}  // namespace naru::image
