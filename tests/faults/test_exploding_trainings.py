"""Trainings at rates that are far too high: what they leave is a model of finite numbers, or none at all."""

import random

import numpy as np
import pytest

from charlm import api, checkpoint
from charlm.config import CELL_NAMES
from charlm.errors import DivergenceError, NonFiniteOutputError
from charlm.storage.container import Container
from tests.task_models import FITTING, LISTS, TASKS, TEXTS, TRAINING, needed, parameter, task_model

FLAGS = {**TRAINING, "cloze": ("--bidirectional", "--level", "word"), "cloze-char": ("--task", "cloze")}
INPUTS = {  # what the commands but `evaluate` read
    "cloze": "the ___ sees it.\n",
    "cloze-char": "a___c\n",
    "tag": "the cat sees it\n\n",
    "yes-no": "the cat\n",
    "classify": "abc a\n",
    "translate": "the cat sees it.\n",
}

FINITE = ("prob", "log10p", "pseudo_log10p", "nats_per_token", "pseudo_nats_per_token", "gradients")


def random_flags(rng, kind):
    """Draw the flags of a training that may explode; it takes a few steps."""
    cell = rng.choice(CELL_NAMES)
    flags = ["--cell", cell, "--hidden-size", rng.randint(2, 8), "--num-layers", rng.randint(1, 2), *FLAGS[kind]]
    if cell == "rnn":
        flags += ["--activation", rng.choice(["tanh", "relu"])]
    if rng.random() < 0.3 and TASKS[kind] != "music":
        flags += ["--embedding-size", 3]
    if rng.random() < 0.2:
        flags += ["--dense", 4]
    flags += ["--optimizer", rng.choice(["adam", "rmsprop", "sgd"]), "--lr", f"{10 ** rng.uniform(0, 9):.3g}"]
    flags += ["--clip", rng.choice([0, 0, 1, 1e9]), "--schedule", rng.choice(["constant", "cosine", "plateau"])]
    flags += ["--valid-fraction", rng.choice([0, 0.3]), "--dtype", rng.choice(["float32", "float32", "float64"])]
    return [*flags, "--max-steps", rng.randint(1, 8), "--seq-length", 8, "--batch-size", 4, "--threads", 1]


def answers(charlm, kind, model, text):
    """Run each command that takes such a model, at several batch sizes; yield their names and results."""
    reads = INPUTS.get(kind, text)
    for command in FITTING[TASKS[kind]]:
        if command == "export":  # it computes nothing
            continue
        if command in ("generate", "next"):
            flags = ("-l", 5, "--seed", 1) if command == "generate" else ("-p", "a")
            yield command, charlm(command, model, *flags, *needed(command, kind), "--format", "jsonl")
            continue
        given = {"evaluate": text, "rescore": LISTS}.get(command, reads)
        for batch_size in (1, 3, 64):
            form = () if command == "filter" else ("--format", "jsonl")
            flags = ("--batch-size", batch_size, *needed(command, kind), *form)
            yield command, charlm(command, model, *flags, stdin=given.encode())
            if command == "score" and TASKS[kind] == "cloze":
                yield "suspect", charlm(command, model, "--suspect", *flags, stdin=given.encode())
    if TASKS[kind] == "lm":
        yield "gradients", charlm("inspect", model, "--gradients", "-", "--format", "jsonl", stdin=text.encode())


def check_answers(charlm, kind, model, text):
    """Each command refuses the model, or what it says is finite; return how many refused."""
    refused = 0
    for command, result in answers(charlm, kind, model, text):
        assert result.code in (0, 4), (kind, command, result)
        assert "Warning" not in result.err and "Traceback" not in result.err
        if result.code == 4:
            result.failed(4, "NaN or infinity")
            refused += 1
            continue
        assert result.out
        for record in result.records if command != "filter" else ():
            for key, value in record.items():
                numbers = value if isinstance(value, list) else [value]
                assert key not in FINITE or not any(number is None for number in numbers), (kind, command, record)
    return refused


@pytest.mark.slow
def test_what_exploding_trainings_leave_can_be_used(charlm, tmp_path, times):
    """With 0 or 5; weights that are finite; and every command that takes the model answers or refuses."""
    rng, kinds = random.Random(14), list(FLAGS)
    codes = {0: 0, 5: 0}
    for number in range(times(10, 66)):
        kind = kinds[number % len(kinds)]
        folder = tmp_path / str(number)
        folder.mkdir()
        corpus, model = folder / "corpus", folder / "m.safetensors"
        text = TEXTS[kind] * 12
        corpus.write_text(text)
        flags = random_flags(rng, kind)
        result = charlm("train", corpus, "-o", model, "--seed", rng.randint(1, 99), *flags)
        assert result.code in codes, (flags, result)
        assert "Warning" not in result.err
        codes[result.code] += 1
        assert model.exists() or result.code == 5, flags
        for file in folder.glob("*.safetensors"):
            assert all(np.isfinite(array).all() for array in Container(file).arrays().values()), (file, flags)
        if model.exists():
            refused = check_answers(charlm, kind, model, TEXTS[kind])
            assert not refused, flags
    assert all(codes.values())


