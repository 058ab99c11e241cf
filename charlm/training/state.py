"""The state of a training: the live one that each step changes, and the copy that a checkpoint stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np

from charlm.backends import Array
from charlm.errors import ModelFileError
from charlm.inference.tallies import Tally
from charlm.nn.layer import State
from charlm.nn.model import Model

# Missing from older checkpoints.
_OF_KEPT = ("best_figure", "kept_step", "kept_nats", "kept_figure")
_OF_ENDS = ("first_nats", "sample", "end_nats", "end_figure", "end_tokens")
LATER_NUMBERS = ("good_nats", "setbacks", "halvings", "restarted", *_OF_KEPT, *_OF_ENDS, "spread_from")
HISTORY_FIELDS = ("step", "epoch", "train_nats", "valid_nats", "learning_rate")
FIGURES = ("accuracy", "f1")  # a record of the history has one of them too, if the task has a figure
OTHER_CORPUS = "train with the files of the first run, in the same order"


@dataclass
class TrainingNumbers:
    """The numbers of a training's state; names and order are those of a checkpoint's header."""

    step: int = 0  # steps done
    epoch: int = 0  # epochs done
    index: int = 0  # batches done of the current epoch
    best_nats: float | None = None  # lowest validation loss
    plateaus: int = 0  # evaluations without a new best loss or figure, in all
    waiting: int = 0  # such evaluations since the best one
    sum_nats: float = 0.0  # training loss since the last evaluation
    sum_tokens: int = 0  # its targets
    good_nats: float | None = None  # loss of the good weights
    setbacks: int = 0  # returns to the good weights since they were taken
    halvings: int = 0  # of the learning rate: returns in all
    restarted: int = 0  # step at which the optimizer's memory was last cleared
    total_steps: int = 0  # 0: not planned yet
    history: list[dict[str, Any]] = field(default_factory=list)  # one record of `HISTORY_FIELDS` an evaluation
    best_figure: float | None = None  # highest figure of the task
    kept_step: int = 0  # step of the kept weights, if they were validated
    kept_nats: float | None = None  # their validation loss
    kept_figure: float | None = None  # their figure
    first_nats: float | None = None  # training loss of the first weights
    sample: int = 0  # held-out tokens that an evaluation judges; 0: all
    end_nats: float | None = None  # loss of the kept weights at the end, judged on `end_tokens`
    end_figure: float | None = None  # their figure
    end_tokens: int = 0  # held-out tokens judged at the end; 0: the end is not reached
    spread_from: int = 0  # step from which the schedule is spread over the steps that are left

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the numbers of a header, with defaults for those that older checkpoints lack.

        Raises ValueError if one is missing, unknown, or of another type; the history is not checked.
        """
        names = {number.name for number in fields(cls)}
        whole = {number.name for number in fields(cls) if isinstance(number.default, int)}
        optional = {number.name for number in fields(cls) if number.default is None}
        if not isinstance(values, Mapping) or set(values) | set(LATER_NUMBERS) != names:
            raise ValueError("the training state is incomplete")
        for name, value in values.items():
            if name == "history" or (value is None and name in optional):
                continue
            kind: Any = int if name in whole else int | float
            if not isinstance(value, kind) or isinstance(value, bool) or (name in whole and value < 0):
                raise ValueError(f"the training state has {name} = {value!r}"[:200])
        best = values["best_nats"]
        return cls(**{"good_nats": best, "kept_nats": best, **values})

    def add_validation(self, nats: float, tally: Tally | None, keep: str) -> bool:
        """Count an evaluation; return whether its weights are kept.

        With a figure, the latest weights within one standard error of the best figure are kept. A small validation set
        cannot tell them apart, and later weights have learned more. Breiman et al. 1984 choose the simplest such model.

        keep: `loss`, `last` or the name of a figure
        """
        is_better = self.best_nats is None or nats < self.best_nats
        if is_better:
            self.best_nats = nats
        is_kept = is_better or keep == "last"
        figure = None if tally is None else tally.value
        if figure is not None:
            is_higher = self.best_figure is None or figure > self.best_figure
            self.best_figure = figure if is_higher else self.best_figure
        if tally is not None and figure is not None and keep in FIGURES:
            assert self.best_figure is not None
            is_better, is_kept = is_higher, figure >= self.best_figure - tally.error_of(self.best_figure)
        if is_better:
            self.waiting = 0
        else:
            self.plateaus += 1
            self.waiting += 1
        if is_kept:
            self.kept_step, self.kept_nats, self.kept_figure = self.step, nats, figure
        return is_kept

    def clear_sums(self) -> None:
        """Start a new mean of the training loss."""
        self.sum_nats, self.sum_tokens = 0.0, 0


