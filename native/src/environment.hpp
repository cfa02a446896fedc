// The floating-point environment that the stream is defined in: round to nearest, nothing flushed.
#pragma once

#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#elif !defined(__aarch64__)
#include <cfenv>
#endif

namespace isometry {

// Sets it for this thread, and puts back what it found.
class Environment {
 public:
  Environment() : found_(get()) { set(standard); }
  ~Environment() { set(found_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

#if defined(__x86_64__) || defined(_M_X64)
  using State = std::uint32_t;
  static constexpr State standard = 0x1F80;  // MXCSR: all exceptions masked, nearest, no FTZ, no DAZ
  static State get() { return _mm_getcsr(); }
  static void set(State state) { _mm_setcsr(state); }
#elif defined(__aarch64__)
  using State = std::uint64_t;
  static constexpr State standard = 0;  // FPCR: nearest, no FZ, no FZ16, no default NaN
  static State get() {
    State state;
    asm volatile("mrs %0, fpcr" : "=r"(state));
    return state;
  }
  static void set(State state) { asm volatile("msr fpcr, %0" : : "r"(state)); }
#else
  using State = int;
  static constexpr State standard = FE_TONEAREST;
  static State get() { return std::fegetround(); }
  static void set(State state) { std::fesetround(state); }
#endif

 private:
  State found_;
};

}  // namespace isometry
