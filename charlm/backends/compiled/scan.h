/* The time loops: a cell over all steps of some lanes, forward and back. Lanes are independent, so whoever computes
 * some lanes waits for nobody.
 */
/* A pass over T steps of B lanes with H units. Row t·B + l of an array is lane l at step t. */
typedef struct {
    const Arithmetic *by; /* how numbers are multiplied */
    long cell, T, B, H;
    const real *W_a; /* [G·H, H], rows ldw apart */
    long ldw;
    const real *param;        /* [params, H] */
    const uint8_t *continues; /* [T + 1, B]: 0 where a sequence starts; NULL if none does */
    const real *x;            /* W_x x + b [T·B, G·H], rows ldx apart */
    long ldx;
    real *z; /* gate values [T·B, G·H], rows ldz apart; may be x */
    long ldz;
    long ld;              /* between the rows of the following arrays, [.., H] */
    real *states[2];      /* [(T + 1)·B, H]: before each step, and after the last; 0 where a sequence starts */
    real *y;              /* [T·B, H]: a<t>; NULL where no sequence starts: then it is states[0] one step on */
    real *kept[2];        /* [T·B, H] */
    real *d_a;            /* [T·B, H]: dL/da<t-1> */
    real *d_last[2];      /* [B, H]: dL/d(last states) on entry; d_last[1] is dL/d(first c) on exit */
    const real *dy;       /* dL/dy: element (t, l, j) is dy[t * dy_step + l * dy_lane + j] */
    long dy_step, dy_lane;
    real *dz; /* dL/dz of each block [T·B, K·H], rows lddz apart; may be z if there are as many blocks as gates */
    long lddz;
    Operand *packed; /* `core_packed_size` bytes, at a multiple of 64: W_a packed for this direction */
    Operand *left;   /* [B, `core_left_size`]: room for the left factor of a product, where a real is no operand */
} Pass;

INLINE long vectors_of(const Pass *p) { return (p->H + VL - 1) / VL; }
INLINE long depth(const Pass *p) { return p->by->depth_of(p->H); }
/* Vectors of units in a forward panel; each has the columns of all gates of a product. */
INLINE long units_of(int gates) { return gates == 1 ? 4 : gates == 2 ? 2 : 1; }

static const Facts *const facts_of[];

/* The operands of lanes [l0, l1) of x [B, blocks·H], rows ldx apart, each block by itself; `row` is set to their distance. */
INLINE const Operand *left_of(const Pass *p, const real *x, long ldx, long blocks, long l0, long l1, long *row) {
    *row = ldx;
    if (!p->by->pack_row) return x;
    *row = facts_of[p->cell]->reached * depth(p);
    for (long l = l0; l < l1; l++)
        for (long b = 0; b < blocks; b++)
            p->by->pack_row(p->left + l * *row + b * depth(p), x + l * ldx + b * p->H, p->H);
    return p->left;
}

/* Pack gates [g0, g0 + gates) of W_a for the forward pass: panel [H][units][gates][VL]; every `parts`-th panel. */
static void pack_gates(const Pass *p, int g0, int gates, Operand *packed, long part, long parts) {
    long vectors = vectors_of(p), H = p->H, per_panel = units_of(gates);
    for (long first = part * per_panel; first < vectors; first += parts * per_panel) {
        long count = least(per_panel, vectors - first), width = count * gates * VL;
        Operand *panel = packed + first * gates * VL * depth(p);
        for (long i = 0; i < count; i++)
            for (int g = 0; g < gates; g++) {
                long unit = (first + i) * VL;
                const real *rows = p->W_a + ((g0 + g) * H + unit) * p->ldw;
                p->by->pack(panel + (i * gates + g) * VL, width, VL, rows, 1, p->ldw, H, H - unit);
            }
    }
}

/* Pack the rows of some gates of W_a for the way back: panels [gates·H][width] over its columns; every `parts`-th. */
static void pack_back(const Pass *p, const int *gate, int gates, Operand *packed, long part, long parts) {
    for (long q = part; q < panels_of(p->H); q += parts) {
        long n = panel_start(p->H, q), width = panel_start(p->H, q + 1) - n;
        for (int g = 0; g < gates; g++)
            p->by->pack(packed + n * gates * depth(p) + g * depth(p) * width, width, width,
                        p->W_a + gate[g] * p->H * p->ldw + n, p->ldw, 1, p->H, p->H - n);
    }
}

