/* The equations of the cells: VL units of one lane at one step, forward and back.
 *
 * The letters and the order are those of the Python cells (charlm/nn/cells), which derive them and name the sources.
 */
typedef struct {
    V x[5];     /* W_x x<t> + b of each gate */
    V z[5];     /* W_a a<t-1> of each gate on entry, gate values on exit */
    V old[2];   /* the states before the step: the output a, then the memory c */
    V new[2];   /* the states after it */
    V kept[2];  /* what the way back needs */
    V param[3]; /* parameters of a unit beside W */
    V da;       /* dL/da<t> on entry; on exit the part of dL/da<t-1> outside the product W_a^T dz_a */
    V dc;       /* dL/dc<t> on entry, dL/dc<t-1> on exit */
    V dz[5];    /* dL/dz of each block */
    V e;        /* W_ca^T dz_c, for gru-before */
} Unit;
typedef void Equations(Unit *);

/* The numbers of gates, states, kept arrays, parameters and blocks of dz.
 * reached: gates of the first product, W_a a<t-1>; the others have a product with kept[0]
 * outside: whether da has a part outside the product; keeps: whether the way back changes kept */
typedef struct {
    int gates, reached, states, kept, params, blocks, outside, keeps;
} Facts;

/* ---- rnn: a' = tanh(z) or max(0, z) */
static const Facts rnn_facts = {.gates = 1, .reached = 1, .states = 1, .blocks = 1};
INLINE void rnn_tanh_step(Unit *q) { q->new[0] = q->z[0] = tanh_of(q->z[0] + q->x[0]); }
INLINE void rnn_tanh_back(Unit *q) { q->dz[0] = q->da * (1 - q->z[0] * q->z[0]); }
INLINE void rnn_relu_step(Unit *q) {
    V z = q->z[0] + q->x[0];
    q->new[0] = q->z[0] = choose(z < 0, all(0), z);
}
/* Where z <= 0, a' is 0, or NaN if z is NaN. */
INLINE void rnn_relu_back(Unit *q) { q->dz[0] = q->da * choose(q->z[0] > 0, all(1), q->z[0]); }

/* ---- lstm: c' = Gamma_u c~ + Gamma_f c; a' = Gamma_o tanh(c') */
static const Facts lstm_facts = {.gates = 4, .reached = 4, .states = 2, .kept = 1, .blocks = 4};

INLINE void memory(Unit *q, V gamma_u, V gamma_f, V gamma_o, V candidate) {
    q->new[1] = gamma_u * candidate + gamma_f * q->old[1];
    q->kept[0] = tanh_of(q->new[1]);
    q->new[0] = gamma_o * q->kept[0];
}
/* candidate: the place of c~ among the gates */
INLINE void memory_back(Unit *q, const int place) {
    V gamma_u = q->z[0], gamma_f = q->z[1], gamma_o = q->z[2], candidate = q->z[place], tanh_c = q->kept[0];
    V dc = q->dc + q->da * gamma_o * (1 - tanh_c * tanh_c);
    q->dz[0] = dc * candidate * gamma_u * (1 - gamma_u);
    q->dz[1] = dc * q->old[1] * gamma_f * (1 - gamma_f);
    q->dz[2] = q->da * tanh_c * gamma_o * (1 - gamma_o);
    q->dz[place] = dc * gamma_u * (1 - candidate * candidate);
    q->dc = dc * gamma_f;
}
INLINE void lstm_step(Unit *q) {
    for (int gate = 0; gate < 3; gate++) q->z[gate] = sigma(q->z[gate] + q->x[gate]);
    q->z[3] = tanh_of(q->z[3] + q->x[3]);
    memory(q, q->z[0], q->z[1], q->z[2], q->z[3]);
}
INLINE void lstm_back(Unit *q) { memory_back(q, 3); }

/* ---- lstm with peepholes: its gates also see P c, P diagonal */
static const Facts peephole_facts = {.gates = 4, .reached = 4, .states = 2, .kept = 1, .params = 3, .blocks = 4};

INLINE void peephole_step(Unit *q) {
    for (int gate = 0; gate < 3; gate++) q->z[gate] += q->param[gate] * q->old[1];
    lstm_step(q);
}
INLINE void peephole_back(Unit *q) {
    memory_back(q, 3);
    for (int gate = 0; gate < 3; gate++) q->dc += q->param[gate] * q->dz[gate];
}

/* ---- the relevance gate of the notes: c~ = tanh(Gamma_r (z_c - b_c) + b_c); `inner` is z_c - b_c */
INLINE V relevant_candidate(V gamma_r, V z_c, V b_c, V *inner) {
    *inner = z_c - b_c;
    return tanh_of(gamma_r * *inner + b_c);
}
/* dz_c holds dL/d(argument of tanh) on entry; inner becomes the share of db_c that W's product leaves out */
INLINE void relevance_back(V gamma_r, V *inner, V *dz_r, V *dz_c) {
    V share = (1 - gamma_r) * *dz_c;
    *dz_r = share * *inner * gamma_r;
    *dz_c *= gamma_r;
    *inner = share;
}

