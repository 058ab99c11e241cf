"""A model that adapts: a token is scored before it is learned, pieces are those of the text, the cache is its sums."""

import dataclasses
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import charlm
from charlm import checkpoint
from charlm.backends import NumpyBackend, get_backend
from charlm.config import TrainConfig
from charlm.errors import DivergenceError, NonFiniteOutputError, UsageError
from charlm.exchange.formats import loading_code
from charlm.inference.adaptation import Adapter, evaluate_in_order
from charlm.inference.figures import figures
from charlm.inference.scoring import Scorer
from charlm.inference.surprisal import surprisals
from charlm.nn.build import build
from charlm.text import EOS_ID, NOTHING
from charlm.text.batches.lanes import Batch
from tests import forms
from tests.task_models import KINDS, TASKS, parameter, random_lines, task_model

STREAM = {"text": {"unit": "stream"}}
WORDS = {"text": {"level": "word", "unit": "stream"}, "embedding_size": 4}
CASES = [
    ("lm", {}),
    ("lm", {**STREAM, "cell": "gru", "dtype": "float32"}),
    ("conditioned", {"cell": "lstm-peephole"}),
    ("lm", {"cell": "rnn", "activation": "relu", "embedding_size": 4, "tie_weights": True, "dense": (5, 4)}),
    ("lm", {**STREAM, "cell": "gru-simple", "dtype": "float32", "embedding_size": 3}),
]


def small(kind="lm", **network):
    return task_model(kind, spread=0.7, **network)


def lines(tokens="abc", count=9, longest=9):
    return random_lines(tokens, count, longest, seed=3, between="")


def lines_for(kind, count=9):
    """Return lines; those of a conditioned model have labels."""
    if kind == "conditioned":
        return [f"{'xy'[i % 2]}\ta{line}" for i, line in enumerate(lines(count=count))]
    return lines(count=count)


def nats_of(scorer, text):
    return [nats for _, _, _, nats in scorer.measured(text)]


def equal(one, other):
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def by_hand(language_model, ids, starts, *, rate, length):
    """-ln P of each token and the last weights, by passes over a whole piece each; starts: where a line begins."""
    model = language_model.model
    ws, weights = model.workspace(), model.parameters.values
    before, found, norms, state, last = weights.copy(), [], [], model.zero_state(1), NOTHING
    clip = language_model.train.clip
    for begin, end in pairwise([*starts, len(ids)]):
        state, last = (state, last) if language_model.is_stream else (model.zero_state(1), NOTHING)
        for at in range(begin, end, length):
            piece = np.array(ids[at : min(at + length, end)], np.int32)[:, None]
            batch = Batch(np.concatenate([[[last]], piece[:-1]]).astype(np.int32), piece)
            nats, after = model.nats(batch, state, ws)
            model.loss_and_grads(batch, state, ws)
            gradient = model.parameters.grads
            norms.append(np.linalg.norm(gradient))
            weights -= rate * len(piece) * min(1.0, clip / norms[-1]) * gradient
            found.extend(nats[:, 0])
            state, last = after, piece[-1, 0]
    assert min(norms) < clip < max(norms)
    adapted = weights.copy()
    weights[...] = before
    return np.array(found), adapted


# ---- dynamic evaluation


@forms.each("case", CASES, thinned=2)
def test_a_rate_of_zero_is_plain_bit_by_bit(case):
    kind, network = case
    lm, text = small(kind, **network), lines_for(kind)
    for carry in (False, True) if lm.is_stream else (False,):
        plain = nats_of(Scorer(lm, batch_size=1, carry_state=carry), text)
        # Pieces are as long as the text: products of other sizes may round differently.
        for options in ({"rate": 0.0}, {"rate": 0.0, "cache": 5, "weight": 0.0}, {"cache": 3, "weight": 0}):
            options["length"] = 1000
            assert equal(nats_of(Adapter(lm, **options).scorer(carry_state=carry), text), plain)
        other = nats_of(Adapter(lm, rate=0.1, length=4).scorer(carry_state=carry), text)
        assert not equal(other, plain)
        assert np.array_equal(other[0][:4], plain[0][:4])  # the first piece is scored before it is learned


