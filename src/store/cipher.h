// Encryption at rest: XSalsa20-Poly1305 (libsodium's secretbox) with a random nonce before each text.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/result.h"

namespace naru::store {

class Cipher {
 public:
  // Reads the 32-byte key, or makes one (0600). Errors: store_open.
  static Result<Cipher> open(const std::string& path);
  std::string seal(std::string_view text) const;
  Result<std::string> unseal(std::string_view sealed) const;  // store_open when it was made with another key

 private:
  std::array<unsigned char, 32> key_{};
};

}  // namespace naru::store
