"""`charlm tune`: its table, its model, the command that repeats it, and its mistakes."""

import base64
import shlex
import signal
import sys

import pytest

pytest.importorskip("optuna", reason="no optuna: pip install -e '.[tune]'")

from charlm.backends import NumpyBackend
from charlm.checkpoint import load
from charlm.text.tokens.subword import learn_pieces
from tests.cli.shell import bash, on_terminal, read_line, run, started, strict_json

# The settings that are fixed; learning rate and dropout are searched.
FIXED = ("--hidden-size", 8, "--num-layers", 1, "--batch-size", 8, "--seq-length", 16, "--max-steps", 40, "--seed", 3)


@pytest.fixture
def corpus(trained, tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(trained.names.read_bytes())
    return path


@pytest.fixture
def tune(charlm, corpus, tmp_path):
    """Run a search in this process."""

    def call(*flags, output="m", settings=FIXED):
        return charlm("tune", corpus, "-o", tmp_path / output, "--threads", 1, *settings, *flags)

    return call


def command_of(result):
    """Return the command that repeats the best trial."""
    (command,) = [line for line in result.err.splitlines() if line.startswith("charlm train ")]
    return command


def test_a_table_of_trials_and_the_model(tune, charlm, tmp_path):
    result = tune("--trials", 4).succeeded()
    head, *rows = result.lines
    assert head.split()[:2] == ["trial", "state"] and head.split()[2].startswith("nats/")
    assert len(rows) == 4 and [row.split()[0] for row in rows] == ["0", "1", "2", "3"]
    (best,) = [row for row in rows if "*" in row]
    assert f"best: trial {best.split()[0]}" in result.err
    assert "dropout" in best and "learning rate" in best and "hidden size" not in best
    assert result.err.count("trial ") >= 4 and f"wrote {tmp_path / 'm.safetensors'}" in result.err
    charlm("generate", tmp_path / "m.safetensors", "--seed", 1).succeeded()


def test_the_command_that_is_printed_writes_the_same_model(tune, tmp_path):
    command = command_of(tune("--trials", 3).succeeded())
    model = tmp_path / "m.safetensors"
    before = model.read_bytes()
    repeated = shlex.split(command)
    assert {"--max-steps", "--seed", "--dropout", "--lr", "--hidden-size", "--threads"} <= set(repeated)
    repeated[0:1] = [sys.executable, "-m", "charlm"]
    bash(f"{shlex.join(repeated)} --force", cwd=tmp_path).succeeded()
    assert model.read_bytes() == before


def test_pieces_may_be_given(tune, charlm, corpus, tmp_path):
    pytest.importorskip("sentencepiece", reason="no sentencepiece: pip install -e '.[subword]'")
    piece_model = learn_pieces(corpus.read_text().splitlines(), 300)
    (file := tmp_path / "my pieces").write_bytes(base64.b64decode(piece_model))
    flags = ("--level", "subword", "--pieces", file, "--trials", 1, "--max-steps", 2)
    command = shlex.split(command_of(tune(*flags, settings=FIXED[:-4]).succeeded()))
    assert command[command.index("--pieces") + 1] == str(file)
    assert load(tmp_path / "m.safetensors", NumpyBackend()).language_model.text.piece_model == piece_model
    assert f"--pieces {shlex.quote(str(file))}" in charlm("inspect", tmp_path / "m", "--command").succeeded().text


def test_the_same_seed_prints_the_same_table(tune):
    one, other = (tune("--trials", 3, output=name, settings=FIXED).succeeded() for name in ("m", "n"))
    assert one.out == other.out
    assert one.out != tune("--trials", 3, "--seed", 4, output="o", settings=FIXED[:-2]).out


def test_records(tune):
    lines = tune("--trials", 3, "--format", "jsonl").succeeded().lines
    records = [strict_json(line) for line in lines]
    assert [one["trial"] for one in records] == [0, 1, 2]
    names = ["trial", "state", "best", "valid_nats", "steps", "planned_steps", "dropout", "learning_rate"]
    assert all(list(one) == names for one in records)
    assert sum(one["best"] for one in records) == 1 and records[0]["planned_steps"] == 40
    tsv = tune("--trials", 3, "--format", "tsv", "--force").succeeded().lines
    assert tsv[0].split("\t") == names and len(tsv) == 4


def test_quiet_prints_what_is_needed_to_repeat_it(tune):
    result = tune("--trials", 1, "--quiet")
    assert result.succeeded().err.splitlines() == ["best: trial 0; to repeat it:", command_of(result)]


def test_words_search_the_embedding_and_labels_are_taken(charlm, tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{'good' if i % 3 else 'bad'}\tword{i % 7} of {i % 5}\n" for i in range(60)))
    flags = ("--task", "classify", "--level", "word", "--embedding-size", 4, *FIXED)
    records = (
        charlm("tune", pairs, "-o", tmp_path / "m", "--trials", 2, "--format", "jsonl", *flags).succeeded().records
    )
    assert "embedding_size" not in records[0]
    words = tmp_path / "words.txt"
    words.write_text("the cat sees fish\na dog likes it\n" * 20)
    flags = ("--level", "word", "--hidden-size", 8, "--max-steps", 20, "--seed", 1)
    records = (
        charlm("tune", words, "-o", tmp_path / "n", "--trials", 2, "--format", "jsonl", *flags).succeeded().records
    )
    assert records[0]["embedding_size"] > 0 and "hidden_size" not in records[0]


def test_a_held_out_file_is_judged_and_named_in_the_command(tune, corpus, tmp_path):
    held_out = tmp_path / "held out.txt"
    held_out.write_text("Rato\nNisau\n")
    command = command_of(tune("--trials", 1, "--valid", held_out).succeeded())
    assert f"--valid '{held_out}'" in command and "--valid-fraction" not in command


@pytest.mark.slow
def test_minutes_are_a_number_of_steps_of_each_trial(tune):
    result = tune("--trials", 2, "--trial-minutes", 0.01, settings=(*FIXED[:8], *FIXED[10:])).succeeded()
    assert "--minutes" not in command_of(result) and "--max-steps" in command_of(result)


@pytest.mark.slow
def test_minutes_alone_end_the_search(tune):
    result = tune("--minutes", 0.08, "--format", "jsonl", settings=(*FIXED[:8], *FIXED[10:])).succeeded()
    assert len(result.records) >= 2


def test_a_trial_of_a_few_steps_is_warned_of(tune):
    settings = (*FIXED[:8], "--max-steps", 10, "--seed", 3)
    assert "only 10 steps" in tune("--trials", 1, settings=settings).succeeded().err
    assert "warning" not in tune("--trials", 1, output="n").succeeded().err


@pytest.mark.slow
def test_a_search_is_shared_and_continued(tune, corpus, tmp_path):
    """Two processes at the same time, then a third one."""
    storage = f"sqlite:///{tmp_path / 'search.db'}"
    flags = (*FIXED, "--threads", 1, "--storage", storage, "--format", "jsonl")
    outputs = [tmp_path / "one", tmp_path / "two"]
    with (
        started("tune", corpus, "-o", outputs[0], "--trials", 6, *flags) as one,
        started("tune", corpus, "-o", outputs[1], "--trials", 6, *flags) as two,
    ):
        ends = [process.communicate(timeout=600) for process in (one, two)]
        assert [process.returncode for process in (one, two)] == [0, 0], ends
    joined = tune("--trials", 7, "--storage", storage, "--format", "jsonl", output="three").succeeded()
    assert [record["trial"] for record in joined.records] == list(range(7))
    assert all(record["state"] in ("complete", "pruned") for record in joined.records)
    (best,) = [record for record in joined.records if record["best"]]
    assert best["valid_nats"] == min(one["valid_nats"] for one in joined.records if one["state"] == "complete")
    # Another process or an earlier one has trained the winner; every process has its weights.
    again = tune("--trials", 7, "--storage", storage, output="four").succeeded()
    assert f"wrote {tmp_path / 'four.safetensors'}" in again.err
    assert (tmp_path / "four.safetensors").read_bytes() == (tmp_path / "three.safetensors").read_bytes()
    # The same output again is not refused, another model there is.
    tune("--trials", 7, "--storage", storage, output="four").succeeded()
    (tmp_path / "four.safetensors").write_bytes(b"mine")
    tune("--trials", 8, "--storage", storage, output="four").failed(2, "output exists")


@pytest.mark.slow
def test_a_seed_that_is_not_given_is_that_of_the_storage(tune, tmp_path):
    storage = ("--storage", f"sqlite:///{tmp_path / 'search.db'}")
    tune("--trials", 1, *storage).succeeded()
    assert "seed 3" in tune("--trials", 2, *storage, settings=FIXED[:-2]).succeeded().err.splitlines()


@pytest.mark.slow
def test_another_search_in_the_storage_is_refused(tune, corpus, tmp_path):
    storage = ("--storage", f"sqlite:///{tmp_path / 'search.db'}")
    tune("--trials", 1, *storage).succeeded()
    tune("--trials", 2, *storage, "--cell", "gru").failed(2, "cell is not given there, gru here", "search.db")
    tune("--trials", 2, *storage, "--trial-minutes", 1).failed(2, "minutes is not given there, 1.0 here")
    corpus.write_bytes(corpus.read_bytes() + b"more\n")
    tune("--trials", 2, *storage).failed(2, "another corpus", "search.db")


def test_a_storage_that_cannot_be_used(tune, corpus, tmp_path):
    tune("--trials", 1, "--storage", "search.db").failed(2, "search.db", "sqlite:///FILE")
    tune("--trials", 1, "--storage", "nosuch://search.db").failed(2, "nosuch", "sqlite:///FILE")
    tune("--trials", 1, "--storage", f"sqlite:///{tmp_path}/nosuch/search.db").failed(6, "nosuch")
    tune("--trials", 1, "--storage", f"sqlite:///{corpus}").failed(6, "not a database", "names.txt")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), ("no end", "--minutes", "--trials")),
        (("--minutes", 0), ("--minutes is 0",)),
        (("--minutes", "nan"), ("--minutes is nan",)),
        (("--trials", 1, "--trial-minutes", -1), ("--trial-minutes is -1",)),
        (("--minutes", 1, "--trial-minutes", 2), ("--trial-minutes 2 with --minutes 1",)),
        (("--trials", 0), ("--trials",)),
        (("--trials", 1, "--lr", 0.1, "--dropout", 0.1), ("nothing is left to search", "charlm train")),
        (("--trials", 1, "--hidden-size", 0), ("--hidden-size is 0",)),
        (("--trials", 1, "--resume"), ("--resume",)),
    ],
)
def test_mistakes(tune, flags, words, unchanged):
    unchanged()
    tune(*flags).failed(2, *words)
    unchanged()