AT_ONCE = {  # flags of trainings of which every step explodes
    "the last step, not validated": "--optimizer sgd --lr 1e9 --clip 0 --schedule constant --valid-fraction 0 --max-steps 1",  # noqa: E501
    "rectified": (
        "--cell rnn --activation relu --optimizer sgd --lr 1e6 --schedule constant --valid-fraction 0 --clip 0 "
        "--max-steps 2 --dense 4"
    ),
    "finite and useless": "--lr 1e9 --clip 0 --epochs 1",
    "useless, but no explosion": "--lr 900 --clip 0 --epochs 1 --schedule constant",
    "double": "--lr 1e9 --clip 0 --max-steps 2 --dtype float64 --valid-fraction 0",
}


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", FLAGS)
def test_a_run_that_only_diverged_leaves_no_model(charlm, tmp_path, kind, times):
    """It ends with 5; the model that was there before is unchanged."""
    corpus, model = tmp_path / "corpus", tmp_path / "m.safetensors"
    corpus.write_text(TEXTS[kind] * 12)
    model.write_bytes(b"another model")
    flags = ("--hidden-size", 6, "--num-layers", 1, "--seed", 1, "--batch-size", 4, "--seq-length", 8, "--threads", 1)
    ways = random.Random(kind).sample(list(AT_ONCE), times(2, len(AT_ONCE)))
    for way in ways:
        result = charlm("train", corpus, "-o", model, "--force", *flags, *FLAGS[kind], *AT_ONCE[way].split())
        result.failed(5, "diverged", "--lr")
        assert model.read_bytes() == b"another model", way


HONEST = {  # corpora of which little can be learned, or what is learned does not help with what is held out
    "two lines": "a\nzzzzzzzz\n",
    "three different lines": "abc\ndefgh\nijklm\n",
    "one odd line among many": "ab\n" * 30 + "zyxwvut\n",
    "noise": "".join(f"{random.Random(n).choices('abcdefgh', k=5)}\n" for n in range(20)),
}


@pytest.mark.parametrize("text", HONEST)
@pytest.mark.parametrize("rate", [0.0001, 0.5])
def test_an_honest_run_does_not_diverge(charlm, tmp_path, text, rate, times):
    """Also one whose best evaluation is worse than a blind guess, for the little that is held out."""
    corpus = tmp_path / "corpus"
    corpus.write_text(HONEST[text])
    flags = ("--hidden-size", 8, "--num-layers", 1, "--valid-fraction", 0.4, "--lr", rate, "--max-steps", 20)
    for seed in range(times(1, 6)):
        charlm("train", corpus, "-o", tmp_path / f"{seed}", "--seed", seed, *flags).succeeded()


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", FLAGS)
def test_a_model_whose_output_overflows_is_refused(charlm, tmp_path, kind, times):
    """Its weights are finite, and huge; each command, at each batch size, refuses it or says finite numbers."""
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(times(1, 5)):
        language_model = task_model(kind, dtype=str(rng.choice(["float32", "float64"])))
        values = language_model.model.parameters.values
        values[...] = rng.choice([-1.0, 1.0], values.size) * np.finfo(values.dtype).max * rng.uniform(0.5, 1)
        checkpoint.save(tmp_path / "m.safetensors", language_model)
        refused += check_answers(charlm, kind, tmp_path / "m.safetensors", TEXTS[kind])
    assert refused


def test_the_library_refuses_it_too():
    """NaN in memory, as a caller may have it: no number is handed out."""
    calls = {
        "lm": (lambda m: list(api.score(m, ["ab"])), lambda m: api.generate(m, length=3)),
        "cloze": (lambda m: list(api.score(m, ["the cat"])), lambda m: list(api.fill(m, ["the ___"]))),
        "tag": (lambda m: list(api.predict(m, ["the cat"])),),
        "yes-no": (lambda m: list(api.predict(m, ["the cat"])),),
        "classify": (lambda m: list(api.predict(m, ["abc"])),),
        "translate": (lambda m: list(api.predict(m, ["the cat"])), lambda m: list(api.predict(m, ["it"], beam=3))),
        "music": (lambda m: api.generate(m, length=3),),
    }
    for kind, functions in calls.items():
        for bad in (np.nan, np.inf):
            language_model = task_model(kind)
            parameter(language_model, "head.b_y")[-1] = bad
            for function in functions:
                with pytest.raises(NonFiniteOutputError):
                    function(language_model)
    with pytest.raises(DivergenceError):
        api.train(
            ["abab"] * 9, hidden_size=4, num_layers=1, max_steps=1, learning_rate=1e9, clip=0.0, valid_fraction=0.0
        )