/* ---- lstm with the relevance gate; its gates are u, f, o, r and c */
static const Facts relevance_facts = {
    .gates = 5, .reached = 5, .states = 2, .kept = 2, .params = 1, .blocks = 5, .keeps = 1};

INLINE void relevance_step(Unit *q) {
    for (int gate = 0; gate < 4; gate++) q->z[gate] = sigma(q->z[gate] + q->x[gate]);
    q->z[4] = relevant_candidate(q->z[3], q->z[4] + q->x[4], q->param[0], &q->kept[1]);
    memory(q, q->z[0], q->z[1], q->z[2], q->z[4]);
}
INLINE void lstm_relevance_back(Unit *q) {
    memory_back(q, 4);
    relevance_back(q->z[3], &q->kept[1], &q->dz[3], &q->dz[4]);
}

/* ---- gru-simple: a' = Gamma_u c~ + (1 - Gamma_u) a */
static const Facts gru_simple_facts = {.gates = 2, .reached = 2, .states = 1, .blocks = 2, .outside = 1};

INLINE void update(Unit *q, V gamma_u, V candidate) { q->new[0] = q->old[0] + gamma_u * (candidate - q->old[0]); }
INLINE void update_back(Unit *q, V gamma_u, V candidate, V *dz_u, V *dz_c) {
    *dz_c = q->da * gamma_u * (1 - candidate * candidate);
    *dz_u = q->da * (candidate - q->old[0]) * gamma_u * (1 - gamma_u);
    q->da *= 1 - gamma_u;
}
INLINE void gru_simple_step(Unit *q) {
    q->z[0] = sigma(q->z[0] + q->x[0]);
    q->z[1] = tanh_of(q->z[1] + q->x[1]);
    update(q, q->z[0], q->z[1]);
}
INLINE void gru_simple_back(Unit *q) { update_back(q, q->z[0], q->z[1], &q->dz[0], &q->dz[1]); }

/* ---- gru-after: c~ = tanh(Gamma_r z_ca + W_cx x + b_cx), z_ca = W_ca c + b_ca; blocks ca, u, r and c */
static const Facts gru_after_facts = {
    .gates = 3, .reached = 3, .states = 1, .kept = 1, .params = 1, .blocks = 4, .outside = 1};

INLINE void gru_after_step(Unit *q) {
    for (int gate = 0; gate < 2; gate++) q->z[gate] = sigma(q->z[gate] + q->x[gate]);
    q->kept[0] = q->z[2] + q->param[0];
    q->z[2] = tanh_of(q->z[1] * q->kept[0] + q->x[2]);
    update(q, q->z[0], q->z[2]);
}
INLINE void gru_after_back(Unit *q) {
    V gamma_r = q->z[1], z_ca = q->kept[0];
    update_back(q, q->z[0], q->z[2], &q->dz[1], &q->dz[3]);
    q->dz[0] = q->dz[3] * gamma_r;
    q->dz[2] = q->dz[0] * z_ca * (1 - gamma_r);
}

/* ---- gru-both: the gru with the relevance gate of the notes */
static const Facts gru_both_facts = {
    .gates = 3, .reached = 3, .states = 1, .kept = 1, .params = 1, .blocks = 3, .outside = 1, .keeps = 1};

INLINE void gru_both_step(Unit *q) {
    for (int gate = 0; gate < 2; gate++) q->z[gate] = sigma(q->z[gate] + q->x[gate]);
    q->z[2] = relevant_candidate(q->z[1], q->z[2] + q->x[2], q->param[0], &q->kept[0]);
    update(q, q->z[0], q->z[2]);
}
INLINE void gru_both_back(Unit *q) {
    update_back(q, q->z[0], q->z[2], &q->dz[0], &q->dz[2]);
    relevance_back(q->z[1], &q->kept[0], &q->dz[1], &q->dz[2]);
}

/* ---- gru-before: c~ = tanh(W_ca (Gamma_r c) + W_cx x + b_c): two products, and kept[0] is Gamma_r c */
static const Facts gru_before_facts = {
    .gates = 3, .reached = 2, .states = 1, .kept = 1, .blocks = 3, .outside = 1};

INLINE void gru_before_gates(Unit *q) {
    for (int gate = 0; gate < 2; gate++) q->z[gate] = sigma(q->z[gate] + q->x[gate]);
    q->kept[0] = q->z[1] * q->old[0];
}
INLINE void gru_before_step(Unit *q) {
    q->z[2] = tanh_of(q->z[2] + q->x[2]);
    update(q, q->z[0], q->z[2]);
}
INLINE void gru_before_back(Unit *q) { update_back(q, q->z[0], q->z[2], &q->dz[0], &q->dz[2]); }
/* e = W_ca^T dz_c = dL/d(Gamma_r c) */
INLINE void gru_before_merge(Unit *q) {
    q->dz[1] = q->e * q->kept[0] * (1 - q->z[1]);
    q->da += q->z[1] * q->e;
}
