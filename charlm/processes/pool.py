"""Work that rank 0 shares with the other ranks, item by item: the results come in order, and memory does not grow."""

from __future__ import annotations

import math
import pickle
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from charlm.processes.world import World

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 2  # items that a rank has at a time, so that it need not wait for the next one
_OPEN = 3  # items for each rank that were read and whose results were not taken


@dataclass(frozen=True)
class _Task:
    """An item, and the number of the function that it is for; ticket: the number of its result."""

    ticket: int
    work: int
    item: Any


@dataclass(frozen=True)
class _Outcome:
    """The result of an item.

    errors: what was raised instead, one or none; taken from here, it lives no longer than its traceback is used
    """

    ticket: int
    result: Any = None
    errors: list[BaseException] = field(default_factory=list)


_TAKE_WORK, _STOP = "take work", "stop"


class ProcessPool:
    """The ranks that work for rank 0. While it maps, the others serve, until it stops them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._numbers: dict[Callable[[Any], Any], int] = {}
        self._tickets = 0
        self._outcomes: dict[int, _Outcome] = {}
        self._asked: dict[int, int] = {}  # the rank that works at each ticket
        self._unwanted: set[int] = set()

    def mapped(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Yield each item with `work(item)`, in order. The items are read ahead, and each rank computes some of them.

        Memory holds three items for each rank at most, with their results. Several calls may be under way at a time. If
        an item cannot be read, the results before it are yielded and then the error is raised.

        work: sent to the other ranks unless an equal one was sent before; pickle has to be able to copy it
        Raises what `work` raises, with the traceback of the other rank as a note.
        """
        number = self._number_of(work)
        remaining = _Remaining(items)
        waiting: deque[tuple[int, Item]] = deque()

        def next_task() -> _Task | None:
            if len(waiting) >= _OPEN * self._world.size or not remaining.has_next():
                return None
            task = _Task(self._tickets, number, remaining.item)
            self._tickets += 1
            waiting.append((task.ticket, task.item))
            return task

        try:
            while True:
                self._collect(0.0)
                while (idlest := self._idlest()) is not None and (task := next_task()) is not None:
                    self._asked[task.ticket] = idlest
                    self._world.send(task, idlest)
                if waiting and (outcome := self._outcomes.pop(waiting[0][0], None)) is not None:
                    if outcome.errors:
                        raise outcome.errors.pop()
                    yield waiting.popleft()[1], outcome.result
                elif (task := next_task()) is not None:
                    self._outcomes[task.ticket] = _outcome(work, task)
                elif waiting:
                    self._collect(math.inf)
                else:
                    break
        finally:
            tickets = [ticket for ticket, _ in waiting]
            self._unwanted.update(ticket for ticket in tickets if ticket in self._asked)
            for ticket in tickets:
                self._outcomes.pop(ticket, None)
        if remaining.errors:
            raise remaining.errors.pop()

    def serve(self) -> None:
        """Work for rank 0 until it stops the pool; on the other ranks."""
        works: list[Callable[[Any], Any]] = []
        tasks: deque[_Task] = deque()
        while True:
            # Everything that has arrived is read first: a request to stop goes before the tasks that came before it.
            message = self._world.receive(0.0 if tasks else math.inf)
            if message is None:
                task = tasks.popleft()
                # Also SystemExit: if this process ended, rank 0 would wait for it.
                self._world.send(_portable(_outcome(works[task.work], task, BaseException)), 0)
            elif message[1] == _TAKE_WORK:
                works.append(self._world.broadcast(_no_work))
            elif message[1] == _STOP:
                self._world.send(_STOP, 0)
                self._world.sent()
                return
            else:
                tasks.append(message[1])

    def stop(self, seconds: float = math.inf) -> None:
        """Stop the other ranks, which drop what they have not begun; wait for them at most so many seconds."""
        for rank in self._others:
            self._world.send(_STOP, rank)
        running, end = set(self._others), time.monotonic() + seconds
        while running:
            message = self._world.receive(max(0.0, end - time.monotonic()))
            if message is None:
                return
            if message[1] == _STOP:
                running.remove(message[0])
        self._world.sent()
        self._world.is_over = True

    @property
    def _others(self) -> range:
        return range(1, self._world.size)

    def _number_of(self, work: Callable[[Any], Any]) -> int:
        """Return the number of a function at the other ranks, which are sent it if it is new."""
        if work not in self._numbers:
            for rank in self._others:
                self._world.send(_TAKE_WORK, rank)
            self._world.broadcast(work)
            self._numbers[work] = len(self._numbers)
        return self._numbers[work]

    def _idlest(self) -> int | None:
        """Return the rank with the fewest tasks; None if all have as many as they may."""
        counts = dict.fromkeys(self._others, 0)
        for rank in self._asked.values():
            counts[rank] += 1
        idlest = min(counts, key=counts.__getitem__, default=None)
        return idlest if idlest is not None and counts[idlest] < _AHEAD else None

    def _collect(self, seconds: float) -> None:
        """Take the outcomes that have arrived; without one, wait so many seconds for it."""
        while (message := self._world.receive(seconds)) is not None:
            outcome: _Outcome = message[1]
            del self._asked[outcome.ticket]
            if outcome.ticket in self._unwanted:
                self._unwanted.remove(outcome.ticket)
            else:
                self._outcomes[outcome.ticket] = outcome
            seconds = 0.0


class _Remaining:
    """Items that are read one at a time.

    errors: what reading an item raised, one or none; no item follows it
    """

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = iter(items)
        self.item: Any = None
        self.errors: list[Exception] = []
        self._is_done = False

    def has_next(self) -> bool:
        """Return whether there is another item, and read it."""
        if not self._is_done:
            try:
                self.item = next(self._items)
            except StopIteration:
                self._is_done = True
            except Exception as error:
                self._is_done = True
                self.errors.append(error)
        return not self._is_done


def _outcome(work: Callable[[Any], Any], task: _Task, kind: type[BaseException] = Exception) -> _Outcome:
    """Return the result of a task, or what it raised of this kind."""
    try:
        return _Outcome(task.ticket, work(task.item))
    except kind as error:
        return _Outcome(task.ticket, errors=[error])


def _portable(outcome: _Outcome) -> _Outcome:
    """Return an outcome that can be sent: an error has its traceback as a note, and one of a strange class another."""
    if not outcome.errors:
        return outcome
    error = outcome.errors[0]
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    error.add_note("".join(traceback.format_exception(error)))
    return _Outcome(outcome.ticket, errors=[error])


def _no_work(item: Any) -> Any:
    raise AssertionError("the function of rank 0 takes this one's place")


_pool: ProcessPool | None = None


@contextmanager
def active(pool: ProcessPool) -> Iterator[None]:
    """Share the work of `mapped` inside the block among the ranks of a pool."""
    global _pool  # noqa: PLW0603 - which processes there are is a fact of the run
    _pool = pool
    try:
        yield
    finally:
        _pool = None


def mapped(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """Yield each item with `work(item)`, in order; with an active pool, as `ProcessPool.mapped` does."""
    if _pool is None:
        return ((item, work(item)) for item in items)
    return _pool.mapped(work, items)