@forms.each("case", CASES[:2])
def test_each_piece_is_scored_and_then_learned(case):
    kind, network = case
    lm, text = small(kind, **{**network, "dtype": "float64"}), [*lines_for(kind, 12), "", "abcabcabcabcabc"]
    tokens = [[*lm.tokenizer.encode(line).tolist(), EOS_ID] for line in text]
    ids = [token for line in tokens for token in line]
    starts = [0] if lm.is_stream else np.cumsum([0, *map(len, tokens)])[:-1].tolist()
    lm = dataclasses.replace(lm, train=TrainConfig(clip=0.7))
    for rate, length in ((0.05, 4), (0.2, 7)):
        adapter = Adapter(lm, rate=rate, length=length)
        before = lm.model.parameters.values.copy()
        found = np.concatenate(nats_of(adapter.scorer(carry_state=lm.is_stream), text))
        adapter.finish()
        expected, weights = by_hand(lm, ids, starts, rate=rate, length=length)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
        np.testing.assert_allclose(adapter.language_model.model.parameters.values, weights, rtol=0, atol=1e-10)
        assert np.array_equal(lm.model.parameters.values, before)  # a copy has learned
        assert not np.array_equal(weights, before)


def test_a_saved_model_goes_on_from_the_last_weights(tmp_path):
    lm, first, second = small(), lines(), lines("cab", 5)
    adapter = Adapter(lm, rate=0.1)
    whole = nats_of(adapter.scorer(), [*first, *second])
    adapter = Adapter(lm, rate=0.1)
    assert equal(nats_of(adapter.scorer(), first), whole[: len(first)])
    adapter.finish()
    checkpoint.save(tmp_path / "m.safetensors", adapter.language_model)
    again = checkpoint.load(tmp_path / "m.safetensors", NumpyBackend()).language_model
    assert again.outcome is None
    assert equal(nats_of(Scorer(again, batch_size=1), second[:1]), whole[len(first) : len(first) + 1])
    assert equal(nats_of(Adapter(again, rate=0.1).scorer(), second), whole[len(first) :])
    # An adapter also goes on with a second text by itself.
    assert equal(nats_of(adapter.scorer(), second), whole[len(first) :])


def test_what_is_left_of_a_stream_is_learned_at_the_end():
    lm = small(**STREAM)
    adapter = Adapter(lm, rate=0.1, length=1000)
    plain = nats_of(Scorer(lm, carry_state=True), lines())
    assert equal(nats_of(adapter.scorer(carry_state=True), lines()), plain)
    values = adapter.language_model.model.parameters.values
    assert np.array_equal(values, lm.model.parameters.values)
    adapter.finish()
    assert not np.array_equal(values, lm.model.parameters.values)


def test_the_same_bytes_for_any_number_of_threads():
    """Large enough that products and updates are shared."""
    ops, drawn = get_backend("cpu"), small(hidden_size=96, dtype="float32", **STREAM)
    model = build(drawn.model.config, ops)
    model.parameters.values[...] = drawn.model.parameters.values
    lm, found = dataclasses.replace(drawn, model=model), []
    for threads in (1, 2, 1):
        with ops.workers.limit(threads):
            adapter = Adapter(lm, rate=0.05, length=20, cache=30)
            nats = nats_of(adapter.scorer(carry_state=True), lines())
            found.append([*nats, adapter.language_model.model.parameters.values])
    assert equal(found[0], found[1]) and equal(found[0], found[2])


@pytest.mark.filterwarnings("error")
def test_an_explosion_is_an_error():
    lm = small()
    with pytest.raises(DivergenceError, match="dynamic evaluation diverged after") as caught:
        nats_of(Adapter(lm, rate=1e6).scorer(), lines(count=40))
    assert "--dynamic" in caught.value.hint
    relu = small(cell="rnn", activation="relu", dtype="float32")
    with pytest.raises(DivergenceError, match="diverged"):
        nats_of(Adapter(relu, rate=1e6, cache=4).scorer(), lines(count=40))
    last = Adapter(relu, rate=1e6)
    nats_of(last.scorer(), ["abc"])
    last.language_model.model.parameters.values[0] = np.inf
    with pytest.raises(DivergenceError, match="weights contain NaN or infinity"):
        last.finish()
    parameter(lm, "head.b_y")[...] = np.nan
    with pytest.raises(NonFiniteOutputError):
        nats_of(Adapter(lm, rate=0.1).scorer(), ["abc"])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if TASKS[kind] != "lm"])
