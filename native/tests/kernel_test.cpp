// The kernel by itself, element by element against the plainest code there is. Built with the
// sanitizers by `make verify`. Prints what failed; the exit status is the number of failures.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "environment.hpp"
#include "passes.hpp"
#include "philox.hpp"
#include "threads.hpp"
#include "walk.hpp"

namespace {

using namespace isometry;

int failures = 0;

void check(bool holds, const char* what, const char* where) {
  if (!holds) {
    std::printf("FAILED: %s (%s)\n", what, where);
    ++failures;
  }
}

const Stream stream = {{0x4d8a2b86, 0x0eaba1af}, {0xb5111a2f, 0x6e7293c2}};

std::uint32_t word(std::uint64_t i) {
  std::uint32_t out[4][1];
  philox<1>(stream, {i / 4}, out);
  return out[i % 4][0];
}

// One item, in the first bytes of eight.
std::uint64_t item(std::uint32_t w, const Draw& how, Dtype dtype) {
  if (how.low) {
    const std::uint64_t u = w & ~sign_bit, span = (std::uint64_t{1} << 31) - how.low;
    w = (w & sign_bit) | (how.low + static_cast<std::uint32_t>((u * span) >> 31));
  }
  const float by = how.mean != 0 ? 1.0f : how.scale;
  float value = how.kind == Draw::uniform
                    ? static_cast<float>(static_cast<std::int32_t>(w | 1)) * by
                    : scaled(w, by);
  if (how.mean != 0) {
    value = static_cast<float>(static_cast<double>(value) * static_cast<double>(how.scale) + how.mean);
  }
  std::uint64_t bits = 0;
  alignas(8) char bytes[8] = {};
  to_dtype(&value, 1, dtype, bytes);
  std::memcpy(&bits, bytes, item_size(dtype));
  return bits;
}

std::uint64_t load(const char* from, Dtype dtype) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, from, item_size(dtype));
  return bits;
}

std::vector<Draw> laws() {
  const float s = 0.02f * 0x1p-27f;
  return {{Draw::normal, s, 0.0, 0},         {Draw::normal, s, 1.0, 0},
          {Draw::normal, s, 0.0, 0x5d2f27e}, {Draw::uniform, 0.05f * 0x1p-31f, 0.0, 0},
          {Draw::uniform, 1.0f * 0x1p-31f, -0.25, 0}};
}

constexpr Dtype dtypes[] = {Dtype::float32,  Dtype::float64,       Dtype::float16,
                            Dtype::bfloat16, Dtype::float8_e4m3fn, Dtype::float8_e5m2};

void known_answers() {
  const Stream pi = {{0xa4093822, 0x299f31d0}, {0x13198a2e, 0x03707344}};
  std::uint32_t out[4][1];
  philox<1>(pi, {0x85a308d3243f6a88}, out);
  check(out[0][0] == 0xd16cfe09 && out[1][0] == 0x94fdcceb && out[2][0] == 0x5001e420 &&
            out[3][0] == 0x24126ea1,
        "Random123's known answer", "philox");
  check(as_bits(scaled(0x00000000, 0x1p-27f)) == 0x40c75e4a, "the largest normal", "quantile");
  check(as_bits(scaled(0x00ffffff, 0x1p-27f)) == 0x402a3e8c, "a normal", "quantile");
  check(as_bits(scaled(0xffffffff, 0x1p-27f)) == 0xb2c00000, "the smallest normal", "quantile");
}

void each_kernel(const Kernel& kernel) {
  const std::uint64_t carry = std::uint64_t{4} << 32;
  for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{5}, carry - 70, 7 * carry}) {
    for (const std::size_t n : {0, 1, 3, 64, 127, 128, 129, 2048, 2049, 5000}) {
      std::vector<std::uint32_t> words(n);
      kernel.words(stream, first, n, words.data());
      for (std::size_t i = 0; i < n; ++i) {
        if (words[i] != word(first + i)) return check(false, "words", kernel.name);
      }
    }
  }
  for (const Draw& how : laws()) {
    for (const Dtype dtype : dtypes) {
      const std::size_t n = 5003, size = item_size(dtype);
      std::vector<double> run((n * size + 7) / 8), picked(run), mapped(run);
      std::vector<std::uint64_t> at(n);
      std::vector<std::uint32_t> words(n);
      for (std::size_t i = 0; i < n; ++i) at[i] = (i * 2654435761u) % 100000;
      // Tails, which the stream's own words hardly reach.
      for (std::size_t i = 0; i < n; ++i) words[i] = static_cast<std::uint32_t>(i) << (i % 24);
      kernel.run(stream, how, dtype, 9, n, run.data());
      kernel.pick(stream, how, dtype, at.data(), n, picked.data());
      kernel.map(words.data(), how, dtype, n, mapped.data());
      const auto item_at = [&](const std::vector<double>& v, std::size_t i) {
        return load(reinterpret_cast<const char*>(v.data()) + i * size, dtype);
      };
      bool same[3] = {true, true, true};
      for (std::size_t i = 0; i < n; ++i) {
        same[0] = same[0] && item_at(run, i) == item(word(9 + i), how, dtype);
        same[1] = same[1] && item_at(picked, i) == item(word(at[i]), how, dtype);
        same[2] = same[2] && item_at(mapped, i) == item(words[i], how, dtype);
      }
      check(same[0], "run", kernel.name);
      check(same[1], "pick", kernel.name);
      check(same[2], "map", kernel.name);
    }
  }
}

