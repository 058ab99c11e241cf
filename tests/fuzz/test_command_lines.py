"""Random command lines: whatever is asked, the answer keeps to the contract of the command line."""

import os
import signal
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.cli.shell import Result, run
from tests.fuzz import command_lines
from tests.fuzz.cases import PARTS, Failed, check_all, numbers
from tests.fuzz.contract import keeps_files, keeps_to_the_contract, same
from tests.fuzz.pool import Pool

_SECONDS = (60.0, 600.0)  # of processor time and by the clock: after that it hangs


class Hangs(BaseException):
    """It does not end; no exception that a command might catch."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("fuzz") / "work"
    folder.mkdir()
    return Pool(folder)


@pytest.mark.parametrize("part", range(PARTS))
def test_command_lines_keep_the_contract(part, pool, charlm, monkeypatch, times, record_property):
    cache = str(pool.folder.parent / "cache")
    monkeypatch.chdir(pool.folder)
    monkeypatch.setenv("CHARLM_CACHE", cache)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(os, "_exit", _exits)
    monkeypatch.setattr("charlm.estimate._SECONDS", 0.0)
    processes = times(120, 60)  # one command line of so many is tried as a process, too

    def check(number: int) -> None:
        case = command_lines.draw(number, pool.kinds, os.environ.get("FUZZ_COMMAND"))
        try:
            result = in_process(charlm, case)
            changed, made = pool.changes(), _outputs(pool, case)
            keeps_to_the_contract(case, result)
            keeps_files(case, result, changed)
            if case.command == "train" and result.code == 0 and number % 3 == 0:
                goes_on(charlm, case)
            if _repeats(case) and number % 4 == 0:
                pool.restore()
                same(case, result, in_process(charlm, case))
                if made != _outputs(pool, case):
                    raise Failed(f"the same command, other files: {sorted(made)}")
            if _repeats(case) and number % processes == part:
                pool.restore()
                as_process = run(case.command, *case.arguments, stdin=case.stdin, cwd=pool.folder, CHARLM_CACHE=cache)
                keeps_to_the_contract(case, as_process)
                same(case, result, as_process)
        except (Failed, Hangs) as error:
            raise Failed(f"{case}\n{error}") from error
        except Exception as error:
            error.add_note(str(case))
            raise
        finally:
            pool.restore()

    check_all(numbers(part, times(28, 450)), check, f"{__file__}::test_command_lines", record_property)


def goes_on(charlm, case) -> None:
    """The same command with --resume works, as soon as the training has ended and has kept its checkpoint."""
    others = ("--resume", "--init-from", "--like", "--dry-run", "--seeds", "--no-checkpoint", "-h", "--help")
    if case.has(*others) or not case.has("--keep-checkpoint"):
        return
    arguments = [argument for argument in case.arguments if argument != "--force"]
    again = in_process(charlm, replace(case, arguments=[*arguments, "--resume"]))
    if again.code != 0:
        raise Failed(f"refused with --resume, exit code {again.code}: {again.err[-500:]!r}")


def _exits(code: int):
    raise Failed(f"os._exit({code})")


def in_process(charlm, case) -> Result:
    """Run a command line in this process."""
    hangup = signal.getsignal(signal.SIGHUP)
    with _guarded():
        try:
            return charlm(case.command, *case.arguments, stdin=case.stdin)
        except SystemExit as end:
            raise Failed(f"SystemExit({end.code})") from end
        finally:
            signal.signal(signal.SIGHUP, hangup)


@contextmanager
def _guarded():
    """Raise `Hangs` where the block does not end."""

    def hangs(number, frame):
        raise Hangs(f"it hangs: {frame}")

    timers = {signal.ITIMER_PROF: signal.SIGPROF, signal.ITIMER_REAL: signal.SIGALRM}
    before = {number: signal.signal(number, hangs) for number in timers.values()}
    for timer, seconds in zip(timers, _SECONDS, strict=True):
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0.0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _repeats(case) -> bool:
    """Tell whether a command line is to give the same when it is given again."""
    if case.command in ("bench", "selfcheck") or case.has("--minutes", "--dry-run"):
        return False
    if case.command in ("train", "generate"):
        return case.value("--seed") is not None
    return True


def _outputs(pool: Pool, case) -> dict[str, bytes]:
    return {name: (pool.folder / name).read_bytes() for name in pool.changes() if (pool.folder / name).is_file()}
