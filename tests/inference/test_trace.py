"""A network step by step: the printed equations give the printed numbers, and both are those of the model."""

import itertools
import re

import numpy as np
import pytest

import charlm
from charlm.backends import NumpyBackend
from charlm.config import CELL_VARIANTS, ModelConfig, TextConfig, TrainConfig, cell_fields
from charlm.errors import CorpusError, NonFiniteOutputError, UsageError
from charlm.inference.trace import LONGEST, trace
from charlm.language_model import LanguageModel
from charlm.nn.build import LARGEST_ONE_HOT, build
from charlm.nn.cells.rnn import Rnn
from charlm.nn.layer import Stack
from charlm.text import EOS, UNK, Tokenizer, Vocabulary, splitter_of
from charlm.text.batches.lanes import Batch
from charlm.text.tokens.codec import Codec
from tests import forms
from tests.task_models import TASKS, parameter, task_model

EVERY_CELL = [cell_fields(cell, variant) for cell, variants in CELL_VARIANTS.items() for variant in variants]
NETWORKS = [
    {"num_layers": 1},
    {"num_layers": 3},
    {"embedding_size": 4, "dense": (3, 6)},
    {"embedding_size": 5, "tie_weights": True},
]
CASES = list(itertools.product(EVERY_CELL, NETWORKS))  # a third of them has every cell and every network


def values_of(found):
    return {record.symbol: record.values for record in found.records}


@forms.each("cell, network", CASES, thinned=3)
def test_loss_and_gradients_are_those_of_the_model(cell, network):
    for kind, text in (("lm", "abca"), ("conditioned", "zz\tabca"), ("lm", "")):
        assert trace(task_model(kind, **cell, **network), text).difference < 1e-10
    assert trace(task_model("lm", **cell, **network, dtype="float32"), "abca").difference < 1e-5


def test_weights_that_are_stored_by_token():
    """A large vocabulary has no one-hot product: its W_x is a table."""
    tokens = [chr(0x4E00 + number) for number in range(LARGEST_ONE_HOT)]
    text = TextConfig()
    codec = Codec(Tokenizer(splitter_of(text), Vocabulary((EOS, UNK, *tokens))), (), None)
    config = ModelConfig(**codec.sizes("lm"), cell="gru", hidden_size=3, num_layers=2, dtype="float64")
    found = trace(LanguageModel(build(config, NumpyBackend(), seed=1), codec, text, TrainConfig()), "".join(tokens[:3]))
    assert found.difference < 1e-10
    values = values_of(found)
    assert values["W_ux[1]"].shape == values["dW_ux[1]"].shape == (3, LARGEST_ONE_HOT + 2)


@forms.each("cell", EVERY_CELL)
def test_gradients_of_every_step_are_those_of_the_scan(cell):
    lm = task_model("lm", **cell, num_layers=1)
    found = trace(lm, "abcab")
    ids = lm.tokenizer.encode("abcab").tolist()
    inputs, targets = [-1, *ids], [*ids, 0]
    model, ws = lm.model, lm.model.workspace()
    columns = (np.array(one, np.int32)[:, None] for one in (inputs, targets))
    model.loss_and_grads(Batch(*columns), model.zero_state(1), ws)
    assert isinstance(model.body, Stack)
    through_time = model.body.layers["layer0"].scan(ws.scope("layer0")).state_grads()[:, :, 0] * len(targets)
    values = values_of(found)
    state = "a" if "da<0>" in values else "c"  # the memory of a gru is its output
    np.testing.assert_allclose(values[f"d{state}<0>"], through_time[0], rtol=1e-10, atol=1e-12)
    for t in range(1, len(targets)):
        from_output = values["W_ya"].T @ values[f"dz_y<{t}>"]
        np.testing.assert_allclose(values[f"d{state}<{t}>"] - from_output, through_time[t], rtol=1e-9, atol=1e-11)


def test_probabilities_and_losses_are_those_of_the_model():
    lm = task_model("lm", cell="lstm")
    found = trace(lm, "abc")
    (score,) = charlm.score(lm, ["abc"])
    assert found.nats == pytest.approx(score.nats, rel=1e-12)
    assert (found.read, found.expected) == (("", "a", "b", "c"), ("a", "b", "c", "<EOS>"))
    values = values_of(found)
    for t, prompt in enumerate(("", "a", "ab", "abc"), start=1):
        probs = {one.token: one.prob for one in charlm.next_tokens(lm, prompt)}
        tokens = lm.tokenizer.vocabulary.tokens
        np.testing.assert_allclose(values[f"y^<{t}>"], [probs[token] for token in tokens], rtol=1e-10)


# ---- the text of the equations, read by another reader: Python

