// Content digests: "sha256:<64 hex>" (OCI image specification, descriptor.md#digests).
#pragma once

#include <compare>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace naru {

class Digest {
 public:
  Digest() = default;
  static Result<Digest> parse(std::string_view text);  // malformed
  static Digest of_sha256(std::string_view bytes);
  static Digest from_sha256_hex(std::string hex) { return Digest("sha256:" + std::move(hex)); }

  bool empty() const { return text_.empty(); }
  const std::string& text() const { return text_; }  // "sha256:abc..."
  std::string_view algorithm() const { return std::string_view(text_).substr(0, text_.find(':')); }
  std::string_view hex() const { return std::string_view(text_).substr(text_.find(':') + 1); }
  std::string short_hex() const { return std::string(hex().substr(0, 12)); }
  friend auto operator<=>(const Digest&, const Digest&) = default;

 private:
  explicit Digest(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

// Incremental SHA-256 (OpenSSL).
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::string_view bytes);
  // Ends the computation; call once.
  Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace naru
