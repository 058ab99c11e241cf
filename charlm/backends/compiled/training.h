/* What a training step needs beside products and time loops: softmax with cross-entropy, look-ups, dropout, sums, the norm and Adam. */

/* Softmax and cross-entropy of rows [from, end) of logits [N, tokens], a row for each token; rows are ld apart.
 *
 * L = ln(sum of e) - (logit of the target - largest), e = exp(logit - largest)
 *
 * bias [tokens]: added to the logits first, or NULL
 * target [N]: -1 for none, whose loss is 0
 * scale: the logits are overwritten with scale (softmax - one-hot target); 0: they are not overwritten
 * loss [N]: overwritten */
void EXPORT(core_cross_entropy)(real *logits, long ld, long tokens, const real *bias, const int32_t *target, double scale,
                                double *loss, long from, long end) {
    for (long r = from; r < end; r++) {
        real *row = logits + r * ld;
        V most = all(-INFINITY), sum = all(0);
        for (long j = 0; j < tokens; j += VL) {
            V x = load(row + j, tokens - j);
            if (bias) store(row + j, x += load(bias + j, tokens - j), tokens - j);
            for (long i = tokens - j; i < VL; i++) x[i] = -INFINITY;
            most = choose(x > most, x, most);
        }
        /* With logits -inf alone, e is 0 and not NaN. */
        real largest = -(sizeof(real) == 4 ? FLT_MAX : (real)DBL_MAX);
        for (int i = 0; i < VL; i++) largest = most[i] > largest ? most[i] : largest;
        long wanted = target[r];
        double chosen = wanted < 0 ? 0 : (double)row[wanted] - largest;
        for (long j = 0; j < tokens; j += VL) {
            V e = exp_of(load(row + j, tokens - j) - largest);
            for (long i = tokens - j; i < VL; i++) e[i] = 0;
            sum += e;
            if (scale != 0) store(row + j, e, tokens - j);
        }
        double total = 0;
        for (int i = 0; i < VL; i++) total += sum[i];
        loss[r] = wanted < 0 ? 0 : log(total) - chosen;
        if (scale == 0) continue;
        V factor = all(wanted < 0 ? 0 : scale / total);
        for (long j = 0; j < tokens; j += VL) store(row + j, load(row + j, tokens - j) * factor, tokens - j);
        if (wanted >= 0) row[wanted] -= scale;
    }
}

/* Elements of a vector, and the most operands of a column of a packed panel. */
long EXPORT(core_vector)(void) { return VL; }
long EXPORT(core_deepest)(void) { return DEEPEST; }

/* Pack the right operand of a product whole: its part `part` of `parts`. packed: N K reals, N a multiple of VL */
void EXPORT(core_pack_product)(const Product *p, real *packed, long part, long parts) {
    long panels = panels_of(p->N), q0 = panels * part / parts;
    pack_panels(p, q0, panels * (part + 1) / parts, 0, p->K, packed + panel_start(p->N, q0) * p->K);
}

/* Cross-entropy of rows [m0, m1) of the logits a b + bias, which are not written anywhere.
 *
 * Each element of a vector sums e^(logit - largest) over every VL-th token, with the largest so far; where it grows, the
 * sum shrinks by e^(before - after).
 *
 * packed: b as `core_pack_product` packs it; bias [whole vectors]: -infinity beyond the tokens
 * target, loss: as in `core_cross_entropy`
 * rows [M][2 VL + 1]: scratch: the sums, the largest logits, and the logit of the target */
void EXPORT(core_losses)(const Product *p, const real *packed, const real *bias, const int32_t *target, double *loss,
                         real *rows, long m0, long m1) {
    const real lowest = -(sizeof(real) == 4 ? FLT_MAX : (real)DBL_MAX);
    long panels = panels_of(p->N), at_a_time = 1 + PACKED / ((p->K + 1) * 4 * VECTOR_BYTES);
    real tile[LANES * WIDEST] __attribute__((aligned(64)));
    for (long m = m0; m < m1; m++) {
        store(rows + m * (2 * VL + 1), all(0), VL);
        store(rows + m * (2 * VL + 1) + VL, all(lowest), VL);
    }
    for (long q0 = 0; q0 < panels; q0 += at_a_time)
        for (long m = m0; m < m1; m += LANES)
            for (long q = q0; q < least(panels, q0 + at_a_time); q++) {
                long n = panel_start(p->N, q), width = panel_start(p->N, q + 1) - n, M = least(LANES, m1 - m);
                rows_by_panel(p->a + m * p->a_row, p->a_row, M, packed + n * p->K, p->K, width / VL, tile,
                              width, 0);
                for (long i = 0; i < M; i++) {
                    real *x = tile + i * width, *row = rows + (m + i) * (2 * VL + 1);
                    V before = load(row + VL, VL), largest = before;
                    for (long j = 0; j < width; j += VL) {
                        V logit = load(x + j, VL) + load(bias + n + j, VL);
                        store(x + j, logit, VL);
                        largest = choose(logit > largest, logit, largest);
                    }
                    V sum = load(row, VL) * exp_of(before - largest);
                    for (long j = 0; j < width; j += VL) sum += exp_of(load(x + j, VL) - largest);
                    store(row, sum, VL);
                    store(row + VL, largest, VL);
                    long wanted = target[m + i] - n;
                    if (wanted >= 0 && wanted < width) row[2 * VL] = x[wanted];
                }
            }
    for (long m = m0; m < m1; m++) {
        const real *sum = rows + m * (2 * VL + 1), *largest = sum + VL;
        double most = lowest, total = 0;
        for (int k = 0; k < VL; k++) most = largest[k] > most ? largest[k] : most;
        for (int k = 0; k < VL; k++) total += sum[k] * exp(largest[k] - most);
        loss[m] = target[m] < 0 ? 0 : log(total) - (sum[2 * VL] - most);
    }
}

