// Fresh memory in large pages.
#pragma once

#include <cstddef>

namespace isometry {

// Ask for huge pages under memory that nobody has touched. True where the system took the advice;
// elsewhere nothing happens, and no byte is read or written either way.
bool advise_huge_pages(void* start, std::size_t bytes);

}  // namespace isometry
