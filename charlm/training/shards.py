"""Mini-batches in shards: their gradients and losses, with the same bits for any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from charlm.backends import Array
from charlm.config import ModelConfig
from charlm.errors import NonFiniteOutputError, ResourceError, UsageError
from charlm.nn.layer import State
from charlm.nn.model import Model
from charlm.nn.outputs import checked
from charlm.nn.workspace import Workspace
from charlm.processes import World
from charlm.randomness import key
from charlm.text.batches.lanes import Batch
from charlm.training.state import leaves_of

Node = tuple[int, int]  # of the tree of sums: the first shard, and the one after the last


class Shards:
    """A model that reads and learns each batch in shards, groups of its lanes, which processes share.

    A shard has a forward and a backward pass of its own. The gradients are added up in a binary tree, which depends on
    the number of shards alone. A node is the sum of the first half of its shards plus the sum of the second half. A
    process learns a run of shards, and adds up the nodes that lie within them.

    The processes then reduce and scatter: each receives one piece of every such node, and adds up the rest of the tree.
    Last, all gather the pieces. Each process sends and receives about twice the bytes of the gradient.

    count: shards of a mini-batch
    processes: those that train the same model; each has all weights and reads all batches
    carries: whether the state after a batch is used
    Raises UsageError for shards of a model with penalties on its activations.
    Raises ResourceError if the processors compute with different instructions, and so different bits.
    """

    def __init__(self, model: Model, count: int, processes: World, *, carries: bool) -> None:
        if count > 1 and (model.config.activation_penalty or model.config.temporal_penalty):
            raise UsageError(
                "--shards with a penalty, whose mean is over a whole batch",
                hint="leave --shards out, or --activation-penalty and --temporal-penalty",
            )
        self.model, self.count, self.processes, self.carries = model, count, processes, carries
        self.own = edges(count, processes.size)  # of the shards of each rank
        self.nodes = [
            (node, rank)
            for rank in range(processes.size)
            for node in nodes_within((0, count), (self.own[rank], self.own[rank + 1]))
        ]
        cores = sorted(set(map(str, processes.gathered(model.ops.core))))
        if len(cores) > 1:
            raise ResourceError(
                f"the processes run on different processors, cores {', '.join(cores)}",
                hint="choose a core that all have: CHARLM_CORE=v3",
            )

    def loss_and_grads(
        self, batch: Batch, state: State, ws: Workspace, *, noise: int | None = None
    ) -> tuple[float, State]:
        """Run all shards forward and backward; see `Model.loss_and_grads`.

        The gradients are overwritten with the sum of all shards, on every process. A shard's key of dropout is drawn
        from `noise` and its number. The returned loss is that of all shards. The returned state has zeros in lanes
        of other processes, see `gather`.
        """
        model, rank = self.model, self.processes.rank
        lanes, losses = edges(batch.lanes, self.count), np.zeros(self.count)
        after = model.zero_state(batch.lanes) if self.carries else ()

        def learn(shard: int) -> None:
            part = slice(lanes[shard], lanes[shard + 1])
            if part.start == part.stop:
                model.parameters.grads[...] = 0
                return
            own_noise = None if noise is None else key(noise, shard)
            loss, reached = model.loss_and_grads(
                batch.of_lanes(part), of_lanes(state, part), ws, noise=own_noise, count=batch.count
            )
            losses[shard] = float(loss)
            if self.carries:
                for whole, leaf in zip(leaves_of(after), leaves_of(reached), strict=True):
                    whole[:, part] = leaf

        own = ws.scope("shards")
        sums = [self._sum(node, learn, own, f"sum {node}") for node, owner in self.nodes if owner == rank]
        model.parameters.grads[...] = sums[0] if self.processes.size == 1 else self._reduced(sums)
        self.processes.share(losses, self.own)
        return float(tree_sum((0, self.count), lambda node: losses[node[0]] if node[1] - node[0] == 1 else None)), after

    def _sum(self, node: Node, learn: Callable[[int], None], ws: Workspace, name: str) -> Array:
        """Return the sum of the gradients of a node's shards, in the buffer `name` of the workspace."""
        ops, grads = self.model.ops, self.model.parameters.grads
        first, last = node
        total = ws.array(name, grads.shape)
        if last - first == 1:
            learn(first)
            total[...] = grads
            return total
        left, right = halves(node)
        self._sum(left, learn, ws, name)
        if right[1] - right[0] == 1:
            learn(right[0])
            added = grads
        else:
            added = self._sum(right, learn, ws, f"right {last - first}")

        def add(block: slice) -> None:
            total[block] += added[block]

        ops.workers.each(add, ops.blocks(grads.size))
        return total

    def _reduced(self, sums: list[Array]) -> Array:
        """Return the sum of all shards' gradients, on every process.

        sums: those of this process's nodes, in order
        """
        processes, ops, size = self.processes, self.model.ops, self.model.parameters.grads.size
        pieces = edges(size, processes.size)
        mine = slice(pieces[processes.rank], pieces[processes.rank + 1])
        own, received, begun = iter(sums), {}, []
        for node, owner in self.nodes:
            row = _on_host(next(own), ops.numpy) if owner == processes.rank else None
            received[node] = np.empty(mine.stop - mine.start, self.model.config.array_dtype)
            begun.append(processes.deal(row, owner, pieces, received[node]))
        processes.wait(begun)
        total = np.empty(size, self.model.config.array_dtype)
        total[mine] = tree_sum((0, self.count), received.get)
        processes.share(total, pieces)
        return ops.array(total)

    @property
    def config(self) -> ModelConfig:
        """The configuration of the model."""
        return self.model.config

    def zero_state(self, batch: int) -> State:
        """Return the state before the first step, see `Model.zero_state`."""
        return self.model.zero_state(batch)

    def nats(
        self, batch: Batch, state: State, ws: Workspace, *, best: np.ndarray | None = None
    ) -> tuple[np.ndarray, State]:
        """Return the losses of all shards, see `Model.nats`; the state has zeros in lanes of other processes."""
        lanes, after = edges(batch.lanes, self.count), self.model.zero_state(batch.lanes)
        found = np.zeros((batch.lanes, len(batch.targets)))
        choices = None if best is None else np.zeros(found.shape, best.dtype)
        for shard in range(self.own[self.processes.rank], self.own[self.processes.rank + 1]):
            part = slice(lanes[shard], lanes[shard + 1])
            if part.start == part.stop:
                continue
            own = batch.of_lanes(part)
            own_best = None if best is None else np.empty(own.targets.shape, best.dtype)
            try:
                of_each, reached = self.model.nats(own, of_lanes(state, part), ws, best=own_best)
            except NonFiniteOutputError:
                # All processes raise it, once they have this.
                found[part] = np.nan
                continue
            found[part] = of_each.T
            if choices is not None and own_best is not None:
                choices[part] = own_best.T
            for whole, leaf in zip(leaves_of(after), leaves_of(reached), strict=True):
                whole[:, part] = leaf
        own_lanes = [lanes[shard] for shard in self.own]
        self._share_rows(found, own_lanes)
        if best is not None and choices is not None:
            self._share_rows(choices, own_lanes)
            best[...] = choices.T
        return checked(found.T), after

    def _share_rows(self, rows: np.ndarray, lanes: list[int]) -> None:
        """Fill in the rows [lanes, n] of other processes; lanes: the edges between those of the ranks."""
        self.processes.share(rows.reshape(-1), [lane * rows.shape[1] for lane in lanes])

    def gather(self, state: State) -> None:
        """Fill in the state of the lanes that other processes have learned."""
        ops, leaves = self.model.ops, leaves_of(state)
        if self.processes.size == 1 or not leaves:
            return
        rows = np.concatenate([ops.numpy(leaf) for leaf in leaves]).T.copy()
        lanes = edges(len(rows), self.count)
        self._share_rows(rows, [lanes[shard] for shard in self.own])
        at = 0
        for leaf in leaves:
            leaf[...] = ops.array(np.ascontiguousarray(rows[:, at : at + len(leaf)].T))
            at += len(leaf)


