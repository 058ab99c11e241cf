"""What all tests share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import cuda

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="session")
def shared_corpora() -> Path:
    """Give the folder of corpora beside a developer's checkout; skip where it is absent."""
    folder = SHARED / "corpora"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: these corpora are not shipped")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have `--faults` do the tests of faults as often as is wanted, which takes minutes each; `--gpu` use a GPU."""
    parser.addoption("--faults", action="store_true", help="do the tests of faults in their long form")
    parser.addoption("--gpu", action="store_true", help="have the tests of CuPy use a GPU, not the host's memory")


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """Give the function that chooses how often to do a thing: in the short form of a test, or in its long one."""
    is_long = bool(request.config.getoption("--faults"))
    return lambda short, long: long if is_long else short


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests: one that begins last would keep a single worker busy at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_configure(config: pytest.Config) -> None:
    """Have signals end the processes that tests start, also where a shell has started the tests in the background.

    What is ignored stays so in a process that is started; what is handled does not.
    """
    cuda.on_gpu = bool(config.getoption("--gpu"))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