/* One product of step t, and the equations that follow from it.
 * a [B, H]: the right factor; gates [g0, g0 + gates): those of the product
 * is_last: whether the equations give the states after the step */
INLINE void forward_stage(const Facts f, Equations *equations, const int g0, const int gates, const int is_last,
                          const Pass *p, long t, const real *a, const Operand *packed, long l0, long l1) {
    const long H = p->H, B = p->B, ld = p->ld, per_panel = units_of(gates), K = depth(p);
    long distance;
    const Operand *left = left_of(p, a, ld, 1, l0, l1, &distance);
    real tile[MOST_LANES * WIDEST] __attribute__((aligned(64)));
    for (long first = 0; first < vectors_of(p); first += per_panel) {
        long count = least(per_panel, vectors_of(p) - first), width = count * gates * VL;
        for (long from = l0; from < l1; from += p->by->lanes) {
            long end = least(l1, from + p->by->lanes);
            p->by->rows_by_panel(left + from * distance, distance, end - from, packed + first * gates * VL * K, K,
                                 count * gates, tile, width, 0);
            for (long l = from; l < end; l++)
                for (long i = 0; i < count; i++) {
                    long j = (first + i) * VL, n = H - j, row = t * B + l;
                    const real *product = tile + (l - from) * width + i * gates * VL;
                    real *z = p->z + row * p->ldz + j;
                    Unit q;
                    for (int g = 0; g < g0; g++) q.z[g] = load(z + g * H, n);
                    for (int g = g0; g < g0 + gates; g++) {
                        q.x[g] = load(p->x + row * p->ldx + g * H + j, n);
                        __builtin_prefetch(p->x + row * p->ldx + g * H + j + count * VL); /* of the next panel */
                        q.z[g] = load(product + (g - g0) * VL, VL);
                    }
                    for (int s = 0; s < f.states; s++) q.old[s] = load(p->states[s] + row * ld + j, n);
                    for (int k = 0; k < f.params; k++) q.param[k] = load(p->param + k * H + j, n);
                    equations(&q);
                    for (int g = g0; g < g0 + gates; g++) store(z + g * H, q.z[g], n);
                    for (int k = 0; g0 == 0 && k < f.kept; k++) store(p->kept[k] + row * ld + j, q.kept[k], n);
                    if (!is_last) continue;
                    if (p->y) store(p->y + row * ld + j, q.new[0], n);
                    int is_cut = p->continues && !p->continues[row + B];
                    for (int s = 0; s < f.states; s++)
                        store(p->states[s] + (row + B) * ld + j, is_cut ? all(0) : q.new[s], n);
                }
        }
    }
}

/* All steps of lanes [l0, l1). first: the equations that follow from W_a a<t-1>; second: those that follow from the
 * product with kept[0], NULL if there is none. */
INLINE void forward(const Facts f, Equations *first, Equations *second, const Pass *p, long l0, long l1) {
    const long size = vectors_of(p) * VL * depth(p);
    for (long t = 0; t < p->T; t++) {
        const long row = t * p->B * p->ld;
        forward_stage(f, first, 0, f.reached, !second, p, t, p->states[0] + row, p->packed, l0, l1);
        if (second)
            forward_stage(f, second, f.reached, f.gates - f.reached, 1, p, t, p->kept[0] + row,
                          p->packed + f.reached * size, l0, l1);
    }
}

/* Load what the equations of the way back need of a unit. */
INLINE void load_unit(const Facts f, Unit *q, const Pass *p, long row, long j, long n) {
    for (int g = 0; g < f.gates; g++) q->z[g] = load(p->z + row * p->ldz + g * p->H + j, n);
    for (int s = 0; s < f.states; s++) q->old[s] = load(p->states[s] + row * p->ld + j, n);
    for (int k = 0; k < f.kept; k++) q->kept[k] = load(p->kept[k] + row * p->ld + j, n);
    for (int k = 0; k < f.params; k++) q->param[k] = load(p->param + k * p->H + j, n);
}

