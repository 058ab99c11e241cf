/* The kernels of products.h that compute with vectors: NB rows by NV vectors of the output; a[m, k] is broadcast. */
enum { MOST_ROWS = 12 };
#ifdef BFLOAT16
#include <immintrin.h>
typedef __m512bh Operands;
INLINE Operands load_operands(const Operand *p) { return (Operands)_mm512_loadu_si512(p); }
INLINE V multiply_add(V sum, Operands w, Operand x) {
    return (V)_mm512_dpbf16_ps((__m512)sum, w, (Operands)_mm512_set1_epi32(x));
}
#else
typedef V Operands;
INLINE Operands load_operands(const Operand *p) { return load(p, VL); }
INLINE V multiply_add(V sum, Operands w, Operand x) { return sum + w * x; }
#endif

/* Rows of a are `row` apart, those of out `ldo`.
 * ahead: K vectors that are read soon, which are fetched into the second-level cache meanwhile */
INLINE void block(const int NV, const int NB, const Operand *a, long row, const Operand *panel, long K,
                  const Operand *ahead, real *out, long ldo, int add) {
    V sum[MOST_VECTORS][MOST_ROWS];
    Operands w[MOST_VECTORS];
    Operand x[MOST_ROWS];
#pragma GCC unroll 12
    for (int i = 0; i < NV; i++)
#pragma GCC unroll 12
        for (int m = 0; m < NB; m++) sum[i][m] = all(0);
    for (long k = 0; k < K; k++, panel += NV * VL, a++) {
        /* Registers hold the sums, the fewer of both factors, and one of the other. */
#pragma GCC unroll 12
        for (int i = 0; NV <= NB && i < NV; i++) w[i] = load_operands(panel + i * VL);
#pragma GCC unroll 12
        for (int m = 0; m < NB; m++) {
            x[m] = a[m * row];
#pragma GCC unroll 12
            for (int i = 0; NV <= NB && i < NV; i++) sum[i][m] = multiply_add(sum[i][m], w[i], x[m]);
        }
#pragma GCC unroll 12
        for (int i = 0; NV > NB && i < NV; i++) {
            w[i] = load_operands(panel + i * VL);
#pragma GCC unroll 12
            for (int m = 0; m < NB; m++) sum[i][m] = multiply_add(sum[i][m], w[i], x[m]);
        }
        if (NB > 1) __builtin_prefetch(ahead + k * VL, 0, 2); /* one row waits for the panel itself */
    }
#pragma GCC unroll 12
    for (int i = 0; i < NV; i++)
#pragma GCC unroll 12
        for (int m = 0; m < NB; m++) {
            real *to = out + m * ldo + i * VL;
            store(to, add ? load(to, VL) + sum[i][m] : sum[i][m], VL);
        }
}

#define KERNEL(NV, NB)                                                                                                \
    static void kernel_##NV##_##NB(const Operand *a, long row, const Operand *panel, long K, const Operand *ahead,    \
                                   real *out, long ldo, int add) {                                                    \
        block(NV, NB, a, row, panel, K, ahead, out, ldo, add);                                                        \
    }
typedef void Kernel(const Operand *, long, const Operand *, long, const Operand *, real *, long, int);
#define KERNELS_3(NV) KERNEL(NV, 1) KERNEL(NV, 2) KERNEL(NV, 3)
#define KERNELS_6(NV) KERNELS_3(NV) KERNEL(NV, 4) KERNEL(NV, 5) KERNEL(NV, 6)
#define KERNELS_12(NV) KERNELS_6(NV) KERNEL(NV, 7) KERNEL(NV, 8) KERNEL(NV, 9) KERNEL(NV, 10) KERNEL(NV, 11) KERNEL(NV, 12)
#define NAMES_2(NV) 0, kernel_##NV##_1, kernel_##NV##_2
#define NAMES_3(NV) NAMES_2(NV), kernel_##NV##_3
#define NAMES_4(NV) NAMES_3(NV), kernel_##NV##_4
#define NAMES_5(NV) NAMES_4(NV), kernel_##NV##_5
#define NAMES_6(NV) NAMES_5(NV), kernel_##NV##_6
#define NAMES_8(NV) NAMES_6(NV), kernel_##NV##_7, kernel_##NV##_8
#define NAMES_12(NV) NAMES_8(NV), kernel_##NV##_9, kernel_##NV##_10, kernel_##NV##_11, kernel_##NV##_12
/* As many rows as the registers have room for their sums. */
#if VECTOR_BYTES == 64
KERNELS_12(1) KERNELS_12(2) KERNELS_6(3) KERNEL(3, 7) KERNEL(3, 8) KERNELS_6(4) KERNELS_3(5) KERNEL(5, 4) KERNEL(5, 5)
static Kernel *const kernels[MOST_VECTORS + 1][MOST_ROWS + 1] = {
    {0}, {NAMES_12(1)}, {NAMES_12(2)}, {NAMES_8(3)}, {NAMES_6(4)}, {NAMES_5(5)}};
static const int rows_of_kernel[MOST_VECTORS + 1] = {0, 12, 12, 8, 6, 5};
enum { BLOCK_ROWS = 6 }; /* those of 4 vectors */
#else
KERNELS_12(1) KERNELS_6(2) KERNELS_3(3) KERNEL(3, 4) KERNELS_3(4) KERNEL(5, 1) KERNEL(5, 2)
static Kernel *const kernels[MOST_VECTORS + 1][MOST_ROWS + 1] = {
    {0}, {NAMES_12(1)}, {NAMES_6(2)}, {NAMES_4(3)}, {NAMES_3(4)}, {NAMES_2(5)}};
static const int rows_of_kernel[MOST_VECTORS + 1] = {0, 12, 6, 4, 3, 2};
enum { BLOCK_ROWS = 3 };
#endif

/* out[m, 0:nv·VL] (+)= a[m, :] panel for M rows, which are `row` apart.
 * Each block of rows fetches one of the nv vectors of what follows in memory: the rest of the panel, or the next one. */
static void rows_by_panel(const void *left, long row, long M, const void *panel, long K, int nv, real *out, long ldo,
                          int add) {
    const Operand *a = left;
    long most = rows_of_kernel[nv], count = (M + most - 1) / most;
    for (long k = 0; k < K; k += DEPTH)
        for (long b = 0; b < count; b++) {
            long first = M * b / count, end = M * (b + 1) / count, depth = least(DEPTH, K - k);
            const Operand *from = (const Operand *)panel + k * nv * VL, *ahead = from + depth * (nv + least(b, nv - 1)) * VL;
            kernels[nv][end - first](a + first * row + k, row, from, depth, ahead, out + first * ldo, ldo, add || k);
        }
}
