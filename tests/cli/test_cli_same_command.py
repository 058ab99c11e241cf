"""The same command with `--resume` continues, whatever its flags; a flag that contradicts the checkpoint is refused."""

import os
import shutil
import subprocess

import pytest

from charlm.backends import get_backend
from charlm.storage.container import Container
from charlm.training import Trainer
from charlm.training import trainer as trainer_module
from charlm.training import validation as validation_module
from tests.cli.shell import files_of
from tests.cli.test_cli_resume import broken_off
from tests.task_models import TEXTS

TINY = (
    "--keep-checkpoint",
    "--hidden-size",
    4,
    "--num-layers",
    1,
    "--batch-size",
    4,
    "--seq-length",
    8,
    "--threads",
    1,
)
STEPS = ("--max-steps", 6)
RUNS = {  # the text that is learned, and the flags
    "conditioned": ("conditioned", ("--condition",)),
    "conditioned music": ("genre", ("--task", "music", "--condition")),
    "bidirectional": ("lm", ("--bidirectional",)),
    "lm, bidirectional": ("lm", ("--task", "lm", "--bidirectional", "--lr", "1e-2")),
    "cloze": ("cloze", ("--task", "cloze", "--bidirectional", "--level", "word", "--split", "whitespace")),
    "causal": ("lm", ("--causal", "--lr", "2e-3", "--clip", 1, "--vocab-size", 9)),
    "tag": ("tag", ("--task", "tag")),
    "tag, causal": ("tag", ("--task", "tag", "--causal", "--split", "whitespace", "--level", "word")),
    "yes or no": ("yes-no", ("--task", "tag", "--lowercase")),
    "spelled": ("tag", ("--task", "tag", "--char-features", 2, "--embedding-size", 3)),
    "classify": ("classify", ("--task", "classify", "--level", "word", "--bidirectional")),
    "translate": ("translate", ("--task", "translate", "--dropout", ".2")),
    "music": ("music", ("--task", "music", "--cell", "rnn", "--activation", "relu")),
    "dense": ("lm", ("--dense", 3, "--dense", "4", "--cell", "gru", "--reset", "both")),
    "tied": ("lm", ("--embedding-size", 4, "--tie-weights", "--relevance-gate", "--dtype", "float64")),
    "adaptive": ("lm", ("--softmax", "adaptive", "--cutoffs", 2, "--cutoffs", 3)),
    "adaptive, tied": ("lm", ("--softmax", "adaptive", "--cutoffs", 2, "--tie-weights", "--embedding-size", 4)),
    "stream": ("lm", ("--unit", "stream", "--min-count", 1, "--valid-fraction", 0, "--schedule", "plateau")),
    "forced": ("lm", ("--force", "--optimizer", "sgd", "--schedule", "constant", "--patience", 99)),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a text for every task."""
    monkeypatch.chdir(tmp_path)
    for kind, text in TEXTS.items():
        (tmp_path / kind).write_text(text * 8)
    return tmp_path


@pytest.mark.thinned(3)
@pytest.mark.parametrize("run", RUNS)
def test_the_same_command_resumes_and_ends_in_the_same_bytes(charlm, monkeypatch, folder, run):
    corpus, flags = RUNS[run]
    flags = (*TINY, *STEPS, *flags, "--seed", 3)
    charlm("train", corpus, "-o", "whole", *flags).succeeded()
    broken_off(charlm, monkeypatch, corpus, "-o", "broken", *flags, after=3)
    charlm("train", corpus, "-o", "broken", *flags, "--resume").succeeded()
    for end in (".safetensors", ".ckpt.safetensors"):
        assert (folder / f"broken{end}").read_bytes() == (folder / f"whole{end}").read_bytes()


def test_a_command_that_began_from_another_model_resumes(charlm, monkeypatch, folder):
    charlm("train", "lm", "-o", "first", *TINY, *STEPS).succeeded()
    flags = (*TINY, *STEPS, "--init-from", "first.safetensors", "--seed", 3)
    charlm("train", "lm", "-o", "whole", *flags).succeeded()
    broken_off(charlm, monkeypatch, "lm", "-o", "broken", *flags, after=3)
    (folder / "first.safetensors").unlink()
    result = charlm("train", "lm", "-o", "broken", *flags, "--resume").succeeded()
    assert "--init-from is ignored" in result.err
    assert (folder / "broken.safetensors").read_bytes() == (folder / "whole.safetensors").read_bytes()


@pytest.mark.parametrize("limits", [("--minutes", 0.002), ("--epochs", 2), ("--epochs", 9, "--minutes", 0.002)])
def test_the_same_limits_keep_the_plan(charlm, monkeypatch, folder, limits):
    """The time is not measured again, and the steps that are done count."""
    flags = (*TINY, *limits, "--seed", 3)
    broken_off(charlm, monkeypatch, "lm", "-o", "n", *flags, after=2)
    monkeypatch.setattr(Trainer, "_steps_in", None)  # it would be measured
    err = charlm("train", "lm", "-o", "n", *flags, "--resume").succeeded().err
    steps = [line.split()[1].split("/") for line in err.splitlines() if line.startswith("step ")]
    assert steps[-1][0] == steps[-1][1] and int(steps[0][0].replace(",", "")) > 2


# ---- the held-out file


@pytest.mark.parametrize("way", ["moved", "from another folder", "both", "renamed, not named again"])
def test_a_held_out_file_is_known_by_its_lines(charlm, monkeypatch, folder, way):
    (folder / "held").write_text("abc\nca\n")
    flags = (*TINY, *STEPS, "--seed", 3)
    charlm("train", "lm", "-o", "whole", *flags, "--valid", "held").succeeded()
    command = broken_off(charlm, monkeypatch, "lm", "-o", "broken", *flags, "--valid", "held", after=3)
    assert "--valid held" in command
    corpus, held, output = "lm", "held", "broken"
    if way != "from another folder":
        held = "sub/elsewhere"
        (folder / "sub").mkdir()
        (folder / "held").rename(held)
    if way in ("from another folder", "both"):
        (folder / "there").mkdir()
        monkeypatch.chdir(folder / "there")
        corpus, held, output = (f"../{name}" for name in (corpus, held, output))
    if way == "renamed, not named again":
        charlm("train", corpus, "-o", output, *flags, "--resume").failed(3, "held", "--valid FILE")
    charlm("train", corpus, "-o", output, *flags, "--valid", held, "--resume").succeeded()
    assert (folder / "broken.safetensors").read_bytes() == (folder / "whole.safetensors").read_bytes()


def test_a_held_out_file_with_other_lines_is_refused(charlm, folder):
    (folder / "held").write_text("abc\nca\n")
    charlm("train", "lm", "-o", "m", *TINY, *STEPS, "--valid", "held").succeeded()
    before = files_of(folder)
    (folder / "other").write_text("abc\ncb\n")
    charlm("train", "lm", "-o", "m", "--resume", "--valid", "other").failed(2, "held-out")
    (folder / "other").unlink()
    charlm("train", "lm", "-o", "m", "--resume", "--valid", "missing").failed(3, "missing")
    assert files_of(folder) == before


# ---- what is refused

CONTRADICTIONS = {  # flags of the training -> flags of which each contradicts it
    (): (
        ["--condition"],
        ["--bidirectional"],
        ["--task", "cloze"],
        ["--task", "classify"],
        ["--valid", "lm"],
        ["--clip", "4"],
        ["--schedule", "plateau"],
        ["--vocab-size", "5"],
        ["--activation", "relu"],
        ["--reset", "both"],
        ["--relevance-gate"],
        ["--embedding-size", "3"],
        ["--num-layers", "2"],
        ["--seq-length", "9"],
        ["--split", "whitespace"],
    ),
    ("--bidirectional",): (["--causal"], ["--task", "lm"], ["--task", "tag"], ["--condition"]),
    ("--valid", "lm"): (["--valid-fraction", "0.2"], ["--condition"]),
    ("--dense", 3): (["--dense", "3", "--dense", "3"], ["--dense", "4"]),
}


@pytest.mark.parametrize("flags", CONTRADICTIONS, ids=lambda flags: " ".join(map(str, flags)) or "plain")
def test_a_flag_that_contradicts_is_refused_and_named(charlm, folder, flags):
    charlm("train", "lm", "-o", "m", *TINY, *STEPS, *flags).succeeded()
    before = files_of(folder)
    for other in CONTRADICTIONS[flags]:
        charlm("train", "lm", "-o", "m", "--resume", *other).failed(2, other[0], "differs from the checkpoint")
    assert files_of(folder) == before


# ---- the command that is printed

NAMES = {
    "dash": "-d.txt",
    "newline": "a\nb.txt",
    "escape": "\x1b[31mred.txt",
    "bytes": os.fsdecode(b"caf\xe9 \xff.txt"),
    "quotes": 'it\'s $HOME `ls` "x" \\ #.txt',
    "blanks": " a\tb ",
    "letters": "größe 漢字.txt",
    "tilde": "~",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_printed_command_can_be_pasted(charlm, monkeypatch, folder, name):
    """The shell passes on the exact names of a corpus, a model and a held-out file."""
    corpus, model, held = (folder / f"{NAMES[name]}{end}" for end in ("", "-m", "-v"))
    shutil.copy(folder / "lm", corpus)
    held.write_text("ab\n")
    arguments = [f"--output={model.name}", f"--valid={held.name}", *TINY, *STEPS, "--", corpus.name]
    command = broken_off(charlm, monkeypatch, *arguments, after=2)
    assert command.isprintable()
    shell = subprocess.run(
        ["bash", "-c", f"charlm() {{ printf '%s\\0' \"$@\"; }}; {command}"], capture_output=True, check=True
    )
    pasted = os.fsdecode(shell.stdout).split("\0")[:-1]
    assert pasted[0] == "train"
    assert [os.path.normpath(pasted[i]) for i in (1, 3, 5)] == [corpus.name, f"{model.name}.safetensors", held.name]
    charlm(*pasted).succeeded()
    assert (folder / f"{model.name}.safetensors").exists()


def test_standard_input_stays_it(charlm, monkeypatch, folder):
    text = (folder / "lm").read_bytes()
    run_of, stopped = Trainer.run, []

    def interrupted(self):
        for progress in run_of(self):
            if progress.step == 2 and not stopped:
                stopped.append(os.kill(os.getpid(), 2))
            yield progress

    monkeypatch.setattr(Trainer, "run", interrupted)
    result = charlm("train", "-", "-o", "m", *TINY, *STEPS, stdin=text)
    assert result.code == 130
    command = result.err.splitlines()[-1].split()
    assert command[2] == "-"
    charlm(*command[1:], stdin=text).succeeded()


# ---- what runs out, and what is killed


@pytest.mark.parametrize("place", ["a pass", "the step", "an evaluation"])
def test_memory_that_runs_out_costs_nothing_that_was_whole(charlm, monkeypatch, folder, place):
    """A whole state is saved, and the command to continue is printed; in mid-step the checkpoint before it stays."""
    flags = (*TINY, *STEPS, "--seed", 3, "--optimizer", "adam")
    charlm("train", "lm", "-o", "whole", *flags).succeeded()
    target, name, last = {
        "a pass": (trainer_module.Model, "loss_and_grads", 2 + 3),  # two of them are for the estimate
        "the step": (type(get_backend("cpu")), "adam", 3),
        "an evaluation": (validation_module, "evaluate", 3),
    }[place]
    original, calls = getattr(target, name), []

    def short(*args, **options):
        calls.append(name)
        if len(calls) == last:
            raise MemoryError
        return original(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(target, name, short)
        result = charlm("train", "lm", "-o", "broken", *flags).failed(6, "out of memory", "--resume")
    command = result.err.splitlines()[-1].partition("continue with: charlm ")[2].split()
    stored = Container(folder / "broken.ckpt.safetensors").header["training"]["step"]
    assert stored == (2 if place == "a pass" else 0)
    charlm(*command).succeeded()
    for end in (".safetensors", ".ckpt.safetensors"):
        assert (folder / f"broken{end}").read_bytes() == (folder / f"whole{end}").read_bytes()


def test_where_nothing_is_done_yet_smaller_sizes_are_proposed(charlm, monkeypatch, folder):
    def short(*_):
        raise MemoryError

    monkeypatch.setattr(Trainer, "_step", short)
    charlm("train", "lm", "-o", "m", *TINY, *STEPS).failed(6, "out of memory", "--batch-size")


# ---- --quiet


def test_quiet_still_says_what_repeating_and_continuing_take(charlm, monkeypatch, folder):
    """A chosen seed, the steps that minutes became, and the command that continues; nothing else but warnings."""

    def told(*arguments):
        lines = charlm("train", "lm", "-o", *arguments).succeeded().err.splitlines()
        return [line for line in lines if not line.startswith("charlm: warning: the model has hardly learned")]

    flags = (*TINY[:-2], "--batch-size", 1, "--threads", 1, "-q")
    assert told("a", *flags, *STEPS, "--seed", 1) == []
    (seed,) = told("b", *flags, *STEPS)
    charlm("train", "lm", "-o", "c", *flags, *STEPS, "--seed", seed.removeprefix("seed ")).succeeded()
    assert (folder / "b.safetensors").read_bytes() == (folder / "c.safetensors").read_bytes()
    (minutes,) = told("d", *flags, "--minutes", 1e-9, "--seed", 1)
    assert "--max-steps 1" in minutes
    assert "--resume" in broken_off(charlm, monkeypatch, "lm", "-o", "e", *flags, *STEPS, "--seed", 1, after=2)
    drawn = charlm("generate", "a.safetensors", "-q", "-l", 9)
    again = charlm("generate", "a.safetensors", "-q", "-l", 9, "--seed", drawn.err.split()[1])
    assert (again.out, again.err) == (drawn.out, "")


def test_one_backend_is_opened_to_begin_from_a_model(charlm, monkeypatch, folder):
    import charlm.backends as backends

    charlm("train", "lm", "-o", "first", *TINY, *STEPS).succeeded()
    get_backend, opened = backends.get_backend, []

    def counted(*args, **options):
        opened.append(get_backend(*args, **options))
        return opened[-1]

    monkeypatch.setattr(backends, "get_backend", counted)
    charlm("train", "lm", "-o", "second", *TINY, *STEPS, "--init-from", "first.safetensors").succeeded()
    assert len(opened) == 1
