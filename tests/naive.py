"""Every cell once more, plainly and slowly, from the equations: one sequence, one step, one gate at a time.

W = [W_a | W_x | b], with a block of H rows for each gate, is cut into a separate W_a, W_x and b for each gate. Nothing
of `charlm` is used, so that nothing is wrong twice in the same way.
"""

from types import SimpleNamespace

import numpy as np

GATES = {  # the order of the row blocks of W
    ("rnn", "tanh"): "a",
    ("rnn", "relu"): "a",
    ("gru-simple", ""): "uc",
    ("gru", "after"): "urc",
    ("gru", "before"): "urc",
    ("gru", "both"): "urc",
    ("lstm", ""): "ufoc",
    ("lstm", "relevance"): "uforc",
    ("lstm-peephole", ""): "ufoc",
}


def sigma(z):
    return 1 / (1 + np.exp(-z))


def cut(W, gates):
    """Cut W [G·H, H+I+1] into one W_a [H, H], W_x [H, I] and b [H] for each gate, by the gate's letter."""
    H = len(W) // len(gates)
    cuts = {}
    for index, gate in enumerate(gates):
        rows = W[index * H : index * H + H]
        cuts[gate] = SimpleNamespace(W_a=rows[:, :H], W_x=rows[:, H:-1], b=rows[:, -1])
    return cuts


def linear(gate, a, x):
    """W [a, x] + b of one gate."""
    return gate.W_a @ a + gate.W_x @ x + gate.b


def step(cell, variant, parameters, a, c, x):
    """Return a<t> and c<t> from a<t-1>, c<t-1> and x<t>, all vectors; c is None for the cells whose memory is a."""
    W = cut(parameters["W"], GATES[cell, variant])
    if cell == "rnn":
        z = linear(W["a"], a, x)
        return (np.tanh(z) if variant == "tanh" else np.where(z > 0, z, 0.0)), None

    if cell in ("gru-simple", "gru"):
        gamma_u = sigma(linear(W["u"], a, x))
        if cell == "gru-simple":
            candidate = np.tanh(linear(W["c"], a, x))
        else:
            gamma_r = sigma(linear(W["r"], a, x))
            W_c = W["c"]
            if variant == "before":
                candidate = np.tanh(W_c.W_a @ (gamma_r * a) + W_c.W_x @ x + W_c.b)
            elif variant == "after":
                b_ca = parameters["b_ca"][:, 0]
                candidate = np.tanh(gamma_r * (W_c.W_a @ a + b_ca) + W_c.W_x @ x + W_c.b)
            else:
                candidate = np.tanh(gamma_r * (W_c.W_a @ a + W_c.W_x @ x) + W_c.b)
        return gamma_u * candidate + (1 - gamma_u) * a, None

    P_u, P_f, P_o = np.split(parameters["P"][:, 0], 3) if cell == "lstm-peephole" else (0.0, 0.0, 0.0)
    gamma_u = sigma(linear(W["u"], a, x) + P_u * c)
    gamma_f = sigma(linear(W["f"], a, x) + P_f * c)
    gamma_o = sigma(linear(W["o"], a, x) + P_o * c)
    if variant == "relevance":
        gamma_r = sigma(linear(W["r"], a, x))
        candidate = np.tanh(gamma_r * (W["c"].W_a @ a + W["c"].W_x @ x) + W["c"].b)
    else:
        candidate = np.tanh(linear(W["c"], a, x))
    c_new = gamma_u * candidate + gamma_f * c
    return gamma_o * np.tanh(c_new), c_new


def run(cell, variant, parameters, x, state, starts=None):
    """Run x [T, I, B] from `state`, arrays [H, B]; give y [T, H, B] and the last state."""
    T, _, batch = x.shape
    y = np.empty((T, *state[0].shape))
    last = [np.empty_like(array) for array in state]
    for column in range(batch):
        a = state[0][:, column].copy()
        c = state[1][:, column].copy() if len(state) > 1 else None
        for t in range(T):
            if starts is not None and starts[t, column]:
                a = np.zeros_like(a)
                c = None if c is None else np.zeros_like(c)
            a, c = step(cell, variant, parameters, a, c, x[t, :, column])
            y[t, :, column] = a
        last[0][:, column] = a
        if c is not None:
            last[1][:, column] = c
    return y, tuple(last)


def softmax(logits):
    """Softmax of one vector."""
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


def cross_entropy(W_y, b_y, y, targets):
    """Return -ln softmax(W_y a + b_y)[target], [T, B], for y [T, n, B]; 0 where the target is -1."""
    nats = np.zeros(targets.shape)
    for t, column in np.argwhere(targets >= 0):
        p = softmax(W_y @ y[t, :, column] + b_y[:, 0])
        nats[t, column] = -np.log(p[targets[t, column]])
    return nats