// Requests of random shapes, positions, layouts and threads, in memory of exactly their size.
void walks(const Kernel& kernel) {
  std::mt19937_64 random(7);
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(random() % n); };
  for (int round = 0; round < 400; ++round) {
    const std::size_t ndim = static_cast<std::size_t>(below(5));
    std::vector<std::int64_t> sizes(ndim), order(ndim);
    std::vector<std::vector<std::int64_t>> lists(ndim);
    std::vector<Axis> axes(ndim);
    const Dtype dtype = dtypes[below(dtype_count)];
    const auto size = static_cast<std::int64_t>(item_size(dtype));
    std::int64_t numbers = 1, first = below(1000);
    for (std::size_t a = ndim; a-- > 0;) {
      sizes[a] = 1 + below(ndim > 2 ? 12 : 90);
      const std::int64_t count = 1 + below(static_cast<std::uint64_t>(sizes[a]));
      axes[a] = {count, numbers, nullptr, 0};
      if (below(3) == 0) {
        for (std::int64_t i = 0; i < count; ++i) lists[a].push_back(below(static_cast<std::uint64_t>(sizes[a])) * numbers);
        axes[a].at = lists[a].data();
        axes[a].step = 0;
      } else if (below(4) == 0) {
        first += numbers * (count - 1);
        axes[a].step = -numbers;
      }
      numbers *= sizes[a];
      order[a] = static_cast<std::int64_t>(a);
    }
    std::shuffle(order.begin(), order.end(), random);
    std::int64_t length = size, begin = 0;
    for (const std::int64_t a : order) {
      Axis& axis = axes[static_cast<std::size_t>(a)];
      axis.stride = length * (1 + below(2));
      length = axis.stride * axis.count;
      if (below(4) == 0) {
        begin += axis.stride * (axis.count - 1);
        axis.stride = -axis.stride;
      }
    }
    const std::int64_t misaligned = below(3) == 0 ? below(8) : 0;
    begin += misaligned;
    std::unique_ptr<char[]> memory(new char[static_cast<std::size_t>(length + misaligned)]);
    const Draw how = laws()[static_cast<std::size_t>(below(5))];
    fill(kernel, {stream, how, dtype, first, axes, memory.get() + begin},
         1 + static_cast<unsigned>(below(4)));
    std::int64_t total = 1;
    for (const Axis& axis : axes) total *= axis.count;
    for (std::int64_t i = 0; i < total; ++i) {
      std::int64_t rest = i, number = first;
      const char* place = memory.get() + begin;
      for (std::size_t a = ndim; a-- > 0;) {
        const std::int64_t k = rest % axes[a].count;
        rest /= axes[a].count;
        number += axes[a].at ? axes[a].at[k] : axes[a].step * k;
        place += axes[a].stride * k;
      }
      if (load(place, dtype) != item(word(static_cast<std::uint64_t>(number)), how, dtype)) {
        return check(false, "walk", kernel.name);
      }
    }
  }
}

void environment() {
  const auto found = Environment::get();
  {
    const Environment standard;
    check(Environment::get() == Environment::standard, "set", "environment");
  }
  check(Environment::get() == found, "restored", "environment");
}

void threads() {
  for (const unsigned n : {1u, 2u, 8u}) {
    std::vector<std::atomic<int>> done(1000);
    in_parallel(1000, 1 << 24, n, [&](std::int64_t begin, std::int64_t end) {
      // Late enough that a caller who does not wait for the last of it is found out.
      std::this_thread::sleep_for(std::chrono::microseconds(begin % 2 ? 300 : 1000));
      for (std::int64_t i = begin; i < end; ++i) ++done[static_cast<std::size_t>(i)];
    });
    for (const auto& times : done) {
      if (times != 1) return check(false, "each piece once", "threads");
    }
  }
}

}  // namespace

int main() {
  known_answers();
  environment();
  threads();
  const Available all = available();
  for (std::size_t i = 0; i < all.count; ++i) {
    each_kernel(*all.kernels[i]);
    walks(*all.kernels[i]);
    std::printf("%s: done\n", all.kernels[i]->name);
  }
  std::printf("%d failures\n", failures);
  return failures;
}
