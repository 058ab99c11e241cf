"""The measured work: an untrained network, text for it, and one step of each case."""

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

from charlm.backends import Backend, get_backend
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
from charlm.text.dataset import Dataset
from charlm.text.ids.encoder import count_tokens
from charlm.text.tokens.codec import Codec

GENERATED, STARTED = 500, 1000  # tokens that `generate` and `start` draw
SHORTEST, LONGEST = 5, 40  # tokens of the lines that `score` reads
_BATCHES = 100  # of synthetic text, so that the work of starting an epoch is spread over many steps
_GROUPS = 8  # batches of lines that are scored at a time

# The body of the script `charlm`. This process's copy of the package comes last on the path, for a run without install.
_START = "import sys; sys.path.append(sys.argv.pop(1)); from charlm.cli.app import main; sys.exit(main())"

Step = Callable[[], int]  # does a piece of work and returns its number of tokens


@dataclass(frozen=True)
class Workload:
    """An untrained network and text for it.

    ids [N] int32: the stream to train on
    lines: the lines to score, of `SHORTEST` to `LONGEST` tokens
    """

    language_model: LanguageModel
    ids: np.ndarray
    lines: list[str]


def synthetic_workload(
    network: dict[str, Any], level: str, config: TrainConfig, *, vocabulary_size: int, ops: Backend | None = None
) -> Workload:
    """Return a network with a text of equally likely tokens.

    network: fields of `ModelConfig` except the size of the vocabulary
    vocabulary_size: counts `<EOS>` and `<UNK>`; of bytes there are 257 in any case
    Raises UsageError if the configuration is invalid.
    """
    ModelConfig(**{**network, "vocabulary_size": vocabulary_size})  # checked before the vocabulary is built
    text = TextConfig(level=level, unit="stream", split="whitespace", normalize="none")
    names = _characters() if level == "char" else (f"w{number}" for number in itertools.count())
    splitter = splitter_of(text)
    vocabulary = splitter.vocabulary or Vocabulary((EOS, UNK, *itertools.islice(names, vocabulary_size - 2)))
    rng = np.random.default_rng(1)
    ids = rng.integers(2, len(vocabulary), _BATCHES * config.batch_size * config.seq_length).astype(np.int32)
    lengths = rng.integers(SHORTEST, LONGEST + 1, _GROUPS * config.batch_size).tolist()
    lines = [
        splitter.join(vocabulary.token_of(int(i)) for i in rng.integers(2, len(vocabulary), length))
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
    """Return a network with a given text.

    network: fields of `ModelConfig` except the size of the vocabulary
    vocabulary_size: counts `<EOS>` and `<UNK>`; None for all tokens of the text
    Raises CorpusError if the text has no tokens or no lines to score, UsageError if the configuration is invalid.
    """
    ModelConfig(**{**network, "vocabulary_size": vocabulary_size or 3})
    text = TextConfig(level=level, unit="stream")
    lines = list(lines)
    splitter = splitter_of(text)
    most = None if vocabulary_size is None else vocabulary_size - 2
    vocabulary = splitter.vocabulary or Vocabulary.build(count_tokens(lines, splitter), max_size=most)
    if len(vocabulary) == 2:
        raise CorpusError("the text is empty", hint="name a text file with at least one word")
    fitting = [line for line in lines if SHORTEST <= len(splitter.split(line)) <= LONGEST]
    if not fitting:
        raise CorpusError(
            f"no line of {SHORTEST} to {LONGEST} tokens to score", hint="leave --text out, or name another text"
        )
    language_model = _language_model(network, text, config, vocabulary, ops)
    chosen = list(itertools.islice(itertools.cycle(fitting), _GROUPS * config.batch_size))
    return Workload(language_model, language_model.tokenizer.encode_lines(lines)[0], chosen)


def training(work: Workload) -> tuple[Step, int, int]:
    """Return a training step, its number of sequences side by side, and the tokens of each."""
    nothing = Dataset.of(np.empty(0, np.int32), np.zeros(2, np.int64), "stream")
    stream = Dataset.of(work.ids, np.array([0, work.ids.size]), "stream")
    session = assemble(work.language_model, stream, nothing)
    run = session.trainer.run()
    return lambda: next(run).tokens, session.batch_size, session.seq_length


def generation(language_model: LanguageModel) -> Step:
    """Return a step that draws a text of `GENERATED` tokens, with products in the precision of the configuration."""
    own = language_model.in_precision(language_model.model.config.dtype)
    sampler = Sampler(own, SampleConfig(length=GENERATED))
    return lambda: len(sampler.sample(seed=1).tokens)


def scoring(work: Workload) -> Step:
    """Return a step that scores all lines."""
    scorer = Scorer(work.language_model, batch_size=work.language_model.train.batch_size)
    return lambda: sum(score.tokens for score in scorer.score(work.lines))


def start_command(language_model: LanguageModel, folder: Path, threads: int | None) -> list[str]:
    """Save the model to a folder, and return the command that draws `STARTED` tokens from it."""
    path = folder / "bench.safetensors"
    save(path, language_model)
    limit = [] if threads is None else ["--threads", str(threads)]
    # Not with -m, which would import from the current folder, where a file may have a library's name; -P prevents that.
    charlm = [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2])]
    return [*charlm, "generate", str(path), "-l", str(STARTED), "--seed", "1", "-q", *limit]


def starting(language_model: LanguageModel, folder: Path, threads: int | None) -> Step:
    """Return a step that runs a whole process; it raises ResourceError if the process fails."""
    command, environment = start_command(language_model, folder, threads), compiled_once()

    def step() -> int:
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=environment)
        except OSError as error:
            reason = error.strerror or error
            raise ResourceError(f"cannot start charlm generate: {reason}", hint=hint_for(error)) from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            message = f"charlm generate failed with exit code {done.returncode}: {said[0]}"
            raise ResourceError(message, hint="run charlm generate by itself")
        return STARTED

    return step


def compiled_once() -> dict[str, str]:
    """Return the environment without PYTHONDONTWRITEBYTECODE, so that modules are compiled only once."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _language_model(
    network: dict[str, Any], text: TextConfig, config: TrainConfig, vocabulary: Vocabulary, ops: Backend | None
) -> LanguageModel:
    sizes = {**network, "vocabulary_size": len(vocabulary)}
    model = build(ModelConfig(**sizes), ops or get_backend("cpu"), seed=1)
    splitter = splitter_of(text)
    return LanguageModel(model, Codec(Tokenizer(splitter, vocabulary)), text, replace(config, max_steps=1 << 40))


def _characters() -> Iterator[str]:
    """Yield characters that may occur in a line, except white space and surrogates."""
    for number in range(33, sys.maxunicode + 1):
        if not 0xD800 <= number < 0xE000 and not chr(number).isspace():
            yield chr(number)
