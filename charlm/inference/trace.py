"""A network step by step: every symbol of the notes' equations with its numbers, forward and backward through time.

The equations of a cell are in its own file. They are computed as they are written, in float64. The way back follows
from them by the chain rule, with a term for each place where a symbol is used. The model's own passes, which are
written by hand for speed, are compared with the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from charlm.errors import UsageError
from charlm.inference.trace_parts import Part, parts_of
from charlm.language_model import LanguageModel
from charlm.nn.layer import Stack
from charlm.nn.notation import Share, signed_sum
from charlm.nn.outputs import checked
from charlm.text import EOS_ID, NOTHING
from charlm.text.batches.lanes import Batch

LONGEST = 20  # steps: more of them cannot be read


@dataclass(frozen=True)
class TraceRecord:
    """A symbol with its numbers.

    phase: weights, forward, backward, or sums, the gradients of the weights
    step: t; 0 for what comes before the first step, and for weights and their gradients
    part: input, layer 1, layer 2, ..., output
    symbol: its name, with dz for dL/dz, [l] for layer l if there are several, and <t>
    equation: the right side of the equation; empty for inputs, for the states before the first step, and for weights
        that are not tied
    values: float64, [n] or [n, m]; [] for a loss
    """

    phase: str
    step: int
    part: str
    symbol: str
    equation: str
    values: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the numbers."""
        return self.values.shape


@dataclass(frozen=True)
class Trace:
    """The records of a text, in the order in which they are computed.

    read, expected: the token that each step reads, "" for the zero vector, and the one that it predicts
    nats: the loss L, the sum over the steps
    difference: of the model's own loss and gradients from these, at most, relative to the largest number of each
    """

    records: tuple[TraceRecord, ...]
    read: tuple[str, ...]
    expected: tuple[str, ...]
    nats: float
    difference: float


def trace(language_model: LanguageModel, text: str) -> Trace:
    """Compute a network over a text, forward and backward, and return every symbol with its numbers.

    L is the sum of the losses, as in the notes, not their mean. There is no dropout.

    text: as the model was trained on, after a label and a tab if it is conditioned; with its end at most 20 tokens
    Raises UsageError for another model or text, CorpusError for an unknown label, and NonFiniteOutputError.
    """
    if not language_model.facts.is_language_model or not isinstance(language_model.model.body, Stack):
        raise UsageError(f"--trace with a --task {language_model.task} model", hint="name a model of --task lm")
    if language_model.model.config.softmax == "adaptive":
        raise UsageError("--trace with --softmax adaptive", hint="name a model with a full softmax")
    first, ids = _encoded(language_model, text)
    if len(ids) > LONGEST:
        raise UsageError(
            f"--trace: the text has {len(ids):,} tokens with its end, more than {LONGEST}", hint="name a shorter one"
        )
    inputs = [first, *ids[:-1]]
    with np.errstate(all="ignore"):  # `checked` finds what exploded weights lead to
        run = _Run(language_model, inputs, ids)
        records = (*run.weights(), *run.forward(), *run.backward(), *run.sums())
        difference = run.difference()
    tokens = language_model.tokenizer.vocabulary.tokens
    names = [*tokens, *language_model.labels]
    read = tuple("" if one == NOTHING else names[one] for one in inputs)
    return Trace(records, read, tuple(tokens[one] for one in ids), run.nats, difference)


def _encoded(language_model: LanguageModel, text: str) -> tuple[int, list[int]]:
    """Return the first input, and the ids of a text with its end."""
    lines = text.split("\n") if language_model.is_stream else [text]
    if any("\n" in line for line in lines):
        raise UsageError("--trace: the text contains a newline", hint="the model reads lines: name one")
    records = language_model.reader.read(lines, set(language_model.labels) or None)
    if language_model.is_conditioned:
        ((label, line),) = records
        ids, _ = language_model.tokenizer.encode_lines([line])
        return int(language_model.codec.first_inputs([label])[0]), ids.tolist()
    ids, _ = language_model.tokenizer.encode_lines(records)
    return EOS_ID if language_model.is_stream else NOTHING, ids.tolist()