def test_without_held_out_text_there_is_nothing_to_compare(tune):
    tune("--trials", 1, "--valid-fraction", 0).failed(3, "held-out", "--valid")


def test_an_output_that_exists_is_refused_unless_forced(tune, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"mine")
    tune("--trials", 1).failed(2, "output exists", "--force")
    assert (tmp_path / "m.safetensors").read_bytes() == b"mine"
    tune("--trials", 1, "--force").succeeded()
    assert (tmp_path / "m.safetensors").read_bytes() != b"mine"


def test_a_search_whose_trials_all_diverge(tune, tmp_path):
    flags = ("--lr", 1e9, "--clip", 0, "--cell", "rnn", "--activation", "relu")
    tune("--trials", 2, *flags).failed(5, "every trial failed", "--lr")
    assert not (tmp_path / "m.safetensors").exists()


def test_a_search_whose_trials_all_need_too_much_memory(tune, monkeypatch):
    def build(*_, **__):
        raise MemoryError

    monkeypatch.setattr("charlm.tuning.search.build", build)
    tune("--trials", 2).failed(6, "out of memory", "--hidden-size")


def test_optuna_is_missing(tune, monkeypatch, unchanged):
    for name in [one for one in sys.modules if one.split(".")[0] == "optuna" or one.startswith("charlm.tuning")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    unchanged()
    tune("--trials", 1).failed(6, "optuna is not installed", "pip install 'charlm-rnn[tune]'")
    unchanged()


@pytest.mark.slow
def test_a_signal_leaves_the_best_model_and_the_table(corpus, tmp_path):
    """And the search goes on from there."""
    storage = ("--storage", f"sqlite:///{tmp_path / 'search.db'}", "--threads", 1, *FIXED)
    with started("tune", corpus, "-o", tmp_path / "m", "--trials", 1000, *storage) as process:
        while not (line := read_line(process.stderr)).startswith(b"trial 1 "):
            assert line
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert b"stopped" in err and b"best: trial" in err and b"charlm train" in err
    begun = [line for line in out.decode().splitlines()[1:] if "interrupted" not in line]
    assert len(begun) >= 2 and (tmp_path / "m.safetensors").exists()
    more = run("tune", corpus, "-o", tmp_path / "m", "--trials", len(begun) + 2, *storage).succeeded()
    ended = [line for line in more.lines[1:] if "interrupted" not in line]
    assert len(ended) == len(begun) + 2
    assert [" ".join(line.replace("*", "").split()) for line in ended[: len(begun)]] == [
        " ".join(line.replace("*", "").split()) for line in begun
    ]


@pytest.mark.slow
def test_a_terminal_shows_a_bar(corpus, tmp_path):
    code, shown = on_terminal("tune", corpus, "-o", tmp_path / "m", "--trials", 2, *FIXED)
    assert code == 0 and b"trial 0" in shown and b"step" in shown
