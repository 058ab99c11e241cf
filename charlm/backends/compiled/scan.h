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
/* Panels of W_a have some vectors of units, and for each the columns of all gates of a product. */
INLINE long units_of(int gates) { return gates == 1 ? 4 : gates == 2 ? 2 : 1; }
INLINE long panels(const Pass *p, int gates) { return (vectors_of(p) + units_of(gates) - 1) / units_of(gates); }
INLINE long first_of_panel(const Pass *p, int gates, long q) { return vectors_of(p) * q / panels(p, gates); }

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

/* Where the panels of the second product are. */
INLINE Operand *second_packed(const Pass *p) {
    return p->packed + facts_of[p->cell]->reached * vectors_of(p) * VL * depth(p);
}

/* Pack gates [g0, g0 + gates) of W_a for the forward pass: panels [H][units][gates][VL]; every `parts`-th. */
static void pack_gates(const Pass *p, int g0, int gates, Operand *packed, long part, long parts) {
    const long H = p->H;
    for (long q = part; q < panels(p, gates); q += parts) {
        const long first = first_of_panel(p, gates, q), count = first_of_panel(p, gates, q + 1) - first;
        Operand *panel = packed + first * gates * VL * depth(p);
        for (long i = 0; i < count * gates; i++) {
            const long unit = (first + i / gates) * VL, gate = g0 + i % gates;
            p->by->pack(panel + i * VL, count * gates * VL, VL, p->W_a + (gate * H + unit) * p->ldw, 1, p->ldw, H,
                        H - unit);
        }
    }
}

/* Pack the rows of some gates of W_a for the way back: panels [gates·H][units][VL] over its columns; every `parts`-th. */
static void pack_back(const Pass *p, const int *gate, int gates, Operand *packed, long part, long parts) {
    for (long q = part; q < panels(p, 1); q += parts) {
        const long n = first_of_panel(p, 1, q) * VL, width = first_of_panel(p, 1, q + 1) * VL - n;
        for (int g = 0; g < gates; g++)
            p->by->pack(packed + n * gates * depth(p) + g * depth(p) * width, width, width,
                        p->W_a + gate[g] * p->H * p->ldw + n, p->ldw, 1, p->H, p->H - n);
    }
}

/* What follows from a product for units [j, j + VL) of lane l at step t. product [gates][VL]: its columns of these units
 * option: what distinguishes two uses of a function */
typedef void Follow(const Facts f, Equations *equations, const int option, const Pass *p, long t, long l, long j,
                    const real *product);

/* Multiply lanes [l0, l1) of x [B, blocks·H], rows ldx apart, with panels of `gates` columns for each unit, and do what
 * follows. x: NULL if there is nothing to multiply */
INLINE void product_then(Follow *follow, const Facts f, Equations *equations, const int option, const Pass *p, long t,
                         const real *x, long ldx, int blocks, const Operand *packed, const int gates, long l0, long l1) {
    const long K = blocks * depth(p);
    long distance = 0;
    const Operand *left = x ? left_of(p, x, ldx, blocks, l0, l1, &distance) : 0;
    real tile[MOST_LANES * WIDEST] __attribute__((aligned(64)));
    for (long q = 0; q < panels(p, gates); q++) {
        const long first = first_of_panel(p, gates, q), count = first_of_panel(p, gates, q + 1) - first;
        const long width = count * gates * VL;
        for (long from = l0; from < l1; from += p->by->lanes) {
            const long end = least(l1, from + p->by->lanes);
            if (left)
                p->by->rows_by_panel(left + from * distance, distance, end - from, packed + first * gates * VL * K, K,
                                     count * gates, tile, width, 0);
            for (long l = from; l < end; l++)
                for (long i = 0; i < count; i++)
                    follow(f, equations, option, p, t, l, (first + i) * VL, tile + (l - from) * width + i * gates * VL);
        }
    }
}

