/* Matrix products. One kernel computes a block of NB rows by NV vectors of the output:
 *
 *     out[m, :] (+)= sum over k of a[m, k] panel[k, :]
 *
 * A panel [K][NV·VL] holds NV vectors of columns of the right factor, packed so that it is read in order; a[m, k] is
 * broadcast. A factor consists of operands: reals, or pairs of bfloat16 numbers, those of k and k+1, whose two products
 * are added at a time. K counts operands, and `depth_of` gives their number. Each element of the output is summed over k in one order, so its bytes depend neither on the other rows
 * nor on who computes them.
 */
enum { MOST_VECTORS = 5, MOST_ROWS = 12, WIDEST = MOST_VECTORS * VL };
#ifdef BFLOAT16
#include <immintrin.h>
enum { PAIR = 2 };
typedef uint32_t Operand;
typedef __m512bh Operands;
INLINE Operands load_operands(const Operand *p) { return (Operands)_mm512_loadu_si512(p); }
INLINE V multiply_add(V sum, Operands w, Operand x) {
    return (V)_mm512_dpbf16_ps((__m512)sum, w, (Operands)_mm512_set1_epi32(x));
}
/* The nearest bfloat16 number, of two the even one; NaN stays NaN. */
INLINE uint32_t rounded(real x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x != x ? bits >> 16 | 64 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
/* The operand of b[0] and b[row], or of b[0] and 0 if it is the last. */
INLINE Operand operand_of(const real *b, long row, int is_last) {
    return rounded(b[0]) | (is_last ? 0 : rounded(b[row]) << 16);
}
/* The operands of a row of K numbers. */
static void pack_row(Operand *row, const real *x, long K) {
    uint16_t *restrict half = (uint16_t *)row;
    for (long k = 0; k < K; k++) half[k] = rounded(x[k]);
    if (K % PAIR) half[K] = 0;
}
#else
enum { PAIR = 1 };
typedef real Operand;
typedef V Operands;
INLINE Operands load_operands(const Operand *p) { return load(p, VL); }
INLINE V multiply_add(V sum, Operands w, Operand x) { return sum + w * x; }
INLINE Operand operand_of(const real *b, long row, int is_last) { return (void)row, (void)is_last, b[0]; }
#endif
INLINE long depth_of(long n) { return (n + PAIR - 1) / PAIR; }

enum { LANES = 48 };       /* rows at a time: what a panel gives for them stays in the first-level cache */
enum { DEEPEST = 1024 };   /* operands of a column of a packed panel */
enum { PACKED = 1 << 19 }; /* bytes of packed panels, which stay in the second-level cache */
#if VECTOR_BYTES == 64
enum { DEPTH = DEEPEST }; /* rows of a panel that a kernel goes through at a time */
#else
enum { DEPTH = 128 }; /* with narrow vectors they have to come from the first-level cache */
#endif

/* a[m, k] = a[m * row + k * column]; out rows are ldo apart. */
INLINE void block(const int NV, const int NB, const Operand *a, long row, const long column, const Operand *panel, long K,
                  real *out, long ldo, int add) {
    V sum[NV][NB];
    Operands w[NV];
#pragma GCC unroll 12
    for (int i = 0; i < NV; i++)
#pragma GCC unroll 12
        for (int m = 0; m < NB; m++) sum[i][m] = all(0);
    for (long k = 0; k < K; k++, panel += NV * VL, a += column) {
#pragma GCC unroll 12
        for (int i = 0; i < NV; i++) w[i] = load_operands(panel + i * VL);
#pragma GCC unroll 12
        for (int m = 0; m < NB; m++) {
            Operand x = a[m * row];
#pragma GCC unroll 12
            for (int i = 0; i < NV; i++) sum[i][m] = multiply_add(sum[i][m], w[i], x);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < NV; i++)
#pragma GCC unroll 12
        for (int m = 0; m < NB; m++) {
            real *to = out + m * ldo + i * VL;
            store(to, add ? load(to, VL) + sum[i][m] : sum[i][m], VL);
        }
}

/* The elements of a row of `a` are contiguous (column = 1), or those of a column (row = 1). */
#define KERNEL(NV, NB)                                                                                                \
    static void kernel_##NV##_##NB(const Operand *a, long row, long column, const Operand *panel, long K, real *out, \
                                   long ldo, int add) {                                                              \
        if (column == 1) block(NV, NB, a, row, 1, panel, K, out, ldo, add);                                          \
        else block(NV, NB, a, 1, column, panel, K, out, ldo, add);                                                       \
    }
typedef void Kernel(const Operand *, long, long, const Operand *, long, real *, long, int);
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
#else
KERNELS_12(1) KERNELS_6(2) KERNELS_3(3) KERNEL(3, 4) KERNELS_3(4) KERNEL(5, 1) KERNEL(5, 2)
static Kernel *const kernels[MOST_VECTORS + 1][MOST_ROWS + 1] = {
    {0}, {NAMES_12(1)}, {NAMES_6(2)}, {NAMES_4(3)}, {NAMES_3(4)}, {NAMES_2(5)}};
static const int rows_of_kernel[MOST_VECTORS + 1] = {0, 12, 6, 4, 3, 2};
#endif

/* out[m, 0:nv·VL] (+)= a[m, :] panel for M rows. */
static void rows_by_panel(const Operand *a, long row, long column, long M, const Operand *panel, long K, int nv,
                          real *out, long ldo, int add) {
    long most = rows_of_kernel[nv], count = (M + most - 1) / most;
    for (long k = 0; k < K; k += DEPTH)
        for (long b = 0; b < count; b++) {
            long first = M * b / count, end = M * (b + 1) / count;
            kernels[nv][end - first](a + first * row + k * column, row, column, panel + k * nv * VL,
                                     least(DEPTH, K - k), out + first * ldo, ldo, add || k);
        }
}

/* Pack n <= width columns of b [K, n] into columns of a panel whose rows are `stride` apart; columns from n on are 0.
 * b[k, i] = b[k * row + i * column]; K counts reals */
static void pack(Operand *panel, long stride, long width, const real *b, long row, long column, long K, long n) {
    long depth = depth_of(K);
    n = least(n, width);
    for (long first = 0; first < depth; first += VL) { /* a square at a time, so that both sides stay in the cache */
        long end = least(first + VL, depth);
        if (column == 1)
            for (long k = first; k < end; k++)
                for (long i = 0; i < n; i++)
                    panel[k * stride + i] = operand_of(b + k * PAIR * row + i, row, k * PAIR + 1 == K);
        else
            for (long i = 0; i < n; i++)
                for (long k = first; k < end; k++)
                    panel[k * stride + i] = operand_of(b + k * PAIR * row + i * column, row, k * PAIR + 1 == K);
        for (long k = first; k < end; k++)
            for (long i = n; i < width; i++) panel[k * stride + i] = 0;
    }
}

/* The vectors of N columns are cut into panels of at most 4, of about equal widths. */
INLINE long panels_of(long N) { return ((N + VL - 1) / VL + 3) / 4; }
INLINE long panel_start(long N, long p) { return (N + VL - 1) / VL * p / panels_of(N) * VL; }

/* A product: out [M, N] (+)= a [M, K] b [K, N]. Strides are in elements; the elements of a row of out are contiguous,
 * and those of a row of a, or of a column. */
typedef struct {
    long M, N, K;
    const real *a;
    long a_row, a_column;
    const real *b;
    long b_row, b_column;
    real *out;
    long ldo;
    long add;
} Product;

/* Pack panels [q0, q1) of b at depth [k, k + K), one after the other. */
static void pack_panels(const Product *p, long q0, long q1, long k, long K, Operand *packed) {
    for (long q = q0, n0 = panel_start(p->N, q0); q < q1; q++) {
        long n = panel_start(p->N, q), width = panel_start(p->N, q + 1) - n;
        pack(packed + (n - n0) * K, width, width, p->b + k * PAIR * p->b_row + n * p->b_column, p->b_row, p->b_column,
             least(K * PAIR, p->K - k * PAIR), p->N - n);
    }
}

/* The left factor's operands: rows [m, m + M) of a at depth [k, k + K), in the strides row and column. */
INLINE const Operand *left_factor(const Product *p, long m, long M, long k, long K, Operand *scratch, long *row,
                                  long *column) {
    const real *a = p->a + m * p->a_row + k * PAIR * p->a_column;
#ifdef BFLOAT16
    *row = p->a_column == 1 ? K : 1, *column = p->a_column == 1 ? 1 : LANES;
    long left = least(K * PAIR, p->K - k * PAIR);
    if (p->a_column == 1)
        for (long i = 0; i < M; i++) pack_row(scratch + i * K, a + i * p->a_row, left);
    else
        pack(scratch, LANES, M, a, p->a_column, 1, left, M);
    return scratch;
#else
    (void)M, (void)K, (void)scratch;
    *row = p->a_row, *column = p->a_column;
    return a;
#endif
}

/* Multiply rows [m, m + M) at depth [k, k + K) with a panel of columns [n, n + width); a: their left factor. */
static void product_panel(const Product *p, const Operand *a, long row, long column, long m, long M, long k, long K,
                          long n, long width, const Operand *panel) {
    real *out = p->out + m * p->ldo + n, tile[LANES * WIDEST] __attribute__((aligned(64)));
    long columns = p->N - n;
    int nv = width / VL, add = p->add || k;
    if (columns >= width) {
        rows_by_panel(a, row, column, M, panel, K, nv, out, p->ldo, add);
        return;
    }
    for (long i = 0; add && i < M; i++) memcpy(tile + i * width, out + i * p->ldo, columns * sizeof(real));
    rows_by_panel(a, row, column, M, panel, K, nv, tile, width, add);
    for (long i = 0; i < M; i++) memcpy(out + i * p->ldo, tile + i * width, columns * sizeof(real));
}

/* Compute rows [m0, m1) of a product. scratch: `core_product_scratch` bytes, at a multiple of 64 */
void EXPORT(core_product)(const Product *p, long m0, long m1, Operand *scratch) {
    long depth = depth_of(p->K), cuts = (depth + DEEPEST - 1) / DEEPEST, panels = panels_of(p->N), row, column;
    Operand *rows = scratch + PACKED / sizeof(Operand);
    if (p->K == 0 && !p->add)
        for (long m = m0; m < m1; m++) memset(p->out + m * p->ldo, 0, p->N * sizeof(real));
    for (long cut = 0; cut < cuts; cut++) {
        long k = depth * cut / cuts, K = depth * (cut + 1) / cuts - k;
        long at_a_time = PACKED / (K * 4 * VECTOR_BYTES);
        for (long q0 = 0; q0 < panels; q0 += at_a_time) {
            long q1 = least(panels, q0 + at_a_time), n0 = panel_start(p->N, q0);
            pack_panels(p, q0, q1, k, K, scratch);
            for (long m = m0; m < m1; m += LANES) {
                const Operand *a = left_factor(p, m, least(LANES, m1 - m), k, K, rows, &row, &column);
                for (long q = q0; q < q1; q++) {
                    long n = panel_start(p->N, q), width = panel_start(p->N, q + 1) - n;
                    product_panel(p, a, row, column, m, least(LANES, m1 - m), k, K, n, width, scratch + (n - n0) * K);
                }
            }
        }
    }
}

/* Elements of a vector, and the most operands of a column of a packed panel. */
long EXPORT(core_vector)(void) { return VL; }
long EXPORT(core_deepest)(void) { return DEEPEST; }

/* Bytes of scratch that each thread in `core_product` needs. */
long EXPORT(core_product_scratch)(void) { return PACKED + (PAIR > 1 ? LANES * DEEPEST * sizeof(Operand) : 0); }
