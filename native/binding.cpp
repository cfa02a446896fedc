// The kernel for Python, and nothing else: buffers are checked, the lock is let go, the walk begins.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "environment.hpp"
#include "pages.hpp"
#include "philox.hpp"
#include "walk.hpp"

namespace nb = nanobind;

namespace {

using namespace isometry;

// A Python object's memory, for as long as this lives.
class Buffer {
 public:
  Buffer(nb::handle object, bool writable) {
    const int flags = PyBUF_STRIDES | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object.ptr(), &view_, flags) != 0) throw nb::python_error();
  }
  ~Buffer() { PyBuffer_Release(&view_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  const Py_buffer& operator*() const { return view_; }
  const Py_buffer* operator->() const { return &view_; }
  std::size_t items(std::size_t size) const {
    if (static_cast<std::size_t>(view_.itemsize) != size || !PyBuffer_IsContiguous(&view_, 'C')) {
      throw nb::value_error("expected a contiguous buffer of another item size");
    }
    return static_cast<std::size_t>(view_.len) / size;
  }

 private:
  Py_buffer view_{};
};

const Kernel& kernel_named(const std::string& name) {
  const Available all = available();
  for (std::size_t i = 0; i < all.count; ++i) {
    if (name == all.kernels[i]->name) return *all.kernels[i];
  }
  throw nb::value_error(("this processor cannot run the kernel " + name).c_str());
}

Dtype dtype_of(unsigned code) {
  if (code >= dtype_count) throw nb::value_error("dtype is not one of the six");
  return static_cast<Dtype>(code);
}

using Key = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>;
using How = std::tuple<unsigned, float, double, std::uint32_t>;  // kind, scale, mean, low
using Positions = std::tuple<std::int64_t, std::optional<nb::object>>;  // step, or a list

Stream stream_of(const Key& key) {
  const auto [k0, k1, h0, h1] = key;
  return {{k0, k1}, {h0, h1}};
}

Draw draw_of(const How& how) {
  const auto [kind, scale, mean, low] = how;
  if (kind > 1 || low >= (1u << 31)) throw nb::value_error("no such law");
  return {kind ? Draw::uniform : Draw::normal, scale, mean, low};
}

// The stream of a name's digest under a seed.
Stream derive(nb::bytes digest, std::uint64_t seed) {
  if (digest.size() != 16) throw nb::value_error("expected a digest of 16 bytes");
  std::uint32_t c[4];
  for (int i = 0; i < 4; ++i) {
    const auto* b = static_cast<const unsigned char*>(digest.data()) + 4 * i;
    c[i] = b[0] | std::uint32_t{b[1]} << 8 | std::uint32_t{b[2]} << 16 | std::uint32_t{b[3]} << 24;
  }
  const Stream seeded = {{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
                         {c[2], c[3]}};
  std::uint32_t out[4][1];
  philox<1>(seeded, {c[0] | std::uint64_t{c[1]} << 32}, out);
  return {{out[0][0], out[1][0]}, {out[2][0], out[3][0]}};
}

void fill_buffer(const std::string& kernel, const Key& key, const How& how, unsigned dtype,
                 std::int64_t first, const std::vector<Positions>& positions, nb::object out,
                 unsigned threads) {
  const Kernel& chosen = kernel_named(kernel);
  const Buffer target(out, true);
  Request request{stream_of(key), draw_of(how), dtype_of(dtype), first, {},
                  static_cast<char*>(target->buf)};
  if (static_cast<std::size_t>(target->itemsize) != item_size(request.dtype) ||
      static_cast<std::size_t>(target->ndim) != positions.size() || positions.size() > most_axes) {
    throw nb::value_error("the buffer's items or axes are not those of the request");
  }
  std::vector<std::unique_ptr<Buffer>> lists;
  for (std::size_t a = 0; a < positions.size(); ++a) {
    const auto& [step, list] = positions[a];
    const std::int64_t* at = nullptr;
    if (list) {
      lists.push_back(std::make_unique<Buffer>(*list, false));
      if (static_cast<Py_ssize_t>(lists.back()->items(8)) != target->shape[a]) {
        throw nb::value_error("an axis has another number of positions than the buffer");
      }
      at = static_cast<const std::int64_t*>((*lists.back())->buf);
    }
    request.axes.push_back({target->shape[a], step, at, target->strides[a]});
  }
  const nb::gil_scoped_release unlocked;
  fill(chosen, std::move(request), threads);
}

// The whole of a tensor that lies in memory in its own order: the common case, in one call without
// a list of axes. The address is an adapter's, of a tensor that it holds and has looked at.
void fill_whole(const std::string& kernel, nb::bytes digest, std::uint64_t seed, const How& how,
                unsigned dtype, std::uintptr_t address, std::int64_t count, unsigned threads) {
  const Kernel& chosen = kernel_named(kernel);
  Request request{derive(digest, seed), draw_of(how), dtype_of(dtype), 0, {},
                  reinterpret_cast<char*>(address)};
  const auto size = static_cast<std::int64_t>(item_size(request.dtype));
  request.axes.push_back({count, 1, nullptr, size});
  const nb::gil_scoped_release unlocked;
  fill(chosen, std::move(request), threads);
}

void fill_words(const std::string& kernel, const Key& key, std::uint64_t first, nb::object out) {
  const Kernel& chosen = kernel_named(kernel);
  const Buffer target(out, true);
  const std::size_t n = target.items(4);
  const nb::gil_scoped_release unlocked;
  chosen.words(stream_of(key), first, n, static_cast<std::uint32_t*>(target->buf));
}

void map_words(const std::string& kernel, nb::object words, const How& how, unsigned dtype,
               nb::object out) {
  const Kernel& chosen = kernel_named(kernel);
  const Draw draw = draw_of(how);
  const Dtype to = dtype_of(dtype);
  const Buffer from(words, false), target(out, true);
  const std::size_t n = from.items(4);
  if (target.items(item_size(to)) != n) throw nb::value_error("expected as many items as words");
  const nb::gil_scoped_release unlocked;
  const Environment standard;
  chosen.map(static_cast<const std::uint32_t*>(from->buf), draw, to, n, target->buf);
}

bool advise(nb::object memory) {
  const Buffer target(memory, true);
  return advise_huge_pages(target->buf, static_cast<std::size_t>(target->len));
}

}  // namespace

NB_MODULE(_kernel, m) {
  m.def("kernels", [] {
    std::vector<std::string> names;
    const Available all = available();
    for (std::size_t i = 0; i < all.count; ++i) names.emplace_back(all.kernels[i]->name);
    return names;
  });
  m.def("fill", &fill_buffer, nb::arg("kernel"), nb::arg("key"), nb::arg("how"), nb::arg("dtype"),
        nb::arg("first"), nb::arg("positions"), nb::arg("out"), nb::arg("threads"));
  m.def("fill_whole", &fill_whole, nb::arg("kernel"), nb::arg("digest"), nb::arg("seed"),
        nb::arg("how"), nb::arg("dtype"), nb::arg("address"), nb::arg("count"),
        nb::arg("threads"));
  m.def("words", &fill_words, nb::arg("kernel"), nb::arg("key"), nb::arg("first"), nb::arg("out"));
  m.def("map", &map_words, nb::arg("kernel"), nb::arg("words"), nb::arg("how"), nb::arg("dtype"),
        nb::arg("out"));
  m.def("advise_huge_pages", &advise, nb::arg("memory"));
  m.def("standard_environment", [] {
    const auto found = Environment::get();
    Environment::set(Environment::standard);
    return static_cast<std::uint64_t>(found);
  });
  m.def("restore_environment", [](std::uint64_t found) {
    Environment::set(static_cast<Environment::State>(found));
  }, nb::arg("found"));
}
