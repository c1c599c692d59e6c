#include "store/cipher.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>

#include "base/fd.h"

namespace naru::store {

static_assert(crypto_secretbox_KEYBYTES == 32);

Result<Cipher> Cipher::open(const std::string& path) {
  if (sodium_init() < 0) return fail(Code::internal, "libsodium does not initialise");
  Cipher cipher;
  Fd existing(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (existing) {
    if (::read(existing.get(), cipher.key_.data(), cipher.key_.size()) !=
        static_cast<ssize_t>(cipher.key_.size()))
      return fail(Code::store_open, "{}: expected a key of 32 bytes", path);
    return cipher;
  }
  if (errno != ENOENT) return fail_errno(Code::store_open, "{}: open", path);
  crypto_secretbox_keygen(cipher.key_.data());
  const std::string fresh = path + ".new";
  Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return fail_errno(Code::store_open, "{}: create", fresh);
  if (::write(file.get(), cipher.key_.data(), cipher.key_.size()) !=
          static_cast<ssize_t>(cipher.key_.size()) ||
      ::fsync(file.get()) != 0 || ::rename(fresh.c_str(), path.c_str()) != 0)
    return fail_errno(Code::store_open, "{}: write", path);
  return cipher;
}

std::string Cipher::seal(std::string_view text) const {
  std::string sealed(crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES + text.size(), '\0');
  auto* bytes = reinterpret_cast<unsigned char*>(sealed.data());
  randombytes_buf(bytes, crypto_secretbox_NONCEBYTES);
  crypto_secretbox_easy(bytes + crypto_secretbox_NONCEBYTES,
                        reinterpret_cast<const unsigned char*>(text.data()), text.size(), bytes, key_.data());
  return sealed;
}

Result<std::string> Cipher::unseal(std::string_view sealed) const {
  constexpr std::size_t overhead = crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES;
  const auto* bytes = reinterpret_cast<const unsigned char*>(sealed.data());
  std::string text(sealed.size() < overhead ? 0 : sealed.size() - overhead, '\0');
  if (sealed.size() < overhead ||
      crypto_secretbox_open_easy(reinterpret_cast<unsigned char*>(text.data()),
                                 bytes + crypto_secretbox_NONCEBYTES,
                                 sealed.size() - crypto_secretbox_NONCEBYTES, bytes, key_.data()) != 0)
    return fail(Code::store_open, "a row does not open with state.key: the key or the row was changed");
  return text;
}

}  // namespace naru::store
