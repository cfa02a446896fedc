#include "pages.hpp"

#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace isometry {

bool advise_huge_pages(void* start, std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t huge = std::uintptr_t{2} << 20;
  const auto begin = (reinterpret_cast<std::uintptr_t>(start) + huge - 1) / huge * huge;
  const auto end = (reinterpret_cast<std::uintptr_t>(start) + bytes) / huge * huge;
  return begin < end && madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE) == 0;
#else
  (void)start;
  (void)bytes;
  return false;
#endif
}

}  // namespace isometry
