"""The manual page, and what a shell offers while a command is typed."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from charlm import checkpoint
from charlm.cli.commands import COMMANDS
from charlm.cli.group import Subcommands
from tests import manual
from tests.cli.shell import environment
from tests.task_models import task_model

NAMES = [name for group in COMMANDS.values() for name in group]
PROJECT = Path(__file__).parents[2]


# ---- the manual page


def test_the_manual_page_is_that_of_the_help():
    assert manual.PAGE.read_text() == manual.page(), "run: python -m tests.readme"


def test_the_manual_page_has_every_option_and_exit_code():
    page = re.sub(r"\\f[BIR]", "", manual.page()).replace("\\-", "-")
    commands = Subcommands()
    for name in NAMES:
        _, _, section = page.partition(f'.SH "CHARLM {name.upper()}"\n')
        section = section.partition("\n.SH ")[0]
        for one in commands[name].params:
            if one.param_type_name == "option" and one.name not in ("quiet", "no_color", "debug"):
                assert re.search(rf"^(-\w, )?{one.opts[-1]}\b", section, re.MULTILINE), (name, one.opts)
    codes = page.partition('.SH "EXIT STATUS"')[2].partition(".SH")[0]
    assert re.findall(r"^\d+", codes, re.MULTILINE) == ["0", "1", "2", "3", "4", "5", "6", "128"]


@pytest.mark.parametrize("text", [".TH of a request", "'quoted", "a\\b", "-5 ~^`", "the FILE"])
def test_what_roff_would_change_is_escaped(text):
    if shutil.which("groff") is None:
        pytest.skip("no groff")
    source = "".join(f"{line}\n" for line in (".TH X 1", ".SH A", *manual._lines(text)))
    done = subprocess.run(["groff", "-man", "-T", "utf8", "-P-c"], input=source, capture_output=True, text=True)
    assert text in [line.strip() for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "program", [("groff", "-man", "-ww", "-z"), ("mandoc", "-Tlint", "-Wwarning")], ids=lambda words: words[0]
)
def test_the_manual_page_is_valid(program):
    if shutil.which(program[0]) is None:
        pytest.skip(f"no {program[0]}")
    done = subprocess.run([*program, manual.PAGE], capture_output=True, text=True, env=environment())
    # The page has no date, because it would change without the help.
    begins = ("mandoc:", "troff:", "groff:", "/")
    faults = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith(begins)]
    assert [line for line in faults if "missing date" not in line] == []


def test_the_data_files_of_the_wheel_are_those_there_are():
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    files = [PROJECT / name for names in declared.values() for name in names]
    assert sorted(files) == sorted(path for path in manual.SHARE.rglob("*") if path.is_file())
    for target, (name,) in declared.items():
        assert name == f"charlm/cli/{target}/{Path(name).name}"


# ---- completion


@pytest.fixture
def offered(charlm, tmp_path, monkeypatch, capfdbinary):
    """Return what is offered for the last word of a command line, in a folder with models."""
    monkeypatch.chdir(tmp_path)
    for kind in ("lm", "genre"):
        checkpoint.save(tmp_path / f"{kind}.safetensors", task_model(kind))
    for name in ("lm.ckpt.safetensors", ".hidden.safetensors", "text.txt", "more/other.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def complete(line):
        words = line.split(" ")
        monkeypatch.setenv("_CHARLM_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        with pytest.raises(SystemExit) as end:
            charlm()
        assert end.value.code == 0
        return capfdbinary.readouterr().out.decode().split()

    return complete


def test_commands_are_offered(offered):
    assert offered("charlm ") == offered("charlm help ") == NAMES
    assert offered("charlm s") == offered("charlm -q help s") == ["score", "surprisal", "selfcheck"]
    assert offered("charlm --q") == ["--quiet"]


def test_flags_and_their_values_are_offered(offered):
    assert offered("charlm score lm --no") == ["--no-header", "--no-eos", "--no-color"]
    assert offered("charlm train text.txt --cell L") == ["lstm", "lstm-peephole"]


@pytest.mark.parametrize("command", ["generate", "score", "inspect lm", "train text.txt --init-from", "train --like"])
def test_models_are_offered(offered, command):
    assert offered(f"charlm {command} ") == ["genre.safetensors", "lm.safetensors", "more/"]


def test_models_of_other_folders_are_offered(offered, tmp_path):
    assert offered("charlm score more/") == ["more/other.safetensors"]
    assert offered(f"charlm score {tmp_path}/g") == [f"{tmp_path}/genre.safetensors"]
    assert offered("charlm score .h") == [".hidden.safetensors"]
    assert offered("charlm score nowhere/") == offered("charlm score lm ") == [], "the shell offers files"


def test_labels_of_the_model_are_offered(offered):
    assert offered("charlm generate genre --class ") == ["jig", "waltz"]
    assert offered("charlm generate genre.safetensors -n 3 --class w") == ["waltz"]
    assert offered("charlm generate lm --class ") == offered("charlm generate no --class ") == []
    assert offered("charlm generate --class ") == []


def test_the_script_for_bash_offers_what_charlm_does(tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    (tmp_path / "a model.safetensors").touch()
    script = (
        f"source {manual.SHARE}/bash-completion/completions/charlm; complete -p charlm;"
        'COMP_WORDS=("$0" score "a\\ "); COMP_CWORD=2; _charlm "$0"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    program = Path(sys.executable).with_name("charlm")
    done = subprocess.run(
        ["bash", "-c", script, program], capture_output=True, text=True, cwd=tmp_path, env=environment()
    )
    assert done.stdout.splitlines()[1:] == ["a model.safetensors"] and "-F _charlm charlm" in done.stdout
