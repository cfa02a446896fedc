// Disjoint pieces of work on threads of their own.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "environment.hpp"

namespace isometry {

constexpr std::int64_t worth_a_thread = 1 << 16;  // elements: some hundred microseconds
constexpr std::int64_t huge_page = 1 << 19;       // elements of four bytes

// Work that threads share. It lives until the last of them has let go of it, and is never touched
// once all of it is done.
template <class Work>
class Shared {
 public:
  Shared(Work work, std::int64_t pieces, std::int64_t batch)
      : work_(std::move(work)), pieces_(pieces), batch_(batch), left_(pieces) {}

  // Take batches while there are any.
  void take() {
    const Environment standard;
    for (std::int64_t begin; (begin = next_.fetch_add(batch_)) < pieces_;) {
      const std::int64_t end = std::min(begin + batch_, pieces_);
      work_(begin, end);
      if ((left_ -= end - begin) == 0) {
        const std::lock_guard<std::mutex> lock(mutex_);
        done_.notify_all();
      }
    }
  }

  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return left_ == 0; });
  }

 private:
  const Work work_;
  const std::int64_t pieces_, batch_;
  std::atomic<std::int64_t> next_{0}, left_;
  std::mutex mutex_;
  std::condition_variable done_;
};

// work(begin, end) until all of [0, pieces) is done. Whoever is free takes the next batch, and the
// caller goes when everything is done: a thread that has not begun by then, as happens on a busy
// processor, finds nothing left to do and holds nobody up. A batch is a huge page or more where
// there are as many, so that two threads do not touch one for the first time together. Threads are
// started anew each time: it costs microseconds, and a fork inherits no pool.
template <class Work>
void in_parallel(std::int64_t pieces, std::int64_t elements, unsigned threads, const Work& work) {
  const std::int64_t most = std::min(pieces, elements / worth_a_thread);
  const std::int64_t n = std::max<std::int64_t>(1, std::min<std::int64_t>(threads, most));
  if (n == 1) {
    const Environment standard;
    return work(0, pieces);
  }
  const std::int64_t each = pieces / n;
  const std::int64_t batch = std::min(each, std::max(each / 32, huge_page * pieces / elements + 1));
  const auto shared = std::make_shared<Shared<Work>>(work, pieces, batch);
  try {
    for (std::int64_t i = 1; i < n; ++i) std::thread([shared] { shared->take(); }).detach();
  } catch (const std::exception&) {
    // No thread to be had: those that there are do it all.
  }
  shared->take();
  shared->wait();
}

}  // namespace isometry
