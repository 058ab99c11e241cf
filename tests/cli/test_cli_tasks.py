"""Every command with every task: what fits works, and what does not is refused with the commands that do."""

import json
import math
import re

import mido
import pytest

from charlm import load
from charlm.inference.figures import figures
from charlm.inference.scoring import Scorer
from charlm.text.tokens.music_steps import parse_steps
from tests.task_models import CLASSES, FITTING, KINDS, TASKS, TEXTS, given_the_others, ids_of, saved

ROWS = ("by_source_length", "by_type")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("tasks"))


def path_of(models, kind):
    return models.folder / f"{kind}.safetensors"


def text_of(kind):
    return TEXTS[kind].encode()


# ---- every command, every task


@pytest.mark.parametrize("command", ["generate", "next", "score", "surprisal", "filter", "fill", "predict", "evaluate"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_command_works_with_its_tasks_and_refuses_the_others(charlm, models, kind, command):
    args = (command, path_of(models, kind), *(CLASSES.get(kind, ()) if command in ("generate", "next") else ()))
    args += ("--below", "inf") if command == "filter" else ()
    task = TASKS[kind]
    if command in FITTING[task]:
        assert charlm(*args, "-q", stdin=text_of(kind)).succeeded().out
        return
    result = charlm(*args, stdin=text_of(kind)).failed(2)
    error, hint = result.err.splitlines()
    assert error == f"charlm: error: charlm {command} does not work with a --task {task} model"
    assert all(f"charlm {name}" in hint for name in FITTING[task]) and hint.count("charlm ") == len(FITTING[task])
    assert result.out == b""


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_prints_the_figures_in_each_format(charlm, models, kind):
    expected = figures(load(path_of(models, kind)), TEXTS[kind].split("\n")[:-1])
    (record,) = charlm("evaluate", path_of(models, kind), "--format", "jsonl", stdin=text_of(kind)).succeeded().records
    text = charlm("evaluate", path_of(models, kind), stdin=text_of(kind)).succeeded().lines
    header, row = charlm("evaluate", path_of(models, kind), "--format", "tsv", stdin=text_of(kind)).succeeded().lines
    assert list(record) == list(expected)
    for name in set(expected) - {"tokens_per_second"}:
        assert record[name] == (expected[name] if name in ROWS else pytest.approx(expected[name]))
    names = [name for name in expected if name not in ROWS]
    assert header.split("\t") == names and len(row.split("\t")) == len(names)
    rows = [line for line in text if re.match(r"bleu, source of |\w+ \(\d+\)  precision ", line)]
    assert [line.split()[0] for line in text if line not in rows] == names
    assert len(rows) == sum(len(expected.get(name, [])) for name in ROWS)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("tag", "the\tP\ncat\tQ\n", "the tag 'Q' was never seen"),
        ("yes-no", "the\t0\ncat\t2\n", "the tag '2' was never seen"),
        ("tag", "the\tP\ncat\n", "1 column instead of token TAB tag"),
        ("classify", "good\ta\nfine\tb\n", "the label 'fine' was never seen"),
        ("conditioned", "x\ta\nq\tb\n", "the label 'q' was never seen"),
        ("translate", "the\tle\nthe cat\n", "source TAB target"),
        ("genre", "jig\t60\npolka\t60\n", "the genre 'polka' was never seen"),
        ("music", "60\n60 H\n", "step 2 is 'H'"),
        ("music", "60\n\n", "a piece without steps"),
    ],
)
def test_evaluate_names_the_place_of_what_does_not_fit(charlm, models, tmp_path, kind, text, words):
    path = tmp_path / "corpus.tsv"
    path.write_text(text)
    result = charlm("evaluate", path_of(models, kind), path).failed(3, words, f"{path} line 2")
    assert result.out == b""


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_refuses_an_empty_corpus(charlm, models, kind):
    charlm("evaluate", path_of(models, kind), stdin=b"").failed(3, "nothing to evaluate")


# ---- score: cloze

CLOZE = ["the cat sees it.", "", "zebra", "the dog, the cat, the dog", "."]
CLOZE_TEXT = "".join(f"{line}\n" for line in CLOZE).encode()


def pseudo(lm, line):
    ids = ids_of(lm, line)
    return [-math.log(given_the_others(lm, ids, place)[token]) for place, token in enumerate(ids)]


