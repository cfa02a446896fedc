// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC11), written for a compiler to vectorise.
#pragma once

#include <cstdint>

#include "stream.hpp"

namespace isometry {
namespace {  // a copy for each instruction set: never merged by the linker

constexpr std::uint32_t multiplier0 = 0xD2511F53, multiplier1 = 0xCD9E8D57;
constexpr std::uint32_t weyl0 = 0x9E3779B9, weyl1 = 0xBB67AE85;
constexpr int rounds = 10;

// The words of `lanes` blocks: out[i] is word i of each.
template <int lanes>
inline void philox(const Stream& stream, const std::uint64_t (&block)[lanes],
                   std::uint32_t (&out)[4][lanes]) {
  std::uint32_t c0[lanes], c1[lanes], c2[lanes], c3[lanes];
  for (int i = 0; i < lanes; ++i) {
    c0[i] = static_cast<std::uint32_t>(block[i]);
    c1[i] = static_cast<std::uint32_t>(block[i] >> 32);
    c2[i] = stream.high[0];
    c3[i] = stream.high[1];
  }
  std::uint32_t k0 = stream.key[0], k1 = stream.key[1];
  for (int r = 0; r < rounds; ++r) {
    for (int i = 0; i < lanes; ++i) {
      const std::uint64_t p0 = std::uint64_t{multiplier0} * c0[i];
      const std::uint64_t p1 = std::uint64_t{multiplier1} * c2[i];
      c0[i] = static_cast<std::uint32_t>(p1 >> 32) ^ c1[i] ^ k0;
      c1[i] = static_cast<std::uint32_t>(p1);
      c2[i] = static_cast<std::uint32_t>(p0 >> 32) ^ c3[i] ^ k1;
      c3[i] = static_cast<std::uint32_t>(p0);
    }
    k0 += weyl0;
    k1 += weyl1;
  }
  for (int i = 0; i < lanes; ++i) {
    out[0][i] = c0[i];
    out[1][i] = c1[i];
    out[2][i] = c2[i];
    out[3][i] = c3[i];
  }
}

// The round keys, and what is the same for all blocks with one high half of the counter: in the
// first round only c0 differs between them, in the second only c2 and c3.
struct Schedule {
  std::uint32_t k0[rounds], k1[rounds];
  std::uint32_t first2;           // round 1: c2 = hi(m0 c0) ^ first2; c0 and c1 are constant
  std::uint32_t second0;          // round 2: c0 = hi(m1 c2) ^ second0
  std::uint32_t second2;          //          c2 = c3 ^ second2
  std::uint32_t third2;           // round 3: c2 = hi(m0 c0) ^ third2

  Schedule(const Stream& stream, std::uint32_t block_high) {
    std::uint32_t a = stream.key[0], b = stream.key[1];
    for (int r = 0; r < rounds; ++r, a += weyl0, b += weyl1) {
      k0[r] = a;
      k1[r] = b;
    }
    const std::uint64_t p1 = std::uint64_t{multiplier1} * stream.high[0];
    const std::uint32_t c0 = static_cast<std::uint32_t>(p1 >> 32) ^ block_high ^ k0[0];
    const std::uint64_t p0 = std::uint64_t{multiplier0} * c0;
    first2 = stream.high[1] ^ k1[0];
    second0 = static_cast<std::uint32_t>(p1) ^ k0[1];
    second2 = static_cast<std::uint32_t>(p0 >> 32) ^ k1[1];
    third2 = static_cast<std::uint32_t>(p0) ^ k1[2];
  }
};

}  // namespace
}  // namespace isometry