class _Run:
    """One computation.

    values: the value of each symbol, by its name in the network; grads: dL/dsymbol
    shares: the terms of each gradient, as signs and text
    """

    def __init__(self, language_model: LanguageModel, inputs: list[int], targets: list[int]) -> None:
        self.model, self.inputs, self.targets = language_model.model, inputs, targets
        self.parts = parts_of(self.model)
        self.nats = 0.0
        self.values: dict[str, np.ndarray] = {}
        self.grads: dict[str, np.ndarray] = {}
        self.shares: dict[str, list[tuple[int, str]]] = {}

    def weights(self) -> Iterator[TraceRecord]:
        parameters = self.model.parameters
        named = parameters.named(parameters.values)
        arrays = {name: self.model.ops.numpy(array).astype(np.float64) for name, array in named.items()}
        for part in self.parts.layers:
            for weight in part.own_weights:
                values = part.weights[weight].of(arrays)
                tied = "E" if weight == "W_ya" and self.model.config.tie_weights else ""
                yield self._set(TraceRecord("weights", 0, part.title, part.named(weight), tied, values))

    def forward(self) -> Iterator[TraceRecord]:
        hidden, total = self.model.config.hidden_size, []
        for part in self.parts.layers:
            for symbol in part.carried:
                name = f"{part.named(symbol)}<0>"
                yield self._set(TraceRecord("forward", 0, part.title, name, "", np.zeros(hidden)))
        for t, (read, target) in enumerate(zip(self.inputs, self.targets, strict=True), start=1):
            first = _one_hot(read, self.parts.width)
            yield self._set(TraceRecord("forward", t, "input", f"{self.parts.source}<{t}>", "", first))
            for part in self.parts.layers:
                for equation in part.equations:
                    name, text = (_at(part.named(one), t) for one in (equation.result, equation.text))
                    values = equation.value(self._values(part, t))
                    yield self._set(TraceRecord("forward", t, part.title, name, text, values))
            logits = self.values[f"z_y<{t}>"]
            exps = np.exp(logits - logits.max())
            log_prob = logits[target] - logits.max() - np.log(exps.sum())
            y = _one_hot(target, len(logits))
            probs = exps / exps.sum()
            loss = checked(np.array(-log_prob))
            yield self._set(TraceRecord("forward", t, "output", f"y^<{t}>", f"softmax(z_y<{t}>)", probs))
            yield self._set(TraceRecord("forward", t, "output", f"y<{t}>", "", y))
            yield self._set(TraceRecord("forward", t, "output", f"L<{t}>", f"-sum(y<{t}> * log(y^<{t}>))", loss))
            total.append(f"L<{t}>")
        self.nats = float(sum(self.values[name] for name in total))
        yield TraceRecord("forward", len(total), "output", "L", " + ".join(total), np.array(self.nats))

    def backward(self) -> Iterator[TraceRecord]:
        for t in range(len(self.targets), 0, -1):
            share = self.values[f"y^<{t}>"] - self.values[f"y<{t}>"]
            self._add(f"z_y<{t}>", share, 1, f"y^<{t}>")
            self.shares[f"z_y<{t}>"].append((-1, f"y<{t}>"))
            for part in reversed(self.parts.layers):
                for equation in reversed(part.equations):
                    name = _at(part.named(equation.result), t)
                    yield self._grad("backward", t, part, name)
                    for one in equation.back(self.grads[name], self._values(part, t)):
                        self._share(part, one, t)
        for part in self.parts.layers:
            for symbol in part.carried:
                yield self._grad("backward", 0, part, f"{part.named(symbol)}<0>")

    def sums(self) -> Iterator[TraceRecord]:
        for part in self.parts.layers:
            for weight in part.own_weights:
                yield self._grad("sums", 0, part, part.named(weight))

    def difference(self) -> float:
        """Return the largest difference of the model's own loss and gradients from these."""
        model = self.model
        batch = Batch(np.array(self.inputs, np.int32)[:, None], np.array(self.targets, np.int32)[:, None])
        loss, _ = model.loss_and_grads(batch, model.zero_state(1), model.workspace())
        theirs = model.parameters.named(model.ops.numpy(model.parameters.grads).astype(np.float64))
        ours = {name: np.zeros_like(array) for name, array in theirs.items()}
        for part in self.parts.layers:
            for weight in part.own_weights:
                part.weights[weight].of(ours)[...] += self.grads[part.named(weight)]
        found = [abs(self.nats - float(loss)) / max(abs(self.nats), 1e-300)]
        largest = max(float(np.abs(array).max()) for array in ours.values())
        for name, array in ours.items():
            # The model's gradients are those of the mean loss.
            away = np.abs(array - theirs[name] * len(self.targets)).max()
            found.append(float(away) / max(largest, 1e-300))
        return max(found)

    def _set(self, record: TraceRecord) -> TraceRecord:
        self.values[record.symbol] = record.values
        return record

    def _values(self, part: Part, t: int) -> Callable[[str], np.ndarray]:
        return lambda symbol: self.values[_at(part.named(symbol), t)]

    def _share(self, part: Part, share: Share, t: int) -> None:
        """Add a share to its gradient; the text for a weight is the same at every step."""
        symbol, text = part.named(share.symbol), part.named(share.text)
        if share.symbol in part.weights:
            self._add(symbol, share.value, share.sign, text)
        else:
            self._add(_at(symbol, t), share.value, share.sign, _at(text, t))

    def _add(self, name: str, value: np.ndarray, sign: int, text: str) -> None:
        self.grads[name] = self.grads[name] + value if name in self.grads else value
        texts = self.shares.setdefault(name, [])
        if (sign, text) not in texts:
            texts.append((sign, text))

    def _grad(self, phase: str, step: int, part: Part, name: str) -> TraceRecord:
        text = signed_sum(self.shares[name])
        if phase == "sums":
            text = f"sum over t of {text if len(self.shares[name]) == 1 else f'({text})'}"
        return TraceRecord(phase, step, part.title, f"d{name}", text, self.grads[name])


def _at(text: str, t: int) -> str:
    """Return a text with the number of the step in place of t."""
    return text.replace("<t-1>", f"<{t - 1}>").replace("<t>", f"<{t}>")


def _one_hot(place: int, size: int) -> np.ndarray:
    """Return the vector with a 1 at a place; of zeros for `NOTHING`."""
    vector = np.zeros(size)
    if place != NOTHING:
        vector[place] = 1.0
    return vector
