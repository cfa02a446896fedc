// AVX-512 by SIMDe, for processors that have none: the same kernel's source, slow, with its bits.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <cstdint>
#include <cstring>

// Three instructions that SIMDe 0.7 does not have yet.
namespace emulated {

template <class From, class To, class Make>
inline void each_lane(const void* from, void* to, Make make) {
  for (int i = 0; i < 16; ++i) {
    From x;
    std::memcpy(&x, static_cast<const char*>(from) + 4 * i, 4);
    const To y = make(x);
    std::memcpy(static_cast<char*>(to) + 4 * i, &y, 4);
  }
}

inline simde__m512 to_float(simde__m512i x) {
  simde__m512 y;
  each_lane<std::int32_t, float>(&x, &y, [](std::int32_t v) { return static_cast<float>(v); });
  return y;
}

inline simde__m512i truncate(simde__m512 x) {
  simde__m512i y;
  each_lane<float, std::int32_t>(&x, &y, [](float v) { return static_cast<std::int32_t>(v); });
  return y;
}

inline simde__mmask16 less(simde__m512i a, simde__m512i b) {
  std::uint32_t x[16], y[16];
  std::memcpy(x, &a, 64);
  std::memcpy(y, &b, 64);
  unsigned mask = 0;
  for (unsigned i = 0; i < 16; ++i) mask |= static_cast<unsigned>(x[i] < y[i]) << i;
  return static_cast<simde__mmask16>(mask);
}

}  // namespace emulated

#define _mm512_cvtepi32_ps(x) emulated::to_float(x)
#define _mm512_cvttps_epi32(x) emulated::truncate(x)
#define _mm512_cmplt_epu32_mask(a, b) emulated::less(a, b)
