// Vectors of the variant's width in the compiler's own notation (GCC and Clang), and the functions that libm has for numbers only.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) || defined(WIDE_VECTORS)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define LANES (VECTOR_BYTES / 4)

typedef float Vector __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t Integers __attribute__((vector_size(VECTOR_BYTES)));
typedef float Unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE Vector load(const float *from) { return *(const Unaligned *)from; }
INLINE void store(float *to, Vector value) { *(Unaligned *)to = value; }
INLINE Vector splat(float value) { return value - (Vector){0}; }

INLINE Vector select(Integers condition, Vector yes, Vector no) {
  return (Vector)((condition & (Integers)yes) | (~condition & (Integers)no));
}

/** The first `count` lanes from memory; 0 behind them. */
INLINE Vector loadSome(const float *from, int64_t count) {
  Vector value = {0};
  memcpy(&value, from, (size_t)count * 4);
  return value;
}

INLINE void storeSome(float *to, Vector value, int64_t count) { memcpy(to, &value, (size_t)count * 4); }

INLINE float sumOf(Vector value) {
  float sum = 0;
  for (int i = 0; i < LANES; i++) sum += value[i];
  return sum;
}

INLINE float largestOf(Vector value) {
  float largest = value[0];
  for (int i = 1; i < LANES; i++) largest = value[i] > largest ? value[i] : largest;
  return largest;
}

/** e^x, at most 2 units in the last place off; 0 below e^-87.3, infinite above e^88.7; NaN stays NaN. Cephes' polynomial. */
INLINE Vector exponential(Vector x) {
  const Vector magic = splat(12582912.0f); // adding it rounds to a whole number, which then stands in the low bits
  Vector bounded = select(x < -87.3f, splat(-87.3f), select(x > 88.7f, splat(88.7f), x));
  Vector shifted = bounded * 1.44269504088896341f + magic;
  Vector whole = shifted - magic;
  Vector rest = bounded - whole * 0.693359375f + whole * 2.12194440e-4f;
  Vector p = splat(1.9875691500e-4f);
  p = p * rest + 1.3981999507e-3f;
  p = p * rest + 8.3334519073e-3f;
  p = p * rest + 4.1665795894e-2f;
  p = p * rest + 1.6666665459e-1f;
  p = p * rest + 5.0000001201e-1f;
  p = p * rest * rest + rest + 1.0f;
  // 2^128 is no number: half of it is multiplied twice.
  Integers power = (Integers)shifted - (Integers)magic;
  Integers half = power >> 1;
  Vector scaled = p * (Vector)((half + 127) << 23) * (Vector)((power - half + 127) << 23);
  return select(x < -87.3f, splat(0), select(x > 88.7228f, splat(INFINITY), scaled));
}

/**
 * Phi(x), the normal distribution function, and phi(x), its density; Phi at most 1e-7 off (Abramowitz and Stegun 7.1.26,
 * which needs the density's exponential anyway).
 */
INLINE Vector normal(Vector x, Vector *density) {
  Vector bell = exponential(x * x * -0.5f);
  Vector size = select(x < 0, -x, x);
  Vector t = 1.0f / (1.0f + 0.231641888f * size); // 0.3275911 / sqrt 2
  Vector p = splat(1.061405429f);
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  Vector tail = 0.5f * p * t * bell; // Phi(-|x|)
  *density = bell * 0.398942280401432678f;
  return select(x < 0, tail, 1.0f - tail);
}

/** Exact GELU, x Phi(x), and its derivative, Phi(x) + x phi(x). */
INLINE Vector gelu(Vector x, Vector *derivative) {
  Vector density;
  Vector phi = normal(x, &density);
  *derivative = phi + x * density;
  return x * phi;
}

INLINE Vector sigmoid(Vector x) { return 1.0f / (1.0f + exponential(-x)); }

INLINE Vector errorFunction(Vector x) {
  Vector density;
  return 2.0f * normal(x * 1.41421356237309505f, &density) - 1.0f;
}
