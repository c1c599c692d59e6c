// Randomness is handed in: Rng for simulations (seeded, reproducible), secure_random for secrets.
#pragma once

#include <cstdint>
#include <string>

namespace naru {

// SplitMix64 (Steele, Lea & Flood 2014). Not for secrets.
class Rng {
 public:
  explicit Rng(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  // Uniform in [0, bound); bound > 0. The bias is below 2^-32 for bounds below 2^32.
  std::uint64_t below(std::uint64_t bound) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>((static_cast<Wide>(next()) * bound) >> 64);
  }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  bool chance(double probability) { return uniform() < probability; }

 private:
  std::uint64_t state_;
};

// `bytes` bytes from the kernel, as lower-case hex; for tokens, salts and ids.
std::string secure_random_hex(std::size_t bytes);
std::uint64_t secure_random_u64();

}  // namespace naru
