"""The adaptive softmax: against the probabilities enumerated, by central differences, and beside PyTorch's."""

from itertools import pairwise

import numpy as np
import pytest

from charlm.config.cutoffs import all_clusters, clusters_of, default_cutoffs, shares_of, work_of
from charlm.nn.grads import Grads, Rows
from charlm.nn.heads import AdaptiveSoftmax, adaptive
from charlm.nn.heads import softmax as softmax_module
from charlm.nn.parameters import Parameters
from charlm.nn.workspace import Workspace
from tests import naive
from tests.gradcheck import OPS, bind, compare, holds

pytestmark = pytest.mark.usefixtures("each_backend")

V, N_IN, CUTOFFS = 23, 9, (5, 11)
T, B = 6, 5
SUMS = {"float32": 1e-6, "float64": 1e-12}
each_tied = pytest.mark.parametrize("tied", [False, True], ids=["own", "tied"])


def make(*, dtype="float64", outputs=V, n_in=N_IN, cutoffs=CUTOFFS, scale=0.8, tied=False):
    """Make a head with random parameters; return it and them. A tied one has the embedding E among them."""
    head = AdaptiveSoftmax(OPS, n_in, outputs, cutoffs=cutoffs, tied=tied)
    if not tied:
        return head, bind(head, 1, dtype=dtype, scale=scale)
    parameters = Parameters({**head.shapes(), "E": (outputs + 2, n_in)}, OPS, dtype)
    values, grads = parameters.named(parameters.values), parameters.named(parameters.grads)
    aliases = {name: Rows("E", *rows) for name, rows in head.tied_rows().items()}
    parameters.values[...] = np.random.default_rng(1).normal(0, scale, parameters.values.shape)
    rows = {name: values["E"][one.first : one.end] for name, one in aliases.items()}
    head.bind({**values, **rows}, Grads(grads, OPS, aliases=aliases))
    return head, parameters


