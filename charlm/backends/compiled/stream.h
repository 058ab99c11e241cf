/* One stream of sampling: a token through all layers to the logits, and the draw of the next token. */

/* W x + b, and what follows from it: a step of a cell, an activation or nothing. */
typedef struct {
    long N, K;
    const Operand *W; /* [N, K], packed by `core_pack_weights`; K = 0 in a first layer whose table holds W x itself */
    const real *b;    /* [N] */
    real *out;        /* [N], room for whole vectors: W x + b */
    long activation;  /* of a layer without memory: 0 none, 1 tanh, 2 ReLU */
    const Pass *step; /* of one lane, which reads out and the first of two rows of states; NULL without memory */
} StreamLayer;

/* A network from token ids to logits, how the next token is chosen, and the memory for both. */
typedef struct {
    const Arithmetic *by; /* how numbers are multiplied */
    long layers;
    const StreamLayer *layer; /* the last one computes the logits */
    const real *table;        /* x<t> of each token, or W x<t> of the first layer, rows ldt apart */
    long ldt, tokens;
    real *known;    /* W x + b of the first layer, rows [room, N], where K > 0 */
    int32_t *place; /* [tokens]: a token's row of `known`, -1 if it has none */
    long room, used;
    double temperature; /* 0: the likeliest */
    long top_k;         /* tokens that are left, the likeliest */
    double top_p;       /* ... and of those, the likeliest of this total probability; -1: all */
    const int32_t *banned;
    long bans;
    long end;       /* the id after which nothing is drawn; -1: none */
    double *e;      /* [V] scratch, room for whole vectors */
    int32_t *heap;  /* [V] scratch */
    Operand *left;  /* scratch: the operands of x, as many as the longest layer's, where a real is none */
} Stream;

/* Operands that W [N, K] takes when it is packed. */
long EXPORT(core_packed_weights_size)(const Arithmetic *by, long N, long K) {
    return (N + VL - 1) / VL * VL * by->depth_of(K);
}

/* Pack W [N, K], rows ldw apart: panels [K][width] over its rows. */
void EXPORT(core_pack_weights)(const Arithmetic *by, const real *W, long ldw, long N, long K, Operand *packed) {
    const long depth = by->depth_of(K);
    for (long q = 0; q < panels_of(N); q++) {
        long n = panel_start(N, q), width = panel_start(N, q + 1) - n;
        by->pack(packed + n * depth, width, width, W + n * ldw, 1, ldw, K, N - n);
    }
}

/* out [N] = W x + b */
static void affine(const Stream *s, long N, long K, const Operand *W, const real *b, const real *x, real *out) {
    const long depth = s->by->depth_of(K);
    const Operand *left = s->by->pack_row ? s->left : x;
    if (s->by->pack_row) s->by->pack_row(s->left, x, K);
    memcpy(out, b, N * sizeof(real));
    for (long q = 0; q < panels_of(N); q++) {
        long n = panel_start(N, q), width = panel_start(N, q + 1) - n;
        s->by->rows_by_panel(left, 0, 1, W + n * depth, depth, width / VL, out + n, 0, 1);
    }
}

/* out [N] = W x + b of the first layer. Rows of `known` are computed once, until there is no room for another. */
static void affine_of_token(Stream *s, long id) {
    const StreamLayer *p = s->layer;
    if (id < 0) { /* the zero vector */
        memcpy(p->out, p->b, p->N * sizeof(real));
        return;
    }
    const real *x = s->table + id * s->ldt;
    if (p->K == 0) {
        for (long j = 0; j < p->N; j++) p->out[j] = x[j] + p->b[j];
        return;
    }
    if (s->place[id] >= 0) {
        memcpy(p->out, s->known + s->place[id] * p->N, p->N * sizeof(real));
        return;
    }
    affine(s, p->N, p->K, p->W, p->b, x, p->out);
    if (s->used == s->room) {
        memset(s->place, -1, s->tokens * sizeof(int32_t));
        s->used = 0;
    }
    s->place[id] = s->used++;
    memcpy(s->known + s->place[id] * p->N, p->out, p->N * sizeof(real));
}

/* Read a token: the states go one step on, and the last layer's `out` holds the logits of the next token. */
void EXPORT(core_stream_read)(Stream *s, long id) {
    const real *x = 0;
    for (const StreamLayer *p = s->layer; p < s->layer + s->layers; p++) {
        if (p == s->layer) affine_of_token(s, id);
        else affine(s, p->N, p->K, p->W, p->b, x, p->out);
        x = p->out;
        if (p->step) {
            const Pass *step = p->step;
            EXPORT(core_forward)(step, 0, 1);
            for (int i = 0; i < facts_of[step->cell]->states; i++)
                memcpy(step->states[i], step->states[i] + step->ld, step->H * sizeof(real));
            x = step->states[0];
        } else if (p->activation)
            for (long j = 0; j < p->N; j += VL) {
                V z = load(p->out + j, VL);
                store(p->out + j, p->activation == 1 ? tanh_of(z) : choose(z < 0, all(0), z), VL);
            }
    }
}

