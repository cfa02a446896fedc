// AVX-512: the 32 upper segments are one two-register look-up a coefficient, and a lane outside of
// them comes once in 40,000 words.
#ifdef ISOMETRY_EMULATE_AVX512
#include "emulated_avx512.hpp"
#else
#include <immintrin.h>
#endif

#include "kernel.hpp"

namespace isometry {
namespace {

using U = __m512i;
using F = __m512;

inline U bits_of(F x) { return _mm512_castps_si512(x); }
inline F float_of(U x) { return _mm512_castsi512_ps(x); }
inline U each64(std::uint32_t x) { return _mm512_set1_epi64(x); }
inline U xor3(U a, U b, U c) { return _mm512_ternarylogic_epi32(a, b, c, 0x96); }

// Segment s has place bits >> 22 mod 32, as it stands.
constexpr int covered = 31;            // the first segment of the 32
constexpr std::uint32_t least = 3 << 14;  // the least v in it
struct Columns {
  alignas(64) std::uint32_t entries[degree + 1][32];
  constexpr Columns() : entries() {
    for (int d = 0; d <= degree; ++d) {
      for (int s = covered; s < covered + 32; ++s) {
        entries[d][(s + first_segment) % 32] = entry(s, d);
      }
    }
  }
};
constexpr Columns columns;

struct Avx512 {
  // Four groups of eight blocks, each word in the low half of 64 bits: a product then needs no
  // shuffle before the next round, and what is left in the upper halves is never read.
  static void words(const Stream& stream, std::uint64_t block, std::size_t units,
                    std::uint32_t* out) {
    constexpr int groups = 4;
    const Schedule s(stream, static_cast<std::uint32_t>(block >> 32));
    const U m0 = each64(multiplier0), m1 = each64(multiplier1);
    const U first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const U second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    U counter = _mm512_add_epi64(each64(static_cast<std::uint32_t>(block)),
                                 _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
    const U next = each64(8);
    for (std::size_t done = 0; done < units * unit; done += 32 * groups) {
      U c0[groups], c1[groups], c2[groups], c3[groups];
      for (int g = 0; g < groups; ++g) {
        c3[g] = _mm512_mul_epu32(counter, m0);
        counter = _mm512_add_epi64(counter, next);
        c2[g] = _mm512_xor_si512(_mm512_srli_epi64(c3[g], 32), each64(s.first2));
      }
      for (int g = 0; g < groups; ++g) {
        c1[g] = _mm512_mul_epu32(c2[g], m1);
        c0[g] = _mm512_xor_si512(_mm512_srli_epi64(c1[g], 32), each64(s.second0));
        c2[g] = _mm512_xor_si512(c3[g], each64(s.second2));
      }
      for (int g = 0; g < groups; ++g) {
        const U p0 = _mm512_mul_epu32(c0[g], m0), p1 = _mm512_mul_epu32(c2[g], m1);
        c0[g] = xor3(_mm512_srli_epi64(p1, 32), c1[g], each64(s.k0[2]));
        c1[g] = p1;
        c2[g] = _mm512_xor_si512(_mm512_srli_epi64(p0, 32), each64(s.third2));
        c3[g] = p0;
      }
#pragma GCC unroll 8
      for (int r = 3; r < rounds; ++r) {
        for (int g = 0; g < groups; ++g) {
          const U p0 = _mm512_mul_epu32(c0[g], m0), p1 = _mm512_mul_epu32(c2[g], m1);
          c0[g] = xor3(_mm512_srli_epi64(p1, 32), c1[g], each64(s.k0[r]));
          c1[g] = p1;
          c2[g] = xor3(_mm512_srli_epi64(p0, 32), c3[g], each64(s.k1[r]));
          c3[g] = p0;
        }
      }
      for (int g = 0; g < groups; ++g) {
        const U a = _mm512_mask_blend_epi32(0xAAAA, c0[g], _mm512_slli_epi64(c1[g], 32));
        const U b = _mm512_mask_blend_epi32(0xAAAA, c2[g], _mm512_slli_epi64(c3[g], 32));
        const U even = _mm512_unpacklo_epi64(a, b), odd = _mm512_unpackhi_epi64(a, b);
        std::uint32_t* to = out + done + static_cast<std::size_t>(32 * g);
        _mm512_store_si512(to, _mm512_permutex2var_epi64(even, first, odd));
        _mm512_store_si512(to + 16, _mm512_permutex2var_epi64(even, second, odd));
      }
    }
  }

  static void normals(const std::uint32_t* words, std::size_t units, float scale, float* out) {
    constexpr int vectors = 4;
    const F by = _mm512_set1_ps(scale);
    U low[degree + 1], high[degree + 1];
    for (int d = 0; d <= degree; ++d) {
      low[d] = _mm512_load_si512(columns.entries[d]);
      high[d] = _mm512_load_si512(columns.entries[d] + 16);
    }
    for (std::size_t done = 0; done < units * unit; done += 16 * vectors) {
      U w[vectors], segment[vectors];
      F t[vectors], a[vectors];
      std::uint64_t rare = 0;
      for (int j = 0; j < vectors; ++j) {
        w[j] = _mm512_loadu_si512(words + done + static_cast<std::size_t>(16 * j));
        const U v = _mm512_ternarylogic_epi32(w[j], _mm512_set1_epi32(0x7FFFFFFF),
                                              _mm512_set1_epi32(1), 0xEA);  // (a & b) | c
        const U bits = bits_of(_mm512_cvtepi32_ps(v));
        segment[j] = _mm512_srli_epi32(bits, 22);
        const U within = _mm512_ternarylogic_epi32(bits, _mm512_set1_epi32(fraction),
                                                   _mm512_set1_epi32(one), 0xEA);
        t[j] = _mm512_sub_ps(float_of(within), _mm512_set1_ps(1.25f));
        rare |= static_cast<std::uint64_t>(_mm512_cmplt_epu32_mask(v, _mm512_set1_epi32(least)))
                << (16 * j);
        a[j] = float_of(_mm512_permutex2var_epi32(low[degree], segment[j], high[degree]));
      }
#pragma GCC unroll 8
      for (int d = degree - 1; d >= 0; --d) {
        for (int j = 0; j < vectors; ++j) {
          const U c = _mm512_permutex2var_epi32(low[d], segment[j], high[d]);
          const U product = _mm512_cvttps_epi32(_mm512_mul_ps(a[j], t[j]));
          a[j] = _mm512_cvtepi32_ps(_mm512_add_epi32(product, c));
        }
      }
      for (int j = 0; j < vectors; ++j) {
        const U value = bits_of(_mm512_mul_ps(a[j], by));
        const U sign = _mm512_set1_epi32(static_cast<int>(sign_bit));
        _mm512_storeu_ps(out + done + static_cast<std::size_t>(16 * j),
                         float_of(_mm512_ternarylogic_epi32(w[j], sign, value, 0x6A)));
      }
      while (__builtin_expect(rare != 0, 0)) {
        const std::size_t i = done + static_cast<std::size_t>(__builtin_ctzll(rare));
        out[i] = scaled(words[i], scale);
        rare &= rare - 1;
      }
    }
  }
};

}  // namespace

const Kernel avx512 = kernel_of<Avx512>("avx512");

}  // namespace isometry
