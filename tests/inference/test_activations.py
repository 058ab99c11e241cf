"""What units and gates do over a text: each task's lines as its model reads them, and the figures of the units."""

import numpy as np
import pytest

import charlm
from charlm.errors import CorpusError, UsageError
from charlm.inference.activations import Recorder, Unit, most_telling, states_of, values_of, written_values
from charlm.nn import layer as layer_module
from charlm.nn.recording import QUANTITIES
from charlm.text import EOS_ID, NOTHING
from tests.gradcheck import KINDS, cell_fields
from tests.task_models import ids_of, random_lines, task_model

LINES = ["abcab", "", "ca", "bbacca"]


def after(lm, inputs):
    """Return the states of all recurrent layers, in order, after each of some ids, read one by one from state 0."""
    state, found = lm.model.zero_state(1), []
    for token_id in inputs:
        _, state = lm.model.next_log_probs(np.array([[token_id]], np.int32), state, lm.model.workspace())
        found.append([array[:, 0].copy() for of_layer in state for array in of_layer])
    return np.array(found)


def states(values, rows):
    """Return a and c of both layers of an lstm in some rows, as `after` does."""
    arrays = [values[f"layer{layer}.{name}"][rows] for layer in (0, 1) for name in "ac"]
    return np.stack(arrays, axis=1)


def test_a_model_of_lines_reads_each_from_the_start():
    lm = task_model("lm", spread=0.8)
    values = states_of(Recorder(lm), LINES)
    assert values["tokens"].tolist() == [*"abcabcabbacca"]
    assert values["lines"].tolist() == [1] * 5 + [3] * 2 + [4] * 6
    for number, line in enumerate(LINES, start=1):
        expected = after(lm, [NOTHING, *ids_of(lm, line)])[1:]
        np.testing.assert_allclose(states(values, values["lines"] == number), expected.reshape(-1, 4, 5), atol=1e-12)
    assert all(np.array_equal(array, values[name]) for name, array in charlm.activations(lm, LINES).items())


def test_a_stream_goes_on_from_line_to_line():
    lm = task_model("lm", spread=0.8, text={"unit": "stream"})
    values = states_of(Recorder(lm), LINES)
    inputs = [token_id for line in LINES for token_id in (EOS_ID, *ids_of(lm, line))]
    expected = after(lm, inputs)[[at for at, token_id in enumerate(inputs) if token_id != EOS_ID]]
    np.testing.assert_allclose(states(values, slice(None)), expected, atol=1e-12)


def test_a_conditioned_model_reads_the_label_first():
    lm = task_model("conditioned", spread=0.8)
    recorder = Recorder(lm)
    first = len(lm.tokenizer.vocabulary) + lm.label_number("y")
    expected = after(lm, [first, *ids_of(lm, "abc")])[1:]
    np.testing.assert_allclose(states(states_of(recorder, ["y\tabc"]), slice(None)), expected, atol=1e-12)
    assert [line.label for line in values_of(recorder, ["y\tabc"], [Unit(0, 0, "a")])] == ["y"]
    with pytest.raises(CorpusError):
        states_of(recorder, ["abc"])


@pytest.mark.parametrize("kind", ["cloze", "tag", "yes-no", "classify", "translate"])
def test_other_tasks_have_a_row_for_each_token(kind):
    """Here the shapes are looked at, and that lines are read apart."""
    lm = task_model(kind)
    recorder = Recorder(lm)
    lines = ["the cat sees it.", "", "it"] if kind != "classify" else ["abc a", "", "b"]
    values = states_of(recorder, lines)
    tokens = [token for line in lines for token in lm.tokenizer.split(line)]
    assert values["tokens"].tolist() == tokens
    both = 1 if kind == "translate" else 2
    assert {name: array.shape for name, array in values.items() if name.startswith("layer")} == {
        f"layer{layer}.{quantity}": (len(tokens), 5 * both) for layer in (0, 1) for quantity in recorder.quantities
    }
    alone = states_of(recorder, lines[2:])
    np.testing.assert_allclose(alone["layer1.c"], values["layer1.c"][-len(alone["tokens"]) :], atol=1e-12)


def test_a_tagger_reads_the_shapes_of_unknown_words():
    lm = task_model("tag")
    encoded = lm.tokenizer.encode_tokens(["the", "cat"])
    y, _ = lm.model.body.layers["layer0"].forward(encoded[:, None], lm.model.zero_state(1)[0], lm.model.workspace())
    np.testing.assert_allclose(states_of(Recorder(lm), ["the cat"])["layer0.a"], y[:, :, 0], atol=1e-12)