@dataclass(frozen=True)
class TrainingState:
    """All that an exact resumption needs; there is no random generator to store, see `randomness`.

    arrays: host copies, named KIND/PARAMETER, e.g. "best/head.W_y", or state/NUMBER for the carried hidden state
    """

    numbers: TrainingNumbers
    arrays: dict[str, np.ndarray]


class LiveState:
    """What the steps of a training change.

    memory: vectors as long as the weights that go from step to step, see `update.slots_of`
    carried: the hidden state that the next batch starts from; () if no batch continues another
    best: a flat host copy of the weights of the lowest validation loss; None before the first evaluation
    good: the same of the weights that training returns to after an explosion; None before the first step
    """

    def __init__(self, model: Model, memory: Mapping[str, Array], carried: State) -> None:
        self.model, self.memory, self.carried = model, memory, carried
        self.numbers = TrainingNumbers()
        self.best: np.ndarray | None = None
        self.good: np.ndarray | None = None

    def weights(self) -> np.ndarray:
        """Return a flat host copy of the model's weights."""
        return self.model.ops.numpy(self.model.parameters.values)

    def set_weights(self, flat: np.ndarray) -> None:
        """Overwrite the model's weights."""
        self.model.parameters.values[...] = self.model.ops.array(flat)

    def snapshot(self) -> TrainingState:
        """Return a host copy of everything that `restore` needs."""
        ops, parameters, numbers = self.model.ops, self.model.parameters, self.numbers
        flats = {"weights": self.weights()} | {slot: ops.numpy(flat) for slot, flat in self.memory.items()}
        if self.best is not None:
            flats["best"] = self.best.copy()
        if self.good is not None and self.good is not self.best:
            flats["good"] = self.good.copy()
        arrays = {f"{kind}/{n}": view for kind, flat in flats.items() for n, view in parameters.named(flat).items()}
        arrays |= {f"state/{i}": ops.numpy(leaf) for i, leaf in enumerate(leaves_of(self.carried))}
        return TrainingState(replace(numbers, history=list(numbers.history)), arrays)

    def restore(self, state: TrainingState) -> None:
        """Return to where `state` was taken, in a training of the same model and corpus; `state` is not kept.

        Raises ModelFileError if the carried hidden state has another number of sequences.
        """
        ops, parameters, history = self.model.ops, self.model.parameters, self.numbers.history
        history[:] = state.numbers.history
        vars(self.numbers).update(vars(state.numbers), history=history)
        for kind, flat in {"weights": parameters.values, **self.memory}.items():
            for name, view in parameters.named(flat).items():
                view[...] = ops.array(state.arrays[f"{kind}/{name}"])
        self.best = self._stored(state, "best")
        good = self._stored(state, "good")
        self.good = self.best if good is None else good
        for i, leaf in enumerate(leaves_of(self.carried)):
            stored = state.arrays[f"state/{i}"]
            if stored.shape != leaf.shape:
                raise ModelFileError(
                    f"the checkpoint carries {stored.shape[1]} sequences, this corpus makes {leaf.shape[1]}",
                    hint=OTHER_CORPUS,
                )
            leaf[...] = ops.array(stored)

    def _stored(self, state: TrainingState, kind: str) -> np.ndarray | None:
        """Return the stored weights of a kind as one flat array; None if the state lacks them."""
        if not any(name.startswith(f"{kind}/") for name in state.arrays):
            return None
        flat = self.weights()
        flat[...] = 0
        for name, view in self.model.parameters.named(flat).items():
            view[...] = state.arrays[f"{kind}/{name}"]
        return flat


def leaves_of(state: State) -> list[Any]:
    """Return the arrays of a nested hidden state, in order."""
    return [leaf for part in state for leaf in (leaves_of(part) if isinstance(part, tuple) else [part])]
