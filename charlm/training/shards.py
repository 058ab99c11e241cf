"""The gradient of a mini-batch as the sum of its shards', with the same bits for any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from charlm.backends import Array
from charlm.errors import ResourceError
from charlm.nn.layer import State
from charlm.nn.model import Model
from charlm.nn.workspace import Workspace
from charlm.processes import World
from charlm.randomness import key
from charlm.text.batches.lanes import Batch
from charlm.training.state import leaves_of

Node = tuple[int, int]  # of the tree of sums: the first shard, and the one after the last


class Shards:
    """A model that learns each mini-batch in shards, groups of its lanes, which processes share.

    A shard has a forward and a backward pass of its own. The gradients are added up in a binary tree: a node is the sum
    of the first half of its shards plus the sum of the second half. The tree depends on the number of shards alone. A
    process learns a run of shards, and adds up the nodes that lie within them.

    The processes then reduce and scatter: each receives one piece of every such node, and adds up the rest of the tree.
    Last, all gather the pieces. Each process sends and receives about twice the bytes of the gradient.

    count: shards of a mini-batch
    processes: those that train the same model; each has all weights and reads all batches
    carries: whether the state after a batch is used, so that each process needs that of all lanes
    Raises ResourceError if the processors compute with different instructions, and so different bits.
    """

    def __init__(self, model: Model, count: int, processes: World, *, carries: bool) -> None:
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
        from `noise` and its number. The returned loss is that of all shards.
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
        if self.carries:
            self._share_lanes(after, [lanes[shard] for shard in self.own])
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

    def _share_lanes(self, state: State, lanes: list[int]) -> None:
        """Fill in the state of the lanes of other processes; lanes: the edges between those of the ranks."""
        if self.processes.size == 1:
            return
        ops, leaves = self.model.ops, leaves_of(state)
        rows = np.concatenate([ops.numpy(leaf) for leaf in leaves]).T.copy()
        self.processes.share(rows.reshape(-1), [lane * rows.shape[1] for lane in lanes])
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
