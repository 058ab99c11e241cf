"""What all tests share."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import cuda, forms
from tests.stored import keep_on_disk

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="session")
def shared_corpora() -> Path:
    """Return the folder of corpora beside a developer's checkout; skip where it is absent."""
    folder = SHARED / "corpora"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: these corpora are not shipped")
    return folder


@pytest.fixture
def private_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder, not made yet, in which corpora that this test encodes to the disk are kept."""
    folder = tmp_path / "caches" / "corpora"
    monkeypatch.setenv("CHARLM_CACHE", str(folder))
    return folder


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, private_cache: Path) -> Path:
    """Encode every corpus to the disk, however small it is; return the folder, not made yet, in which they are kept."""
    keep_on_disk(monkeypatch, private_cache)
    return private_cache


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--all`, which runs the slow tests too, and the others in their long form, and `--gpu`, which uses a GPU."""
    parser.addoption("--all", action="store_true", help="run the slow tests too, and all in their long form")
    parser.addoption("--gpu", action="store_true", help="have the tests of CuPy use a GPU, not the host's memory")


@pytest.fixture(scope="session")
def times() -> Callable[[int, int], int]:
    """Return the function that chooses how often to do a thing, by the form of the tests."""
    return forms.times


def _keep_one_of_each_file_that_needs_cupy(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that would be skipped for want of CuPy, but for one of each file, which says so."""
    seen, kept, left_out = set(), [], []
    for item in items:
        is_of_cuda = item.path.parent.name == "cuda" and "ops" in item.fixturenames  # type: ignore[attr-defined]
        if is_of_cuda or item.get_closest_marker("cupy"):
            (left_out if item.path in seen else kept).append(item)
            seen.add(item.path)
        else:
            kept.append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests to the long form, which begins with them: the last to begin would keep a single worker busy."""
    if not cuda.on_gpu and cuda.missing():
        _keep_one_of_each_file_that_needs_cupy(config, items)
    cases: Counter[str] = Counter()
    slow, others = [], []
    for item in items:
        test = item.nodeid.partition("[")[0]
        thinned = item.get_closest_marker("thinned")
        is_left_out = thinned is not None and cases[test] % thinned.args[0] > 0
        cases[test] += thinned is not None
        (slow if is_left_out or item.get_closest_marker("slow") else others).append(item)
    if forms.is_long:
        items[:] = [*slow, *others]
    else:
        items[:] = others
        config.hook.pytest_deselected(items=slow)


def pytest_configure(config: pytest.Config) -> None:
    """End the processes that tests start at a signal, even if a shell started the tests in the background.

    What is ignored stays so in a process that is started; what is handled does not.
    """
    cuda.on_gpu, forms.is_long = bool(config.getoption("--gpu")), bool(config.getoption("--all"))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