def test_other_tasks_are_refused_by_name(kind):
    with pytest.raises(UsageError, match=f"--task {TASKS[kind]} model cannot adapt"):
        Adapter(task_model(kind), cache=3)


@pytest.mark.parametrize(
    "options",
    [
        {"rate": -1.0},
        {"rate": math.nan},
        {"cache": 1, "weight": 1.0},
        {"cache": 1, "flatness": math.inf},
        {"rate": 1.0, "length": 0},
        {"cache": -1},
    ],
)
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises(UsageError, match=r"--(dynamic|cache)"):
        Adapter(small(), **options)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_torch_comes_to_the_same(cell, tmp_path, monkeypatch):
    """Dynamic evaluation in a few lines of PyTorch, in float64, with its own backward pass and clipping."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    lm, text = small(cell=cell, hidden_size=9, embedding_size=4, **STREAM), lines(count=30)
    lm = dataclasses.replace(lm, train=TrainConfig(clip=0.7))
    monkeypatch.chdir(tmp_path)
    charlm.export(lm, "m.safetensors", to="torch")
    names: dict = {}
    exec(loading_code(lm, Path("m.safetensors"), to="torch"), names)
    module, length = names["model"], 7
    ids = torch.tensor([token for line in text for token in [*lm.tokenizer.encode(line).tolist(), EOS_ID]])
    nothing = module.embedding.num_embeddings - 1
    for rate in (0.01, 0.05):
        start, found, state = {k: v.clone() for k, v in module.state_dict().items()}, [], None
        before = torch.cat([torch.tensor([nothing]), ids[:-1]])
        for at in range(0, len(ids), length):
            inputs, targets = before[None, at : at + length], ids[at : at + length]
            log_probs, after = module(inputs, state)
            losses = torch.nn.functional.nll_loss(log_probs[0], targets, reduction="none")
            found.extend(losses.tolist())
            module.zero_grad()
            losses.mean().backward()
            with torch.no_grad():
                for name, p in module.named_parameters():
                    if "bias_hh" in name:  # a second bias, which charlm has of the GRU's candidate alone
                        p.grad[: 2 * 9 if cell == "gru" else None] = 0
                norm = torch.sqrt(sum(p.grad.pow(2).sum() for p in module.parameters()))
                for p in module.parameters():
                    p -= rate * len(targets) * min(1.0, lm.train.clip / norm.item()) * p.grad
            state = tuple(one.detach() for one in after) if isinstance(after, tuple) else after.detach()
        module.load_state_dict(start)
        mine = np.concatenate(nats_of(Adapter(lm, rate=rate, length=length).scorer(carry_state=True), text))
        np.testing.assert_allclose(mine, found, rtol=0, atol=1e-8)


# ---- the neural cache


def sums_of_cache(language_model, ids, *, size, flatness):
    """P_cache of every token at each place of a stream, by the sums of the paper: [T, V]; zeros at the first place."""
    model, ws = language_model.model, language_model.model.workspace()
    inputs = np.array([NOTHING, *ids[:-1]], np.int32)[:, None]
    y, _, _ = model.read(Batch(inputs, np.array(ids, np.int32)[:, None]), model.zero_state(1), ws)
    hidden, choices = np.array(y)[:, :, 0], np.zeros((len(ids), model.head.outputs))
    for t in range(len(ids)):
        for i in range(max(0, t - size), t):
            choices[t, ids[i]] += math.exp(flatness * sum(map(math.prod, zip(hidden[t], hidden[i], strict=True))))
        if t:
            choices[t] /= choices[t].sum()
    return choices


@pytest.mark.parametrize("size", [1, 7, 500])
def test_the_cache_is_the_sums_of_the_paper(size):
    lm, text = small(**STREAM), lines()
    ids = [token for line in text for token in [*lm.tokenizer.encode(line).tolist(), EOS_ID]]
    weight, flatness = 0.3, 0.8
    plain = np.concatenate(nats_of(Scorer(lm, carry_state=True), text))
    of_cache = sums_of_cache(lm, ids, size=size, flatness=flatness)[np.arange(len(ids)), ids]
    expected = -np.log((1 - weight) * np.exp(-plain) + weight * of_cache)
    expected[0] = plain[0]  # the cache is empty
    options = {"cache": size, "weight": weight, "flatness": flatness}
    found = np.concatenate(nats_of(Adapter(lm, **options).scorer(carry_state=True), text))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    # Learning at a rate of 0 cuts the text into pieces; the cache goes on from one to the next.
    cut = np.concatenate(nats_of(Adapter(lm, rate=0.0, length=3, **options).scorer(carry_state=True), text))
    np.testing.assert_allclose(cut, expected, rtol=0, atol=1e-12)


def test_the_mixture_sums_to_one_and_is_what_surprisal_reads():
    lm, ws = small(**STREAM), small().model.workspace()
    targets = np.array([2, 3, 4, 2, 2, 3, EOS_ID], np.int32)[:, None]
    batch = Batch(np.concatenate([[[NOTHING]], targets[:-1]]).astype(np.int32), targets)
    cache = Adapter(lm, cache=4, weight=0.6).cache
    y, choices, _ = lm.model.read(batch, lm.model.zero_state(1), ws)
    steps = np.arange(len(targets))
    of_model = choices(steps, np.zeros_like(steps))
    cached = cache.read(y, targets)
    mixed = cached.log_probs(of_model, steps)
    np.testing.assert_allclose(np.exp(mixed).sum(axis=0), 1.0, rtol=0, atol=1e-12)
    of_targets = of_model[targets[:, 0], steps]
    np.testing.assert_allclose(
        cached.nats(-of_targets, targets[:, 0]), -mixed[targets[:, 0], steps], rtol=0, atol=1e-12
    )
    assert np.abs(mixed - of_model).max() > 0.1
    best = np.empty((len(targets), 1), np.int32)
    fresh = Adapter(lm, cache=4, weight=0.6).cache
    fresh.nats(batch, lm.model.zero_state(1), ws, best=best)
    assert best[:, 0].tolist() == mixed.argmax(axis=0).tolist()


# ---- the commands' figures


ADAPTING = [{"rate": 0.05, "length": 5}, {"cache": 6}, {"rate": 0.05, "cache": 6}]


@forms.each("case, options", [(case, one) for case in CASES[:3] for one in ADAPTING], thinned=4)
def test_score_surprisal_and_evaluate_agree(case, options):
    kind, network = case
    lm, text = small(kind, **network), [*lines_for(kind), "x\t?a" if kind == "conditioned" else "?a"]
    scores = list(Adapter(lm, **options).scorer(carry_state=lm.is_stream).score(text))
    of_lines = [0.0] * len(text)
    rows = list(surprisals(lm, text, carry_state=lm.is_stream, per="token", adapter=Adapter(lm, **options)))
    for row in rows:
        of_lines[row.line - 1] += row.surprisal * math.log(2.0)
    np.testing.assert_allclose(of_lines, [one.nats for one in scores], rtol=0, atol=1e-6)
    fast = surprisals(lm, text, carry_state=lm.is_stream, with_entropy=False, adapter=Adapter(lm, **options))
    assert math.fsum(row.surprisal for row in fast) == pytest.approx(sum(row.surprisal for row in rows), abs=1e-5)
    found = figures(lm, text, adapter=Adapter(lm, **options))
    assert found["tokens"] == sum(one.tokens for one in scores) and found["oov"] == 1
    assert found["nats_per_token"] == pytest.approx(sum(of_lines) / found["tokens"], abs=1e-6)
    words = [row for row in rows if row.text != "<EOS>"]
    assert found["accuracy"] == pytest.approx(sum(row.rank == 1 and not row.oov for row in words) / len(words))
    counted = []
    again = evaluate_in_order(Adapter(lm, **options), text, watch=counted.append)
    assert sum(counted) == again.tokens and again.nats_per_token == found["nats_per_token"]


@forms.each("kind, network", [("lm", {}), ("conditioned", {})], thinned=2)
def test_evaluate_at_a_rate_of_zero_finds_the_plain_figures(kind, network):
    lm, text = small(kind, **network), lines_for(kind)
    plain, adapted = figures(lm, text), figures(lm, text, adapter=Adapter(lm, rate=0.0))
    assert plain.keys() == adapted.keys()
    for name in plain.keys() - {"tokens_per_second"}:
        assert adapted[name] == pytest.approx(plain[name], rel=1e-12, nan_ok=True), name