NAME = r"d?(?:Gamma|[A-Za-z])(?:_[a-z]+)?(?:~|\^(?=<))?(?:\[\d\])?(?:<[\dt]+(?:-1)?>)?"
FUNCTIONS = {
    "tanh": np.tanh,
    "sigma": lambda z: 1 / (1 + np.exp(-z)),
    "ReLU": lambda z: np.maximum(z, 0),
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(),
    "log": np.log,
    "sum": np.sum,
}


def computed(equation, values):
    """Return what an equation comes to if Python reads it, with vectors as columns."""
    words = re.findall(rf"(?:{'|'.join(FUNCTIONS)})(?=\()|{NAME}|\^T|\^2|\d+|\S", equation)
    written, before = [], ""
    for word in words:
        is_name = re.fullmatch(NAME, word) and word not in FUNCTIONS
        ends_a_factor = before in (")", "^T") or re.fullmatch(NAME, before)
        if ends_a_factor and before not in FUNCTIONS and (is_name or word == "(" or word in FUNCTIONS):
            written.append("@")
        written.append(f"v[{word!r}]" if is_name else {"^T": ".T", "^2": "**2"}.get(word, word))
        before = word
    return eval(" ".join(written), {}, {"v": values, **FUNCTIONS})  # of this library's own text


@forms.each("cell, network", CASES, thinned=3)
def test_every_printed_equation_gives_its_numbers(cell, network):
    lm = task_model("lm", **cell, **network, seed=4, spread=1.0)
    found = trace(lm, "ab")
    columns = {s: a[:, None] if a.ndim == 1 else a for s, a in values_of(found).items()}
    checked = set()
    for record in found.records:
        if not record.equation:
            continue
        if record.phase == "sums":
            assert record.equation.startswith("sum over t of ")
            of_each = record.equation.removeprefix("sum over t of ")
            got = sum(
                computed(of_each.replace("<t-1>", f"<{t - 1}>").replace("<t>", f"<{t}>"), columns)
                for t in range(1, len(found.read) + 1)
            )
        else:
            got = computed(record.equation, columns)
        np.testing.assert_allclose(
            np.squeeze(got), np.squeeze(record.values), rtol=1e-9, atol=1e-12, err_msg=f"{record.symbol}"
        )
        checked.add(record.phase)
    assert checked >= {"forward", "backward", "sums"}


def test_every_symbol_comes_once_and_after_what_it_needs():
    found = trace(task_model("lm", cell="lstm"), "abc")
    symbols = [record.symbol for record in found.records]
    assert len(set(symbols)) == len(symbols)
    known = set()
    for record in found.records:
        if record.phase != "sums":
            needed = set(re.findall(NAME, re.sub(r"tanh|sigma|softmax|sum|log|\^T|\^2", " ", record.equation)))
            assert needed <= known, record
        known.add(record.symbol)
    assert {"da[1]<0>", "dc[2]<0>", "dW_ua[1]", "db_y", "L"} <= known


def test_a_stream_begins_with_the_end_of_what_was_before():
    lm = task_model("lm", text={"unit": "stream"})
    found = trace(lm, "ab\nc")
    assert found.read == ("<EOS>", "a", "b", "<EOS>", "c")
    scores = list(charlm.score(lm, ["ab"]))
    assert trace(lm, "ab").nats == pytest.approx(scores[0].nats, rel=1e-12)


def test_what_is_refused(monkeypatch):
    lm = task_model("lm")
    with pytest.raises(UsageError, match=rf"{LONGEST + 1} tokens.*{LONGEST}"):
        trace(lm, "a" * LONGEST)
    assert len(trace(lm, "a" * (LONGEST - 1)).read) == LONGEST
    with pytest.raises(UsageError, match="newline"):
        trace(lm, "a\nb")
    for kind in (kind for kind, task in TASKS.items() if task != "lm"):
        with pytest.raises(UsageError, match=f"--task {TASKS[kind]}"):
            trace(task_model(kind), "a")
    for text in ("abc", "q\tabc"):
        with pytest.raises(CorpusError):
            trace(task_model("conditioned"), text)
    parameter(lm, "head.W_y")[...] = np.nan
    with pytest.raises(NonFiniteOutputError):
        trace(lm, "ab")
    monkeypatch.setattr(Rnn, "equations", ())
    with pytest.raises(UsageError, match="--cell rnn has no equations"):
        trace(task_model("lm", cell="rnn"), "a")


def test_it_is_part_of_the_library_and_changes_no_weights():
    lm = task_model("lm")
    before = lm.model.parameters.values.copy()
    assert charlm.trace(lm, "ab").nats > 0
    np.testing.assert_array_equal(lm.model.parameters.values, before)
