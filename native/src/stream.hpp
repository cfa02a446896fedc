// What a kernel is given and what it offers. The meaning of every field is docs/spec/stream.md's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace isometry {

// Where one tensor's words lie: element i is word i % 4 of block i / 4.
struct Stream {
  std::uint32_t key[2];
  std::uint32_t high[2];  // counter words 2 and 3; words 0 and 1 are the block
};

// An elementwise law: value = ±m * scale, or float(double(±m) * double(scale) + mean).
struct Draw {
  enum Kind : std::uint8_t { normal, uniform };
  Kind kind;
  float scale;
  double mean;
  std::uint32_t low;  // of a truncated normal: the largest even v that is cut off; else 0
};

enum class Dtype : std::uint8_t { float32, float64, float16, bfloat16, float8_e4m3fn, float8_e5m2 };
constexpr std::size_t dtype_count = 6;

constexpr std::size_t item_size(Dtype dtype) {
  constexpr std::size_t sizes[dtype_count] = {4, 8, 2, 2, 1, 1};
  return sizes[static_cast<std::size_t>(dtype)];
}

// One instruction set's way to do it. All give the same bits.
struct Kernel {
  const char* name;

  // Words of elements first, first + 1, ...
  void (*words)(const Stream&, std::uint64_t first, std::size_t n, std::uint32_t* out);

  // Values of elements first, first + 1, ... as consecutive items of the dtype.
  void (*run)(const Stream&, const Draw&, Dtype, std::uint64_t first, std::size_t n, void* out);

  // Values of the elements at[0], at[1], ... as consecutive items.
  void (*pick)(const Stream&, const Draw&, Dtype, const std::uint64_t* at, std::size_t n,
               void* out);

  // Values that given words stand for: what an enumeration of all of them goes through.
  void (*map)(const std::uint32_t* words, const Draw&, Dtype, std::size_t n, void* out);
};

extern const Kernel portable;
#ifdef ISOMETRY_X86
extern const Kernel avx2;
extern const Kernel avx512;
#endif

// The kernels this processor can run, the fastest first.
struct Available {
  const Kernel* kernels[3];
  std::size_t count;
};
Available available();

}  // namespace isometry
