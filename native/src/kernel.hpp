// A kernel from two primitives of an instruction set, chunk by chunk, all of it in cache:
//
//   struct Isa {
//     static void words(const Stream&, uint64_t block, size_t units, uint32_t* out);
//     static void normals(const uint32_t* words, size_t units, float scale, float* out);
//   };
//
// Both work on units of 128 words. `words` is never asked to cross a multiple of 2^32 blocks.
#pragma once

#include <algorithm>

#include "passes.hpp"
#include "philox.hpp"

namespace isometry {
namespace {

constexpr std::size_t unit = 128;
constexpr std::size_t chunk = 2048;  // words, and as many floats, lie in the first-level cache

constexpr std::size_t units_of(std::size_t n) { return (n + unit - 1) / unit; }

// Words of whole blocks one by one: for any block numbers at all.
inline void block_words(const Stream& stream, std::uint64_t block, std::size_t n,
                        std::uint32_t* out) {
  constexpr int lanes = 16;
  std::uint64_t blocks[lanes];
  std::uint32_t found[4][lanes];
  for (std::size_t done = 0; done < n; done += 4 * lanes) {
    for (int i = 0; i < lanes; ++i) blocks[i] = block + done / 4 + static_cast<std::uint64_t>(i);
    philox(stream, blocks, found);
    std::uint32_t* to = out + done;
    for (int i = 0; i < lanes; ++i) {
      to[4 * i] = found[0][i];
      to[4 * i + 1] = found[1][i];
      to[4 * i + 2] = found[2][i];
      to[4 * i + 3] = found[3][i];
    }
  }
}

template <class Isa>
struct Chunks {
  alignas(64) std::uint32_t words[chunk + unit];
  alignas(64) float values[chunk + unit];

  // `words` from the block of `first` on; returns where `first` itself is.
  std::uint32_t* draw(const Stream& stream, std::uint64_t first, std::size_t n) {
    const std::uint64_t block = first / 4;
    const std::size_t skip = first % 4, units = units_of(skip + n);
    const bool crosses = (block & 0xFFFFFFFF) + units * unit / 4 > (std::uint64_t{1} << 32);
    if (crosses) {
      block_words(stream, block, units * unit, words);
    } else {
      Isa::words(stream, block, units, words);
    }
    return words + skip;
  }

  // Values of the words at `from`, in `out`, which has room for whole units.
  void values_of(std::uint32_t* from, const Draw& how, std::size_t n, float* out) {
    const float scale = how.mean != 0 ? 1.0f : how.scale;
    if (how.kind == Draw::uniform) {
      uniforms(from, n, scale, out);
    } else {
      if (how.low) cut(from, n, how.low);
      Isa::normals(from, units_of(n), scale, out);
    }
    if (how.mean != 0) shift(out, n, how.scale, how.mean);
  }

  // The same, as n items of the dtype.
  void emit(std::uint32_t* from, const Draw& how, Dtype dtype, std::size_t n, char* out) {
    if (dtype == Dtype::float32 && n % unit == 0) {
      values_of(from, how, n, reinterpret_cast<float*>(out));
    } else {
      values_of(from, how, n, values);
      to_dtype(values, n, dtype, out);
    }
  }
};

template <class Isa>
void words(const Stream& stream, std::uint64_t first, std::size_t n, std::uint32_t* out) {
  Chunks<Isa> chunks;
  for (std::size_t done = 0; done < n;) {
    const std::size_t now = std::min(n - done, chunk - 4);
    std::memcpy(out + done, chunks.draw(stream, first + done, now), 4 * now);
    done += now;
  }
}

template <class Isa>
void run(const Stream& stream, const Draw& how, Dtype dtype, std::uint64_t first, std::size_t n,
         void* out) {
  Chunks<Isa> chunks;
  char* to = static_cast<char*>(out);
  for (std::size_t done = 0; done < n;) {
    const std::size_t now = std::min(n - done, chunk);
    std::uint32_t* from = chunks.draw(stream, first + done, now);
    chunks.emit(from, how, dtype, now, to + done * item_size(dtype));
    done += now;
  }
}

template <class Isa>
void pick(const Stream& stream, const Draw& how, Dtype dtype, const std::uint64_t* at,
          std::size_t n, void* out) {
  constexpr int lanes = 16;
  Chunks<Isa> chunks;
  std::uint64_t blocks[lanes];
  std::uint32_t found[4][lanes];
  char* to = static_cast<char*>(out);
  for (std::size_t done = 0; done < n;) {
    const std::size_t now = std::min(n - done, chunk);
    for (std::size_t i = 0; i < units_of(now) * unit; i += lanes) {
      for (std::size_t k = 0; k < lanes; ++k) {
        blocks[k] = i + k < now ? at[done + i + k] / 4 : 0;
      }
      philox(stream, blocks, found);
      for (std::size_t k = 0; k < lanes; ++k) {
        chunks.words[i + k] = i + k < now ? found[at[done + i + k] % 4][k] : 0;
      }
    }
    chunks.emit(chunks.words, how, dtype, now, to + done * item_size(dtype));
    done += now;
  }
}

template <class Isa>
void map(const std::uint32_t* words, const Draw& how, Dtype dtype, std::size_t n, void* out) {
  Chunks<Isa> chunks;
  char* to = static_cast<char*>(out);
  for (std::size_t done = 0; done < n;) {
    const std::size_t now = std::min(n - done, chunk);
    std::memcpy(chunks.words, words + done, 4 * now);
    std::fill(chunks.words + now, chunks.words + units_of(now) * unit, 0u);
    chunks.emit(chunks.words, how, dtype, now, to + done * item_size(dtype));
    done += now;
  }
}

template <class Isa>
constexpr Kernel kernel_of(const char* name) {
  return {name, words<Isa>, run<Isa>, pick<Isa>, map<Isa>};
}

}  // namespace
}  // namespace isometry
