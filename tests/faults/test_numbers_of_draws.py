"""The edges of drawing, through whole models; and that scores and draws do not depend on what they must not."""

import itertools
import math
import shlex

import numpy as np
import pytest

from charlm import checkpoint, load
from charlm.config import SampleConfig
from charlm.inference.generation import Sampler
from charlm.nn.drawing import next_token_probs
from tests.cli.shell import run
from tests.faults.test_pipes import READING, WRITING, every_other, filled_in, places, with_rows  # noqa: F401
from tests.inference.test_scoring import random_model
from tests.task_models import KINDS, outputs, random_lines, task_model

MEASURED = ("evaluate", "bench")  # commands that print how fast they were


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network with certain opinions, which it changes with all it reads."""
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    checkpoint.save(path, random_model("abcdefgh", hidden=24, spread=2.0))
    return path


@pytest.fixture
def drawn(charlm, model):
    """Draw texts with the command, in this process, where each of NumPy's warnings is an error."""

    def draw(*flags):
        result = charlm("generate", model, "--seed", 5, "-n", 20, "-l", 30, *flags).succeeded()
        assert result.err == ""
        return result.lines

    return draw


# ---- the edges of drawing


def test_the_coldest_draws_are_the_likeliest(drawn):
    """And so are those of one token or of no mass; which number is drawn does not matter then."""
    greedy = drawn("-t", 0)
    assert len(set(greedy)) == 1
    for flags in ("-t 1e-8", "-t 1e-300", "-t 5e-324", "--top-k 1", "--top-p 0", "-t 9 --top-k 1", "-t 0 --top-p 0.5"):
        assert drawn(*flags.split()) == greedy


def test_the_widest_filters_are_none(drawn):
    plain = drawn()
    assert len(set(plain)) > 5
    for flags in ("-t 1", "--top-p 1", "--top-k 10", "--top-k 11", "--top-k 1000000", "--top-p 1 --top-k 9"):
        assert drawn(*flags.split()) == plain


def test_the_hottest_draws_take_all_tokens_alike(model, times):
    """Among nine, <EOS> with them, none more often than chance lets them; and <UNK> never."""
    length = times(4_000, 40_000)
    lm = load(model, device="cpu")
    for temperature in (1e8, 1e300):
        sampler = Sampler(lm, SampleConfig(temperature=temperature))
        tokens, number = [], 0
        while len(tokens) < length:
            tokens += sampler.sample(seed=1, number=number).tokens
            number += 1
        ids = [lm.tokenizer.vocabulary.ids[token] for token in tokens]
        share = np.bincount(ids, minlength=10) / len(ids)
        assert share[1] == 0.0
        assert abs(share - 1 / 9)[[0, *range(2, 10)]].max() < 5 * math.sqrt(1 / 9 * 8 / 9 / length)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--temperature", ("-1", "-1e-300", "nan", "inf", "-inf", "", "1e301")),
        ("--top-k", ("0", "-3", "nan", "1.5", "")),
        ("--top-p", ("-1e-9", "1.0000001", "nan", "inf", "")),
    ],
)
def test_what_means_nothing_is_refused(charlm, model, option, values):
    for value in values:
        assert charlm("generate", model, option, value).failed(2, option).out == b""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][4]["task"] == "lm"])
@pytest.mark.parametrize("other", [-800.0, -1e30])
def test_a_model_that_knows_only_unknown_tokens(charlm, tmp_path, kind, other):
    """Where anything else is left, however unlikely, it is drawn; where nothing is, that is told before any output."""
    lm = task_model(kind)
    logits = np.full(len(lm.tokenizer.vocabulary), other)
    logits[1] = 0.0
    outputs(lm, logits)
    path = tmp_path / "m.safetensors"
    checkpoint.save(path, lm)
    flags = ("--class", "x") if lm.is_conditioned else ()
    for more in ((), ("-t", 0), ("-t", 1e8), ("--top-k", 1), ("--top-p", 0)):
        result = charlm("generate", path, "--seed", 1, "-n", 20, "-l", 5, *flags, *more).succeeded()
        assert "<UNK>" not in result.text and len(result.lines) == 20
    allowed = charlm("generate", path, "--seed", 1, "-l", 5, "--allow-unk", *flags).succeeded()
    assert allowed.text == "<UNK>" * 5 + "\n"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_setting_gives_probabilities(times, dtype):
    """Of any log-probabilities, the least likely included, with all that may be banned and every edge at once."""
    rng = np.random.default_rng(4)
    edges = itertools.product([0.0, 5e-324, 1e-8, 1.0, 1e8, 1e300], [None, 1, 3, 1 << 40], [None, 0.0, 0.5, 1.0])
    configs = [SampleConfig(temperature=t, top_k=k, top_p=p) for t, k, p in edges]
    with np.errstate(all="raise", under="ignore"):
        for _ in range(times(5, 30)):
            size = int(rng.integers(3, 60))
            scores = rng.normal(0, rng.choice([0.0, 1.0, 30.0, 1e4]), size).astype(dtype)
            log_probs = scores - scores.max() - np.log(np.exp(scores - scores.max()).sum())
            log_probs[rng.random(size) < 0.3] = -np.inf
            log_probs[2] = min(0.0, scores[2])
            for config, banned in itertools.product(configs, ((), (1,), (0, 1))):
                probs, mass = next_token_probs(log_probs, config, banned=banned)
                assert probs.min() >= 0.0 and abs(probs.sum() - 1.0) < 1e-12
                assert not probs[[*banned, *np.flatnonzero(np.isneginf(log_probs))]].any()
                assert mass >= 0.0
                if config.temperature == 0.0 or config.top_k == 1 or config.top_p == 0.0:
                    assert np.count_nonzero(probs) == 1


