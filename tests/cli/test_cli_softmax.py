"""`charlm train --softmax adaptive`: a model of it is like any other, and what it excludes is refused."""

import math

import pytest

from charlm import api, checkpoint
from charlm.backends import NumpyBackend
from tests.cli.conftest import TINY

WORDS = [f"w{a}{b}" for a in "abcdefghij" for b in "klmnopqrst"]
CUTOFFS = {False: (5, 25), True: (1, 5, 12, 25, 51)}  # of 102 tokens; by whether the weights are the embedding's
FLAGS = (*TINY, "--level", "word", "--seed", 1, "--softmax", "adaptive", "--embedding-size", 4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A text in which the first words are the most frequent."""
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text("".join(" ".join(WORDS[: 100 // line]) + "\n" for line in range(1, 30)))
    return path


@pytest.fixture(scope="module")
def models(corpus):
    """Models with an adaptive softmax: one with weights of its own, and one whose weights are the embedding's."""
    paths = {}
    for name, network in ("own", {"embedding_size": 4}), ("tied", {"embedding_size": 8, "tie_weights": True}):
        paths[name] = corpus.parent / f"{name}.safetensors"
        small = {"hidden_size": 8, "num_layers": 1, "level": "word", "max_steps": 20, **network}
        api.save(api.train(corpus.read_text().splitlines(), softmax="adaptive", **small), paths[name])
    return paths


@pytest.fixture(params=["own", "tied"])
def adaptive(request, models):
    """A model with an adaptive softmax."""
    return models[request.param]


def config_of(path):
    return checkpoint.load(path, NumpyBackend()).language_model.model.config


def test_it_is_stored_and_named(charlm, adaptive):
    config = config_of(adaptive)
    assert (config.softmax, config.cutoffs) == ("adaptive", CUTOFFS[config.tie_weights])
    printed = charlm("inspect", adaptive).succeeded().text
    assert f"adaptive softmax cut at {' and '.join(map(str, config.cutoffs))}" in printed
    assert ("head.cluster2.P" in printed) != config.tie_weights == ("tied weights" in printed)
    flags = " ".join(f"--cutoffs {cutoff}" for cutoff in config.cutoffs)
    assert f"--softmax adaptive {flags}" in charlm("inspect", adaptive, "--command").succeeded().text


def test_every_command_of_a_language_model_answers(charlm, adaptive, corpus):
    """What they print agrees: score and evaluate on the loss, next and generate on the probabilities."""
    line = " ".join(WORDS[:4])
    (corpus.parent / "line.txt").write_text(line + "\n")
    (score,) = charlm("score", adaptive, corpus.parent / "line.txt", "--format", "jsonl").succeeded().records
    (found,) = charlm("evaluate", adaptive, corpus.parent / "line.txt", "--format", "jsonl").succeeded().records
    nats = found["nats_per_token"] * found["tokens"]
    assert -score["log10p"] * math.log(10.0) == pytest.approx(nats, rel=1e-4)
    rows = charlm("next", adaptive, "-p", line, "-k", 200, "--format", "jsonl").succeeded().records
    assert len(rows) == len(WORDS) + 2 and sum(row["prob"] for row in rows) == pytest.approx(1.0, abs=1e-4)
    assert len(charlm("generate", adaptive, "-n", 3, "--seed", 1).succeeded().lines) == 3
    charlm("surprisal", adaptive, corpus.parent / "line.txt").succeeded()


def test_a_training_that_starts_from_it(charlm, adaptive, corpus, tmp_path):
    for flags in ("--init-from", adaptive), ("--like", adaptive):
        charlm("train", corpus, "-o", tmp_path / "m", "--seed", 2, "--max-steps", 1, "--force", *flags).succeeded()
        assert config_of(tmp_path / "m.safetensors").cutoffs == config_of(adaptive).cutoffs
    model = checkpoint.load(adaptive, NumpyBackend()).language_model.model
    tied = ("--tie-weights", "--embedding-size", 8) if model.config.tie_weights else ()
    result = charlm("train", corpus, "-o", tmp_path / "n", *FLAGS, "--max-steps", 1, *tied).succeeded()
    shown = " and ".join(map(str, model.config.cutoffs))
    assert f"cutoffs {shown}" in result.err and f"{model.parameters.count:,} parameters" in result.err
    charlm("train", corpus, "-o", tmp_path / "m", "--like", adaptive, "--softmax", "full", "--force").succeeded()
    assert config_of(tmp_path / "m.safetensors").softmax == "full"


def test_what_needs_a_full_softmax_is_refused(charlm, adaptive, corpus, tmp_path):
    charlm("export", adaptive, "-o", tmp_path / "m.safetensors", "--to", "torch").failed(2, "--softmax adaptive")
    charlm("inspect", adaptive, "--trace", "wak").failed(2, "--trace", "--softmax adaptive")
    flags = (*FLAGS, "--cutoffs", 5, "--cutoffs", 500)
    charlm("train", corpus, "-o", tmp_path / "m", *flags).failed(2, "--cutoffs is 500", "from 6 to 101")
