"""What the machine refuses - files, memory, threads, libraries - is told with 6, in one line, or done without."""

import errno
import os
import signal
import subprocess
import sys
import threading
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

from charlm import backends, benchmark
from charlm.backends import get_backend
from charlm.backends.pool import Pool
from charlm.cli import loading, ui
from charlm.config import TrainConfig
from charlm.errors import ResourceError
from tests.cli.shell import bash

ERRORS = [
    errno.EACCES,
    errno.EAGAIN,
    errno.EBADF,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOENT,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
]


def error_of(number, *names):
    return OSError(number, os.strerror(number), *names)


# --- an error of the system, wherever it comes from -------------------------------------------------------------------


@pytest.mark.thinned(4)
@pytest.mark.parametrize("number", ERRORS)
@pytest.mark.parametrize(
    "names", [(), ("some\ntext",), (b"some text",), (7,)], ids=["no name", "name", "bytes", "number"]
)
def test_an_error_of_the_system_is_the_machines_and_not_standard_outputs(charlm, monkeypatch, trained, number, names):
    def refuse(*_args, **_kwargs):
        raise error_of(number, *names)

    monkeypatch.setattr("charlm.inference.scoring.Scorer.score", refuse)
    result = charlm("score", trained.char).failed(6, os.strerror(number))
    assert "internal error" not in result.err and "standard output" not in result.err
    assert ("some" in result.err) == ("some" in str(names))


@pytest.mark.parametrize("error", [OSError("no number"), OSError(), TimeoutError()])
def test_an_error_of_the_system_without_a_number(charlm, monkeypatch, trained, error):
    def refuse(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("charlm.inference.scoring.Scorer.score", refuse)
    charlm("score", trained.char).failed(6)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("libscipy_openblas64_.so: failed to map segment from shared object", "out of memory"),
        ("x.so: cannot allocate memory in static TLS block: Cannot allocate memory", "out of memory"),
        ("x.so: cannot open shared object file: Too many open files", "Too many open files"),
    ],
)
def test_a_library_that_has_no_room(charlm, monkeypatch, trained, said, told):
    def refuse(*_args, **_kwargs):
        raise ImportError(f"Importing the numpy C-extensions failed.\nOriginal error was: {said}\n")

    monkeypatch.setattr("charlm.inference.scoring.Scorer.score", refuse)
    charlm("score", trained.char).failed(6, told)


def test_a_library_that_is_not_there_is_no_fault_of_the_machine(charlm, monkeypatch, trained):
    def refuse(*_args, **_kwargs):
        raise ImportError("No module named 'x'")

    monkeypatch.setattr("charlm.inference.scoring.Scorer.score", refuse)
    charlm("score", trained.char).failed(1, "internal error", "No module named")


@pytest.mark.thinned(3)
@pytest.mark.parametrize("args", ["", "--version", "train --help"])
@pytest.mark.parametrize("stream", ["> /dev/full", ">&-"])
def test_help_that_cannot_be_written_is_standard_outputs_fault(args, stream):
    bash(f"charlm {args} {stream}").failed(6, "standard output")


@pytest.mark.slow
def test_few_files_may_be_open(trained, tmp_path):
    """The smallest number at which Python itself begins, and the next ones: one line, or all is done."""
    codes = []
    for count in (5, 6):
        result = bash(f"ulimit -n {count}; charlm score {trained.char} {trained.names}")
        codes.append(result.code)
        if result.code:
            result.failed(6, "Too many open files", "ulimit -n")
    assert codes[-1] == 0


@pytest.mark.parametrize("descriptor", [1, 2])
def test_a_stream_that_cannot_be_silenced_is_forgotten(monkeypatch, descriptor):
    name = {1: "stdout", 2: "stderr"}[descriptor]
    monkeypatch.setattr(sys, name, getattr(sys, name))

    def refuse(*_):
        raise error_of(errno.EMFILE)

    monkeypatch.setattr(os, "open", refuse)
    ui.silence(descriptor)
    assert getattr(sys, name) is None


# --- threads ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_threads(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.parametrize("parts", [2, 3, 40])
def test_work_is_done_where_no_thread_can_be_started(no_threads, parts):
    pool, done = Pool(), []
    with pool.limit(3):
        pool.each(done.append, range(parts))
    assert done == list(range(parts))


def test_work_is_done_where_only_some_threads_can_be_started(monkeypatch):
    start, started = threading.Thread.start, []

    def some(self):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", some)
    pool, done = Pool(), []
    with pool.limit(4):
        pool.each(done.append, range(100))
    assert sorted(done) == list(range(100)) and len(started) == 1


def test_a_bar_needs_no_thread(no_threads, monkeypatch):
    monkeypatch.setattr(ui, "is_terminal", lambda _: False)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        bar = ui.progress_bar(3, "step")
        bar.n = 1
        bar.update(0)
        bar.close()
    assert seen == []


def test_a_signal_of_openblas_own_is_not_taken_for_a_persons():
    """It sends one where it cannot have its threads; whose it was is known when it is looked at, not when it comes."""
    with loading._refused_threads() as refused:
        signal.raise_signal(signal.SIGINT)
    assert refused == [signal.SIGINT]
    with loading._refused_threads() as refused:
        pass
    assert refused == []


KEPT_BACK = """
import subprocess, sys
from charlm.cli import loading
kept_back = False
try:
    with loading._refused_threads() as refused:
        subprocess.run(["sh", "-c", "kill -INT $PPID"])
        kept_back = True
except KeyboardInterrupt:
    sys.exit(0 if kept_back and not refused else 3)
sys.exit(4)
"""


def test_a_persons_signal_is_only_kept_back_for_a_while():
    subprocess.run([sys.executable, "-c", KEPT_BACK], check=True)


