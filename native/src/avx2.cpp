// AVX2: 64 words at a time. Two of the choices here are for its sixteen registers and its shuffles:
// a look-up of 32-bit entries by vpermd reaches only eight, while vpshufb looks up a byte of sixteen
// entries for 32 lanes at once; and one word in 170 that lies beyond those sixteen segments is
// noted and done again later, since a branch on it would be mispredicted every time.
#include <immintrin.h>

#include "kernel.hpp"

namespace isometry {
namespace {

using U = __m256i;
using F = __m256;

inline U bits_of(F x) { return _mm256_castps_si256(x); }
inline F float_of(U x) { return _mm256_castsi256_ps(x); }
inline U each64(std::uint32_t x) { return _mm256_set1_epi64x(x); }

// The sixteen upper segments, each coefficient cut into four planes of bytes; segment s has place
// bits >> 22 mod 16, as it stands.
constexpr int covered = 47;  // the first of them
struct Planes {
  alignas(16) std::uint8_t bytes[degree + 1][4][16];
  constexpr Planes() : bytes() {
    for (int d = 0; d <= degree; ++d) {
      for (int s = covered; s < covered + 16; ++s) {
        for (int p = 0; p < 4; ++p) {
          bytes[d][p][(s + first_segment) % 16] =
              static_cast<std::uint8_t>(entry(s, d) >> (8 * p));
        }
      }
    }
  }
};
constexpr Planes planes;

// Coefficient d for four vectors of lanes, whose segments are the bytes of `places` in the order
// in which unpacking them puts them back.
inline __attribute__((always_inline)) void look_up(int d, U places, U (&c)[4]) {
  U b[4];
  for (int p = 0; p < 4; ++p) {
    const auto* plane = reinterpret_cast<const __m128i*>(planes.bytes[d][p]);
    b[p] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128(plane)), places);
  }
  const U low01 = _mm256_unpacklo_epi8(b[0], b[1]), high01 = _mm256_unpackhi_epi8(b[0], b[1]);
  const U low23 = _mm256_unpacklo_epi8(b[2], b[3]), high23 = _mm256_unpackhi_epi8(b[2], b[3]);
  c[0] = _mm256_unpacklo_epi16(low01, low23);
  c[1] = _mm256_unpackhi_epi16(low01, low23);
  c[2] = _mm256_unpacklo_epi16(high01, high23);
  c[3] = _mm256_unpackhi_epi16(high01, high23);
}

// Positions of words whose segment is not covered. At most one of 32 is the usual case, and it is
// written without a branch.
struct Rare {
  std::uint16_t at[chunk + unit];
  std::size_t count = 0;

  void note(std::uint32_t mask, std::size_t done) {
    at[count] = position(mask | sign_bit, done);
    count += mask != 0;
    while (__builtin_expect((mask &= mask - 1) != 0, 0)) at[count++] = position(mask, done);
  }
  // The mask's bits lie as packing put them: two halves of four vectors of four lanes.
  static std::uint16_t position(std::uint32_t mask, std::size_t done) {
    const unsigned bit = static_cast<unsigned>(__builtin_ctz(mask));
    return static_cast<std::uint16_t>(done + (bit % 16 / 4) * 8 + (bit / 16) * 4 + bit % 4);
  }
};

