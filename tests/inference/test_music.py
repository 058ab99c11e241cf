"""Music: each key is drawn by the network's own probability, and a MIDI file sounds as the piece is written."""

import itertools
import math

import mido
import numpy as np
import pytest

from charlm.config import SampleConfig
from charlm.errors import ResourceError, UsageError
from charlm.inference.music import PieceSampler, write_midi
from charlm.text.batches.lanes import Batch
from charlm.text.tokens.music_steps import parse_steps
from tests.task_models import KEYS, outputs, task_model

NUMBERS = [int(key) for key in KEYS]


def sampler(kind="music", *, length=6, temperature=1.0, lm=None):
    return PieceSampler(lm or task_model(kind), SampleConfig(length=length, temperature=temperature))


def sounding(lm, steps, label=None):
    """Return P(key sounds) at each step, `[T, keys]`, given all steps before: from the loss of one key at a time."""
    keys, T = len(KEYS), len(steps)
    roll = np.array([[key in step for key in NUMBERS] for step in steps], np.uint8).reshape(T, keys)
    units = np.zeros((T, len(lm.labels)), np.uint8)
    if label is not None:
        units[0, lm.labels.index(label)] = 1
    before = np.concatenate([np.zeros((1, keys), np.uint8), roll[:-1]])
    inputs = np.concatenate([before, units], axis=1)[:, :, None]
    found = np.empty((T, keys))
    for key in range(keys):
        targets = np.zeros((T, keys, 1), np.int8) - 1
        targets[:, key] = 1
        nats, _ = lm.model.nats(Batch(inputs, targets), lm.model.zero_state(1), lm.model.workspace())
        found[:, key] = np.exp(-nats[:, 0])
    return found


def log_prob(lm, steps, label=None, begin=0):
    p = sounding(lm, steps, label)
    on = np.array([[key in step for key in NUMBERS] for step in steps])
    return float(np.log(np.where(on, p, 1 - p))[begin:].sum())


# ---- what is drawn


@pytest.mark.thinned(3)
@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
@pytest.mark.slow
def test_keys_sound_as_often_as_they_are_probable(temperature):
    """Pearson's chi-square over the first two steps of 3000 pieces, key by key, given the step before."""
    lm = task_model("music", spread=0.7)
    draws = sampler(lm=lm, length=2, temperature=temperature)
    pieces = [tuple(draws.sample(seed=1, number=n).steps) for n in range(3000)]

    def expected(steps):
        p = sounding(lm, [*steps, ()])[-1]
        z = np.log(p / (1 - p))
        return 1 / (1 + np.exp(-z / temperature))

    firsts = {}
    for first, second in pieces:
        firsts.setdefault(first, []).append(second)
    square, cells = 0.0, 0
    for before, after in [((), [first for first, _ in pieces]), *(((first,), rest) for first, rest in firsts.items())]:
        if len(after) < 60:
            continue
        n, p = len(after), expected(before)
        counts = np.array([sum(key in step for step in after) for key in NUMBERS])
        likely = (n * p > 5) & (n * (1 - p) > 5)
        square += float(((counts - n * p) ** 2 / (n * p * (1 - p)))[likely].sum())
        cells += int(likely.sum())
        assert np.all(np.abs(counts - n * p)[~likely] < 25)
    assert cells > 10
    assert abs(square - cells) < 4 * math.sqrt(2 * cells)


def test_keys_are_drawn_apart_from_each_other():
    lm = task_model("music")
    outputs(lm, np.log([1.0, 1.0, 1.0, 1 / 3, 3.0]))
    steps = [step for n in range(10) for step in sampler(lm=lm, length=300).sample(seed=2, number=n).steps]
    on = np.array([[key in step for key in NUMBERS] for step in steps], float)
    np.testing.assert_allclose(on.mean(axis=0), [0.5, 0.5, 0.5, 0.25, 0.75], atol=0.04)
    correlations = np.corrcoef(on.T)[np.triu_indices(5, 1)]
    assert np.abs(correlations).max() < 0.08


@pytest.mark.parametrize("kind", ["music", "genre"])
def test_at_temperature_zero_a_key_sounds_where_it_is_likelier_than_not(kind):
    lm = task_model(kind)
    label = lm.labels[1] if lm.labels else None
    draws = sampler(lm=lm, temperature=0.0, length=12)
    pieces = [draws.sample(label=label, seed=seed) for seed in (0, 1)]
    assert pieces[0] == pieces[1]
    steps = pieces[0].steps
    expected = [tuple(np.array(NUMBERS)[row > 0.5].tolist()) for row in sounding(lm, steps, label)]
    assert steps == expected
    assert len(set(steps)) > 1
    assert len({tuple(sampler(lm=lm, length=12).sample(label=label, seed=seed).steps) for seed in range(5)}) == 5


def test_what_the_model_is_sure_of_is_never_otherwise():
    lm = task_model("music", dtype="float32")
    outputs(lm, [200.0, -200.0, 200.0, -200.0, 60.0])
    for temperature in (0.0, 1e-300, 0.3, 1.0):
        piece = sampler(lm=lm, temperature=temperature, length=50).sample()
        assert set(piece.steps) == {(60, 62, 64)}
        assert piece.log_prob == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize(("kind", "label"), [("music", None), ("genre", "jig"), ("genre", "waltz")])
def test_the_log_probability_is_the_models_own(kind, label, temperature):
    lm = task_model(kind)
    for seed in range(3):
        piece = sampler(lm=lm, temperature=temperature).sample(label=label, seed=seed)
        assert piece.log_prob == pytest.approx(log_prob(lm, piece.steps, label), rel=1e-8)
        assert len(piece.steps) == 6