/* dL/da<t> = W_a^T dz_a<t+1> + the part outside the product, 0 where step t+1 starts a sequence; then dz<t>.
 * For t = T - 1 it is the given gradient; for t = -1 there is no dz. */
INLINE void back_stage(const Facts f, Equations *equations, const int has_merge, const Pass *p, long t, long l0, long l1) {
    const long H = p->H, B = p->B, ld = p->ld, K = f.reached * depth(p);
    long distance = 0;
    const Operand *left = 0;
    if (t < p->T - 1) left = left_of(p, p->dz + (t + 1) * B * p->lddz, p->lddz, f.reached, l0, l1, &distance);
    real tile[MOST_LANES * WIDEST] __attribute__((aligned(64)));
    for (long q0 = 0; q0 < panels_of(H); q0++) {
        long first = panel_start(H, q0), width = panel_start(H, q0 + 1) - first;
        for (long from = l0; from < l1; from += p->by->lanes) {
            long end = least(l1, from + p->by->lanes);
            if (left)
                p->by->rows_by_panel(left + from * distance, distance, end - from, p->packed + first * K, K,
                                     width / VL, tile, width, 0);
            for (long l = from; l < end; l++)
                for (long i = 0; i < width && first + i < H; i += VL) {
                    long j = first + i, n = H - j, row = t * B + l, after = row + B;
                    Unit q;
                    if (t == p->T - 1) q.da = load(p->d_last[0] + l * ld + j, n);
                    else {
                        q.da = load(tile + (l - from) * width + i, VL);
                        if (f.outside) q.da += load(p->d_a + after * ld + j, n);
                        if (p->continues && !p->continues[after]) q.da = all(0);
                        store(p->d_a + after * ld + j, q.da, n);
                    }
                    if (t < 0) continue;
                    q.da += load(p->dy + t * p->dy_step + l * p->dy_lane + j, n);
                    real *dc = p->d_last[1] + l * ld + j;
                    if (f.states > 1) q.dc = load(dc, n);
                    load_unit(f, &q, p, row, j, n);
                    equations(&q);
                    for (int b = 0; b < f.blocks; b++) /* `merge` computes dz_r, from gamma_r in the same place */
                        if (!(has_merge && b == 1)) store(p->dz + row * p->lddz + b * H + j, q.dz[b], n);
                    for (int k = 0; f.keeps && k < f.kept; k++) store(p->kept[k] + row * ld + j, q.kept[k], n);
                    if (f.outside) store(p->d_a + row * ld + j, q.da, n);
                    if (f.states > 1) store(dc, p->continues && !p->continues[row] ? all(0) : q.dc, n);
                }
        }
    }
}

/* e = W_ca^T dz_c of step t, and what follows from it. */
INLINE void merge_stage(const Facts f, Equations *merge, const Pass *p, long t, long l0, long l1) {
    const long H = p->H, ld = p->ld, K = depth(p);
    const Operand *packed = p->packed + f.reached * vectors_of(p) * VL * K;
    long distance;
    const Operand *left =
        left_of(p, p->dz + t * p->B * p->lddz + (f.blocks - 1) * H, p->lddz, 1, l0, l1, &distance);
    real tile[MOST_LANES * WIDEST] __attribute__((aligned(64)));
    for (long q0 = 0; q0 < panels_of(H); q0++) {
        long first = panel_start(H, q0), width = panel_start(H, q0 + 1) - first;
        for (long from = l0; from < l1; from += p->by->lanes) {
            long end = least(l1, from + p->by->lanes);
            p->by->rows_by_panel(left + from * distance, distance, end - from, packed + first * K, K, width / VL,
                                 tile, width, 0);
            for (long l = from; l < end; l++)
                for (long i = 0; i < width && first + i < H; i += VL) {
                    long j = first + i, n = H - j, row = t * p->B + l;
                    Unit q;
                    load_unit(f, &q, p, row, j, n);
                    q.e = load(tile + (l - from) * width + i, VL);
                    q.da = load(p->d_a + row * ld + j, n);
                    merge(&q);
                    store(p->dz + row * p->lddz + H + j, q.dz[1], n);
                    store(p->d_a + row * ld + j, q.da, n);
                }
        }
    }
}

