"""What every command has in common: help, versions, errors, colours, and how fast it starts."""

import resource
import subprocess
import sys

import pytest

import charlm as package
from tests.cli.shell import CHARLM, environment, on_terminal, run

TINY = ("--hidden-size", 8, "--num-layers", 1, "--max-steps", 5)
COMMANDS = ("train", "generate", "score", "evaluate", "inspect", "vocab")
ESCAPE = b"\x1b"


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_leads_with_examples(charlm, command, flag):
    result = charlm(command, flag).succeeded()
    usage, _, rest = result.text.partition("\n")
    assert usage.startswith(f"Usage: charlm {command} ")
    assert f"charlm {command} " in rest.partition("Options:")[0]
    for option in ("--quiet", "--no-color", "--debug", "-h, --help"):
        assert option in rest
    assert result.err == ""
    assert ESCAPE not in result.out


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_of_all(charlm, flag):
    result = charlm(flag).succeeded()
    for command in COMMANDS:
        assert f"\n  {command} " in result.text
    assert "charlm train " in result.text.partition("Options:")[0]
    assert result.err == ""


def test_without_a_command_the_help_is_shown(charlm):
    result = charlm()
    assert result.code in (0, 2)
    shown = result.text + result.err
    assert "Usage: charlm" in shown
    assert "\\n" not in shown
    for command in COMMANDS:
        assert f"\n  {command} " in shown


def test_version(charlm):
    result = charlm("--version").succeeded()
    assert result.text == f"charlm {package.__version__}\n"
    assert result.err == ""


def test_the_exit_codes_are_those_of_the_process():
    assert run("--version").code == 0
    assert run("bogus").failed(2).out == b""


def test_unknown_commands_and_options(charlm):
    charlm("bogus").failed(2, "bogus", "charlm --help")
    charlm("score", "--bogus").failed(2, "--bogus", "charlm score --help")
    charlm("score").failed(2, "MODEL", "charlm score --help")
    charlm("train", "x").failed(2, "--output", "charlm train --help")
    charlm("score", "x", "--format", "xml").failed(2, "xml", "jsonl")
    charlm("generate", "x", "-n", "many").failed(2, "many")


def test_debug_shows_the_traceback(charlm, tmp_path):
    wrong = tmp_path / "no.safetensors"
    plain = charlm("inspect", wrong).failed(4, str(wrong))
    result = charlm("inspect", wrong, "--debug")
    assert result.code == 4
    assert "Traceback (most recent call last)" in result.err
    assert result.err.endswith(plain.err)
    assert "Traceback" not in charlm("inspect", wrong).err


def test_an_error_of_our_own_is_told_in_two_lines(charlm, monkeypatch, trained):
    def broken(*_args, **_kwargs):
        raise KeyError("surprise")

    monkeypatch.setattr("charlm.inference.scoring.Scorer.score", broken)
    charlm("score", trained.char).failed(1, "surprise", "--debug")


def test_running_out_of_memory_is_told_as_such(charlm, monkeypatch, trained):
    def greedy(*_args, **_kwargs):
        raise MemoryError

    monkeypatch.setattr("charlm.inference.scoring.Scorer.score", greedy)
    charlm("score", trained.char).failed(6, "memory", "--batch-size")


def test_quiet_silences_notes_and_not_warnings(charlm, trained, tmp_path):
    """Nor the seed that was chosen, without which the text could not be drawn again."""
    longer = ("--max-steps", 60, "--lr", 0.05, "--batch-size", 8, "--dropout", 0)
    flags = ("train", trained.names, "-o", tmp_path / "m", "--force", *TINY, "--seed", 1, *longer)
    assert "wrote" in charlm(*flags).err
    assert charlm(*flags, "-q").err == "" == charlm(*flags, "--quiet").err
    assert charlm("generate", trained.char, "-q").err.startswith("seed ")
    assert charlm("generate", trained.char, "-q", "--seed", 1).err == ""
    assert charlm("generate", trained.char, "-q", "--seed", 1, "-p", "?").err.startswith("charlm: warning: ")
    charlm("inspect", "no", "-q").failed(4)


# ---- colours


@pytest.mark.thinned(2)
@pytest.mark.parametrize("env", [{}, {"FORCE_COLOR": "1"}])
def test_no_escapes_and_no_carriage_returns_where_no_terminal_is(trained, tmp_path, env):
    result = run("train", trained.names, "-o", tmp_path / "m", *TINY, **env)
    for shown in (result.succeeded().err.encode(), result.out, run("inspect", "no", **env).err.encode()):
        assert ESCAPE not in shown
        assert b"\r" not in shown


@pytest.mark.thinned(2)
@pytest.mark.parametrize(
    ("flags", "env", "coloured"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": ""}, True),
        ((), {"NO_COLOR": "1"}, False),
        ((), {"TERM": "dumb"}, False),
        (("--no-color",), {}, False),
    ],
)
def test_colours_at_a_terminal(flags, env, coloured):
    code, shown = on_terminal("inspect", "no", *flags, **env)
    assert code == 4
    assert b"charlm: error:" in shown
    assert (ESCAPE in shown) == coloured


@pytest.mark.parametrize(("flags", "env"), [((), {"NO_COLOR": "1"}), (("--no-color",), {})])
def test_without_colours_a_progress_bar_has_no_escapes_either(trained, tmp_path, flags, env):
    code, shown = on_terminal("train", trained.names, "-o", tmp_path / "m", *TINY, *flags, **env)
    assert code == 0
    assert ESCAPE not in shown
    assert b"5/5" in shown


def test_a_bar_is_shown_at_a_terminal_and_not_when_quiet(trained, tmp_path):
    _, shown = on_terminal("train", trained.names, "-o", tmp_path / "a", *TINY)
    assert b"\r" in shown.replace(b"\r\n", b"")
    _, quiet = on_terminal("train", trained.names, "-o", tmp_path / "b", *TINY, "-q")
    assert b"step " not in quiet
    assert b"\r" not in quiet.replace(b"\r\n", b"")


def test_control_characters_are_escaped_at_a_terminal_and_kept_in_a_pipe(trained):
    line = b"\x1b[31mred\x07"
    code, shown = on_terminal("score", trained.char, "--no-color", which=(1,), stdin=line + b"\n")
    assert code == 0
    assert ESCAPE not in shown and b"\x07" not in shown
    assert b"\\x1b[31mred\\x07" in shown
    assert run("score", trained.char, stdin=line + b"\n").out.endswith(b"\t" + line + b"\n")


# ---- start


@pytest.mark.thinned(2)
@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_the_start_is_quick(flag, tmp_path):
    """150 ms of processor time, on machines where Python itself starts in 25."""
    variables = {**environment(), "PYTHONPYCACHEPREFIX": str(tmp_path)}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # modules are compiled once, as everywhere where it is not forbidden

    def seconds(*command):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=variables, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    bare = min(seconds(sys.executable, "-c", "pass") for _ in range(5))
    assert min(seconds(*CHARLM, flag) for _ in range(5)) <= max(0.150, 8 * bare)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("args", [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)])
def test_help_waits_for_neither_numpy_nor_cupy(args):
    code = (
        "import sys; from charlm.cli.app import main; code = main(sys.argv[1:]); "
        "sys.exit(code or any(m in sys.modules for m in ('numpy', 'cupy', 'tqdm', 'rich')))"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], env=environment(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
