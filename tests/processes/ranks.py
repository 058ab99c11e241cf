"""Threads of this process that take the part of ranks."""

from __future__ import annotations

import pickle
import queue
import threading
from collections.abc import Callable
from typing import Any

from charlm.processes import World

SECONDS = 60  # after which a rank that waits in vain fails


class Meeting:
    """Where the ranks put what they exchange."""

    def __init__(self, size: int) -> None:
        self.size, self.barrier = size, threading.Barrier(size)
        self.slots: list[Any] = [None] * size
        self.mail: list[queue.SimpleQueue[tuple[int, bytes]]] = [queue.SimpleQueue() for _ in range(size)]


class Rank(World):
    """One of the ranks of a meeting."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting, self.rank, self.size, self.local_rank = meeting, rank, meeting.size, rank

    def _exchanged(self, value: Any) -> list[Any]:
        self.meeting.slots[self.rank] = value
        self.meeting.barrier.wait(SECONDS)
        found = list(self.meeting.slots)
        self.meeting.barrier.wait(SECONDS)
        return found

    def broadcast(self, value):
        found = self._exchanged(pickle.dumps(value) if self.is_first else b"")[0]
        return value if self.is_first else pickle.loads(found)

    def gathered(self, value):
        found = self._exchanged(value)
        return found if self.is_first else []

    def largest(self, value):
        return max(self._exchanged(value))

    def share(self, row, edges):
        parts = self._exchanged(row[edges[self.rank] : edges[self.rank + 1]].copy())
        for rank, part in enumerate(parts):
            row[edges[rank] : edges[rank + 1]] = part

    def deal(self, row, owner, edges, out):
        assert (row is not None) == (owner == self.rank)
        out[...] = self._exchanged(None if row is None else row.copy())[owner][edges[self.rank] : edges[self.rank + 1]]

    def send(self, value, rank):
        self.meeting.mail[rank].put((self.rank, pickle.dumps(value)))

    def receive(self, seconds):
        try:
            rank, data = self.meeting.mail[self.rank].get(timeout=min(seconds, SECONDS))
        except queue.Empty:
            assert seconds < SECONDS, "nothing arrives"
            return None
        return rank, pickle.loads(data)

    def barrier(self):
        self._exchanged(None)


def each_rank(size: int, work: Callable[[World], Any]) -> list[Any]:
    """Return what the work of each rank returns; raise what the first that fails raises."""
    meeting, found, errors = Meeting(size), [None] * size, []

    def run(rank: int) -> None:
        try:
            found[rank] = work(Rank(meeting, rank))
        except BaseException as error:
            errors.append(error)
            meeting.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
    return found