/* ---- the likeliest tokens, by a heap of ids: the likeliest first, and of equals the smaller id */
INLINE int precedes(const double *e, int32_t i, int32_t j) { return e[i] > e[j] || (e[i] == e[j] && i < j); }

/* Sink the id at a place of a heap of n ids to where it belongs. */
static void sink(const double *e, int32_t *heap, long at, long n) {
    int32_t id = heap[at];
    for (long child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && precedes(e, heap[child + 1], heap[child])) child++;
        if (precedes(e, id, heap[child])) break;
        heap[at] = heap[child];
    }
    heap[at] = id;
}

/* Move the first of a heap of n ids to place n - 1; return it. */
static int32_t take(const double *e, int32_t *heap, long n) {
    int32_t first = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = first;
    sink(e, heap, 0, n - 1);
    return first;
}

/* Set e [n] of all but the likeliest tokens to 0; total: the sum of e. */
static void keep_likeliest(const Stream *s, double *e, long n, double total) {
    int32_t *heap = s->heap;
    long taken = 0, kept = least(s->top_k, n);
    for (long j = 0; j < n; j++) heap[j] = j;
    for (long j = n / 2; j-- > 0;) sink(e, heap, j, n);
    if (kept < n)
        for (total = 0; taken < kept; taken++) total += e[take(e, heap, n - taken)];
    if (s->top_p >= 0) {
        double mass = 0;
        for (long j = 0; j < kept; j++) {
            double p = e[j < taken ? heap[n - 1 - j] : take(e, heap, n - j)] / total;
            mass += p;
            if (j && mass - p >= s->top_p) kept = j;
        }
    }
    for (long j = 0; j < n - kept; j++) e[heap[j]] = 0;
}

/* Draw a token from logits x [n] with a number in [0, 1): ban, temperature, top-k, top-p, renormalise.
 * Return its id, or -1 if ln P of a token is not finite or if no token is left.
 * log_prob: ln P of the token before temperature and bans; banned_mass: the probability of the banned tokens */
static long draw(const Stream *s, real *x, long n, double number, double *log_prob, double *banned_mass) {
    double *e = s->e, log_total, total = 0, sum = 0;
    int32_t largest = 0;
    real lowest = x[0];
    for (long j = 0; j < n; j++) {
        if (x[j] > x[largest]) largest = j;
        if (x[j] < lowest) lowest = x[j];
        e[j] = x[j];
    }
    EXPORT(core_cross_entropy)(x, n, n, 0, &largest, 0, &log_total, 0, 1);
    if (!isfinite(lowest - x[largest]) || !isfinite(log_total)) return -1;
    *banned_mass = 0;
    for (long i = 0; i < s->bans; i++) {
        *banned_mass += exp((double)x[s->banned[i]] - x[largest] - log_total);
        e[s->banned[i]] = -INFINITY;
    }
    long best = 0, id = 0;
    for (long j = 1; j < n; j++)
        if (e[j] > e[best]) best = j;
    const double most = e[best];
    if (most == -INFINITY) return -1;
    if (s->temperature == 0) id = best;
    else {
        for (long j = 0; j < n; j++) e[j] = (e[j] - most) / s->temperature;
        if (s->top_k < n || s->top_p >= 0) { /* which tokens are likelier: single precision would make equals of some */
            for (long j = 0; j < n; j++) total += e[j] = exp(e[j]);
            keep_likeliest(s, e, n, total);
            total = 0;
            for (long j = 0; j < n; j++) total += e[j];
        } else {
            for (int i = 0; i < VL; i++) e[n + i] = -INFINITY;
            for (long j = 0; j < n; j += VL) {
                V y;
                for (int i = 0; i < VL; i++) y[i] = e[j + i];
                y = exp_of(y);
                for (int i = 0; i < VL; i++) total += e[j + i] = y[i];
            }
        }
        for (long j = 0; j < n && sum <= number * total; j++)
            if (e[j] > 0) sum += e[id = j];
    }
    *log_prob = (double)x[id] - x[largest] - log_total;
    return id;
}

/* Draw at most n tokens, each with one of `number` [n], and read all but one that is `end`.
 * id, log_prob, banned_mass [n]: overwritten, see `draw`. Return how many were drawn: fewer than n after `end`, and where
 * `draw` draws nothing. */
long EXPORT(core_stream_draw)(Stream *s, const double *number, long n, int32_t *id, double *log_prob,
                              double *banned_mass) {
    const StreamLayer *last = s->layer + s->layers - 1;
    long count = 0;
    while (count < n) {
        long drawn = draw(s, last->out, last->N, number[count], log_prob + count, banned_mass + count);
        if (drawn < 0) break;
        id[count++] = drawn;
        if (drawn == s->end) break;
        EXPORT(core_stream_read)(s, drawn);
    }
    return count;
}