struct Avx2 {
  // Four groups of four blocks, each word in the low half of 64 bits: a product then needs no
  // shuffle before the next round, and what is left in the upper halves is never read.
  static void words(const Stream& stream, std::uint64_t block, std::size_t units,
                    std::uint32_t* out) {
    constexpr int groups = 4;
    const Schedule s(stream, static_cast<std::uint32_t>(block >> 32));
    const U m0 = each64(multiplier0), m1 = each64(multiplier1);
    U counter = _mm256_add_epi64(each64(static_cast<std::uint32_t>(block)),
                                 _mm256_setr_epi64x(0, 1, 2, 3));
    const U next = each64(4);
    for (std::size_t done = 0; done < units * unit; done += 16 * groups) {
      U c0[groups], c1[groups], c2[groups], c3[groups];
      for (int g = 0; g < groups; ++g) {
        c3[g] = _mm256_mul_epu32(counter, m0);
        counter = _mm256_add_epi64(counter, next);
        c2[g] = _mm256_xor_si256(_mm256_srli_epi64(c3[g], 32), each64(s.first2));
      }
      for (int g = 0; g < groups; ++g) {
        c1[g] = _mm256_mul_epu32(c2[g], m1);
        c0[g] = _mm256_xor_si256(_mm256_srli_epi64(c1[g], 32), each64(s.second0));
        c2[g] = _mm256_xor_si256(c3[g], each64(s.second2));
      }
      for (int g = 0; g < groups; ++g) {
        const U p0 = _mm256_mul_epu32(c0[g], m0), p1 = _mm256_mul_epu32(c2[g], m1);
        c0[g] = _mm256_xor_si256(_mm256_srli_epi64(p1, 32),
                                 _mm256_xor_si256(c1[g], each64(s.k0[2])));
        c1[g] = p1;
        c2[g] = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), each64(s.third2));
        c3[g] = p0;
      }
#pragma GCC unroll 8
      for (int r = 3; r < rounds; ++r) {
        for (int g = 0; g < groups; ++g) {
          const U p0 = _mm256_mul_epu32(c0[g], m0), p1 = _mm256_mul_epu32(c2[g], m1);
          c0[g] = _mm256_xor_si256(_mm256_srli_epi64(p1, 32),
                                   _mm256_xor_si256(c1[g], each64(s.k0[r])));
          c1[g] = p1;
          c2[g] = _mm256_xor_si256(_mm256_srli_epi64(p0, 32),
                                   _mm256_xor_si256(c3[g], each64(s.k1[r])));
          c3[g] = p0;
        }
      }
      for (int g = 0; g < groups; ++g) {
        const U a = _mm256_blend_epi32(c0[g], _mm256_slli_epi64(c1[g], 32), 0xAA);
        const U b = _mm256_blend_epi32(c2[g], _mm256_slli_epi64(c3[g], 32), 0xAA);
        const U even = _mm256_unpacklo_epi64(a, b), odd = _mm256_unpackhi_epi64(a, b);
        auto* to = reinterpret_cast<U*>(out + done + static_cast<std::size_t>(16 * g));
        _mm256_store_si256(to, _mm256_permute2x128_si256(even, odd, 0x20));
        _mm256_store_si256(to + 1, _mm256_permute2x128_si256(even, odd, 0x31));
      }
    }
  }

  static void normals(const std::uint32_t* words, std::size_t units, float scale, float* out) {
    constexpr int vectors = 8;
    Rare rare;
    const F by = _mm256_set1_ps(scale);
    for (std::size_t done = 0; done < units * unit; done += 8 * vectors) {
      F t[vectors], a[vectors];
      U places[vectors / 4], c[4];
      for (int g = 0; g < vectors; g += 4) {
        U segment[4];
        for (int j = 0; j < 4; ++j) {
          const U w = load(words + done, g + j);
          const U v = _mm256_or_si256(_mm256_and_si256(w, _mm256_set1_epi32(0x7FFFFFFF)),
                                      _mm256_set1_epi32(1));
          const U bits = bits_of(_mm256_cvtepi32_ps(v));
          segment[j] = _mm256_srli_epi32(bits, 22);
          const U within = _mm256_or_si256(_mm256_and_si256(bits, _mm256_set1_epi32(fraction)),
                                           _mm256_set1_epi32(one));
          t[g + j] = _mm256_sub_ps(float_of(within), _mm256_set1_ps(1.25f));
        }
        const U p01 = _mm256_packs_epi32(segment[0], segment[1]);
        const U p23 = _mm256_packs_epi32(segment[2], segment[3]);
        const U least = _mm256_set1_epi16(covered + first_segment);
        const U outside = _mm256_packs_epi16(_mm256_cmpgt_epi16(least, p01),
                                             _mm256_cmpgt_epi16(least, p23));
        rare.note(static_cast<std::uint32_t>(_mm256_movemask_epi8(outside)),
                  done + static_cast<std::size_t>(8 * g));
        const U last4 = _mm256_set1_epi16(15);
        places[g / 4] = _mm256_packus_epi16(_mm256_and_si256(p01, last4),
                                            _mm256_and_si256(p23, last4));
      }
      for (int g = 0; g < vectors; g += 4) {
        look_up(degree, places[g / 4], c);
        for (int j = 0; j < 4; ++j) a[g + j] = float_of(c[j]);
      }
#pragma GCC unroll 8
      for (int d = degree - 1; d >= 0; --d) {
        for (int g = 0; g < vectors; g += 4) {
          look_up(d, places[g / 4], c);
          for (int j = 0; j < 4; ++j) {
            const U product = _mm256_cvttps_epi32(_mm256_mul_ps(a[g + j], t[g + j]));
            a[g + j] = _mm256_cvtepi32_ps(_mm256_add_epi32(product, c[j]));
          }
        }
      }
      for (int j = 0; j < vectors; ++j) {
        const U sign = _mm256_and_si256(load(words + done, j),
                                        _mm256_set1_epi32(static_cast<int>(sign_bit)));
        _mm256_storeu_ps(out + done + static_cast<std::size_t>(8 * j),
                         _mm256_xor_ps(_mm256_mul_ps(a[j], by), float_of(sign)));
      }
    }
    for (std::size_t i = 0; i < rare.count; ++i) {
      out[rare.at[i]] = scaled(words[rare.at[i]], scale);
    }
  }

 private:
  static U load(const std::uint32_t* words, int vector) {
    return _mm256_loadu_si256(reinterpret_cast<const U*>(words + 8 * vector));
  }
};

}  // namespace

const Kernel avx2 = kernel_of<Avx2>("avx2");

}  // namespace isometry
