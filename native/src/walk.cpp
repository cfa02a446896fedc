#include "walk.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "threads.hpp"

namespace isometry {
namespace {

constexpr std::int64_t piece = 1 << 14;       // elements that a thread makes at a time
constexpr std::int64_t staged = 2048;         // elements made before they are put in their places
constexpr std::int64_t tile_rows = 64;        // of a transposed tile: a cache line of bytes or more
constexpr std::int64_t tile_columns = 128;
constexpr std::int64_t worth_a_run = 32;      // elements: a kernel makes 128 or more at a time

std::int64_t offset(const Axis& axis, std::int64_t i) { return axis.at ? axis.at[i] : axis.step * i; }

// Listed positions that are evenly spaced are a step; a falling step is a rising one from its end;
// an axis of one position is none. Then no two axes are left that are one.
void simplify(Request& request) {
  std::vector<Axis> kept;
  for (Axis axis : request.axes) {
    if (axis.at) {
      const std::int64_t step = axis.count > 1 ? axis.at[1] - axis.at[0] : 0;
      bool even = true;
      for (std::int64_t i = 1; i < axis.count && even; ++i) {
        even = axis.at[i] - axis.at[i - 1] == step;
      }
      if (even) {
        request.first += axis.at[0];
        axis.step = step;
        axis.at = nullptr;
      }
    }
    if (axis.count == 1) continue;
    if (!axis.at && axis.step < 0) {
      request.first += axis.step * (axis.count - 1);
      request.out += axis.stride * (axis.count - 1);
      axis.step = -axis.step;
      axis.stride = -axis.stride;
    }
    if (!kept.empty()) {
      Axis& outer = kept.back();
      if (!outer.at && !axis.at && outer.step == axis.step * axis.count &&
          outer.stride == axis.stride * axis.count) {
        outer = {outer.count * axis.count, axis.step, nullptr, axis.stride};
        continue;
      }
    }
    kept.push_back(axis);
  }
  request.axes = std::move(kept);
}

void put(const char* from, std::int64_t from_step, std::int64_t n, std::size_t size, char* to,
         std::int64_t to_step) {
  switch (size) {
    case 1:
      for (std::int64_t i = 0; i < n; ++i) to[i * to_step] = from[i * from_step];
      break;
    case 2:
      for (std::int64_t i = 0; i < n; ++i) std::memcpy(to + i * to_step, from + i * from_step, 2);
      break;
    case 4:
      for (std::int64_t i = 0; i < n; ++i) std::memcpy(to + i * to_step, from + i * from_step, 4);
      break;
    default:
      for (std::int64_t i = 0; i < n; ++i) std::memcpy(to + i * to_step, from + i * from_step, 8);
  }
}

// The walk of one request: which way suits it, and its pieces, that any thread may do in any order.
class Walk {
 public:
  Walk(const Kernel& kernel, const Request& request) : kernel_(kernel), request_(request) {
    const auto& axes = request_.axes;
    size_ = static_cast<std::int64_t>(item_size(request_.dtype));
    total_ = 1;
    for (const Axis& axis : axes) total_ *= axis.count;
    // The innermost axes whose elements have consecutive numbers: the run.
    run_ = 1;
    split_ = axes.size();
    while (split_ > 0 && !axes[split_ - 1].at && axes[split_ - 1].step == run_) {
      run_ *= axes[--split_].count;
    }
    const std::size_t in_run = axes.size() - split_;
    if (in_run == 0 && !axes.empty()) {
      way_ = Way::pick;
      --split_;
      run_ = axes[split_].count;
      part_ = std::min(run_, staged);
    } else if (aligned() && (in_run == 0 || (in_run == 1 && axes.back().stride == size_))) {
      way_ = Way::direct;
      part_ = std::min(run_, piece);
    } else if (const std::ptrdiff_t nearest = nearest_axis(); nearest >= 0) {
      way_ = Way::transpose;
      run_ = axes.back().count;
      across_ = axes[static_cast<std::size_t>(nearest)];
      request_.axes.erase(request_.axes.begin() + nearest);
      split_ = axes.size() - 1;
      part_ = std::min(run_, tile_columns);
      rows_ = std::min(across_.count, tile_rows);
    } else {
      way_ = Way::scatter;
      part_ = std::min(run_, staged);
    }
    parts_ = (run_ + part_ - 1) / part_ * ((across_.count + rows_ - 1) / rows_);
  }

  std::int64_t total() const { return total_; }

  std::int64_t pieces() const {
    std::int64_t n = parts_;
    for (std::size_t a = 0; a < split_; ++a) n *= request_.axes[a].count;
    return n;
  }

  // The pieces [begin, end).
  void operator()(std::int64_t begin, std::int64_t end) const {
    if (begin == end) return;
    std::int64_t place[most_axes] = {};
    std::int64_t part = begin % parts_, rest = begin / parts_;
    for (std::size_t a = split_; a-- > 0; rest /= request_.axes[a].count) {
      place[a] = rest % request_.axes[a].count;
    }
    for (std::int64_t i = begin; i < end; ++i) {
      std::int64_t number = request_.first;
      char* out = request_.out;
      for (std::size_t a = 0; a < split_; ++a) {
        number += offset(request_.axes[a], place[a]);
        out += request_.axes[a].stride * place[a];
      }
      one(number, out, part);
      if (++part == parts_) {
        part = 0;
        for (std::size_t a = split_; a-- > 0;) {
          if (++place[a] < request_.axes[a].count) break;
          place[a] = 0;
        }
      }
    }
  }

