/* Matrix products. A kernel computes a block of the output:
 *
 *     out[m, :] (+)= sum over k of a[m, k] panel[k, :]
 *
 * A panel [K][NV·VL] holds NV vectors of columns of the right factor, packed so that it is read in order. A factor
 * consists of operands: reals, or pairs of bfloat16 numbers, those of k and k+1, whose two products are added at a time.
 * K counts operands, each as long as a real, and `depth_of` gives their number. Each element of the output is summed
 * over k in one order, so its bytes depend neither on the other rows nor on who computes them.
 */
#ifdef BFLOAT16
enum { PAIR = 2 };
typedef uint32_t Operand;
#else
enum { PAIR = 1 };
typedef real Operand;
#endif
#ifdef TILES
enum { GRAIN = 16 }; /* the operands of a row or a column are padded to a multiple of it with 0 */
#else
enum { GRAIN = 1 };
#endif
enum { MOST_VECTORS = 5, WIDEST = MOST_VECTORS * VL };
INLINE long depth_of(long n) { return (n + GRAIN * PAIR - 1) / (GRAIN * PAIR) * GRAIN; }

/* LANES: rows at a time: what a panel gives for them stays in the first-level cache
 * DEEPEST: operands of a column of a packed panel
 * PACKED: bytes of packed panels, which stay in the second-level cache
 * LEFT: bytes of the packed left factor */
enum { LEFT = 1 << 21, MOST_LANES = 48 };
#ifdef TILES
enum { LANES = 32, DEEPEST = 256, PACKED = 1 << 20 };
#else
enum { LANES = MOST_LANES, DEEPEST = 1024, PACKED = 1 << 19 };
#endif
#if VECTOR_BYTES == 64
enum { DEPTH = DEEPEST }; /* rows of a panel that a kernel goes through at a time */
#else
enum { DEPTH = 128 }; /* with narrow vectors they have to come from the first-level cache */
#endif

#ifdef TILES
#include "tiles.h"
#else
#include "kernels.h"
#endif

#include "packing.h"

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

/* The left factor's operands: rows [m, m + M) of a at depth [k, k + K); `row` is set to their distance.
 * Rows of numbers that are contiguous are read where they are, unless they have to be rounded. Those in the scratch are
 * a vector longer than needed: at distances of powers of two they would meet in few lines of the first-level cache. */
INLINE const Operand *left_factor(const Product *p, long m, long M, long k, long K, Operand *scratch, long *row) {
    const real *a = p->a + m * p->a_row + k * PAIR * p->a_column;
    const long left = least(K * PAIR, p->K - k * PAIR);
    *row = K + VL;
    if (p->a_column != 1) pack_columns(scratch, *row, a, p->a_column, left, M);
#ifdef BFLOAT16
    else
        for (long i = 0; i < M; i++) pack_row(scratch + i * *row, a + i * p->a_row, left);
#else
    else {
        *row = p->a_row;
        return a;
    }
#endif
    return scratch;
}

/* Multiply rows [m, m + M) at depth [k, k + K) with a panel of columns [n, n + width); a: their left factor. */
static void product_panel(const Product *p, const Operand *a, long row, long m, long M, long k, long K,
                          long n, long width, const Operand *panel) {
    real *out = p->out + m * p->ldo + n, tile[LANES * WIDEST] __attribute__((aligned(64)));
    long columns = p->N - n;
    int nv = width / VL, add = p->add || k;
    if (columns >= width) {
        rows_by_panel(a, row, M, panel, K, nv, out, p->ldo, add);
        return;
    }
    for (long i = 0; add && i < M; i++) memcpy(tile + i * width, out + i * p->ldo, columns * sizeof(real));
    rows_by_panel(a, row, M, panel, K, nv, tile, width, add);
    for (long i = 0; i < M; i++) memcpy(out + i * p->ldo, tile + i * width, columns * sizeof(real));
}

