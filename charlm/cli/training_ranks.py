"""A training whose processes share each mini-batch: options they agree on, and the order in which they read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from charlm.cli import ui
from charlm.cli.options import choose_seed
from charlm.cli.train_options import TrainOptions
from charlm.errors import CorpusError, UsageError
from charlm.processes import world

if TYPE_CHECKING:
    from charlm.session import Session

Result = TypeVar("Result")

_SHARDS = 8  # unless there are more processes


def agreed(options: TrainOptions) -> TrainOptions:
    """Return the options on which all processes agree; those of one process alone are returned unchanged.

    Raises UsageError for options that several processes cannot share.
    """
    processes = world()
    if processes.size == 1:
        return options
    for name in ("seeds", "dry_run"):
        if options.values[name]:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} with {processes.size} processes", hint="run it without mpiexec")
    if "-" in (*options.values["corpus"], options.values["valid"]):
        raise UsageError("several processes cannot read standard input", hint="name a file that all can read")
    new: dict[str, Any] = {"threads": options.values["threads"] or processes.threads}
    if not options.values["resume"]:
        seed = options.values["seed"]
        new["seed"] = processes.broadcast(choose_seed()) if seed is None else seed
    given = dict(options.given)
    if not options.values["resume"] and "shards" not in options.typed and options.values["shards"] == 1:
        new["shards"] = given["shards"] = max(_SHARDS, 1 << (processes.size - 1).bit_length())
    return replace(options, values={**options.values, **new}, given=given)


def as_started(command: str) -> str:
    """Return a command as it was started, e.g. `mpiexec -n 4 charlm train`."""
    size = world().size
    return command if size == 1 else f"mpiexec -n {size} {command}"


def in_turn(read: Callable[[], Result]) -> Result:
    """Return what `read` returns. The first process reads first, then one of each other machine, then all others.

    So a corpus is encoded once, or once on each machine, and the others find it in the cache.
    """
    processes = world()
    own_turn = min(1, processes.rank) + min(1, processes.local_rank)
    for turn in range(3):
        if turn == own_turn:
            result = read()
        processes.barrier()
    return result


def share(session: Session, threads: int | None, digest: str) -> None:
    """Share the batches of a training with the other processes.

    digest: of the text that this process has read
    Raises UsageError if there are too few shards, and CorpusError if the processes have read different texts.
    """
    processes, shards = world(), session.trainer.config.shards
    if processes.size == 1:
        return
    if shards < processes.size:
        raise UsageError(
            f"--shards {shards} with {processes.size} processes: some would have nothing to do",
            hint=f"start fewer processes, or train anew with --shards {processes.size}",
        )
    read = digest, session.language_model.tokenizer.vocabulary.tokens
    if any(other != read for other in processes.gathered(read)):
        raise CorpusError("the processes have read different texts", hint="put the corpus on a disk that all share")
    session.trainer.share(processes)
    ui.note(
        f"{processes.size} processes share each mini-batch, threads of each: {threads}; "
        f"one process computes the same with --shards {shards}"
    )
