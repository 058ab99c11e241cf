"""What the units and gates of a recurrent network do over a text.

After each token, each layer has its output a, an lstm its memory c, and each gate a value: the quantities of
`nn.recording`. They are computed step by step by the equations of the cells, on every backend.

Layers and units are numbered from 0, as in the names of a model's parameters. In a layer of both directions, the units
that read from the right follow those that read from the left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from charlm.errors import UsageError
from charlm.language_model import LanguageModel
from charlm.nn.cells import cell_class
from charlm.nn.layer import Layer, State, pieces
from charlm.nn.outputs import checked
from charlm.nn.recording import Values, quantities_of, recorded
from charlm.text import EOS_ID, NOTHING, Splitter
from charlm.text.records import pairs
from charlm.text.tokens.parts import written_parts

Selected = TypeVar("Selected")


@dataclass(frozen=True)
class Unit:
    """A unit of a layer, and one of its quantities."""

    layer: int
    number: int
    quantity: str


@dataclass(frozen=True)
class ReadLine(Generic[Selected]):
    """A line that the network has read.

    tokens: as they are spelled in the line, one for each row of values
    selected: what was selected of the values of each part of the line, in order
    label: the first input of a conditioned model
    """

    text: str
    tokens: list[str]
    selected: list[Selected]
    label: str = ""


@dataclass(frozen=True)
class Spread:
    """The values of a unit over a text, as they are drawn, see `drawn`: their mean, standard deviation and range."""

    unit: Unit
    mean: float
    deviation: float
    lowest: float
    highest: float


class Recorder:
    """Reads lines with a network and records the values of all its units after each token.

    A model of lines reads each line from state 0 and input 0, a stream model all lines as one text. A conditioned model
    reads the label first. Neither a label nor `<EOS>` has a row of values. Of a model that translates, the encoder is
    recorded, which reads the source.

    layers: number of recurrent layers; units: of each layer; quantities: of each unit
    Raises UsageError for a model that reads keys of a piano.
    """

    def __init__(self, language_model: LanguageModel) -> None:
        if language_model.facts.inputs != "tokens":
            raise UsageError(
                f"--activations with a --task {language_model.task} model",
                hint="name a model that reads text: --task lm, cloze, tag, classify or translate",
            )
        self.language_model, self.model = language_model, language_model.model
        config, cell = self.model.config, cell_class(self.model.config)
        self._root: Layer = self.model.encoder or self.model.body
        self.layers = config.num_layers
        self.units = config.hidden_size * (2 if config.bidirectional else 1)
        self.quantities = quantities_of(cell)
        self.main = cell.states[-1]
        self._is_bounded = self.main == "a" and cell.name != "rnn-relu"
        # Only what reads from left to right can be read in parts.
        self._is_causal = language_model.facts.body == "stack" and not config.bidirectional
        self._workspace = self.model.workspace()

    @property
    def drawn_as(self) -> str:
        """The quantity that shows what a unit does, as it is drawn: a, which lies in [-1, 1], or else tanh of it."""
        return self.main if self._is_bounded else f"tanh({self.main})"

    def drawn(self, values: np.ndarray, quantity: str) -> np.ndarray:
        """Return values of a quantity in [-1, 1]: tanh of a memory or of rectified units, the others as they are."""
        is_bounded = quantity != self.main or self._is_bounded
        return values if is_bounded else np.tanh(values)

    def unit(self, layer: int, number: int, quantity: str | None = None) -> Unit:
        """Return a unit of the network; raise UsageError if the network does not have it.

        quantity: one of `nn.recording.QUANTITIES`; None for the memory c, or a where the memory is the output
        """
        if layer >= self.layers or number >= self.units:
            raise UsageError(
                f"no unit {layer}:{number} in this model",
                hint=f"layers are 0 to {self.layers - 1}, units 0 to {self.units - 1}",
            )
        chosen = self.main if quantity is None else quantity
        if chosen == "c" and "c" not in self.quantities:
            chosen = "a"  # the notes' c<t> = a<t> of a gru
        if chosen not in self.quantities:
            raise UsageError(
                f"no {chosen} in the {self.model.config.cell} cell of this model",
                hint=f"choose one of: {', '.join(self.quantities)}",
            )
        return Unit(layer, number, chosen)

    def read(self, lines: Iterable[str], select: Callable[[Values], Selected]) -> Iterator[ReadLine[Selected]]:
        """Yield each line with what `select` returns for the values of its parts, in order.

        The values are copies on the host. If the network reads from left to right, a part has at most 256 tokens, and
        memory grows only with what is selected. Otherwise a line is one part. A line without tokens has no part.
        Raises CorpusError for a malformed line of a conditioned model.
        """
        lm, state = self.language_model, self._root.zero_state(1)
        for label, text in self._records(lines):
            tokens = lm.tokenizer.split(text)
            inputs, before, after = self._inputs(label, text, tokens)
            if not lm.is_stream:
                state = self._root.zero_state(1)
            selected = []
            for start, end in pieces(len(inputs)) if self._is_causal else [(0, len(inputs))]:
                found, state = self._values(inputs[start:end], state)
                kept = slice(max(0, before - start), len(inputs) - after - start)
                if len(range(end - start)[kept]):
                    selected.append(select({key: values[kept] for key, values in found.items()}))
            yield ReadLine(text, tokens, selected, label)

    def _records(self, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
        if self.language_model.is_conditioned:
            return pairs(lines, "label TAB text", set(self.language_model.labels))
        return (("", line) for line in lines)

    def _inputs(self, label: str, text: str, tokens: list[str]) -> tuple[np.ndarray, int, int]:
        """Return the ids that the network reads for a line, and how many of them come before and after its tokens."""
        lm = self.language_model
        body = lm.facts.body
        if lm.facts.needs_labels and body == "stack":
            ids, table = lm.codec.read_words(tokens)
            return ids if table is None else table[ids], 0, 0
        ids = lm.tokenizer.encode_lines([text])[0]
        if body in ("last step", "encoder-decoder"):
            return ids, 0, 1
        if body == "towers":
            return ids[:-1], 0, 0
        first = EOS_ID if lm.is_stream else NOTHING
        if lm.is_conditioned:
            first = int(lm.codec.first_inputs([label])[0])
        return np.concatenate([np.array([first], np.int32), ids[:-1]]), 1, 0

    @np.errstate(all="ignore")  # `checked` finds what exploded weights lead to
    def _values(self, inputs: np.ndarray, state: State) -> tuple[Values, State]:
        """Return the values after each of some ids [T], or rows [T, n] of ids, and the state after them."""
        if not len(inputs):
            return {}, state
        with self.model.ops.workers.single_threaded_blas():
            values, state = recorded(self._root, inputs, state, self._workspace)
        for of_all in values.values():
            checked(of_all)
        return values, state


def most_telling(recorder: Recorder, lines: Iterable[str], count: int = 20) -> list[Spread]:
    """Return the units whose values vary most over a text, by standard deviation, the largest first.

    Of an lstm the values are tanh(c) of its memory c, of other cells their output a, see `Recorder.drawn`.
    """
    shape = (recorder.layers, recorder.units)
    sums, squares, number = np.zeros(shape), np.zeros(shape), 0
    lowest, highest = np.full(shape, np.inf), np.full(shape, -np.inf)

    def add(values: Values) -> None:
        nonlocal number
        for layer in range(recorder.layers):
            of_layer = recorder.drawn(values[layer, recorder.main].astype(np.float64), recorder.main)
            sums[layer] += of_layer.sum(axis=0)
            squares[layer] += (of_layer**2).sum(axis=0)
            np.minimum(lowest[layer], of_layer.min(axis=0), out=lowest[layer])
            np.maximum(highest[layer], of_layer.max(axis=0), out=highest[layer])
        number += len(of_layer)

    for _ in recorder.read(lines, add):
        pass
    if not number:
        return []
    mean = sums / number
    deviation = np.sqrt(np.maximum(squares / number - mean**2, 0.0))
    best = np.argsort(-deviation, axis=None, kind="stable")[:count].tolist()
    figures = (mean, deviation, lowest, highest)
    return [
        Spread(Unit(layer, unit, recorder.main), *(float(array[layer, unit]) for array in figures))
        for layer, unit in (divmod(one, recorder.units) for one in best)
    ]


def values_of(recorder: Recorder, lines: Iterable[str], units: Iterable[Unit]) -> Iterator[ReadLine[np.ndarray]]:
    """Yield each line with the values of some units, one array [tokens, units] for each of its parts."""
    chosen = list(units)
    return recorder.read(
        lines,
        lambda values: np.stack([values[one.layer, one.quantity][:, one.number] for one in chosen], axis=1),
    )


def states_of(recorder: Recorder, lines: Iterable[str]) -> dict[str, np.ndarray]:
    """Return all values over a text as arrays by name.

    `tokens` [N] has the tokens and `lines` [N] the number of the line of each, from 1. `layerL.QUANTITY` [N, units] has
    the values of a layer after each token, for each of the cell's quantities, such as `layer0.c`.
    """
    tokens: list[str] = []
    numbers: list[np.ndarray] = []
    parts: dict[tuple[int, str], list[np.ndarray]] = {
        (layer, quantity): [] for layer in range(recorder.layers) for quantity in recorder.quantities
    }
    for number, line in enumerate(recorder.read(lines, dict), start=1):
        tokens += line.tokens
        numbers.append(np.full(len(line.tokens), number, np.int64))
        for values in line.selected:
            for key, array in values.items():
                parts[key].append(array)
    empty = np.empty((0, recorder.units), recorder.model.config.array_dtype)
    return {
        "tokens": np.array(tokens, np.str_),
        "lines": np.concatenate([np.empty(0, np.int64), *numbers]),
        **{f"layer{layer}.{quantity}": np.concatenate([empty, *arrays]) for (layer, quantity), arrays in parts.items()},
    }


def written_values(line: ReadLine[np.ndarray], splitter: Splitter) -> list[tuple[str, np.ndarray | None]]:
    """Return the parts of a line, whose texts together are the line, each with the values [units] after it was read.

    White space between words has no values.

    line: of `values_of`
    splitter: that of the model's tokenizer
    """
    values = [row for part in line.selected for row in part]
    return [
        (one.text, values[one.end - 1] if one.end > one.start else None) for one in written_parts(line.text, splitter)
    ]