/* The equations that follow from the first or the second product of step t, W_a a<t-1> or that with kept[0]. */
INLINE void forward_unit(const Facts f, Equations *equations, const int is_second, const Pass *p, long t, long l, long j,
                         const real *product) {
    const int g0 = is_second ? f.reached : 0, end = is_second ? f.gates : f.reached;
    const long H = p->H, ld = p->ld, n = H - j, row = t * p->B + l;
    const real *x = p->x + row * p->ldx + j;
    real *z = p->z + row * p->ldz + j;
    Unit q;
    for (int g = 0; g < g0; g++) q.z[g] = load(z + g * H, n);
    for (int g = g0; g < end; g++) {
        q.x[g] = load(x + g * H, n);
        __builtin_prefetch(x + g * H + units_of(end - g0) * VL); /* of the next panel */
        q.z[g] = load(product + (g - g0) * VL, VL);
    }
    for (int s = 0; s < f.states; s++) q.old[s] = load(p->states[s] + row * ld + j, n);
    for (int k = 0; k < f.params; k++) q.param[k] = load(p->param + k * H + j, n);
    equations(&q);
    for (int g = g0; g < end; g++) store(z + g * H, q.z[g], n);
    for (int k = 0; !is_second && k < f.kept; k++) store(p->kept[k] + row * ld + j, q.kept[k], n);
    if (end < f.gates) return; /* the second product gives the states after the step */
    if (p->y) store(p->y + row * ld + j, q.new[0], n);
    const int is_cut = p->continues && !p->continues[row + p->B];
    for (int s = 0; s < f.states; s++) store(p->states[s] + (row + p->B) * ld + j, is_cut ? all(0) : q.new[s], n);
}

/* All steps of lanes [l0, l1). first: the equations that follow from W_a a<t-1>; second: those that follow from the
 * product with kept[0], NULL if there is none. */
INLINE void forward(const Facts f, Equations *first, Equations *second, const Pass *p, long l0, long l1) {
    for (long t = 0; t < p->T; t++) {
        const long row = t * p->B * p->ld;
        product_then(forward_unit, f, first, 0, p, t, p->states[0] + row, p->ld, 1, p->packed, f.reached, l0, l1);
        if (second)
            product_then(forward_unit, f, second, 1, p, t, p->kept[0] + row, p->ld, 1, second_packed(p),
                         f.gates - f.reached, l0, l1);
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
INLINE void back_unit(const Facts f, Equations *equations, const int has_merge, const Pass *p, long t, long l, long j,
                      const real *product) {
    const long H = p->H, ld = p->ld, n = H - j, row = t * p->B + l, after = row + p->B;
    Unit q;
    if (t == p->T - 1) q.da = load(p->d_last[0] + l * ld + j, n);
    else {
        q.da = load(product, VL);
        if (f.outside) q.da += load(p->d_a + after * ld + j, n);
        if (p->continues && !p->continues[after]) q.da = all(0);
        store(p->d_a + after * ld + j, q.da, n);
    }
    if (t < 0) return;
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

/* What follows from e = W_ca^T dz_c of step t. */
INLINE void merge_unit(const Facts f, Equations *merge, const int option, const Pass *p, long t, long l, long j,
                       const real *product) {
    const long ld = p->ld, n = p->H - j, row = t * p->B + l;
    Unit q;
    (void)option;
    load_unit(f, &q, p, row, j, n);
    q.e = load(product, VL);
    q.da = load(p->d_a + row * ld + j, n);
    merge(&q);
    store(p->dz + row * p->lddz + p->H + j, q.dz[1], n);
    store(p->d_a + row * ld + j, q.da, n);
}

INLINE void backward(const Facts f, Equations *back, Equations *merge, const Pass *p, long l0, long l1) {
    for (long t = p->T - 1; t >= -1; t--) {
        const real *after = t < p->T - 1 ? p->dz + (t + 1) * p->B * p->lddz : 0;
        product_then(back_unit, f, back, merge != 0, p, t, after, p->lddz, f.reached, p->packed, 1, l0, l1);
        if (merge && t >= 0)
            product_then(merge_unit, f, merge, 0, p, t, p->dz + t * p->B * p->lddz + (f.blocks - 1) * p->H, p->lddz, 1,
                         second_packed(p), 1, l0, l1);
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
