"""The vanishing gradient: the norms are those of central differences, and the half-life that of a straight line."""

import math

import numpy as np
import pytest

from charlm.config import CELL_NAMES
from charlm.errors import CorpusError, UsageError
from charlm.inference.vanishing import Decay, gradient_decay
from charlm.text import EOS_ID, NOTHING
from tests.gradcheck import numeric_gradient
from tests.task_models import KINDS, ids_of, shifted, task_model

NETWORKS = {  # fields of the network, and how many of its layers are recurrent
    "one": ({"num_layers": 1}, 1),
    "two": ({"num_layers": 2}, 2),
    "dense": ({"num_layers": 2, "dense": (4, 3)}, 2),
    "embedding": ({"num_layers": 2, "embedding_size": 3, "dense": (4,)}, 2),
}
LINES = ["abcab", "ca", "", "bbacca"]


def model_of(cell="lstm", network="two", **more):
    return task_model("lm", cell=cell, hidden_size=3, spread=0.8, **NETWORKS[network][0], **more)


def run(lm, inputs, state):
    """Read ids; give ln P of what comes next, and the state after."""
    ids = np.array(inputs, np.int32)[:, None]
    log_probs, state = lm.model.next_log_probs(ids, state, lm.model.workspace())
    return log_probs[:, 0].copy(), state


def norm_by_differences(lm, inputs, target, state):
    """Return |dL/da| over all recurrent layers for L = -ln P(target) after `inputs`, read from a state."""

    def loss():
        return -run(lm, inputs, state)[0][target]

    return math.sqrt(sum(np.sum(numeric_gradient(loss, of_layer[0]) ** 2) for of_layer in state if of_layer))


def by_differences(lm, ids, t, k):
    """Return |dL<t>/da<t-k>| over all recurrent layers: run up to t-k, change what is there, run the rest."""
    inputs, target = shifted(ids)[:t], ids[t - 1]
    _, state = run(lm, inputs[: t - k], lm.model.zero_state(1))
    return norm_by_differences(lm, inputs[t - k :], target, state)


def at_the_top(lm, ids, t):
    """Return |dL<t>/da<t>| by differences: what comes down to the topmost recurrent layer, through dense ones."""
    inputs, target = np.array(shifted(ids)[:t], np.int32)[:, None], ids[t - 1]
    model, names = lm.model, list(lm.model.body.layers)
    top = f"layer{lm.model.config.num_layers - 1}"
    y, state = inputs, model.zero_state(1)
    for name, before in zip(names, state, strict=True):
        y, _ = model.body.layers[name].forward(y, before, model.workspace())
        if name == top:
            break
    above = names[names.index(top) + 1 :]

    last = y[-1:].copy()

    def loss():
        a = last
        for name in above:
            a, _ = model.body.layers[name].forward(a, (), model.workspace())
        return -model.head.log_probs(a, model.workspace())[target, 0]

    return np.linalg.norm(numeric_gradient(loss, last))


@pytest.mark.thinned(6)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_the_norms_are_those_of_central_differences(cell, network):
    lm = model_of(cell, network)
    longest = 4
    found = gradient_decay(lm, LINES, longest=longest)
    sums, counts = np.zeros(longest + 1), np.zeros(longest + 1, int)
    for line in LINES:
        ids = [*ids_of(lm, line), EOS_ID]
        for t in range(1, len(ids) + 1):
            sums[0] += at_the_top(lm, ids, t)
            counts[0] += 1
            for k in range(1, min(longest, t - 1) + 1):
                sums[k] += by_differences(lm, ids, t, k)
                counts[k] += 1
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_allclose(found.norms, sums / counts, rtol=1e-6)
    assert found.norms.min() > 1e-7


def test_a_state_is_one_of_each_recurrent_layer():
    for name, (_, count) in NETWORKS.items():
        assert sum(bool(of_layer) for of_layer in model_of(network=name).model.zero_state(1)) == count


def test_distances_that_no_line_has_are_left_out():
    lm = model_of()
    found = gradient_decay(lm, ["ab"], longest=24)
    assert found.counts.tolist() == [3, 2, 1]
    assert len(gradient_decay(lm, ["abcabcabc"], longest=2).norms) == 3
    assert gradient_decay(lm, [""]).counts.tolist() == [1]