OPENBLAS = """
import os, signal, sys
sys.path.insert(0, sys.argv.pop(1))
from charlm.cli import app
sys.exit(app.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "ending", ["", "raise ImportError('x.so: failed to map segment')", "raise SystemError('NULL')"]
)
def test_products_that_get_no_threads_end_the_command_with_a_word(trained, tmp_path, ending):
    """A NumPy that does what OpenBLAS does: it sends the signal, and may not come to the end of its import."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text(
        f"import os, signal\nsignal.raise_signal(signal.SIGINT)\n{ending}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", OPENBLAS, tmp_path, "score", trained.char], stdin=subprocess.DEVNULL, capture_output=True
    )
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 6, lines
    assert lines[0].startswith("charlm: error: ") and "threads" in lines[0] and "OPENBLAS_NUM_THREADS=1" in lines[1]
    assert len(lines) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v is Linux'")
@pytest.mark.parametrize("kilobytes", [90_000, 120_000, 150_000])
def test_too_little_memory_for_the_libraries_is_told(trained, kilobytes):
    """OpenBLAS ends the process with 1 where it has no room for its first buffer."""
    bash(f"ulimit -v {kilobytes}; charlm score {trained.char}").failed(6, "out of memory", "ulimit -v")


# --- a GPU ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cupy_of(monkeypatch, tmp_path):
    """Return the function that installs a CuPy of a given source, None for a folder without any."""
    monkeypatch.setattr(backends, "driver_version", lambda: 12000)
    monkeypatch.syspath_prepend(tmp_path)
    for name in list(sys.modules):
        if name.split(".")[0] in ("cupy", "cupyx", "cupy_backends") or name.startswith("charlm.backends.cupy."):
            monkeypatch.delitem(sys.modules, name)

    def install(source):
        (tmp_path / "cupy").mkdir()
        if source is not None:
            (tmp_path / "cupy" / "__init__.py").write_text(source)

    yield install
    for name in [name for name in sys.modules if name.split(".")[0] == "cupy"]:
        del sys.modules[name]


@pytest.mark.skipif(find_spec("cupy") is not None, reason="a CuPy is installed, which is found behind the folder")
def test_an_empty_folder_is_no_cupy(cupy_of):
    cupy_of(None)
    told = []
    assert get_backend("auto", watch=told.append).name == "cpu" and told == []
    with pytest.raises(ResourceError, match="CuPy is not installed"):
        get_backend("cuda")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "syntax error",
        "import no_such_module_at_all",
        "raise OSError(24, 'Too many open files')",
        "raise RuntimeError('CUDA')",
        "raise AttributeError('x')",
        "cuda = None",
        "import sys, types; sys.modules['cupy.cuda'] = cuda = types.ModuleType('cuda'); cuda.runtime = None",
    ],
)
def test_a_broken_cupy_is_no_gpu(cupy_of, source):
    cupy_of(source)
    told = []
    assert get_backend("auto", watch=told.append).name == "cpu"
    assert len(told) == 1
    with pytest.raises(ResourceError) as refusal:
        get_backend("cuda")
    assert refusal.value.exit_code == 6 and refusal.value.hint


# --- bench ------------------------------------------------------------------------------------------------------------


def work():
    return benchmark.synthetic_workload(
        {"hidden_size": 8}, "char", TrainConfig(batch_size=4, seq_length=8), vocabulary_size=9
    )


QUICK = benchmark.BenchmarkConfig(seconds=0.001, repeats=1, threads=1)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EROFS, errno.ENOSPC, errno.EMFILE])
def test_without_a_temporary_folder_all_but_the_start_is_measured(monkeypatch, number):
    def refuse(**_):
        raise error_of(number)

    monkeypatch.setattr("charlm.benchmark.measurement.tempfile.TemporaryDirectory", refuse)
    measured = benchmark.measure(work(), ("generate", "start"), QUICK)
    assert next(measured).case == "generate"
    with pytest.raises(ResourceError, match="temporary folder"):
        next(measured)


def test_without_a_temporary_folder_the_command_says_so(charlm, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("tempfile._candidate_tempdir_list", lambda: ["/proc/none"])
        patch.setattr("tempfile.tempdir", None)
        result = charlm("bench", "start", "--hidden-size", 8, "--seconds", 0.001, "--repeats", 1)
    result.failed(6, "TMPDIR=")


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.EPERM])
def test_a_process_that_cannot_be_started_is_told(monkeypatch, number):
    def refuse(*_args, **_kwargs):
        raise error_of(number)

    monkeypatch.setattr("charlm.benchmark.workload.subprocess.run", refuse)
    with pytest.raises(ResourceError, match="cannot start charlm generate"):
        list(benchmark.measure(work(), ("start",), QUICK))


def test_the_start_runs_nothing_of_the_current_folder(monkeypatch, tmp_path):
    """A file of somebody's may be called as a library is."""
    for name in ("typer", "numpy", "charlm", "json", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("import pathlib\npathlib.Path('run').touch()\nraise SystemExit('ours')\n")
    monkeypatch.chdir(tmp_path)
    (result,) = benchmark.measure(work(), ("start",), QUICK)
    assert result.seconds > 0 and not Path("run").exists()


def test_the_start_finds_a_charlm_that_is_not_installed(tmp_path):
    """As where it is run from its sources: this process knows where they are."""
    python, *rest = benchmark.start_command(work().language_model, tmp_path, 1)[:5]
    done = subprocess.run(
        [python, "-S", *rest, "--version"], cwd=tmp_path, capture_output=True
    )  # without site-packages
    assert b"No module named 'charlm'" not in done.stderr and (not done.returncode or b"typer" in done.stderr)
