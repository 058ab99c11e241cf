"""Pieces of work on several cores: all done, once each, whatever happens in one of them."""

import os
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from charlm.backends import NumpyBackend
from charlm.backends.pool import Pool


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture
def pool():
    """Two workers, whatever the machine has."""
    pool = Pool()
    with pool.limit(2):
        yield pool


def test_every_part_is_done_once_and_by_two_threads(pool):
    """The first part of each thread waits for the other's: one thread alone would not come to an end."""
    done, threads, meeting = [], set(), threading.Barrier(2, timeout=600)

    def work(part):
        done.append(part)
        if threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            meeting.wait()

    pool.each(work, range(40))
    assert sorted(done) == list(range(40))
    assert len(threads) == 2


@pytest.mark.parametrize("parts", [[], [7]])
def test_little_work_stays_in_the_calling_thread(pool, parts):
    threads = []
    pool.each(lambda part: threads.append(threading.get_ident()), parts)
    assert threads == [threading.get_ident()] * len(parts)


def test_within_a_part_there_is_one_worker_and_parts_follow_each_other(pool):
    order = [[], []]

    def inner(number):
        assert pool.count == 1
        pool.each(order[number].append, range(20))

    pool.each(inner, range(2))
    assert order == [list(range(20))] * 2
    assert pool.count == 2


@pytest.mark.parametrize("failing", [0, 1, 29])
def test_what_a_part_raises_comes_out_and_the_pool_goes_on(pool, failing):
    def work(part):
        time.sleep(0.001)
        if part == failing:
            raise ValueError(part)

    with pytest.raises(ValueError, match=str(failing)):
        pool.each(work, range(30))
    assert blas_threads() == {2} and not pool.splits_products
    done = []
    pool.each(done.append, range(30))
    assert sorted(done) == list(range(30))


def test_while_blas_has_one_thread_products_are_split(pool):
    assert blas_threads() == {2}
    with pool.single_threaded_blas():
        assert pool.splits_products and blas_threads() == {1}
        with pool.single_threaded_blas():
            pool.each(lambda part: None, range(4))
            assert blas_threads() == {1}
        assert pool.splits_products
    assert not pool.splits_products and blas_threads() == {2}


def test_floating_point_errors_are_handled_as_in_the_calling_thread(pool):
    def work(part):
        time.sleep(0.002)
        np.divide(1.0, np.zeros(3))

    with np.errstate(divide="ignore"):
        pool.each(work, range(8))
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        pool.each(work, range(8))


def test_two_threads_may_use_one_pool(pool):
    results = [[], []]

    def use(number):
        for _ in range(50):
            pool.each(lambda part: results[number].append(part), range(5))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    assert [sorted(result) for result in results] == [sorted(list(range(5)) * 50)] * 2
    assert blas_threads() == {2}


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # the threads hold no lock
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_has_workers_of_its_own(pool):
    pool.each(lambda part: None, range(4))
    child = os.fork()
    if not child:
        done = []
        pool.each(done.append, range(4))
        os._exit(0 if sorted(done) == list(range(4)) else 1)
    begin = time.monotonic()
    while time.monotonic() - begin < 600:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_shared_product_is_the_same_as_one_threads():
    ops, rng = NumpyBackend(), np.random.default_rng(1)
    with ops.workers.limit(3):
        for m, k, n in ((1000, 300, 70), (3, 2000, 1500), (2, 2100, 2101)):
            a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
            for left in (a, np.ascontiguousarray(a.T).T):
                out = np.full((m, n + 4), np.nan, np.float32)
                with ops.workers.single_threaded_blas():
                    assert 2 * m * k * n >= 1 << 24
                    ops.matmul(left, b, out=out[:, 2:-2])
                np.testing.assert_allclose(out[:, 2:-2], a.astype(float) @ b, rtol=0, atol=2e-3)
                assert np.isnan(out[:, :2]).all() and np.isnan(out[:, -2:]).all()
