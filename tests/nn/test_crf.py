"""The chain of labels against enumeration: every sequence of labels, scored one by one."""

import itertools

import numpy as np
import pytest

from charlm.nn.heads import Crf, Softmax
from charlm.nn.heads.base import Transitions
from charlm.nn.heads.crf import Chain, likeliest
from charlm.nn.workspace import Workspace
from charlm.text.batches.lanes import NO_TARGET
from tests.gradcheck import BAR, OPS, bind, compare, config_of, make_model, model_errors
from tests.task_batches import BODIES, lay, random_sequence, random_task_batch

L, INPUTS = 3, 2
BEGINS = np.array([[1, 0, 0, 1, 0, 1], [1, 0, 1, 1, 0, 0]], bool).T  # two lanes, of sequences end to end
T, B = BEGINS.shape


def make(dtype="float64"):
    head = Crf(OPS, INPUTS, L)
    parameters = bind(head, 1, dtype=dtype)
    return head.bounded(BEGINS), parameters


def drawn(seed=2):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((T, INPUTS, B)), rng.integers(0, L, (T, B)).astype(np.int32)


def scores_of(head, y):
    return np.einsum("kn,tnb->tkb", head.W_y, y) + head.b_y


def spans(begins):
    """Yield the lane and the steps of each sequence."""
    for lane, column in enumerate(begins.T):
        edges = [*np.flatnonzero(column), len(column)]
        yield from ((lane, slice(*edge)) for edge in itertools.pairwise(edges))


def enumerated(z, t):
    """Return the score of every sequence of labels of one sequence z [n, L], by its labels."""
    n = len(z)
    return {
        labels: t.first[labels[0]]
        + sum(z[step, label] for step, label in enumerate(labels))
        + sum(t.A[pair] for pair in itertools.pairwise(labels))
        + t.last[labels[-1]]
        for labels in itertools.product(range(z.shape[1]), repeat=n)
    }


def transitions(seed=3):
    rng = np.random.default_rng(seed)
    return Transitions(rng.standard_normal((L, L)), rng.standard_normal(L), rng.standard_normal(L))


def test_sums_over_all_sequences_are_those_of_enumeration():
    z, t = np.random.default_rng(4).standard_normal((T, L, B)) * 2, transitions()
    sums, pairs = Chain(z, BEGINS, t), np.zeros((L, L))
    _, targets = drawn()
    nats = sums.nats(targets)
    for lane, steps in spans(BEGINS):
        scores = enumerated(z[steps, :, lane], t)
        Z = sum(map(np.exp, scores.values()))
        log_z = nats[steps, lane].sum() + scores[tuple(targets[steps, lane].tolist())]
        assert log_z == pytest.approx(np.log(Z), rel=1e-13)
        marginals = np.zeros((steps.stop - steps.start, L))
        for labels, score in scores.items():
            marginals[np.arange(len(labels)), labels] += np.exp(score) / Z
            for pair in itertools.pairwise(labels):
                pairs[pair] += np.exp(score) / Z
        np.testing.assert_allclose(sums.marginals[steps, :, lane], marginals, rtol=1e-12)
    np.testing.assert_allclose(sums.pairs(), pairs, rtol=1e-12)


def test_the_likeliest_sequence_is_that_of_enumeration():
    z, t = np.random.default_rng(5).standard_normal((T, L, B)), transitions()
    t.A[0, 1] = t.first[2] = -np.inf
    found = likeliest(z, BEGINS, t)
    for lane, steps in spans(BEGINS):
        scores = enumerated(z[steps, :, lane], t)
        assert tuple(found[steps, lane].tolist()) == max(scores, key=scores.get)


def test_losses_are_those_of_enumeration():
    """Of each target, given those before it; their sum is -ln P of the sequence."""
    head, _ = make()
    y, targets = drawn()
    z, t = scores_of(head, y), head.transitions()
    nats = head.nats(y, targets, Workspace(OPS, "float64"))
    loss, _ = head.loss_and_grad(y, targets, 1.0, Workspace(OPS, "float64"))
    assert loss == pytest.approx(nats.sum(), rel=1e-13)
    for lane, steps in spans(BEGINS):
        scores, asked = enumerated(z[steps, :, lane], t), tuple(targets[steps, lane].tolist())
        before = sum(map(np.exp, scores.values()))
        for step in range(len(asked)):
            agreeing = sum(np.exp(s) for labels, s in scores.items() if labels[: step + 1] == asked[: step + 1])
            assert nats[steps, lane][step] == pytest.approx(np.log(before / agreeing), rel=1e-12)
            before = agreeing


