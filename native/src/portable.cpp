// For any processor: plain loops over sixteen lanes, which a compiler turns into NEON, SVE, SSE2.
#include "kernel.hpp"

namespace isometry {
namespace {

struct Portable {
  static void words(const Stream& stream, std::uint64_t block, std::size_t units,
                    std::uint32_t* out) {
    block_words(stream, block, units * unit, out);
  }

  static void normals(const std::uint32_t* words, std::size_t units, float scale, float* out) {
    constexpr std::size_t lanes = 16;
    std::uint32_t segment[lanes];
    float t[lanes], a[lanes];
    std::int32_t c[lanes];
    for (std::size_t done = 0; done < units * unit; done += lanes) {
      for (std::size_t i = 0; i < lanes; ++i) {
        const std::uint32_t v = (words[done + i] & ~sign_bit) | 1;
        const std::uint32_t bits = as_bits(static_cast<float>(static_cast<std::int32_t>(v)));
        segment[i] = (bits >> 22) - first_segment;
        t[i] = as_float((bits & fraction) | one) - 1.25f;
      }
      for (std::size_t i = 0; i < lanes; ++i) {
        a[i] = static_cast<float>(table[segment[i]][degree]);
      }
      for (int d = degree - 1; d >= 0; --d) {
        for (std::size_t i = 0; i < lanes; ++i) c[i] = table[segment[i]][d];
        for (std::size_t i = 0; i < lanes; ++i) {
          a[i] = static_cast<float>(static_cast<std::int32_t>(a[i] * t[i]) + c[i]);
        }
      }
      for (std::size_t i = 0; i < lanes; ++i) {
        out[done + i] = as_float(as_bits(a[i] * scale) ^ (words[done + i] & sign_bit));
      }
    }
  }
};

}  // namespace

const Kernel portable = kernel_of<Portable>("portable");

}  // namespace isometry