INLINE void backward(const Facts f, Equations *back, Equations *merge, const Pass *p, long l0, long l1) {
    for (long t = p->T - 1; t >= -1; t--) {
        back_stage(f, back, merge != 0, p, t, l0, l1);
        if (merge && t >= 0) merge_stage(f, merge, p, t, l0, l1);
    }
}

/* A cell's number is its place here. */
#define EACH_CELL(CELL)                                                              \
    CELL(0, rnn_facts, rnn_tanh_step, 0, rnn_tanh_back, 0)                           \
    CELL(1, rnn_facts, rnn_relu_step, 0, rnn_relu_back, 0)                           \
    CELL(2, gru_simple_facts, gru_simple_step, 0, gru_simple_back, 0)                \
    CELL(3, gru_after_facts, gru_after_step, 0, gru_after_back, 0)                   \
    CELL(4, gru_before_facts, gru_before_gates, gru_before_step, gru_before_back, gru_before_merge) \
    CELL(5, gru_both_facts, gru_both_step, 0, gru_both_back, 0)                      \
    CELL(6, lstm_facts, lstm_step, 0, lstm_back, 0)                                  \
    CELL(7, relevance_facts, relevance_step, 0, lstm_relevance_back, 0)              \
    CELL(8, peephole_facts, peephole_step, 0, peephole_back, 0)
#define FORWARD(number, facts, first, second, back, merge) \
    static void forward_##number(const Pass *p, long l0, long l1) { forward(facts, first, second, p, l0, l1); }
#define BACKWARD(number, facts, first, second, back, merge) \
    static void backward_##number(const Pass *p, long l0, long l1) { backward(facts, back, merge, p, l0, l1); }
#define FACTS(number, facts, first, second, back, merge) [number] = &facts,
#define FORWARD_OF(number, facts, first, second, back, merge) [number] = forward_##number,
#define BACKWARD_OF(number, facts, first, second, back, merge) [number] = backward_##number,
EACH_CELL(FORWARD)
EACH_CELL(BACKWARD)
static const Facts *const facts_of[] = {EACH_CELL(FACTS)};
static void (*const forward_of[])(const Pass *, long, long) = {EACH_CELL(FORWARD_OF)};
static void (*const backward_of[])(const Pass *, long, long) = {EACH_CELL(BACKWARD_OF)};

/* The place of the gates of the second product in packed. */
INLINE Operand *second_packed(const Pass *p) {
    return p->packed + facts_of[p->cell]->reached * vectors_of(p) * VL * depth(p);
}

/* Bytes that W_a takes when it is packed. */
long EXPORT(core_packed_size)(const Pass *p) {
    return facts_of[p->cell]->gates * vectors_of(p) * VL * depth(p) * sizeof(Operand);
}

/* Bytes of `left` for each lane. */
long EXPORT(core_left_size)(const Pass *p) {
    return p->by->pack_row ? facts_of[p->cell]->reached * depth(p) * sizeof(Operand) : 0;
}

/* Pack W_a [G·H, H] for the forward pass, every `parts`-th panel from `part` on. */
void EXPORT(core_pack_forward)(const Pass *p, long part, long parts) {
    const Facts *f = facts_of[p->cell];
    pack_gates(p, 0, f->reached, p->packed, part, parts);
    if (f->reached < f->gates) pack_gates(p, f->reached, f->gates - f->reached, second_packed(p), part, parts);
}

/* Pack W_a [G·H, H] for the way back. gates: the gate of each block of dz_a, then those of the second product */
void EXPORT(core_pack_backward)(const Pass *p, const int *gates, long part, long parts) {
    const Facts *f = facts_of[p->cell];
    pack_back(p, gates, f->reached, p->packed, part, parts);
    if (f->reached < f->gates)
        pack_back(p, gates + f->reached, f->gates - f->reached, second_packed(p), part, parts);
}

/* Go through all steps of lanes [l0, l1). */
void EXPORT(core_forward)(const Pass *p, long l0, long l1) { forward_of[p->cell](p, l0, l1); }

/* Go back through all steps of lanes [l0, l1). */
void EXPORT(core_backward)(const Pass *p, long l0, long l1) { backward_of[p->cell](p, l0, l1); }