# ---- what it begins with


@pytest.mark.parametrize("prompt", ["60 - 62,64", "-", "64,60"])
def test_a_prompt_comes_first_and_is_read(prompt):
    lm = task_model("music")
    given = [tuple(sorted(step)) for step in parse_steps(prompt)]
    piece = sampler(lm=lm).sample(prompt, seed=1)
    assert [tuple(sorted(step)) for step in piece.steps[: len(given)]] == given
    assert len(piece.steps) == len(given) + 6
    assert piece.log_prob == pytest.approx(log_prob(lm, piece.steps, begin=len(given)), rel=1e-8)
    assert list(parse_steps(piece.text)) == [tuple(sorted(step)) for step in piece.steps]


def test_the_genre_is_heard():
    lm = task_model("genre")
    by_genre = [sampler(lm=lm, temperature=0.0).sample(label=label).steps for label in lm.labels]
    assert by_genre[0] != by_genre[1]


@pytest.mark.parametrize("label", [None, "polka", ""])
def test_a_genre_that_is_none_is_refused(label):
    with pytest.raises(UsageError) as caught:
        sampler("genre").sample(label=label)
    assert "jig, waltz" in caught.value.hint and "--class" in caught.value.hint
    assert label is None or repr(label) in caught.value.message


def test_a_genre_is_refused_where_the_model_knows_none():
    with pytest.raises(UsageError) as caught:
        sampler("music").sample(label="jig")
    assert caught.value.hint


@pytest.mark.parametrize(("prompt", "words"), [("60 H", "step 2"), ("128", "step 1"), ("59", "59"), ("60 61,70", "70")])
def test_a_prompt_that_is_no_music_or_has_strange_keys_is_refused_with_a_hint(prompt, words):
    with pytest.raises(UsageError, match=words) as caught:
        sampler().sample(prompt)
    assert caught.value.hint


# ---- the seed


def test_a_piece_is_a_function_of_seed_and_number():
    lm = task_model("music")
    made = {(s, n): sampler(lm=lm).sample(seed=s, number=n) for s, n in itertools.product(range(3), range(3))}
    for (seed, number), piece in made.items():
        assert sampler(lm=lm).sample(seed=seed, number=number) == piece
    assert len({piece.text for piece in made.values()}) == 9


def test_a_longer_piece_begins_as_the_shorter_one():
    lm = task_model("music")
    short, long = (sampler(lm=lm, length=length).sample(seed=3).steps for length in (4, 9))
    assert long[:4] == short
    assert sampler(lm=lm, length=0).sample().steps == []


def test_steps_come_one_by_one():
    from charlm.inference.music import Piece

    piece = Piece()
    steps = sampler().steps("60", seed=1, into=piece)
    assert next(steps) == "60" and piece.steps == [(60,)]
    rest = list(steps)
    assert piece.text == " ".join(["60", *rest]) and len(rest) == 6
    assert "-" in rest or all(part.replace(",", "").isdigit() for part in rest)


# ---- MIDI

PIECES = [
    [(60,), (60,), (60, 64), (64,), (), (64,)],
    [(60, 62, 64)],
    [(), (), (61,), (), ()],
    [(), ()],
    [],
    [(0, 127)] * 3,
]


def notes_of(path):
    """Return (key, first step, steps held) of each note, the ticks of a step, and the length of the file in steps."""
    file = mido.MidiFile(path)
    (track,) = file.tracks
    now, began, notes = 0, {}, []
    for message in track:
        now += message.time
        if message.type == "note_on" and message.velocity:
            assert message.note not in began
            began[message.note] = now
        elif message.type in ("note_on", "note_off"):
            start = began.pop(message.note)
            notes.append((message.note, start / file.ticks_per_beat, (now - start) / file.ticks_per_beat))
    assert not began
    return sorted(notes), now / file.ticks_per_beat


def held(steps):
    """Return the same of steps: a key that sounds at neighbouring steps is one note."""
    notes = []
    for key in {key for step in steps for key in step}:
        at = [number for number, step in enumerate(steps) if key in step]
        for _, run in itertools.groupby(enumerate(at), lambda pair: pair[1] - pair[0]):
            run = [number for _, number in run]
            notes.append((key, run[0], len(run)))
    return sorted(notes)


@pytest.mark.parametrize("steps", PIECES)
def test_a_midi_file_sounds_as_the_piece_is_written(tmp_path, steps):
    path = tmp_path / "x.mid"
    write_midi(path, steps)
    notes, length = notes_of(path)
    assert notes == held(steps)
    assert length == len(steps)
    assert [one.tempo for track in mido.MidiFile(path).tracks for one in track if one.type == "set_tempo"] == [500_000]


def test_a_drawn_piece_can_be_written(tmp_path):
    piece = sampler(length=40).sample(seed=5)
    write_midi(tmp_path / "x.mid", piece.steps, beats_per_minute=60)
    assert notes_of(tmp_path / "x.mid") == (held(piece.steps), 40)
    assert mido.MidiFile(tmp_path / "x.mid").length == pytest.approx(40.0)


def test_the_same_piece_is_the_same_file_and_one_that_cannot_be_written_is_told(tmp_path):
    for name in "ab":
        write_midi(tmp_path / name, PIECES[0])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(ResourceError):
        write_midi(tmp_path / "no" / "x.mid", PIECES[0])
