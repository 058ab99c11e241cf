"""Starting a network from the weights of another one, with tokens and labels matched by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from charlm.backends import Array
from charlm.config import ModelConfig
from charlm.config.cutoffs import all_clusters
from charlm.errors import UsageError
from charlm.nn.cells import cell_class
from charlm.nn.layer import Views
from charlm.nn.model import Model

SIDES = ("from_left.", "from_right.")
# The stacks of layers that read names, by the prefix of their parameters.
_STACKS = ("", "towers.from_left.", "towers.from_right.")
_ENCODER = "encoder."
_CHARACTERS = "input.characters.input.E"


@dataclass(frozen=True)
class Names:
    """What the rows of a network's weights are for.

    inputs: what the body reads; outputs: what the head predicts; sources: what the encoder of a translator reads
    characters: those that it distinguishes, if it reads words by their characters too; the first row is for all others
    """

    inputs: Sequence[str]
    outputs: Sequence[str]
    sources: Sequence[str] = ()
    characters: Sequence[str] = ()


@dataclass(frozen=True)
class _Part:
    """A softmax over the outputs `first` to `end` - 1; prefix: how the names of its parameters begin."""

    prefix: str
    first: int
    end: int

    def has(self, ids: np.ndarray) -> np.ndarray:
        """Return which of the ids it predicts."""
        return (self.first <= ids) & (ids < self.end)


def transfer(source: Model, source_names: Names, target: Model, target_names: Names) -> None:
    """Copy the weights of `source` to `target`; the weights of a name go to the same name.

    Names that are missing in `source` keep their weights. So do, in the output layer, those that are in another cluster
    of an adaptive softmax. A network that predicts labels may start from a language
    model of the same layers; its head then keeps its weights.
    Raises UsageError if the networks differ in more than names, dropout and precision.
    """
    _check_sizes(source.config, target.config)
    ours_flat, theirs_flat = (model.ops.numpy(model.parameters.values) for model in (target, source))
    ours, theirs = target.parameters.named(ours_flat), source.parameters.named(theirs_flat)
    same_task = source.config.facts.targets == target.config.facts.targets
    inputs = _pairs(source_names.inputs, target_names.inputs)
    sources = _pairs(source_names.sources, target_names.sources)
    if same_task:
        parts = (
            _softmaxes(model, len(names.outputs)) for model, names in ((source, source_names), (target, target_names))
        )
        outputs = _pairs(source_names.outputs, target_names.outputs)
        _outputs(theirs, ours, list(zip(*parts, strict=False)), *outputs)
        _transitions(theirs, ours, *outputs)
    special = {name for name in ours if name.startswith("head.") and not name.endswith("P")}
    for prefix, (old, new) in ((_ENCODER, sources), *((stack, inputs) for stack in _STACKS)):
        if ours.keys() & {f"{prefix}layer0.W", f"{prefix}layer0.{SIDES[0]}W"}:
            special |= _first_layer(prefix, (source, theirs), (target, ours), old, new)
    if _CHARACTERS in ours and _CHARACTERS in theirs:
        old, new = _pairs(["", *source_names.characters], ["", *target_names.characters])
        ours[_CHARACTERS][new] = theirs[_CHARACTERS][old]
        special.add(_CHARACTERS)
    for name in ours.keys() & theirs.keys() - special:
        if ours[name].shape == theirs[name].shape:
            ours[name][...] = theirs[name]
    target.parameters.values[...] = target.ops.array(ours_flat)


def _check_sizes(source: ModelConfig, target: ModelConfig) -> None:
    """Raise UsageError if two networks differ in more than names, dropout and precision."""
    free = {"vocabulary_size", "labels", "target_size", "characters", "cutoffs", "dropout", "dtype"}
    if source.task != target.task:
        if not (source.facts.is_language_model and target.facts.needs_labels):
            raise UsageError(
                f"--init-from: a model of --task {source.task} cannot start one of --task {target.task}",
                hint="start from a model of the same task; tag and classify also start from lm models",
            )
        # The head is another one.
        free |= {"task", "tie_weights", "softmax", "crf"}
    theirs_of, ours_of = source.to_dict(), target.to_dict()
    if name := next((key for key in ours_of if key not in free and theirs_of[key] != ours_of[key]), ""):
        raise UsageError(
            f"--init-from: its {name.replace('_', ' ')} is {theirs_of[name]}, not {ours_of[name]}",
            hint="use the flags of the model to start from: charlm inspect MODEL prints them",
        )


def _pairs(old: Sequence[str], new: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the names that both have, in the old and in the new order."""
    numbers = {name: i for i, name in enumerate(old)}
    pairs = [(numbers[name], i) for i, name in enumerate(new) if name in numbers]
    columns = np.array(pairs, np.int64).reshape(-1, 2).T
    return columns[0], columns[1]


