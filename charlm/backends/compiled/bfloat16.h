/* Packing factors as pairs of bfloat16 numbers, those of k and k+1. */
typedef uint32_t Pairs __attribute__((vector_size(VECTOR_BYTES)));

/* The nearest bfloat16 numbers, of two the even one, in the low halves; NaN stays NaN. */
INLINE Pairs rounded(V x) {
    Pairs bits = (Pairs)x, is_nan = (Pairs)(x != x);
    return (is_nan & (bits >> 16 | 64)) | (~is_nan & ((bits + 0x7fff + (bits >> 16 & 1)) >> 16));
}

/* Transpose a square of pairs, in place. */
INLINE void transpose(Pairs x[VL]) {
#pragma GCC unroll 8
    for (int half = VL / 2; half; half /= 2)
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++) {
            if (i & half) continue;
            Pairs upper, lower, a = x[i], b = x[i + half];
#pragma GCC unroll 16
            for (int e = 0; e < VL; e++) upper[e] = e & half ? VL + e - half : e, lower[e] = upper[e] + half;
            x[i] = __builtin_shuffle(a, b, upper);
            x[i + half] = __builtin_shuffle(a, b, lower);
        }
}

/* The operands of a row of K numbers, padded with 0. */
static void pack_row(Operand *row, const real *x, long K) {
    typedef uint16_t Halves __attribute__((vector_size(VL * sizeof(uint16_t))));
    const long padded = depth_of(K) * PAIR;
    for (long k = 0; k < padded; k += VL) {
        Halves numbers = __builtin_convertvector(rounded(load(x + k, k < K ? K - k : 0)), Halves);
        if (padded - k >= VL) memcpy((uint16_t *)row + k, &numbers, sizeof numbers);
        else memcpy((uint16_t *)row + k, &numbers, (padded - k) * sizeof(uint16_t));
    }
}

/* The operands of rows k and k+1 of b [K, n], `row` apart; 0 where there is none. */
INLINE Pairs pair_of(const real *b, long row, long k, long K, long n) {
    Pairs x = {0};
    if (n > 0 && k < K) x = rounded(load(b + k * row, n));
    if (n > 0 && k + 1 < K) x |= rounded(load(b + (k + 1) * row, n)) << 16;
    return x;
}

/* Pack n <= width columns of b [K, n] into columns of a panel whose rows are `stride` apart; columns from n on are 0.
 * b[k, i] = b[k * row + i * column]; K counts reals; width is a multiple of VL */
static void pack(Operand *panel, long stride, long width, const real *b, long row, long column, long K, long n) {
    const long depth = depth_of(K);
    Pairs square[VL];
    n = least(n, width);
    for (long k = 0; k < depth; k += VL)
        for (long i = 0; i < width; i += VL) {
            const long rows = least(VL, depth - k), left = least(VL, n - i);
            if (column == 1)
                for (long j = 0; j < rows; j++) square[j] = pair_of(b + i, row, (k + j) * PAIR, K, n - i);
            else {
                for (long j = 0; j < VL; j++) {
                    real line[PAIR * VL] = {0};
                    for (long m = 0; j < left && m < least(PAIR * VL, K - k * PAIR); m++)
                        line[m] = b[(k * PAIR + m) * row + (i + j) * column];
                    pack_row((Operand *)(square + j), line, PAIR * VL);
                }
                transpose(square);
            }
            for (long j = 0; j < rows; j++) memcpy(panel + (k + j) * stride + i, square + j, sizeof(Pairs));
        }
}

/* The operands of M columns of a [K, M], whose rows are `row` apart, as rows of `depth_of(K)` operands. */
static void pack_columns(Operand *out, const real *a, long row, long K, long M) {
    const long depth = depth_of(K);
    Pairs square[VL];
    for (long k = 0; k < depth; k += VL)
        for (long m = 0; m < M; m += VL) {
            for (long j = 0; j < VL; j++) square[j] = pair_of(a + m, row, (k + j) * PAIR, K, M - m);
            transpose(square);
            for (long j = 0; j < least(VL, M - m); j++) {
                Operand *to = out + (m + j) * depth + k;
                if (depth - k >= VL) memcpy(to, square + j, sizeof(Pairs));
                else memcpy(to, square + j, (depth - k) * sizeof(Operand));
            }
        }
}
