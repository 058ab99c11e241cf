"""Work that rank 0 shares: the same results in the same order as alone, whatever the other ranks do."""

import threading
import time
from itertools import count, islice

import pytest

from charlm.errors import CorpusError
from charlm.processes import ProcessPool, active, mapped
from tests.forms import each
from tests.processes.ranks import SECONDS, each_rank

ITEMS = 40


class OddError(Exception):
    """An exception that pickle cannot copy."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def square(item):
    return item * item


def slow_where_even(item):
    time.sleep(0.002 * (item % 2 == 0))
    return item * item


def failing(item):
    if item == 9:
        raise CorpusError("no text, line 9", hint="write one")
    return item


def odd(item):
    raise OddError(item, "b")


def leaving(item):
    raise SystemExit(7)


def shared(size, lead, *, serve=ProcessPool.serve):
    """Return what `lead`, a function of the pool of rank 0, returns; the other ranks serve."""

    def work(world):
        pool = ProcessPool(world)
        if not world.is_first:
            return serve(pool)
        found = lead(pool)
        pool.stop()
        assert world.is_over
        return found

    return each_rank(size, work)[0]


@each("size, work", [(1, square), (2, square), (2, slow_where_even), (3, slow_where_even), (5, square)])
def test_results_come_in_the_order_of_the_items(size, work):
    found = shared(size, lambda pool: list(pool.mapped(work, range(ITEMS))))
    assert found == [(item, item * item) for item in range(ITEMS)]


def thread_after_a_while(item):
    time.sleep(0.001)
    return threading.get_ident()


def test_all_ranks_compute():
    threads = shared(3, lambda pool: {thread for _, thread in pool.mapped(thread_after_a_while, range(ITEMS))})
    assert len(threads) == 3


def test_few_items_are_read_ahead():
    """The items have no end: they are read as the results are taken."""
    read = [0]

    def items():
        for item in count():
            read[0] += 1
            yield item

    def lead(pool):
        ahead = []
        for taken, _ in enumerate(islice(pool.mapped(square, items()), 200), start=1):
            ahead.append(read[0] - taken)
        return max(ahead)

    assert 1 <= shared(2, lead) <= 3 * 2


def take(pairs, found):
    """Append results as they come, so that those before an error are kept."""
    for _, result in pairs:
        found.append(result)


def test_an_item_that_cannot_be_read_comes_after_the_results_before_it():
    def items():
        yield from range(11)
        raise CorpusError("not text, line 12")

    def lead(pool):
        found = []
        with pytest.raises(CorpusError, match="line 12"):
            take(pool.mapped(square, items()), found)
        return found

    assert shared(2, lead) == [item * item for item in range(11)]


@each("size", [1, 2, 4])
def test_an_error_of_the_work_comes_after_the_results_before_it(size):
    def lead(pool):
        found = []
        with pytest.raises(CorpusError, match="line 9") as error:
            take(pool.mapped(failing, range(ITEMS)), found)
        assert error.value.hint == "write one"
        # What the others have not answered yet is not taken for results of later work.
        return found, [result for _, result in pool.mapped(square, range(20))]

    assert shared(size, lead) == (list(range(9)), [item * item for item in range(20)])


@each("work, kind, message", [(odd, RuntimeError, "OddError: 0 and b"), (leaving, SystemExit, "7")])
def test_other_ranks_send_any_error_with_its_traceback(work, kind, message):
    def lead(pool):
        # Rank 0 itself computes none of so few.
        with pytest.raises(kind, match=message) as error:
            list(pool.mapped(work, range(2)))
        return "".join(error.value.__notes__)

    assert f"in {work.__name__}" in shared(2, lead)


def test_several_calls_are_under_way_at_a_time():
    def lead(pool):
        both = zip(pool.mapped(square, range(ITEMS)), pool.mapped(failing, range(100, 100 + ITEMS)), strict=True)
        return [(one, other) for (_, one), (_, other) in both]

    assert shared(3, lead) == [(item * item, 100 + item) for item in range(ITEMS)]


BEGUN: list[int] = []
RELEASE = threading.Event()


def until_released(item):
    BEGUN.append(item)
    RELEASE.wait(SECONDS)


def test_a_function_is_sent_once():
    def lead(pool):
        world, sent = pool._world, []
        broadcast = world.broadcast
        world.broadcast = lambda work: sent.append(work) or broadcast(work)
        found = [list(pool.mapped(work, range(9)))[-1] for work in (square, slow_where_even, square)]
        return found, sent

    assert shared(2, lead)[1] == [square, slow_where_even]


def test_a_pool_that_stops_drops_what_was_not_begun():
    def interrupted():
        yield from range(2)
        raise KeyboardInterrupt

    def lead(pool):
        with pytest.raises(KeyboardInterrupt):
            list(pool.mapped(until_released, interrupted()))
        while not BEGUN:
            time.sleep(0.001)
        pool.stop(0.0)
        RELEASE.set()

    shared(2, lead)
    assert BEGUN == [0]


def test_without_a_pool_the_work_is_done_here():
    assert list(mapped(square, range(3))) == [(0, 0), (1, 1), (2, 4)]

    def lead(pool):
        with active(pool):
            return list(mapped(square, range(3)))

    assert shared(2, lead) == list(mapped(square, range(3)))
