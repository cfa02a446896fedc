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

// Work that threads share. It lives until the last of them has let go of it, and is never touched
// once all of it is done.
template <class Work>
class Shared {
 public:
  Shared(Work work, std::int64_t pieces, std::int64_t threads)
      : work_(std::move(work)),
        threads_(threads),
        batch_(std::max<std::int64_t>(1, pieces / (batches * threads))),
        left_(pieces),
        ranges_(new Range[static_cast<std::size_t>(threads)]) {
    for (std::int64_t i = 0; i < threads; ++i) {
      ranges_[i].next = pieces / threads * i + std::min(i, pieces % threads);
      ranges_[i].end = pieces / threads * (i + 1) + std::min(i + 1, pieces % threads);
    }
  }

  // Batches of one's own range, while there are any; then of the others'.
  void take(std::int64_t own) {
    const Environment standard;
    for (std::int64_t i = 0; i < threads_; ++i) {
      Range& range = ranges_[(own + i) % threads_];
      for (std::int64_t begin; (begin = range.next.fetch_add(batch_)) < range.end;) {
        const std::int64_t end = std::min(begin + batch_, range.end);
        work_(begin, end);
        if ((left_ -= end - begin) == 0) {
          const std::lock_guard<std::mutex> lock(mutex_);
          done_.notify_all();
        }
      }
    }
  }

  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return left_ == 0; });
  }

 private:
  struct Range {
    std::atomic<std::int64_t> next;
    std::int64_t end;
  };
  static constexpr std::int64_t batches = 32;  // of a range

  const Work work_;
  const std::int64_t threads_, batch_;
  std::atomic<std::int64_t> left_;
  const std::unique_ptr<Range[]> ranges_;
  std::mutex mutex_;
  std::condition_variable done_;
};

// work(begin, end) until all of [0, pieces) is done. Each thread has a range of its own, so that two
// do not touch a page for the first time together, and helps with the others' when it is through.
// The caller goes when everything is done: a thread that has not begun by then, as happens on a busy
// processor, finds nothing left to do and holds nobody up. Threads are started anew each time: it
// costs microseconds, and a fork inherits no pool.
template <class Work>
void in_parallel(std::int64_t pieces, std::int64_t elements, unsigned threads, const Work& work) {
  const std::int64_t most = std::min(pieces, elements / worth_a_thread);
  const std::int64_t n = std::max<std::int64_t>(1, std::min<std::int64_t>(threads, most));
  if (n == 1) {
    const Environment standard;
    return work(0, pieces);
  }
  const auto shared = std::make_shared<Shared<Work>>(work, pieces, n);
  try {
    for (std::int64_t i = 1; i < n; ++i) std::thread([shared, i] { shared->take(i); }).detach();
  } catch (const std::exception&) {
    // No thread to be had: those that there are do it all.
  }
  shared->take(0);
  shared->wait();
}

}  // namespace isometry
