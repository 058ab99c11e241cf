"""Commands whose lines several processes share: the first one reads and prints, and the others work for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from charlm.cli import signals
from charlm.cli.ranks import SHARING_LINES
from charlm.errors import UsageError
from charlm.processes import ProcessPool, active, launched, world

_PATIENCE = 5.0  # seconds that the others may take to end after an error
# Options with which each line waits for the one before.
_IN_TURN = ("carry_state", "follow", "unbuffered", "dynamic", "cache")


def share_lines(name: str, options: dict[str, Any], run: Callable[[], Any]) -> Any:
    """Run a command in the way of this process; return what `run`, which runs it, returns.

    options: of the command, by name; in several processes, without `threads`, each takes its share of the cores
    Raises UsageError for options with which several processes have nothing to share.
    """
    started = launched()
    # Parts of an array job may be steps of srun, each a process alone.
    is_alone = started is None or (not started.by_mpi and options.get("shard") is not None)
    if is_alone or name not in SHARING_LINES:
        return run()
    processes = world()
    _check(name, options, processes.size)
    pool = ProcessPool(processes)
    if not processes.is_first:
        return _serve(pool)
    options["threads"] = options["threads"] or processes.threads
    try:
        with active(pool):
            found = run()
    except BaseException:
        # Otherwise their launcher ends them, and drops what it has not read yet of this process' output.
        pool.stop(_PATIENCE)
        raise
    pool.stop()
    return found


def _check(name: str, options: dict[str, Any], count: int) -> None:
    """Raise UsageError for options with which several processes have nothing to share."""
    if flag := next((one for one in _IN_TURN if options.get(one)), None):
        raise UsageError(
            f"--{flag.replace('_', '-')} with {count} processes: each line waits for the one before",
            hint="run it without mpiexec",
        )
    if name == "evaluate" and not options["pairs"]:
        raise UsageError(
            f"{count} processes of charlm evaluate would all do the same",
            hint="run it without mpiexec; charlm evaluate --pairs shares its lines",
        )


def _serve(pool: ProcessPool) -> None:
    """Work for the first process, and print nothing."""
    # A signal goes to all processes. The first one finishes its lines, and its end ends the others.
    signals.state.undisturbed += 1
    # The first one opens the model meanwhile.
    import charlm.inference.scoring  # noqa: F401

    pool.serve()