/* Compute rows [m0, m1) of a product. scratch: `core_product_scratch` bytes, at a multiple of 64 */
void EXPORT(core_product)(const Product *p, long m0, long m1, Operand *scratch) {
    const long depth = depth_of(p->K) / GRAIN, cuts = (depth * GRAIN + DEEPEST - 1) / DEEPEST, panels = panels_of(p->N);
    const int is_packed = PAIR > 1 || p->a_column != 1;
    long row;
    if (p->K == 0 && !p->add)
        for (long m = m0; m < m1; m++) memset(p->out + m * p->ldo, 0, p->N * sizeof(real));
    for (long cut = 0; cut < cuts; cut++) {
        const long k = depth * cut / cuts * GRAIN, K = depth * (cut + 1) / cuts * GRAIN - k;
        const long at_a_time = PACKED / (K * 4 * VECTOR_BYTES);
        const long rows = is_packed ? LEFT / ((K + VL) * sizeof(Operand)) / VL * VL : m1 - m0;
        for (long first = m0; first < m1; first += rows) {
            const long M = least(rows, m1 - first);
            const Operand *a = left_factor(p, first, M, k, K, scratch + PACKED / sizeof(Operand), &row);
            for (long q0 = 0; q0 < panels; q0 += at_a_time) {
                const long q1 = least(panels, q0 + at_a_time), n0 = panel_start(p->N, q0);
                pack_panels(p, q0, q1, k, K, scratch);
                for (long m = 0; m < M; m += LANES)
                    for (long q = q0; q < q1; q++) {
                        const long n = panel_start(p->N, q), width = panel_start(p->N, q + 1) - n;
                        product_panel(p, a + m * row, row, first + m, least(LANES, M - m), k, K, n, width,
                                      scratch + (n - n0) * K);
                    }
            }
        }
    }
}

/* Bytes of scratch that each thread in `core_product` needs. */
long EXPORT(core_product_scratch)(void) { return PACKED + LEFT; }

/* Run a block of a product out of the first-level cache; return a number that depends on it. */
enum { PEAK_DEPTH = 8192 / VECTOR_BYTES };
double EXPORT(core_peak)(long rounds) {
    Operand panel[PEAK_DEPTH * 4 * VL] __attribute__((aligned(64))), a[BLOCK_ROWS * PEAK_DEPTH];
    real out[BLOCK_ROWS * 4 * VL];
    for (long i = 0; i < PEAK_DEPTH * 4 * VL; i++) panel[i] = PAIR;
    for (long i = 0; i < BLOCK_ROWS * PEAK_DEPTH; i++) a[i] = (Operand)1 / PEAK_DEPTH;
    for (long round = 0; round < rounds; round++)
        rows_by_panel(a, PEAK_DEPTH, BLOCK_ROWS, panel, PEAK_DEPTH, 4, out, 4 * VL, 0);
    return rounds ? out[0] : 0;
}
/* Operations of one of its rounds. */
long EXPORT(core_peak_operations)(void) { return 2 * PAIR * PEAK_DEPTH * 4 * VL * BLOCK_ROWS; }

/* How numbers are multiplied: what scan.h and stream.h know of it. They are compiled once for each type of real. */
typedef struct {
    long lanes; /* rows that are best multiplied at a time, at most MOST_LANES */
    long (*depth_of)(long n);
    void (*pack)(void *panel, long stride, long width, const real *b, long row, long column, long K, long n);
    void (*pack_row)(void *row, const real *x, long K); /* NULL where a real is an operand */
    void (*rows_by_panel)(const void *a, long row, long M, const void *panel, long K, int nv, real *out, long ldo,
                          int add);
} Arithmetic;
static const Arithmetic arithmetic = {LANES, depth_of, pack, PAIR > 1 ? pack_row : 0, rows_by_panel};
const Arithmetic *EXPORT(core_arithmetic)(void) { return &arithmetic; }