def test_an_encoder_reads_from_the_right_and_begins_with_the_end():
    lm = task_model("translate")
    ids = np.array([[*ids_of(lm, "the cat"), EOS_ID]], np.int32).T
    last = lm.model.encode(ids, None, lm.model.workspace())
    values = states_of(Recorder(lm), ["the cat"])
    np.testing.assert_allclose(values["layer1.a"][0], last[-1][0][:, 0], atol=1e-12)


def test_long_lines_are_read_in_parts(monkeypatch):
    for fields in ({}, {"unit": "stream"}):
        recorder = Recorder(task_model("lm", spread=0.8, text=fields))
        lines = ["abc" * 5, "", "a" * 4, "cab"]
        whole = states_of(recorder, lines)
        for longest in (1, 2, 4, 5):
            with monkeypatch.context() as patch:
                patch.setattr(layer_module, "LONGEST_PIECE", longest)
                sizes = [len(part) for line in values_of(recorder, lines, [Unit(0, 0, "a")]) for part in line.selected]
                parts = states_of(recorder, lines)
            assert max(sizes) <= longest and sum(sizes) == 22
            for name in whole:
                if name.startswith("layer"):
                    np.testing.assert_allclose(parts[name], whole[name], rtol=0, atol=1e-12)
                else:
                    np.testing.assert_array_equal(parts[name], whole[name])


@pytest.mark.parametrize(("cell", "variant"), KINDS, ids="-".join)
def test_the_most_telling_units_have_the_largest_deviation(cell, variant):
    recorder = Recorder(task_model("lm", **cell_fields(cell, variant), spread=0.8))
    lines = random_lines("abc", 6, 12, between="")
    values = states_of(recorder, lines)
    main = "c" if cell.startswith("lstm") else "a"
    drawn = np.stack([values[f"layer{layer}.{main}"] for layer in (0, 1)]).astype(np.float64)
    drawn = np.tanh(drawn) if main == "c" or variant == "relu" else drawn
    assert recorder.drawn_as == (f"tanh({main})" if main == "c" or variant == "relu" else "a")
    found = most_telling(recorder, lines, 7)
    deviations = drawn.std(axis=1)
    assert [one.deviation for one in found] == pytest.approx(sorted(deviations.ravel(), reverse=True)[:7], abs=1e-7)
    for one in found:
        column = drawn[one.unit.layer, :, one.unit.number]
        assert (one.mean, one.lowest, one.highest) == pytest.approx((column.mean(), column.min(), column.max()))
        assert one.unit.quantity == main


def test_a_text_without_tokens_has_no_telling_unit():
    recorder = Recorder(task_model("lm"))
    assert most_telling(recorder, ["", ""]) == most_telling(recorder, []) == []
    assert states_of(recorder, [""])["layer0.a"].shape == (0, 5)


def test_the_values_of_a_line_as_it_is_written():
    lm = task_model("cloze")
    recorder = Recorder(lm)
    units = [recorder.unit(1, 7), recorder.unit(0, 2, "forget")]
    values = states_of(recorder, [" the cat,  dog"])
    (line,) = values_of(recorder, [" the cat,  dog"], units)
    parts = written_values(line, lm.tokenizer.splitter)
    assert [text for text, _ in parts] == [" ", "the", " ", "cat", ",", "  ", "dog"]
    found = [row for _, row in parts if row is not None]
    expected = np.stack([values["layer1.c"][:, 7], values["layer0.forget"][:, 2]], axis=1)
    np.testing.assert_array_equal(found, expected)


def test_units_that_a_model_lacks_are_refused():
    recorder = Recorder(task_model("lm", cell="gru"))
    assert recorder.unit(1, 4) == recorder.unit(1, 4, "c") == recorder.unit(1, 4, "a") == Unit(1, 4, "a")
    assert recorder.unit(0, 0, "relevance").quantity == "relevance"
    for asked, words in (((2, 0), "2:0"), ((0, 5), "0:5"), ((0, 0, "forget"), "forget"), ((0, 0, "x"), "x")):
        with pytest.raises(UsageError, match=words) as caught:
            recorder.unit(*asked)
        assert caught.value.hint
    assert set(recorder.quantities) < set(QUANTITIES)


@pytest.mark.parametrize("kind", ["music", "genre"])
def test_a_model_of_music_is_refused(kind):
    with pytest.raises(UsageError, match="--task music") as caught:
        Recorder(task_model(kind))
    assert "--task lm" in caught.value.hint