def _softmaxes(model: Model, outputs: int) -> list[_Part]:
    """Return the softmaxes of a head: the full one, or the shortlist and then the clusters of an adaptive one."""
    tied = model.config.tie_weights and model.config.softmax == "adaptive"
    edges = list(pairwise([0, *all_clusters(model.config.cutoffs, tied=tied), outputs]))
    return [_Part(f"head.cluster{i}." if i else "head.", *edge) for i, edge in enumerate(edges)]


def _transitions(theirs: Views, ours: Views, old: np.ndarray, new: np.ndarray) -> None:
    """Copy what a chain of labels adds for these labels, if both networks have one."""
    if "head.A" in ours and "head.A" in theirs:
        ours["head.A"][np.ix_(new, new)] = theirs["head.A"][np.ix_(old, old)]
        for name in ("head.A_first", "head.A_last"):
            ours[name][new] = theirs[name][old]


def _outputs(
    theirs: Views, ours: Views, softmaxes: list[tuple[_Part, _Part]], old: np.ndarray, new: np.ndarray
) -> None:
    """Copy the rows of the names that are in the same softmax of both heads, and those of the clusters."""
    (their_list, our_list), *clusters = softmaxes
    for part in "W_y", "b_y":
        for their, our in softmaxes:
            if (name := our.prefix + part) in ours and name in theirs:
                in_both = their.has(old) & our.has(new)
                ours[name][new[in_both] - our.first] = theirs[name][old[in_both] - their.first]
        if clusters:
            our_rows, their_rows = ours[our_list.prefix + part], theirs[their_list.prefix + part]
            count = len(clusters)
            our_rows[our_list.end :][:count] = their_rows[their_list.end :][:count]


def _first_layer(
    prefix: str, source: tuple[Model, Views], target: tuple[Model, Views], old: np.ndarray, new: np.ndarray
) -> set[str]:
    """Copy the input and the first recurrent layer of a stack; return the names of all its arrays."""
    (_, theirs), (model, ours) = source, target
    hidden = model.config.hidden_size
    table = f"{prefix}input.E"
    names = {table}
    if model.config.embedding_size:
        if table in ours:
            ours[table][new] = theirs[table][old]
        return names
    for (name, our_rows), (_, their_rows) in zip(
        _input_rows(prefix, *target), _input_rows(prefix, *source), strict=True
    ):
        names.add(name)
        ours[name][:, :hidden], ours[name][:, -1] = theirs[name][:, :hidden], theirs[name][:, -1]
        our_rows[new] = their_rows[old]
    return names


def _input_rows(prefix: str, model: Model, views: Views) -> Iterator[tuple[str, Array]]:
    """Yield W of the first layer, each side's, by name, with its W_x, a view `[names, G·H]`.

    With one-hot input each column of W_x belongs to one name. A large vocabulary has a table in its place.
    """
    hidden = model.config.hidden_size
    rows = len(cell_class(model.config).gates) * hidden
    sides = SIDES if f"{prefix}layer0.{SIDES[0]}W" in views else ("",)
    for number, side in enumerate(sides):
        name, table = f"{prefix}layer0.{side}W", views.get(f"{prefix}input.E")
        W_x = views[name][:, hidden:-1].T if table is None else table[:, number * rows : (number + 1) * rows]
        yield name, W_x