@pytest.mark.parametrize("missing", [False, True])
def test_gradients(missing):
    head, parameters = make()
    y, targets = drawn()
    if missing:  # the ends of the lanes, and a step within a sequence
        targets[1, 0] = targets[-1, 0] = targets[-1, 1] = NO_TARGET
    ws, scratch, scale = Workspace(OPS, "float64"), Workspace(OPS, "float64"), 1.7 / 30
    parameters.grads[...] = 0
    _, dy = head.loss_and_grad(y, targets, scale, ws)
    gradients = {name: view.copy() for name, view in parameters.named(parameters.grads).items()} | {"y": dy.copy()}
    assert not dy.transpose(0, 2, 1)[targets == NO_TARGET].any()
    arrays = parameters.named(parameters.values) | {"y": y}
    errors = compare(lambda: scale * float(head.nats(y, targets, scratch).sum()), arrays, gradients)
    assert set(errors) == {"W_y", "b_y", "A", "A_first", "A_last", "y"} and max(errors.values()) <= BAR, errors
    head.loss_and_grad(y, targets, scale, ws)
    for name, view in parameters.named(parameters.grads).items():  # they add to what is there
        np.testing.assert_allclose(view, 2 * gradients[name], rtol=1e-13)


def test_without_transitions_it_is_a_softmax():
    head, parameters = make()
    for name in ("A", "A_first", "A_last"):
        parameters.value(name)[...] = 0
    plain = Softmax(OPS, INPUTS, L)
    theirs = bind(plain, 9)
    for name in ("W_y", "b_y"):
        theirs.value(name)[...] = parameters.value(name)
    y, targets = drawn()
    targets[2, 1] = NO_TARGET
    best = [np.empty(targets.shape, np.int32) for _ in range(2)]
    found = [
        one.nats(y, targets, Workspace(OPS, "float64"), best=b) for one, b in zip((head, plain), best, strict=True)
    ]
    np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(*best)
    np.testing.assert_allclose(*(one.log_probs(y, Workspace(OPS, "float64")) for one in (head, plain)), rtol=1e-12)


def test_a_step_without_a_target_parts_what_is_beside_it():
    head, _ = make()
    y, targets = drawn()
    targets[1, 0] = NO_TARGET
    before = head.nats(y, targets, Workspace(OPS, "float64"))
    y[1, :, 0] += 1.0
    targets[2, 0] = (targets[2, 0] + 1) % L
    after = head.nats(y, targets, Workspace(OPS, "float64"))
    changed = before != after
    assert changed[2, 0] and np.count_nonzero(changed) == 1 and before[1, 0] == 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_large_scores_do_not_overflow(dtype):
    head, parameters = make(dtype)
    parameters.values[...] = 0
    parameters.grads[...] = 0
    parameters.value("W_y")[:2] = np.eye(2)
    y, targets = np.zeros((T, INPUTS, B), dtype), np.zeros((T, B), np.int32)
    y[:, 0] = [[5000.0, -300.0]] * T
    y[:, 1] = [[-5000.0, 300.0]] * T
    with np.errstate(all="raise", under="ignore"):
        loss, dy = head.loss_and_grad(y, targets, 1.0, Workspace(OPS, dtype))
    nats = head.nats(y, targets, Workspace(OPS, dtype))
    np.testing.assert_allclose(nats, [[0.0, 600.0]] * T, rtol=1e-6, atol=1e-6)
    assert float(loss) == pytest.approx(600 * T) and np.isfinite(dy).all()


@pytest.mark.usefixtures("each_backend")
def test_the_loss_of_a_network_is_that_of_its_sequences_alone():
    """The head of a model is told where they begin; its gradients are those of central differences."""
    config = config_of("gru", "after", **BODIES["tag"], crf=True)
    model, rng = make_model(config, seed=2), np.random.default_rng(6)
    assert max(model_errors(model, random_task_batch(config, rng)).values()) <= BAR
    lanes = [[random_sequence(config, length, rng) for length in lane] for lane in ((3, 1), (2,))]
    batch, places = lay(config, lanes)
    nats, _ = model.nats(batch, model.zero_state(batch.lanes), model.workspace())
    for sequence, (lane, first, stop) in zip(itertools.chain.from_iterable(lanes), places, strict=True):
        alone, _ = model.nats(lay(config, [[sequence]])[0], model.zero_state(1), model.workspace())
        np.testing.assert_allclose(nats[first:stop, lane], alone[:, 0], rtol=1e-12)
