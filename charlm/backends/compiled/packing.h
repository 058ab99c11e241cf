/* Packing the factors of products. A square is VL rows of VL operands. */
#ifdef BFLOAT16
/* The nearest bfloat16 numbers, of two the even one; NaN stays NaN. */
INLINE Bits rounded(V x) {
    typedef uint32_t Unsigned __attribute__((vector_size(VECTOR_BYTES)));
    Unsigned bits = (Unsigned)x, nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (Bits)choose(x != x, (V)(bits >> 16 | 64), (V)nearest);
}
/* The operands of a row of K numbers, padded with 0. */
static void pack_row(void *row, const real *x, long K) {
    typedef uint16_t Halves __attribute__((vector_size(VL * sizeof(uint16_t))));
    const long padded = depth_of(K) * PAIR;
    for (long k = 0; k < padded; k += VL) {
        Halves numbers = __builtin_convertvector(rounded(load(x + k, k < K ? K - k : 0)), Halves);
        if (padded - k >= VL) memcpy((uint16_t *)row + k, &numbers, sizeof numbers);
        else memcpy((uint16_t *)row + k, &numbers, (padded - k) * sizeof(uint16_t));
    }
}
/* The operands of rows k and k+1 of b [K, n], `row` apart; 0 where there is none. */
INLINE Bits operands_of(const real *b, long row, long k, long K, long n) {
    Bits x = {0};
    if (n > 0 && k < K) x = rounded(load(b + k * row, n));
    if (n > 0 && k + 1 < K) x |= rounded(load(b + (k + 1) * row, n)) << 16;
    return x;
}
#else
static void pack_row(void *row, const real *x, long K) { memcpy(row, x, K * sizeof(real)); }
/* Row k of b [K, n]; 0 where there is none. */
INLINE Bits operands_of(const real *b, long row, long k, long K, long n) {
    return n > 0 && k < K ? (Bits)load(b + k * row, n) : (Bits){0};
}
#endif

/* Transpose a square, in place. */
INLINE void transpose(Bits x[VL]) {
#ifdef __clang__
    for (int i = 0; i < VL; i++)
        for (int j = 0; j < i; j++) {
            whole other = x[i][j];
            x[i][j] = x[j][i], x[j][i] = other;
        }
#else
#pragma GCC unroll 8
    for (int half = VL / 2; half; half /= 2)
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++) {
            if (i & half) continue;
            Bits upper = {0}, lower = {0}, a = x[i], b = x[i + half]; /* without a value GCC takes no constants */
#pragma GCC unroll 16
            for (int e = 0; e < VL; e++) upper[e] = e & half ? VL + e - half : e, lower[e] = upper[e] + half;
            x[i] = __builtin_shuffle(a, b, upper);
            x[i + half] = __builtin_shuffle(a, b, lower);
        }
#endif
}

/* Pack n <= width columns of b [K, n] into columns of a panel whose rows are `stride` apart; columns from n on are 0.
 * b[k, i] = b[k * row + i * column]; K counts reals; width is a multiple of VL */
static void pack(void *panel, long stride, long width, const real *b, long row, long column, long K, long n) {
    const long depth = depth_of(K);
    Bits square[VL];
    n = least(n, width);
    for (long k = 0; k < depth; k += VL)
        for (long i = 0; i < width; i += VL) {
            const long rows = least(VL, depth - k), columns = least(VL, n - i), reals = least(PAIR * VL, K - k * PAIR);
            if (column == 1)
                for (long j = 0; j < rows; j++) square[j] = operands_of(b + i, row, (k + j) * PAIR, K, n - i);
            else {
                for (long j = 0; j < VL; j++) {
                    real line[PAIR * VL] = {0};
                    const real *from = b + k * PAIR * row + (i + j) * column;
                    if (j < columns && row == 1 && reals == PAIR * VL) memcpy(line, from, sizeof line);
                    else if (j < columns)
                        for (long m = 0; m < reals; m++) line[m] = from[m * row];
                    pack_row(square + j, line, PAIR * VL);
                }
                transpose(square);
            }
            for (long j = 0; j < rows; j++) memcpy((Operand *)panel + (k + j) * stride + i, square + j, sizeof(Bits));
        }
}

/* The operands of M columns of a [K, M], whose rows are `row` apart, as rows of `depth_of(K)` operands, `out_row` apart. */
static void pack_columns(Operand *out, long out_row, const real *a, long row, long K, long M) {
    const long depth = depth_of(K);
    Bits square[VL];
    for (long k = 0; k < depth; k += VL)
        for (long m = 0; m < M; m += VL) {
            for (long j = 0; j < VL; j++) square[j] = operands_of(a + m, row, (k + j) * PAIR, K, M - m);
            for (long j = 0; j < VL * PAIR; j++) __builtin_prefetch(a + m + ((k + VL) * PAIR + j) * row);
            transpose(square);
            for (long j = 0; j < least(VL, M - m); j++) {
                Operand *to = out + (m + j) * out_row + k;
                if (depth - k >= VL) memcpy(to, square + j, sizeof(Bits));
                else memcpy(to, square + j, (depth - k) * sizeof(Operand));
            }
        }
}