/* out[r, :] = table[ids[r], :] for rows [from, end) of n elements; 0 where the id is -1. */
void EXPORT(core_lookup)(const real *table, long ldt, const int32_t *ids, real *out, long ldo, long n, long from,
                         long end) {
    for (long r = from; r < end; r++)
        if (ids[r] < 0) memset(out + r * ldo, 0, n * sizeof(real));
        else memcpy(out + r * ldo, table + ids[r] * ldt, n * sizeof(real));
}

/* table[ids[r], j] += d[r, j] for N rows in their order and columns [from, end); the id -1 has no row. */
void EXPORT(core_lookup_grad)(const real *d, long ldd, const int32_t *ids, long N, real *table, long ldt, long from,
                              long end) {
    for (long r = 0; r < N; r++) {
        if (ids[r] < 0) continue;
        const real *in = d + r * ldd;
        real *row = table + ids[r] * ldt;
        for (long j = from; j < end; j += VL) store(row + j, load(row + j, end - j) + load(in + j, end - j), end - j);
    }
}

/* out [n] (+)= the sums of columns [from, end) of x [N, n], whose rows are ld apart: sums of sums of DEEPEST rows. */
void EXPORT(core_column_sums)(const real *x, long ld, long N, real *out, int add, long from, long end) {
    for (long j = from; j < end; j += VL) {
        V sum = add ? load(out + j, end - j) : all(0);
        for (long first = 0; first < N; first += DEEPEST) {
            V part = all(0);
            for (long r = first; r < least(N, first + DEEPEST); r++) part += load(x + r * ld + j, end - j);
            sum += part;
        }
        store(out + j, sum, end - j);
    }
}

/* A 32-bit hash that mixes well; word is mixed in between. */
INLINE uint32_t mixed(uint32_t bits, uint32_t first, uint32_t second) {
    const uint32_t by[2] = {0x7FEB352Du, 0x846CA68Bu};
    bits ^= first;
    for (int round = 0; round < 2; round++) {
        bits ^= bits >> 16;
        bits *= by[0];
        bits ^= bits >> 15;
        bits *= by[1];
        bits ^= bits >> 16;
        if (round == 0) bits ^= second;
    }
    return bits;
}

/* out = x, with elements zeroed by the hash of (key, index) and the others times kept, for rows [from, end) of [T·B, n].
 * Row t·B + lane is a lane at step t; index = (t n + j) B + lane. */
void EXPORT(core_dropout)(const real *x, long ldx, real *out, long ldo, long n, long B, uint64_t key,
                          uint32_t threshold, real kept, long from, long end) {
    for (long r = from; r < end; r++) {
        const real *in = x + r * ldx;
        real *to = out + r * ldo;
        uint32_t index = (uint32_t)(r / B * n) * (uint32_t)B + (uint32_t)(r % B), step = B;
        for (long j = 0; j < n; j++)
            to[j] = in[j] * (mixed(index + (uint32_t)j * step, key, key >> 32) >= threshold ? kept : 0);
    }
}

/* part[b] = the sum of squares of block b of x [n], for blocks [from, end) of `size` elements, a multiple of VL. */
void EXPORT(core_squares)(const real *x, long n, long size, double *part, long from, long end) {
    for (long b = from; b < end; b++) {
        V sum[4] = {all(0), all(0), all(0), all(0)};
        long last = least(n, (b + 1) * size), i = b * size;
        for (long k = 0; i < last; i += VL, k++) {
            V y = load(x + i, last - i);
            sum[k % 4] += y * y;
        }
        part[b] = 0;
        for (int k = 0; k < 4; k++) part[b] += sum_of(sum[k]);
    }
}

/* A step of Adam for elements [from, end): see `Backend.adam`.
 *
 * m = b1 m + rest1 g    v = b2 v + rest2 g^2    w -= rate m / (sqrt(v) + tiny)
 *
 * with g times scale as the gradient; rate and tiny have the corrections of the moments in them */
void EXPORT(core_adam)(real *restrict w, const real *restrict g, real *restrict m, real *restrict v, real scale, real rate,
                       real tiny, real b1, real rest1, real b2, real rest2, long from, long end) {
    for (long i = from; i < end; i++) {
        real gradient = g[i] * scale;
        m[i] = m[i] * b1 + gradient * rest1;
        v[i] = v[i] * b2 + gradient * gradient * rest2;
        w[i] -= m[i] / ((sizeof(real) == 4 ? sqrtf(v[i]) : sqrt(v[i])) + tiny) * rate;
    }
}
