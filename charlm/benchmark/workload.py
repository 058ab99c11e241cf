"""What is measured: a network that has learned nothing yet, with text for it, and the steps that it takes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from charlm.backends import Backend, NumpyBackend
from charlm.checkpoint import save
from charlm.config import ModelConfig, SampleConfig, TextConfig, TrainConfig
from charlm.errors import CorpusError, ResourceError
from charlm.inference.generation import Sampler
from charlm.inference.scoring import Scorer
from charlm.language_model import LanguageModel
from charlm.nn.build import build
from charlm.session import assemble
from charlm.storage.files import hint_for
from charlm.text import EOS, UNK, Tokenizer, Vocabulary, splitter_of
from charlm.text.dataset import Dataset, encode
from charlm.text.ids.encoder import count_tokens
from charlm.text.tokens.codec import Codec

GENERATED, STARTED = 500, 1000  # tokens of a text that `generate` and `start` draw
SHORTEST, LONGEST = 5, 40  # tokens of the lines that `score` reads
_BATCHES = 100  # of synthetic text, so that an epoch's own work is spread over as many steps as in a corpus
_GROUPS = 8  # batches of lines that are scored at a time

# What the script `charlm` does; the last place to look for this package is where it was found by this process.
_START = "import sys; sys.path.append(sys.argv.pop(1)); from charlm.cli.app import main; sys.exit(main())"

Step = Callable[[], int]  # does a piece of work and gives the tokens that it was


@dataclass(frozen=True)
class Workload:
    """A network that has learned nothing yet, and text for it.

    ids [N] int32: a stream to learn from; lines: to be scored, of `SHORTEST` to `LONGEST` tokens
    """

    language_model: LanguageModel
    ids: np.ndarray
    lines: list[str]

    def with_backend(self, ops: Backend) -> Workload:
        """Give the same work for a network on another backend."""
        model = build(self.language_model.model.config, ops, seed=1)
        return replace(self, language_model=replace(self.language_model, model=model))


def synthetic_workload(
    network: dict[str, Any], level: str, config: TrainConfig, *, vocabulary_size: int, ops: Backend | None = None
) -> Workload:
    """Draw a text of equally likely tokens, and build a network for it.

    network: fields of `ModelConfig` but for the vocabulary's size, which counts `<EOS>` and `<UNK>`
    Raises UsageError where the network cannot be.
    """
    ModelConfig(**{**network, "vocabulary_size": vocabulary_size})  # before a vocabulary of that size is made
    text = TextConfig(level=level, unit="stream", split="whitespace", normalize="none")
    names = _characters() if level == "char" else (f"w{number}" for number in itertools.count())
    vocabulary = Vocabulary((EOS, UNK, *itertools.islice(names, vocabulary_size - 2)))
    rng = np.random.default_rng(1)
    ids = rng.integers(2, len(vocabulary), _BATCHES * config.batch_size * config.seq_length).astype(np.int32)
    lengths = rng.integers(SHORTEST, LONGEST + 1, _GROUPS * config.batch_size).tolist()
    between = "" if level == "char" else " "
    lines = [
        between.join(vocabulary.token_of(int(i)) for i in rng.integers(2, len(vocabulary), length))
        for length in lengths
    ]
    return Workload(_language_model(network, text, config, vocabulary, ops), ids, lines)


def text_workload(
    lines: Iterable[str],
    network: dict[str, Any],
    level: str,
    config: TrainConfig,
    *,
    vocabulary_size: int | None = None,
    ops: Backend | None = None,
) -> Workload:
    """Take a text as it is, and build a network for it.

    network, vocabulary_size: as for `synthetic_workload`; None: the text's own
    Raises CorpusError where the text has no tokens, or no lines to score, UsageError where the network cannot be.
    """
    ModelConfig(**{**network, "vocabulary_size": vocabulary_size or 3})
    text = TextConfig(level=level, unit="stream")
    lines = list(lines)
    splitter = splitter_of(text)
    most = None if vocabulary_size is None else vocabulary_size - 2
    vocabulary = Vocabulary.build(count_tokens(lines, splitter), max_size=most)
    if len(vocabulary) == 2:
        raise CorpusError("the text is empty", hint="name a text file with at least one word in it")
    fitting = [line for line in lines if SHORTEST <= len(splitter.split(line)) <= LONGEST]
    if not fitting:
        raise CorpusError(
            f"no line of {SHORTEST} to {LONGEST} tokens to score", hint="leave --text out, or name another text"
        )
    language_model = _language_model(network, text, config, vocabulary, ops)
    chosen = list(itertools.islice(itertools.cycle(fitting), _GROUPS * config.batch_size))
    return Workload(language_model, encode(language_model.tokenizer, lines, text.unit).ids, chosen)


def training(work: Workload) -> tuple[Step, int, int]:
    """Give a training step, the sequences side by side in it, and their tokens."""
    nothing = Dataset.of(np.empty(0, np.int32), np.zeros(2, np.int64), "stream")
    stream = Dataset.of(work.ids, np.array([0, work.ids.size]), "stream")
    session = assemble(work.language_model, stream, nothing)
    run = session.trainer.run()
    return lambda: next(run).tokens, session.batch_size, session.seq_length


def generation(language_model: LanguageModel) -> Step:
    """Give the drawing of one text of `GENERATED` tokens."""
    sampler = Sampler(language_model, SampleConfig(length=GENERATED))
    return lambda: len(sampler.sample(seed=1).tokens)


def scoring(work: Workload) -> Step:
    """Give the scoring of all lines."""
    scorer = Scorer(work.language_model, batch_size=work.language_model.train.batch_size)
    return lambda: sum(score.tokens for score in scorer.score(work.lines))


def start_command(language_model: LanguageModel, folder: Path, threads: int | None) -> list[str]:
    """Save the model to a folder; give the command that draws `STARTED` tokens from it, as a shell would run it."""
    path = folder / "bench.safetensors"
    save(path, language_model)
    limit = [] if threads is None else ["--threads", str(threads)]
    # Not with -m: that would take modules from the current folder, where a file may be called as a library is (-P).
    charlm = [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2])]
    return [*charlm, "generate", str(path), "-l", str(STARTED), "--seed", "1", "-q", *limit]


def starting(language_model: LanguageModel, folder: Path, threads: int | None) -> Step:
    """Give the run of a whole process; it raises ResourceError where that fails."""
    command, environment = start_command(language_model, folder, threads), compiled_once()

    def step() -> int:
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=environment)
        except OSError as error:
            reason = error.strerror or error
            raise ResourceError(f"cannot start charlm generate: {reason}", hint=hint_for(error)) from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing said"]
            raise ResourceError(f"charlm generate ended with {done.returncode}: {said[0]}", hint="run it by itself")
        return STARTED

    return step


def compiled_once() -> dict[str, str]:
    """Give the environment for a process whose modules are compiled once, as everywhere where it is not forbidden."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _language_model(
    network: dict[str, Any], text: TextConfig, config: TrainConfig, vocabulary: Vocabulary, ops: Backend | None
) -> LanguageModel:
    sizes = {**network, "vocabulary_size": len(vocabulary)}
    model = build(ModelConfig(**sizes), ops or NumpyBackend(), seed=1)
    splitter = splitter_of(text)
    return LanguageModel(model, Codec(Tokenizer(splitter, vocabulary)), text, replace(config, max_steps=1 << 40))


def _characters() -> Iterator[str]:
    """Yield characters that can stand in a line: no spaces, no ends of lines, no halves of surrogate pairs."""
    for number in range(33, sys.maxunicode + 1):
        if not 0xD800 <= number < 0xE000 and not chr(number).isspace():
            yield chr(number)
