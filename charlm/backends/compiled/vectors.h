/* Vectors of VL reals and the functions of them that the equations need. GCC vector extensions, no intrinsics.
 *
 * The core is compiled with `real` = float, and with `real` = double where FLOAT64 is defined; its products also with
 * BFLOAT16 for bfloat16 numbers whose sums are floats, and with TILES too for those of AMX. Exported names end in _f32,
 * _f64, _b16 or _amx. Arrays are batch first: a row is a lane at a step, its elements are units and contiguous. So a
 * vector lies along the units, and any number of lanes runs at full width. Nothing here allocates or starts threads.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef VECTOR_BYTES
#error "VECTOR_BYTES is 64, 32 or 16: the width of a vector"
#endif

#ifdef FLOAT64
typedef double real;
typedef int64_t whole;
#define EXPORT(name) name##_f64
#else
typedef float real;
typedef int32_t whole;
#ifdef TILES
#define EXPORT(name) name##_amx
#elif defined BFLOAT16
#define EXPORT(name) name##_b16
#else
#define EXPORT(name) name##_f32
#endif
#endif

typedef real V __attribute__((vector_size(VECTOR_BYTES)));
typedef real Unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));
typedef whole Bits __attribute__((vector_size(VECTOR_BYTES)));
enum { VL = VECTOR_BYTES / sizeof(real) };
#define INLINE static inline __attribute__((always_inline))

INLINE long least(long a, long b) { return a < b ? a : b; }
INLINE V all(real x) { return x - (V){0}; }
INLINE V choose(Bits mask, V a, V b) { return (V)((mask & (Bits)a) | (~mask & (Bits)b)); }

/* Load n < VL elements, and 0 for the others. GCC turns such a loop into one load with a mask. */
static __attribute__((noinline)) V load_some(const real *p, whole n) {
    real x[VL];
    for (whole i = 0; i < VL; i++) x[i] = i < n ? p[i] : 0;
    return *(Unaligned *)x;
}
/* Load n elements, at most VL; the others are 0. */
INLINE V load(const real *p, long n) {
    if (__builtin_expect(n >= VL, 1)) return *(const Unaligned *)p;
    return load_some(p, n);
}

/* Store the first n elements, at most VL. */
static __attribute__((noinline)) void store_some(real *p, V x, whole n) {
    for (whole i = 0; i < VL; i++)
        if (i < n) p[i] = x[i];
}
INLINE void store(real *p, V x, long n) {
    if (__builtin_expect(n >= VL, 1)) *(Unaligned *)p = x;
    else store_some(p, x, n);
}

INLINE real sum_of(V x) {
    real sum = 0;
    for (int i = 0; i < VL; i++) sum += x[i];
    return sum;
}

/* e^x = 2^n e^r, with n = round(x / ln 2) and |r| <= ln(2)/2. Source: Cephes (Moshier). Below the least normal number
 * it is 0, above the largest power of two that power. NaN stays NaN. */
INLINE V exp_of(V x) {
#ifdef FLOAT64
    const real least_x = -708.0, largest_x = 709.0, magic = 6755399441055744.0;
    const whole bias = 1023, mantissa = 52;
#else
    const real least_x = -87.3f, largest_x = 88.37f, magic = 12582912.0f;
    const whole bias = 127, mantissa = 23;
#endif
    Bits vanishes = x < least_x;
    x = choose(vanishes, all(least_x), x);
    x = choose(x > largest_x, all(largest_x), x);
    V n = x * (real)1.44269504088896340736 + magic; /* the low bits of the sum are the rounded number */
    Bits power = ((Bits)n - (Bits)all(magic) + bias) << mantissa;
    n -= magic;
#ifdef FLOAT64
    V r = x - n * 6.93145751953125e-1 - n * 1.42860682030941723212e-6, s = r * r;
    V p = ((s * 1.26177193074810590878e-4 + 3.02994407707441961300e-2) * s + 9.99999999999999999910e-1) * r;
    V q = ((s * 3.00198505138664455042e-6 + 2.52448340349684104192e-3) * s + 2.27265548208155028766e-1) * s + 2.0;
    V y = 1.0 + 2.0 * (p / (q - p));
#else
    V r = x - n * 0.693359375f - n * -2.12194440e-4f;
    V y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * (r * r) + r + 1.0f;
#endif
    return choose(vanishes, all(0), y * (V)power);
}

/* tanh x: below 0.625 x + x^3 p(x^2), else 1 - 2 / (e^2x + 1) with the sign of x. Source: Cephes (Moshier). */
INLINE V tanh_of(V x) {
    V s = x * x;
#ifdef FLOAT64
    V p = (s * -9.64399179425052238628e-1 + -9.92877231001918586564e1) * s + -1.61468768441708447952e3;
    p /= ((s + 1.12811678491632931402e2) * s + 2.23548839060100448583e3) * s + 4.84406305325125486048e3;
#else
    V p = s * -5.70498872745e-3f + 2.06390887954e-2f;
    p = p * s + -5.37397155531e-2f;
    p = p * s + 1.33314422036e-1f;
    p = p * s + -3.33332819422e-1f;
#endif
    p = p * (s * x) + x;
    Bits sign = (Bits)x & (Bits)all(-0.0);
    V size = (V)((Bits)x ^ sign);
    V q = 1 - 2 / (exp_of(size + size) + 1);
    return choose(size < (real)0.625, p, (V)((Bits)q | sign));
}

/* sigma(x) = 1 / (1 + e^-x). */
INLINE V sigma(V x) { return 1 / (1 + exp_of(-x)); }