@pytest.mark.parametrize(
    ("base", "key", "unit"), [("10", "log10p", math.log(10)), ("2", "log2p", math.log(2)), ("e", "lnp", 1.0)]
)
def test_a_cloze_models_figures_are_pseudo(charlm, models, base, key, unit):
    args = ("score", models.cloze, "--log-base", base)
    each = [pseudo(models.models["cloze"], line) for line in CLOZE]
    records = charlm(*args, "--format", "jsonl", "--per", "token", stdin=CLOZE_TEXT).succeeded().records
    for record, line, nats in zip(records, CLOZE, each, strict=True):
        figures = {f"pseudo_{name}" for name in (key, "prob", "perplexity", "bits_per_char")}
        assert set(record) == {"text", "tokens", "oov", "token_scores"} | figures
        assert (record["text"], record["tokens"], record["oov"]) == (line, len(nats), int(line == "zebra"))
        assert record[f"pseudo_{key}"] == pytest.approx(-sum(nats) / unit)
        assert [one[f"pseudo_{key}"] for one in record["token_scores"]] == pytest.approx([-n / unit for n in nats])
        assert [set(one) for one in record["token_scores"]] == [{"token", f"pseudo_{key}", "oov"}] * len(nats)
    header, *rows = charlm(*args, stdin=CLOZE_TEXT).succeeded().lines
    assert header == f"pseudo_{key}\ttokens\toov\tpseudo_perplexity\ttext"
    assert [row.split("\t", 4)[4] for row in rows] == CLOZE
    assert [float(row.split("\t")[0]) for row in rows] == pytest.approx([-sum(n) / unit for n in each], abs=6e-5)
    assert charlm(*args, "--per", "token", stdin=CLOZE_TEXT).succeeded().lines[0] == f"line\ttoken\tpseudo_{key}\toov"
    shown = charlm(*args, "--format", "text", stdin=CLOZE_TEXT).succeeded().lines
    assert shown == [row.split("\t")[0] for row in rows] and shown[1] == "0.0000"


def test_many_lines_keep_their_order_and_number_also_unbuffered(charlm, models):
    text = "".join(f"{'the cat, ' * (n % 7)}{'dog' * (n % 3)}\n" for n in range(300)).encode()
    plain, hurried, small = (
        charlm("score", models.cloze, *flags, stdin=text).succeeded().out
        for flags in ((), ("--unbuffered",), ("--batch-size", 3))
    )
    assert plain == hurried == small
    texts = [row.split(b"\t", 4)[4] for row in plain.split(b"\n")[1:-1]]
    assert texts == text.split(b"\n")[:-1]


@pytest.mark.parametrize("form", ["kenlm", "srilm"])
def test_pseudo_figures_are_not_passed_off_as_probabilities(charlm, models, form):
    charlm("score", models.cloze, "--format", form, stdin=CLOZE_TEXT).failed(2, form, "cloze")


def test_suspects(charlm, models):
    from charlm.inference.suspects import suspects

    args = ("score", models.cloze, "--suspect", "--suspect-factor", 3)
    found = list(suspects(models.models["cloze"], CLOZE, factor=3.0))
    assert sum(len(listed) for _, listed in found) > 2
    header, *rows = charlm(*args, stdin=CLOZE_TEXT).succeeded().lines
    assert header == "pseudo_log10p\ttokens\toov\tsuspects\ttext"
    named = [" ".join(f"{one.token}>{one.suggestion.token}" for one in listed) for _, listed in found]
    assert [row.split("\t", 4)[3:] for row in rows] == [list(pair) for pair in zip(named, CLOZE, strict=True)]
    assert rows[1] == "0.0000\t0\t0\t\t"
    records = charlm(*args, "--format", "jsonl", "--unbuffered", stdin=CLOZE_TEXT).succeeded().records
    for record, (_, listed), line in zip(records, found, CLOZE, strict=True):
        assert record["text"] == line and "pseudo_log10p" in record
        assert [(s["position"], s["token"], s["suggestion"]) for s in record["suspects"]] == [
            (one.position, one.token, one.suggestion.token) for one in listed
        ]
        for shown, one in zip(record["suspects"], listed, strict=True):
            assert shown["pseudo_log10p"] == pytest.approx(-one.nats / math.log(10))
            assert shown["prob"] == pytest.approx(one.suggestion.prob)


def test_suspects_are_refused_elsewhere(charlm, models):
    for path in (models.lm, models.conditioned):
        charlm("score", path, "--suspect", stdin=b"abc\n").failed(2, "--suspect", "--bidirectional")
    for flags in (("--per", "token"), ("--format", "text"), ("--suspect-factor", 0.5)):
        charlm("score", models.cloze, "--suspect", *flags, stdin=CLOZE_TEXT).failed(2, flags[0])


# ---- score and generate: conditioned


