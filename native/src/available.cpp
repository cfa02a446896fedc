// Which kernels this processor can run.
#include "stream.hpp"

namespace isometry {

Available available() {
  Available found{};
#ifdef ISOMETRY_X86
#ifdef ISOMETRY_EMULATE_AVX512
  found.kernels[found.count++] = &avx512;
#else
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    found.kernels[found.count++] = &avx512;
  }
#endif
  if (__builtin_cpu_supports("avx2")) found.kernels[found.count++] = &avx2;
#endif
  found.kernels[found.count++] = &portable;
  return found;
}

}  // namespace isometry
