"""A command that a launcher such as mpiexec started several times: which process prints, and how all end."""

from __future__ import annotations

import time

from charlm.cli import ui
from charlm.errors import CharlmError, UsageError
from charlm.processes import end_all, is_shared, launched

# The commands whose lines are shared, and all whose processes share the work.
SHARING_LINES = ("score", "surprisal", "rank", "filter", "rescore", "compare", "evaluate")
COMMANDS = ("train", *SHARING_LINES)
_LAST_LINES = 0.2  # seconds
_FIRST_REPORTS = 2.0  # seconds in which process 0 reports an error that all have, and ends all


def begin() -> None:
    """Silence all processes but the first. Errors are still printed, with the number of the process."""
    started = launched()
    if started is not None and started.by_mpi and started.rank:
        ui.settings.process = f"process {started.rank}: "


def check_command(name: str) -> None:
    """Raise UsageError for a command whose processes would all do the same."""
    started = launched()
    if started is not None and started.by_mpi and name not in COMMANDS:
        raise UsageError(
            f"{started.size} processes of charlm {name} would all do the same",
            hint=f"run it without mpiexec; these share their work: {', '.join(COMMANDS)}",
        )


def is_reported(error: Exception) -> bool:
    """Return whether the first process reports an error, which all processes have; wait for it if that is not known.

    When they share work, the first process ends all as soon as it has reported an error.
    """
    if not ui.settings.process:
        return False
    if not is_shared():
        # Before they share work, all have the same options and read the same files.
        return isinstance(error, CharlmError) or hasattr(error, "format_message")
    time.sleep(_FIRST_REPORTS)
    return False


def ended(code: int) -> int:
    """End the other processes too, which may wait for this one; return the exit code if this one is alone."""
    end_all(code, before=_before_the_end)
    return code


def _before_the_end() -> None:
    """Wait until the launcher has read what was printed, which the end may drop; silence MPI's line about the end."""
    time.sleep(_LAST_LINES)
    ui.silence(2)
