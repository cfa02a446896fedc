// Disjoint pieces of work on threads of their own.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

#include "environment.hpp"

namespace isometry {

constexpr std::int64_t worth_a_thread = 1 << 16;  // elements: some hundred microseconds
constexpr std::int64_t huge_page = 1 << 19;       // elements of four bytes

// work(begin, end) until all of [0, pieces) is done. Whoever is free takes the next batch: a thread
// that starts late, as one does on an idle processor, holds nobody up. A batch is a huge page or
// more where there are as many, so that two threads do not touch one for the first time together.
// Threads are started anew each time: it costs microseconds, and a fork inherits no pool.
template <class Work>
void in_parallel(std::int64_t pieces, std::int64_t elements, unsigned threads, const Work& work) {
  const std::int64_t most = std::min(pieces, elements / worth_a_thread);
  const std::int64_t n = std::max<std::int64_t>(1, std::min<std::int64_t>(threads, most));
  const std::int64_t each = std::max<std::int64_t>(1, pieces / n);
  const std::int64_t batch = std::min(each, std::max(each / 32, huge_page * pieces / elements + 1));
  std::atomic<std::int64_t> next{0};
  const auto take = [&] {
    const Environment standard;
    for (std::int64_t begin; (begin = next.fetch_add(batch)) < pieces;) {
      work(begin, std::min(begin + batch, pieces));
    }
  };
  std::vector<std::thread> others;
  try {
    others.reserve(static_cast<std::size_t>(n - 1));
    while (static_cast<std::int64_t>(others.size()) < n - 1) others.emplace_back(take);
  } catch (const std::exception&) {
    // No thread to be had: those that there are do it all.
  }
  take();
  for (std::thread& thread : others) thread.join();
}

}  // namespace isometry