def asked(outputs=V, seed=0, shape=(T, B), n_in=N_IN):
    """Draw outputs of a body and targets; some steps have none."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((shape[0], n_in, shape[1])), rng.integers(-1, outputs, shape).astype(np.int32)


def enumerated(parameters, a, cutoffs=CUTOFFS):
    """Return P of every choice for one column a [n], by the equations."""
    p = {name: view.astype(float) for name, view in parameters.named(parameters.values).items()}
    if "E" in p:
        clusters = naive.softmax(p["W_y"] @ a + p["b_y"][:, 0])
        edges = pairwise([0, *cutoffs, len(p["E"]) - 2])
        biases = (p[f"cluster{number}.b_y"][:, 0] for number in range(1, len(cutoffs) + 2))
        within = [naive.softmax(p["E"][slice(*edge)] @ a + b) for edge, b in zip(edges, biases, strict=True)]
        return np.concatenate([chance * probs for chance, probs in zip(clusters, within, strict=True)])
    first = naive.softmax(p["W_y"] @ a + p["b_y"][:, 0])
    probs = [first[: cutoffs[0]]]
    for number in range(1, len(cutoffs) + 1):
        P, W, b = (p[f"cluster{number}.{name}"] for name in ("P", "W_y", "b_y"))
        probs.append(first[cutoffs[0] + number - 1] * naive.softmax(W @ (P @ a) + b[:, 0]))
    return np.concatenate(probs)


def workspace(dtype="float64"):
    return Workspace(OPS, dtype)


def columns(y):
    """Return the columns of y [T, n, B], one after the other."""
    return y.transpose(0, 2, 1).reshape(-1, y.shape[1])


@pytest.mark.parametrize("dtype", SUMS)
@pytest.mark.parametrize("cutoffs", [CUTOFFS, (1,), (1, 2, 22)], ids=str)
@each_tied
def test_its_probabilities_are_those_of_the_equations(tied, dtype, cutoffs, monkeypatch):
    """Of all choices, of the targets and of the likeliest, which is looked for in parts."""
    head, parameters = make(dtype=dtype, cutoffs=cutoffs, tied=tied)
    y, targets = asked()
    y = y.astype(dtype)
    wanted = np.stack([enumerated(parameters, a.astype(float), cutoffs) for a in columns(y)])
    log_probs = head.log_probs(y, workspace(dtype)).copy()
    np.testing.assert_allclose(np.exp(log_probs.astype(float)).sum(axis=0), 1.0, rtol=0, atol=SUMS[dtype])
    np.testing.assert_allclose(log_probs.T, np.log(wanted), rtol=0, atol=10 * SUMS[dtype])
    np.testing.assert_allclose(
        head.next_log_probs(y[2, :, 1:2], workspace(dtype)), log_probs[:, 2 * B + 1], rtol=0, atol=10 * SUMS[dtype]
    )
    monkeypatch.setattr(adaptive, "_CHOICES_AT_A_TIME", 2 * V * B)
    best = np.empty((T, B), np.int32)
    nats = head.nats(y, targets, workspace(dtype), best=best)
    assert nats.dtype == np.float64 and not nats[targets < 0].any()
    expected = -np.log([p[target] if target >= 0 else 1.0 for p, target in zip(wanted, targets.ravel(), strict=True)])
    np.testing.assert_allclose(nats.ravel(), expected, rtol=0, atol=10 * SUMS[dtype])
    np.testing.assert_array_equal(best.ravel(), wanted.argmax(axis=1))
    assert len(set(np.searchsorted(cutoffs, best.ravel(), side="right").tolist())) > 1


@pytest.mark.parametrize("dtype", SUMS)
@each_tied
def test_many_probabilities_sum_to_one(tied, dtype):
    head, _ = make(dtype=dtype, outputs=4_000, cutoffs=default_cutoffs(4_000), tied=tied, scale=0.4)
    probs = np.exp(head.log_probs(asked()[0].astype(dtype), workspace(dtype)).astype(float))
    assert len(probs) == 4_000
    np.testing.assert_allclose(probs.sum(axis=0), 1.0, rtol=0, atol=SUMS[dtype])


@pytest.mark.parametrize("in_blocks", [False, pytest.param(True, marks=pytest.mark.slow)])
@each_tied
def test_gradients_by_central_differences(tied, in_blocks, monkeypatch):
    """By every parameter and by the input; also where each softmax works in blocks of columns."""
    shape = (T, B)
    if in_blocks:
        monkeypatch.setattr(softmax_module, "_LOGITS_AT_A_TIME", 1)
        shape = (5, 40)
    head, parameters = make(tied=tied)
    y, targets = asked(seed=2, shape=shape)
    parameters.grads[...] = np.nan
    scale, ws, scratch = 1.7 / 30, workspace(), workspace()
    loss, dy = head.loss_and_grad(y, targets, scale, ws)
    gradients = {name: view.copy() for name, view in parameters.named(parameters.grads).items()}
    assert loss == pytest.approx(head.nats(y, targets, scratch).sum(), rel=1e-13)
    assert not dy.transpose(0, 2, 1)[targets < 0].any()
    arrays = parameters.named(parameters.values) | {"y": y[:, :, ::13]}
    errors = compare(
        lambda: scale * float(head.nats(y, targets, scratch).sum()), arrays, gradients | {"y": dy[:, :, ::13].copy()}
    )
    holds(errors)
    own = {"E", "cluster3.b_y"} if tied else {"cluster1.P", "cluster2.W_y"}
    assert {"W_y", "b_y", "y", "cluster2.b_y"} | own < set(errors)
    head.loss_and_grad(y, targets, scale, ws)
    for name, view in parameters.named(parameters.grads).items():
        np.testing.assert_allclose(view, 2 * gradients[name], rtol=1e-13, atol=1e-16)


def test_a_cluster_learns_from_its_own_targets_alone():
    """And a pass without any leaves no gradient of the pass before."""
    head, parameters = make()
    y, targets = asked()
    targets[targets >= CUTOFFS[1]] = CUTOFFS[0]
    head.g.begin()
    head.loss_and_grad(y, np.full_like(targets, V - 1), 1.0, workspace())
    assert parameters.grad("cluster2.P").all() and not parameters.grad("cluster1.P").any()
    head.g.begin()
    head.loss_and_grad(y, targets, 1.0, workspace())
    for name in ("P", "W_y", "b_y"):
        assert parameters.grad(f"cluster1.{name}").any() and not parameters.grad(f"cluster2.{name}").any()
    assert parameters.grad("b_y").all()


def test_a_tied_cluster_learns_its_rows_of_the_embedding_alone():
    """The rows of other clusters, and those that are no outputs, have a gradient of zero, not of the pass before."""
    head, parameters = make(tied=True)
    y, targets = asked()
    for first, end in (0, CUTOFFS[0]), CUTOFFS, (CUTOFFS[1], V):
        parameters.grads[...] = np.nan
        head.g.begin()
        head.loss_and_grad(y, np.full_like(targets, first), 1.0, workspace())
        learned = np.zeros(V + 2, bool)
        learned[first:end] = True
        np.testing.assert_array_equal(parameters.grad("E").all(axis=1), learned)
        np.testing.assert_array_equal(parameters.grad("E").any(axis=1), learned)


@each_tied
def test_columns_do_not_know_of_each_other(tied):
    head, _ = make(tied=tied)
    y, targets = asked()
    targets[0] = [0, 7, 20, 12, -1]
    nats, dy = head.nats(y, targets, workspace()), head.loss_and_grad(y, targets, 1.0, workspace())[1].copy()
    y[2, :, 3] += 1.0
    changed, changed_dy = head.nats(y, targets, workspace()), head.loss_and_grad(y, targets, 1.0, workspace())[1]
    differs = np.zeros((T, B), bool)
    differs[2, 3] = True
    np.testing.assert_array_equal(changed != nats, differs)
    np.testing.assert_allclose(np.abs(changed_dy - dy).max(axis=1)[~differs], 0, atol=1e-15)
    assert np.abs(changed_dy - dy).max(axis=1)[2, 3] > 1e-3


@each_tied
def test_extreme_inputs(tied):
    """No overflow, no warning, no NaN."""
    head, parameters = make(dtype="float32", scale=30.0, tied=tied)
    y, targets = asked()
    with np.errstate(all="raise", under="ignore"):
        loss, dy = head.loss_and_grad(1e4 * y.astype(np.float32), targets, 1.0, workspace("float32"))
        log_probs = head.log_probs(1e4 * y.astype(np.float32), workspace("float32"))
    assert np.isfinite(float(loss)) and np.isfinite(dy).all() and np.isfinite(parameters.grads).all()
    assert np.isfinite(log_probs).all()


def test_it_is_that_of_pytorch():
    """Log-probabilities of all choices, the loss, and every gradient, in float64."""
    torch = pytest.importorskip("torch")
    head, parameters = make(n_in=20)
    y, targets = asked(n_in=20)
    targets = np.abs(targets)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(20, V, list(CUTOFFS), div_value=4.0, head_bias=True).double()
    p, ours = parameters.named(parameters.values), {}
    with torch.no_grad():
        for number in (1, 2):
            projection, rows = theirs.tail[number - 1]
            # Theirs has no bias.
            rows = theirs.tail[number - 1][1] = torch.nn.Linear(rows.in_features, rows.out_features, dtype=torch.double)
            tensors = (projection.weight, rows.weight, rows.bias)
            ours |= dict(zip((f"cluster{number}.{name}" for name in ("P", "W_y", "b_y")), tensors, strict=True))
        ours |= {"W_y": theirs.head.weight, "b_y": theirs.head.bias}
        assert set(ours) == set(p)
        for name, tensor in ours.items():
            tensor.copy_(torch.from_numpy(p[name].reshape(tensor.shape)))
    inputs = torch.tensor(columns(y), requires_grad=True)
    _, mean = theirs(inputs, torch.from_numpy(targets.ravel().astype(np.int64)))
    mean.backward()
    loss, dy = head.loss_and_grad(y, targets, 1.0 / targets.size, workspace())
    assert loss / targets.size == pytest.approx(float(mean.detach()), rel=1e-13)
    np.testing.assert_allclose(columns(dy), inputs.grad.numpy(), rtol=0, atol=1e-14)
    for name, tensor in ours.items():
        found = parameters.grad(name).reshape(tensor.shape)
        np.testing.assert_allclose(found, tensor.grad.numpy(), rtol=0, atol=1e-14)
    with torch.no_grad():
        log_probs = theirs.log_prob(inputs).numpy().T
    np.testing.assert_allclose(head.log_probs(y, workspace()), log_probs, rtol=0, atol=1e-12)


@each_tied
def test_at_first_a_cluster_is_as_likely_as_by_zipfs_law(tied):
    head, _ = make(outputs=4_000, cutoffs=(200, 1_000), tied=tied)
    head.initialise(np.random.default_rng(1))
    probs = np.exp(head.log_probs(np.zeros((1, N_IN, 1)), workspace())[:, 0])
    counts = 1.0 / np.arange(1, 4_001)
    expected = [part.sum() / counts.sum() for part in np.split(counts, (200, 1_000))]
    np.testing.assert_allclose([part.sum() for part in np.split(probs, (200, 1_000))], expected, rtol=5e-3)
    np.testing.assert_allclose(shares_of((200, 1_000), 4_000), expected, rtol=5e-3)


def test_its_clusters():
    assert default_cutoffs(100_000) == (5_000, 25_000)
    assert default_cutoffs(3) == (1, 2)
    assert default_cutoffs(33_278, tied=True) == (207, 1_663, 4_159, 8_319, 16_639)
    assert default_cutoffs(3, tied=True) == (1,) and default_cutoffs(41, tied=True) == (1, 2, 5, 10, 20)
    ranges = clusters_of((5, 11), V, N_IN)
    assert [(one.first, one.end, one.size, one.width) for one in ranges] == [(5, 11, 6, 2), (11, 23, 12, 1)]
    head, _ = make()
    shapes = {"W_y": (7, 9), "b_y": (7, 1), "cluster1.P": (2, 9), "cluster1.W_y": (6, 2), "cluster1.b_y": (6, 1)}
    shapes |= {"cluster2.P": (1, 9), "cluster2.W_y": (12, 1), "cluster2.b_y": (12, 1)}
    assert head.shapes() == shapes and head.blind_nats == pytest.approx(np.log(V))
    work, weights = work_of(CUTOFFS, V, N_IN)
    assert weights == sum(rows * n for name, (rows, n) in shapes.items() if "b_y" not in name)
    assert 7 * N_IN < work < weights


def test_its_tied_clusters():
    head, _ = make(tied=True)
    assert head.tied_rows() == {"cluster1.W_y": (0, 5), "cluster2.W_y": (5, 11), "cluster3.W_y": (11, V)}
    biases = {"cluster1.b_y": (5, 1), "cluster2.b_y": (6, 1), "cluster3.b_y": (12, 1)}
    assert head.shapes() == {"W_y": (3, N_IN), "b_y": (3, 1), **biases}
    work, weights = work_of(all_clusters(CUTOFFS, tied=True), V, N_IN, tied=True)
    assert weights == (3 + V) * N_IN and 3 * N_IN < work < weights