def test_lines_side_by_side_are_the_mean_of_lines_apart():
    lm = model_of()
    together = gradient_decay(lm, LINES, longest=6)
    apart = [gradient_decay(lm, [line], longest=6) for line in LINES]
    for k in range(len(together.norms)):
        parts = [(one.norms[k], one.counts[k]) for one in apart if len(one.norms) > k]
        assert together.counts[k] == sum(count for _, count in parts)
        assert together.norms[k] == pytest.approx(sum(norm * count for norm, count in parts) / together.counts[k])


def test_measuring_changes_no_weight_and_can_be_repeated():
    lm = model_of()
    before = lm.model.parameters.values.copy()
    one, two = (gradient_decay(lm, LINES) for _ in range(2))
    np.testing.assert_array_equal(one.norms, two.norms)
    np.testing.assert_array_equal(lm.model.parameters.values, before)


def test_long_lines_are_sampled_evenly_and_fall_off():
    """With small recurrent weights the gradient falls quickly; with an identity it does not."""
    for scale, falls in ((0.3, True), (1.0, False)):
        lm = task_model("lm", cell="rnn", num_layers=1, hidden_size=4, activation="relu", spread=0.5)
        W = lm.model.parameters.named(lm.model.parameters.values)["layer0.W"]
        W[:, :4] = scale * np.eye(4)
        W[:, 4:] = np.abs(W[:, 4:])  # every unit is on, so that da<t>/da<t-1> = scale
        found = gradient_decay(lm, ["abc" * 30, "cab" * 20], longest=20)
        assert len(found.norms) == 21
        ratios = found.norms[1:] / found.norms[:-1]
        if falls:
            np.testing.assert_allclose(ratios[2:6], scale, rtol=0.25)
            assert found.half_life == pytest.approx(math.log(2) / -math.log(scale), rel=0.1)
        else:
            assert found.half_life > 20


# ---- half-life


@pytest.mark.parametrize("half_life", [0.3, 1.0, 2.5, 40.0])
@pytest.mark.parametrize("weights", ["even", "uneven"])
def test_the_half_life_of_an_exponential_is_exact(half_life, weights):
    k = np.arange(13)
    counts = np.full(13, 7) if weights == "even" else 100 - 7 * k
    norms = 3.0 * 2.0 ** (-k / half_life)
    norms[0] = 1e6  # k = 0 is of another kind, and not counted
    assert Decay(norms, counts).half_life == pytest.approx(half_life, rel=1e-9)


def test_the_half_life_weighs_by_counts_and_passes_over_what_is_none():
    norms = np.array([1.0, 1.0, 0.5, 0.25, 100.0])
    assert Decay(norms, np.array([9, 9, 9, 9, 0])).half_life == pytest.approx(1.0)
    norms[4] = 0.0
    assert Decay(norms, np.array([9, 9, 9, 9, 9])).half_life == pytest.approx(1.0)
    many = Decay(np.array([1.0, 1.0, 0.5, 1.0]), np.array([1, 1000, 1000, 1])).half_life
    assert many == pytest.approx(1.0, rel=0.05)


def test_what_does_not_fall_has_no_half_life():
    ones = np.full(6, 5)
    assert Decay(2.0 ** np.arange(6.0), ones).half_life == math.inf
    assert math.isnan(Decay(np.array([1.0, 0.5]), ones[:2]).half_life)
    assert math.isnan(Decay(np.array([1.0]), ones[:1]).half_life)


# ---- refusals


@pytest.mark.parametrize("kind", [kind for kind, fields in KINDS.items() if fields[4]["task"] != "lm"])
def test_models_of_other_tasks_are_refused(kind):
    lm = task_model(kind)
    with pytest.raises(UsageError, match=f"--gradients .* {lm.task}") as caught:
        gradient_decay(lm, ["abc"])
    assert caught.value.hint


def test_no_text_is_refused():
    with pytest.raises(CorpusError) as caught:
        gradient_decay(model_of(), [])
    assert caught.value.hint


def test_a_conditioned_model_is_measured_on_labels_and_texts():
    """As everywhere else, the label is what is read first, and not a part of the text."""
    lm = task_model("conditioned", hidden_size=3, spread=0.8)
    ids = [*ids_of(lm, "abc"), EOS_ID]
    found = gradient_decay(lm, ["y\tabc"])
    assert found.counts.tolist() == [4, 3, 2, 1]
    first = len(lm.tokenizer.vocabulary) + lm.label_number("y")
    state = run(lm, [first], lm.model.zero_state(1))[1]
    assert NOTHING not in shifted(ids, first)
    assert found.norms[3] == pytest.approx(norm_by_differences(lm, ids[:-1], EOS_ID, state), rel=1e-6)
