"""Drawing pieces of music step by step, and writing them as MIDI."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path

import numpy as np

from charlm.config import SampleConfig
from charlm.errors import UsageError
from charlm.language_model import LanguageModel
from charlm.randomness import SAMPLE, generator
from charlm.storage.files import write_atomically
from charlm.text.tokens.codec import SPECIAL
from charlm.text.tokens.music_steps import format_step, parse_steps

_TICKS = 480  # of the MIDI clock, a step
_VELOCITY = 80  # of a note, at most 127


@dataclass
class Piece:
    """A drawn piece.

    steps: the MIDI numbers of the keys that sound at each step
    log_prob: ln P of the drawn steps under the model
    start: number of steps of the prompt, which come first
    unk_mass_rejected: 0, because there are no unknown keys
    """

    steps: list[tuple[int, ...]] = field(default_factory=list)
    log_prob: float = 0.0
    start: int = 0
    unk_mass_rejected: float = 0.0

    @property
    def text(self) -> str:
        """The piece in the notation of a corpus."""
        return " ".join(map(format_step, self.steps))

    @property
    def new_text(self) -> str:
        """The drawn steps alone, in the same notation."""
        return " ".join(map(format_step, self.steps[self.start :]))

    @property
    def tokens(self) -> list[str]:
        """The drawn steps in the same notation, one by one."""
        return [format_step(step) for step in self.steps[self.start :]]


class PieceSampler:
    """Draws pieces of music; each is a function of the prompt, the genre, the seed and its number.

    Each key is drawn independently: it sounds with probability y^<t> = sigma(z / temperature), given all steps before.
    A piece does not end by itself: `length` steps are drawn.
    """

    def __init__(self, language_model: LanguageModel, config: SampleConfig) -> None:
        self.language_model, self.config = language_model, config
        names = language_model.tokenizer.vocabulary.tokens[SPECIAL:]
        self._keys = np.array([int(name) for name in names])
        self._numbers = {int(name): number for number, name in enumerate(names)}
        self._workspace = language_model.model.workspace()

    def sample(self, prompt: str = "", *, label: str | None = None, seed: int = 0, number: int = 0) -> Piece:
        """Draw one whole piece."""
        piece = Piece()
        for _ in self.steps(prompt, label=label, seed=seed, number=number, into=piece):
            pass
        return piece

    def steps(
        self, prompt: str = "", *, label: str | None = None, seed: int = 0, number: int = 0, into: Piece | None = None
    ) -> Iterator[str]:
        """Yield the steps of one piece in the notation of a corpus, those of the prompt first.

        into: filled on the way
        Raises UsageError for a genre or a key that the model does not know, and for a prompt that is not notation.
        """
        piece = into if into is not None else Piece()
        rng = generator(seed, SAMPLE, number)
        model = self.language_model.model
        state = model.zero_state(1)
        x = self._first(label)
        self._check(prompt)
        drawn = repeat(None, self.config.length)
        for given in chain(parse_steps(prompt), drawn):
            log_on, state = model.next_log_probs(x, state, self._workspace)
            if given is not None:
                keys = given
                piece.start += 1
            else:
                log_p = log_on[:, 0].astype(np.float64)
                sounds = self._drawn(log_p, rng)
                log_off = np.log1p(-np.minimum(np.exp(log_p), 1.0 - 1e-12))
                piece.log_prob += float(np.where(sounds, log_p, log_off).sum())
                keys = tuple(self._keys[sounds].tolist())
            piece.steps.append(keys)
            yield format_step(keys)
            x = np.zeros_like(x)
            x[0, [self._numbers[key] for key in keys], 0] = 1

    def _first(self, label: str | None) -> np.ndarray:
        labels = self.language_model.labels
        if label is not None and not labels:
            raise UsageError("--class: this model was not trained with --condition", hint="train one with --condition")
        x = np.zeros((1, len(self._keys) + len(labels), 1), np.uint8)
        if labels:
            x[0, len(self._keys) + self.language_model.label_number(label), 0] = 1
        return x

    def _check(self, prompt: str) -> None:
        try:
            keys = {key for step in parse_steps(prompt) for key in step}
        except ValueError as error:
            message = f"the prompt is not valid music notation: {error}"
            raise UsageError(message, hint="write steps as in the corpus") from error
        if strange := sorted(keys.difference(self._numbers)):
            known = f"use keys from {self._keys.min()} to {self._keys.max()}"
            raise UsageError(f"unknown key {strange[0]} in the prompt", hint=known)

    def _drawn(self, log_p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return for each key whether it sounds, from log_p [keys]: ln of its probability at temperature 1."""
        z = log_p - np.log1p(-np.minimum(np.exp(log_p), 1.0 - 1e-12))
        if self.config.temperature == 0.0:
            sounds: np.ndarray = z > 0.0
            return sounds
        with np.errstate(over="ignore"):
            probs = 0.5 * (1.0 + np.tanh(0.5 * z / self.config.temperature))
        drawn: np.ndarray = rng.random(z.size) < probs
        return drawn


def write_midi(path: Path, steps: Sequence[Sequence[int]], *, beats_per_minute: float = 120.0) -> None:
    """Write a piece as a MIDI file, a quarter note a step; a key in consecutive steps becomes one held note.

    Raises ResourceError if the file cannot be written; an existing file is then unchanged.
    """
    import mido

    track = mido.MidiTrack()
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(beats_per_minute), time=0))
    held: set[int] = set()
    waited = 0
    for keys in [*map(set, steps), set()]:
        for kind, changed in (("note_off", held - keys), ("note_on", keys - held)):
            for key in sorted(changed):
                track.append(mido.Message(kind, note=key, velocity=_VELOCITY, time=waited))
                waited = 0
        held = keys
        waited += _TICKS
    track.append(mido.MetaMessage("end_of_track", time=waited - _TICKS))
    file = mido.MidiFile(ticks_per_beat=_TICKS)
    file.tracks.append(track)
    data = io.BytesIO()
    file.save(file=data)
    write_atomically(path, data.getvalue())