@pytest.mark.parametrize("temperature", [0, 1e-8, 5e-324, 1e8, 1e300])
def test_music_has_the_same_edges(charlm, tmp_path, temperature):
    path = tmp_path / "m.safetensors"
    checkpoint.save(path, task_model("music"))
    flags = ("--format", "jsonl", "-l", 40, "-t", temperature)
    (record,), (other,) = (charlm("generate", path, "--seed", s, *flags).succeeded().records for s in (1, 2))
    assert len(record["tokens"]) == 40 and record["log10p"] <= 0
    assert (other["tokens"] == record["tokens"]) == (temperature < 1)


# ---- scores


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lm", "cloze"])
def test_scores_agree_over_batches_and_threads(tmp_path, times, kind):
    """A network of the usual size, whose products take other ways for other numbers of lines; of 0 to 80 tokens."""
    path, text = tmp_path / "m.safetensors", tmp_path / "lines.txt"
    lm = task_model(kind, spread=0.15, hidden_size=128, dtype="float32")
    checkpoint.save(path, lm)
    tokens = [*lm.tokenizer.vocabulary.tokens[2:], "?"]
    lines = random_lines(tokens, times(40, 100), 80, between="" if kind == "lm" else " ")
    text.write_text("".join(f"{line}\n" for line in lines))
    scores = []
    two = ("--threads", 2)
    # Every pair of a size, threads of OpenBLAS and threads of the command.
    for size, threads, how in [(1, 1, ()), (1, 2, two), (32, 1, two), (32, 2, ()), (64, 1, ()), (64, 2, two)]:
        flags = ("--format", "jsonl", "--log-base", "e", "--batch-size", size, *how)
        result = run("score", path, text, *flags, OPENBLAS_NUM_THREADS=str(threads)).succeeded()
        assert [record["text"] for record in result.records] == lines
        scores.append([next(v for k, v in record.items() if k.endswith("lnp")) for record in result.records])
    scores = np.array(scores)
    assert np.ptp(scores, axis=0).max() <= 1e-4
    assert np.ptp(scores, axis=1).min() > 10  # and so they can differ


# ---- the same again


ROWS = {**WRITING, **{f"{name} <": READING[name][0] for name in ("score", "generate")}}
REPEATED = [*(name for name in every_other(WRITING, 0) if name != "bench"), "score <", "generate <"]


@with_rows("name", REPEATED, ["score suspect", "score <"])
def test_the_same_command_twice_gives_the_same_bytes(filled_in, name):  # noqa: F811
    """Whatever the order of Python's sets; only speed is never the same twice."""
    arguments = [*shlex.split(filled_in(ROWS[name])), *(("--seed", 1) if "generate" in name else ())]
    stdin = READING[name[:-2]][1].encode() if name.endswith("<") else b""
    results = [run(*arguments, stdin=stdin, PYTHONHASHSEED=str(seed)).succeeded() for seed in range(2)]
    told = [[line for line in result.text.splitlines() if "per_second" not in line] for result in results]
    assert told[0] == told[1]
    assert name.startswith(MEASURED) or results[0].out == results[1].out
    assert results[0].err == results[1].err


@pytest.mark.slow
def test_training_twice_gives_the_same_bytes(trained, tmp_path, times):
    flags = (
        "--task",
        "lm",
        "--keep-checkpoint",
        "--max-steps",
        20,
        "--hidden-size",
        8,
        "--dropout",
        0.2,
        "--batch-size",
        8,
    )
    for seed in range(times(1, 2)):
        files = []
        for hash_seed in range(times(2, 3)):
            path = tmp_path / f"{seed}-{hash_seed}.safetensors"
            command = ("train", trained.sentences, "-o", path, "--seed", seed, *flags)
            run(*command, PYTHONHASHSEED=str(hash_seed)).succeeded()
            files.append((path.read_bytes(), path.with_suffix(".ckpt.safetensors").read_bytes()))
        assert len(set(files)) == 1