def edges(count: int, parts: int) -> list[int]:
    """Return the edges of `parts` runs of about equal lengths."""
    return [count * part // parts for part in range(parts + 1)]


def halves(node: Node) -> tuple[Node, Node]:
    """Return the two nodes that a node is the sum of."""
    middle = (node[0] + node[1]) // 2
    return (node[0], middle), (middle, node[1])


def nodes_within(node: Node, shards: Node) -> Iterator[Node]:
    """Yield the largest nodes of a tree that lie within a run of shards, in order."""
    if shards[0] <= node[0] and node[1] <= shards[1]:
        yield node
    elif node[0] < shards[1] and shards[0] < node[1]:
        for half in halves(node):
            yield from nodes_within(half, shards)


def tree_sum(node: Node, found: Callable[[Node], Array | None]) -> Array:
    """Return the sum of a node's shards; arrays that are found are overwritten.

    found: returns the sum of a node, or None if it is to be added up from its halves
    """
    if (total := found(node)) is None:
        left, right = (tree_sum(half, found) for half in halves(node))
        left += right
        return left
    return total


def of_lanes(state: State, lanes: slice) -> State:
    """Return the state of some lanes, as views."""
    return tuple(of_lanes(part, lanes) if isinstance(part, tuple) else part[:, lanes] for part in state)


def _on_host(array: Array, copied: Callable[[Array], np.ndarray]) -> np.ndarray:
    """Return an array itself if it lies on the host, or else a copy there."""
    return array if isinstance(array, np.ndarray) else copied(array)