def test_conditioned_scores_have_a_label(charlm, models):
    expected = list(Scorer(load(models.conditioned)).score(TEXTS["conditioned"].split("\n")[:-1]))
    header, *rows = charlm("score", models.conditioned, stdin=text_of("conditioned")).succeeded().lines
    assert header == "log10p\ttokens\toov\tperplexity\tlabel\ttext"
    assert rows == [f"{s.log10p:.4f}\t{s.tokens}\t{s.oov}\t{s.perplexity:.4f}\t{s.label}\t{s.text}" for s in expected]
    records = charlm("score", models.conditioned, "--format", "jsonl", stdin=text_of("conditioned")).records
    assert [(one["label"], one["text"]) for one in records] == [("x", "abc"), ("zz", "c"), ("y", "bb")]
    assert [one["log10p"] for one in records] == pytest.approx([s.log10p for s in expected])


def test_an_unknown_label_is_told_with_file_and_line(charlm, models, tmp_path):
    path = tmp_path / "in.tsv"
    path.write_text("x\tabc\nq\tabc\n")
    charlm("score", models.conditioned, path).failed(3, "'q'", f"{path} line 2")


def test_a_class_is_to_be_given_and_known(charlm, models):
    for kind in ("conditioned", "genre"):
        labels = ", ".join(KINDS[kind][1])
        charlm("generate", path_of(models, kind)).failed(2, "no class", f"--class: {labels}")
        charlm("generate", path_of(models, kind), "--class", "q").failed(2, "'q'", f"--class: {labels}")
    for path in (models.lm, models.music):
        charlm("generate", path, "--class", "x").failed(2, "--class")


def test_texts_of_a_class(charlm, models):
    args = ("generate", models.conditioned, "-n", 5, "--seed", 1, "--format", "jsonl", "--class")
    by_class = {label: charlm(*args, label).succeeded().out for label in KINDS["conditioned"][1]}
    assert len(set(by_class.values())) == 3
    for label, out in by_class.items():
        assert charlm(*args, label).out == out
        assert {json.loads(line)["label"] for line in out.splitlines()} == {label}


# ---- generate: music


def test_a_piece_is_printed_recorded_and_written_as_midi(charlm, models, tmp_path):
    midi = tmp_path / "x.mid"
    args = ("generate", models.genre, "--class", "jig", "-l", 12, "--seed", 3, "-p", "60 62,64")
    (line,) = charlm(*args).succeeded().lines
    steps = list(parse_steps(line))
    assert len(steps) == 14 and steps[:2] == [(60,), (62, 64)]
    (record,) = charlm(*args, "--format", "jsonl", "--midi", midi).succeeded().records
    assert (record["text"], record["tokens"], record["seed"], record["label"]) == (line, line.split(), 3, "jig")
    assert record["log10p"] < 0
    assert "steps" not in record or record["steps"] == [list(step) for step in steps]
    onsets, now = {}, 0
    for message in mido.MidiFile(midi).tracks[0]:
        now += message.time
        if message.type == "note_on":
            onsets.setdefault(now // 480, set()).add(message.note)
    began = {at: set(new) - set(old) for at, (old, new) in enumerate(zip([(), *steps[:-1]], steps, strict=True))}
    assert onsets == {at: keys for at, keys in began.items() if keys}


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("-n", 2, "--midi", "x.mid"), 2, "--midi with --num-samples"),
        (("--midi", "no/such/x.mid"), 6, "x.mid"),
        (("--top-k", 2), 2, "--top-k"),
        (("--top-p", 0.5), 2, "--top-p"),
        (("--top-p", 0.0), 2, "--top-p"),
        (("--stop", "60"), 2, "--stop"),
        (("-p", "60 H"), 2, "step 2"),
        (("-p", "59"), 2, "59"),
    ],
)
def test_what_music_has_no_place_for(charlm, models, tmp_path, monkeypatch, args, code, words):
    monkeypatch.chdir(tmp_path)
    assert charlm("generate", models.music, *args).failed(code, words).out == b""
    assert list(tmp_path.iterdir()) == []


def test_midi_is_of_music(charlm, models, tmp_path):
    charlm("generate", models.lm, "--midi", tmp_path / "x.mid").failed(2, "--midi", "--task music")
    assert not (tmp_path / "x.mid").exists()


def test_midi_overwrites_midi_files_and_nothing_else(charlm, models, tmp_path):
    """Not the model that it is drawn from, nor a file called -."""
    precious = tmp_path / "precious.safetensors"
    precious.write_bytes(models.music.read_bytes())
    for name in (precious, "-"):
        charlm("generate", precious, "--midi", name, "--seed", 1).failed(2, "--midi", "MIDI file to overwrite")
    assert precious.read_bytes() == models.music.read_bytes()
    song = tmp_path / "song.mid"
    for length in (5, 9):
        charlm("generate", precious, "-l", length, "--midi", song, "--seed", 1).succeeded()
    assert mido.MidiFile(song).length == pytest.approx(9 * 0.5, abs=2.0)
