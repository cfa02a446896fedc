// What is done to a chunk in cache besides the quantile, in loops that compilers vectorise.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quantile.hpp"
#include "stream.hpp"

namespace isometry {
namespace {

// Words -> words whose v lies where a truncated normal is not cut off; the sign stays.
inline void cut(std::uint32_t* words, std::size_t n, std::uint32_t low) {
  const std::uint32_t twice = 2 * ((1u << 31) - low);  // low > 0, so that it fits
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t u = words[i] & ~sign_bit;
    const auto high = static_cast<std::uint32_t>((std::uint64_t{u} * twice) >> 32);
    words[i] = (words[i] & sign_bit) | (low + high);
  }
}

inline void uniforms(const std::uint32_t* words, std::size_t n, float scale, float* out) {
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(static_cast<std::int32_t>(words[i] | 1)) * scale;
  }
}

// ±m -> ±m * scale + mean; the product is exact.
inline void shift(float* values, std::size_t n, double scale, double mean) {
  for (std::size_t i = 0; i < n; ++i) {
    values[i] = static_cast<float>(static_cast<double>(values[i]) * scale + mean);
  }
}

inline void to_float64(const float* in, std::size_t n, double* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = in[i];
}

inline void to_bfloat16(const float* in, std::size_t n, std::uint16_t* out) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t x = as_bits(in[i]);
    out[i] = static_cast<std::uint16_t>((x + 0x7FFF + ((x >> 16) & 1)) >> 16);
  }
}

// To a float of `mantissa` bits and this bias, ties to even; past the largest code it saturates.
template <int mantissa, int bias, std::uint32_t largest, class Bits>
inline void to_narrow(const float* in, std::size_t n, Bits* out) {
  constexpr int dropped = 23 - mantissa;
  constexpr std::uint32_t least_normal = static_cast<std::uint32_t>(128 - bias) << 23;
  // A float whose last bit is worth a subnormal's step: adding it rounds to that step.
  constexpr std::uint32_t step = static_cast<std::uint32_t>(128 - bias + dropped) << 23;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t x = as_bits(in[i]);
    const std::uint32_t size = x & ~sign_bit;
    const std::uint32_t half = (1u << (dropped - 1)) - 1 + ((size >> dropped) & 1);
    std::uint32_t normal =
        ((size + half) >> dropped) - (static_cast<std::uint32_t>(127 - bias) << mantissa);
    normal = normal < largest ? normal : largest;
    const std::uint32_t subnormal = as_bits(as_float(size) + as_float(step)) - step;
    const std::uint32_t code = size < least_normal ? subnormal : normal;
    out[i] = static_cast<Bits>(code | ((x & sign_bit) >> (32 - 8 * sizeof(Bits))));
  }
}

inline void to_dtype(const float* in, std::size_t n, Dtype dtype, void* out) {
  switch (dtype) {
    case Dtype::float32: std::memcpy(out, in, 4 * n); break;
    case Dtype::float64: to_float64(in, n, static_cast<double*>(out)); break;
    case Dtype::bfloat16: to_bfloat16(in, n, static_cast<std::uint16_t*>(out)); break;
    case Dtype::float16:
      to_narrow<10, 15, 0x7BFF>(in, n, static_cast<std::uint16_t*>(out));
      break;
    case Dtype::float8_e4m3fn:
      to_narrow<3, 7, 0x7E>(in, n, static_cast<std::uint8_t*>(out));
      break;
    case Dtype::float8_e5m2:
      to_narrow<2, 15, 0x7B>(in, n, static_cast<std::uint8_t*>(out));
      break;
  }
}

}  // namespace
}  // namespace isometry
