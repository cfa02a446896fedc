// The quantile of one word, and its table in the shapes that look-ups by vector want.
#pragma once

#include <cstdint>
#include <cstring>

#include "table.hpp"

namespace isometry {
namespace {

constexpr int degree = 5;
constexpr std::uint32_t sign_bit = 0x80000000, fraction = 0x3FFFFF, one = 0x3F800000;
constexpr int first_segment = 254;  // bits >> 22 of float(1)

// The bits of float(c), for |c| < 2^24.
constexpr std::uint32_t float_bits(std::int32_t c) {
  if (c == 0) return 0;
  const std::uint32_t sign = c < 0 ? sign_bit : 0;
  std::uint32_t size = static_cast<std::uint32_t>(c < 0 ? -c : c);
  std::uint32_t exponent = 127 + 23;
  while (size < (1u << 23)) {
    size <<= 1;
    --exponent;
  }
  return sign | (exponent << 23) | (size & 0x7FFFFF);
}

// Row s of the table as it is looked up: the leading coefficient as a float's bits.
constexpr std::uint32_t entry(int segment, int d) {
  const std::int32_t c = table[segment][d];
  return d == degree ? float_bits(c) : static_cast<std::uint32_t>(c);
}

inline float as_float(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline std::uint32_t as_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// |z| in units of 2^-27, for v odd in [1, 2^31).
inline float magnitude(std::uint32_t v) {
  const std::uint32_t bits = as_bits(static_cast<float>(static_cast<std::int32_t>(v)));
  const auto& row = table[(bits >> 22) - first_segment];
  const float t = as_float((bits & fraction) | one) - 1.25f;
  float a = static_cast<float>(row[degree]);
  for (int d = degree - 1; d >= 0; --d) {
    a = static_cast<float>(static_cast<std::int32_t>(a * t) + row[d]);
  }
  return a;
}

// ±m * scale of a word.
inline float scaled(std::uint32_t word, float scale) {
  const float m = magnitude((word & ~sign_bit) | 1) * scale;
  return as_float(as_bits(m) ^ (word & sign_bit));
}

}  // namespace
}  // namespace isometry
