"""What each of several processes does that mpiexec or srun started: the first runs the command, the others help it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from charlm.cli import signals
from charlm.cli.commands import COMMANDS
from charlm.processes.launcher import Launched, launched

# Commands whose lines are shared, and those that take no time.
SHARING = ("score", "surprisal", "rank", "filter", "rescore", "compare", "evaluate")
_ONCE = ("guide", "help")
_EVERYWHERE = ("train",)  # which shares its work itself

_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
_PATIENCE = 5.0  # seconds that the other processes may take to end by themselves

Run = Callable[[Sequence[str]], int]
Report = Callable[[Exception], int]


def run_as_launched(arguments: Sequence[str], run: Run, report: Report) -> int:
    """Run a command line in the way of this process among those of its launcher; return the exit code.

    One command prints one output: rank 0 reads, prints and ends the others. They answer what its `mapped` asks.

    run: runs the command line and returns its exit code
    report: prints an error and returns its exit code
    """
    started = launched()
    command = next((one for one in arguments if not one.startswith("-")), "")
    is_shard = any(one.partition("=")[0] == "--shard" for one in arguments)
    if started is None or command in _EVERYWHERE or (is_shard and not started.by_mpi):
        return run(arguments)
    if command not in SHARING:
        return _run_once(started, command, arguments, run, report)
    return _lead(arguments, run, report) if started.rank == 0 else _serve(report)


def _run_once(started: Launched, command: str, arguments: Sequence[str], run: Run, report: Report) -> int:
    """Run a command that does not share its work on rank 0 if it takes no time; refuse it if it does."""
    from charlm.errors import UsageError

    if started.rank > 0:
        return 0
    asks_for_help = not {"-h", "--help"}.isdisjoint(arguments)
    if command in _ONCE or asks_for_help or not any(command in group for group in COMMANDS.values()):
        return run(arguments)
    shared = ", ".join([*_EVERYWHERE, *SHARING])
    return report(
        UsageError(
            f"charlm {command} does not share its work, {started.size} processes were started",
            hint=f"start it without mpiexec; these share theirs: {shared}",
        )
    )


def _lead(arguments: Sequence[str], run: Run, report: Report) -> int:
    """Run the command on rank 0, and end the other ranks."""
    try:
        world = _joined()
    except Exception as error:
        return report(error)
    from charlm.processes import ProcessPool, active

    pool, code = ProcessPool(world), 1
    try:
        with active(pool):
            code = run(arguments)
    finally:
        if not pool.stop(_PATIENCE):
            world.abort(code)
    return code


def _serve(report: Report) -> int:
    """Work for rank 0 until it ends this process, silently."""
    # A signal goes to all processes. Rank 0 finishes its lines, and its end ends the others.
    signals.state.undisturbed += 1
    try:
        world = _joined()
    except Exception as error:
        # Rank 0 reports what fails everywhere, and its end ends the others.
        time.sleep(_PATIENCE)
        return report(error)
    try:
        import charlm.inference.scoring  # noqa: F401 - meanwhile rank 0 opens the model
        from charlm.processes import ProcessPool

        ProcessPool(world).serve()
    except Exception as error:
        world.abort(report(error))
    except BaseException:
        world.abort(1)
        raise
    return 0


def _joined() -> Any:
    """Return the processes of this run, each with as many threads as it has cores, unless a variable limits them."""
    from charlm.cli.loading import load_numpy

    load_numpy()
    from threadpoolctl import threadpool_limits

    from charlm.processes import world
    from charlm.processes.cores import cores_of

    cores = cores_of(world())
    if not any(name in os.environ for name in _THREADS):
        threadpool_limits(cores, user_api="blas")
    return world()