 private:
  enum class Way { direct, pick, scatter, transpose };

  // Is every place in memory one where an item may lie?
  bool aligned() const {
    const auto size = static_cast<std::uintptr_t>(size_);
    bool all = reinterpret_cast<std::uintptr_t>(request_.out) % size == 0;
    for (const Axis& axis : request_.axes) all = all && axis.stride % size_ == 0;
    return all;
  }

  // The axis whose elements lie closest in memory, where that is not the last and tiles of both are
  // worth while: the last is long enough for a run of its own.
  std::ptrdiff_t nearest_axis() const {
    if (request_.axes.empty()) return -1;
    const Axis& last = request_.axes.back();
    std::ptrdiff_t best = -1;
    std::int64_t least = std::abs(last.stride);
    for (std::size_t a = 0; a + 1 < request_.axes.size() && last.count >= worth_a_run; ++a) {
      const std::int64_t stride = std::abs(request_.axes[a].stride);
      if (stride < least) {
        least = stride;
        best = static_cast<std::ptrdiff_t>(a);
      }
    }
    return best;
  }

  void one(std::int64_t number, char* out, std::int64_t part) const {
    switch (way_) {
      case Way::direct: {
        const std::int64_t from = part * part_, n = std::min(part_, run_ - from);
        make(number + from, n, out + from * size_);
        break;
      }
      case Way::pick: pick(number, out, part * part_); break;
      case Way::scatter: scatter(number, out, part * part_); break;
      case Way::transpose: transpose(number, out, part); break;
    }
  }

  void make(std::int64_t number, std::int64_t n, char* out) const {
    kernel_.run(request_.stream, request_.draw, request_.dtype, static_cast<std::uint64_t>(number),
                static_cast<std::size_t>(n), out);
  }

  void pick(std::int64_t number, char* out, std::int64_t from) const {
    const Axis& axis = request_.axes[split_];
    const std::int64_t n = std::min(part_, run_ - from);
    std::uint64_t at[staged];
    for (std::int64_t i = 0; i < n; ++i) {
      at[i] = static_cast<std::uint64_t>(number + offset(axis, from + i));
    }
    char buffer[staged * 8];
    kernel_.pick(request_.stream, request_.draw, request_.dtype, at, static_cast<std::size_t>(n),
                 buffer);
    put(buffer, size_, n, static_cast<std::size_t>(size_), out + from * axis.stride, axis.stride);
  }

  // A part of the run, whose axes lie in memory in an order of their own.
  void scatter(std::int64_t number, char* out, std::int64_t from) const {
    const std::int64_t n = std::min(part_, run_ - from);
    char buffer[staged * 8];
    make(number + from, n, buffer);
    const Axis last = request_.axes.empty() ? Axis{1, 1, nullptr, size_} : request_.axes.back();
    for (std::int64_t done = 0; done < n;) {
      std::int64_t rest = (from + done) / last.count, column = (from + done) % last.count;
      char* to = out + column * last.stride;
      for (std::size_t a = request_.axes.size(); a-- > split_ + 1;) {
        const Axis& outer = request_.axes[a - 1];
        to += rest % outer.count * outer.stride;
        rest /= outer.count;
      }
      const std::int64_t now = std::min(last.count - column, n - done);
      put(buffer + done * size_, size_, now, static_cast<std::size_t>(size_), to, last.stride);
      done += now;
    }
  }

  // A tile of runs beside each other, whose elements of one number lie together in memory.
  void transpose(std::int64_t number, char* out, std::int64_t part) const {
    const std::int64_t columns = (run_ + part_ - 1) / part_;
    const std::int64_t row = part / columns * rows_, from = part % columns * part_;
    const std::int64_t rows = std::min(rows_, across_.count - row);
    const std::int64_t n = std::min(part_, run_ - from);
    alignas(64) char buffer[tile_rows * tile_columns * 8];
    for (std::int64_t r = 0; r < rows; ++r) {
      make(number + offset(across_, row + r) + from, n, buffer + r * n * size_);
    }
    const Axis& along = request_.axes.back();
    char* to = out + row * across_.stride + from * along.stride;
    for (std::int64_t c = 0; c < n; ++c) {
      put(buffer + c * size_, n * size_, rows, static_cast<std::size_t>(size_),
          to + c * along.stride, across_.stride);
    }
  }

  const Kernel& kernel_;
  Request request_;
  Way way_{};
  Axis across_{1, 0, nullptr, 0};
  std::size_t split_{};  // axes before it are walked one by one
  std::int64_t size_{}, total_{}, run_{}, part_{}, parts_{};
  std::int64_t rows_ = 1;
};

}  // namespace

void fill(const Kernel& kernel, Request request, unsigned threads) {
  for (const Axis& axis : request.axes) {
    if (axis.count == 0) return;
  }
  simplify(request);
  const Walk walk(kernel, request);
  in_parallel(walk.pieces(), walk.total(), threads, walk);
}

}  // namespace isometry
