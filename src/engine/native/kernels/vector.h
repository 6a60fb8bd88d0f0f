// Vectors of the variant's width in the compiler's own notation (GCC and Clang), and the functions that libm has for numbers only.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

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

/** Whether vectors from here on, each `stride` floats behind the last, may be stored past the caches. */
INLINE int areAligned(const float *at, int64_t stride) { return ((uintptr_t)at | (uintptr_t)(stride * 4)) % VECTOR_BYTES == 0; }

/** Past the caches: for what is read much later. `to` is aligned. Whoever reads it in another thread has met a locked instruction before. */
INLINE void storeAway(float *to, Vector value) {
#if VECTOR_BYTES == 32 && defined(__AVX2__)
  _mm256_stream_ps(to, (__m256)value);
#elif VECTOR_BYTES == 64 && defined(__AVX512F__)
  _mm512_stream_ps(to, (__m512)value);
#else
  store(to, value);
#endif
}

INLINE Vector splat(float value) { return value - (Vector){0}; }

/** Lane by lane; conditions are 0 or -1. What compilers make of the plain form costs three times as much. */
INLINE Vector choose(Integers condition, Vector yes, Vector no) {
#if VECTOR_BYTES == 32 && defined(__AVX2__)
  return (Vector)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)condition);
#elif VECTOR_BYTES == 64 && defined(__AVX512F__)
  return (Vector)_mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)condition), (__m512)no, (__m512)yes);
#else
  return (Vector)((condition & (Integers)yes) | (~condition & (Integers)no));
#endif
}

/** b where a is not larger, NaN included. */
INLINE Vector larger(Vector a, Vector b) {
#if VECTOR_BYTES == 32 && defined(__AVX2__)
  return (Vector)_mm256_max_ps((__m256)a, (__m256)b);
#elif VECTOR_BYTES == 64 && defined(__AVX512F__)
  return (Vector)_mm512_max_ps((__m512)a, (__m512)b);
#else
  return choose(a > b, a, b);
#endif
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

/** e^x = 2^(x log2 e). */
#define log2OfE 1.44269504088896341f

/** e^x where |x| is at most half of log 2; in pairs of terms, which do not wait for one another. */
INLINE Vector polynomial(Vector x) {
  Vector square = x * x;
  Vector low = x * 1.6666665459e-1f + 5.0000001201e-1f;
  Vector middle = x * 8.3334519073e-3f + 4.1665795894e-2f;
  Vector high = x * 1.9875691500e-4f + 1.3981999507e-3f;
  Vector p = (high * square + middle) * square + low;
  return p * square + (x + 1.0f);
}

/** e^x, at most 2 units in the last place off; 0 below e^-87.3, infinite above e^88.7; NaN stays NaN. Cephes' polynomial. */
INLINE Vector exponential(Vector x) {
  const Vector magic = splat(12582912.0f); // adding it rounds to a whole number, which then stands in the low bits
  Vector bounded = choose(x < -87.3f, splat(-87.3f), choose(x > 88.7228f, splat(88.7228f), x));
  Vector shifted = bounded * log2OfE + magic;
  Vector whole = shifted - magic;
  Vector rest = bounded - whole * 0.693359375f + whole * 2.12194440e-4f;
  Vector p = polynomial(rest);
  // 2^128 is no number: half of it is multiplied twice.
  Integers power = (Integers)shifted - (Integers)magic;
  Integers half = power >> 1;
  Vector scaled = p * (Vector)((half + 127) << 23) * (Vector)((power - half + 127) << 23);
  return choose(x < -87.3f, splat(0), choose(x > 88.7228f, splat(INFINITY), scaled));
}

/** 2^x for x <= 0, at most 2 units in the last place off; about 1e-38 everywhere below 2^-126; NaN stays NaN. Cephes' polynomial, in pairs of terms. */
INLINE Vector powerOfTwo(Vector x) {
  const Vector magic = splat(12582912.0f);
  Vector bounded = larger(splat(-126.0f), x); // NaN stays
  Vector shifted = bounded + magic;
  Vector rest = bounded - (shifted - magic);
  Vector square = rest * rest;
  Vector low = rest * 2.402264791363012e-1f + 6.931472028550421e-1f;
  Vector middle = rest * 9.618437357674640e-3f + 5.550332471162809e-2f;
  Vector high = rest * 1.535336188319500e-4f + 1.339887440266574e-3f;
  Vector p = ((high * square + middle) * square + low) * rest + 1.0f;
  return p * (Vector)(((Integers)shifted + 127) << 23);
}

/**
 * Phi(x), the normal distribution function, and phi(x), its density; Phi at most 1e-7 off (Abramowitz and Stegun 7.1.26,
 * which needs the density's exponential anyway).
 */
INLINE Vector normal(Vector x, Vector *density) {
  Vector bell = powerOfTwo(x * x * (-0.5f * log2OfE));
  Vector size = (Vector)((Integers)x & 0x7fffffff);
  Vector t = 1.0f / (1.0f + 0.231641888f * size); // 0.3275911 / sqrt 2
  Vector square = t * t;
  Vector low = t * -0.142248368f + 0.127414796f; // half of the formula's coefficients
  Vector high = t * -0.7265760135f + 0.7107068705f;
  Vector p = (square * 0.5307027145f + high) * square + low;
  Vector tail = p * (t * bell); // Phi(-|x|)
  *density = bell * 0.398942280401432678f;
  return choose(x < 0, tail, 1.0f - tail);
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
