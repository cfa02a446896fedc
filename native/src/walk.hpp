// From elements of a tensor to places in memory: any part of it, in any strides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "stream.hpp"

namespace isometry {

// The positions taken along one axis. Element numbers are `step` apart, or listed in `at`.
struct Axis {
  std::int64_t count;
  std::int64_t step;        // between neighbours' numbers, in the row-major order of the whole
  const std::int64_t* at;   // count numbers to add instead, or null
  std::int64_t stride;      // between neighbours in memory, in bytes
};

constexpr std::size_t most_axes = 64;

// Everything that one fill needs, of at most `most_axes` axes. Every element's number is first + the sum over its axes.
struct Request {
  Stream stream;
  Draw draw;
  Dtype dtype;
  std::int64_t first;
  std::vector<Axis> axes;
  char* out;
};

// Write the values, on at most this many threads. Safe from any caller: the floating-point
// environment is set and put back.
void fill(const Kernel& kernel, Request request, unsigned threads);

}  // namespace isometry
