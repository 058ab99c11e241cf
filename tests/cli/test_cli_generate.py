"""`charlm generate`: exactly what the library draws, on standard output and nothing else."""

import csv
import io
import json
import math
import signal

import pytest

from charlm import load
from charlm.backends.compiled.library import CORES, obstacle
from charlm.config import SampleConfig
from charlm.inference.generation import Sampler
from tests.cli.shell import SECONDS, bash, run, started


def drawn(path, prompt="", *, seed, count=1, **config):
    sampler = Sampler(load(path, device="cpu"), SampleConfig(**config))
    return [sampler.sample(prompt, seed=seed, number=number) for number in range(count)]


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", ["char", "stream", "word"])
def test_the_output_is_what_the_sampler_draws(trained, name):
    path = getattr(trained, name)
    result = run("generate", path, "--seed", 5, "-n", 3, "-l", 40).succeeded()
    texts = [sample.text for sample in drawn(path, seed=5, count=3, length=40)]
    assert result.text == "".join(f"{text}\n" for text in texts)
    assert result.err == ""
    assert len(set(texts)) == 3


def test_the_default_is_one_text_of_two_hundred_tokens(charlm, trained):
    result = charlm("generate", trained.stream, "--seed", 5).succeeded()
    (sample,) = drawn(trained.stream, seed=5)
    assert result.text == sample.text + "\n"
    assert len(sample.tokens) == 200


def test_the_filters_reach_the_sampler(charlm, trained):
    flags = ["-t", 0.7, "--top-k", 6, "--top-p", 0.8, "--stop", "z", "--stop", "he", "-l", 60]
    result = charlm("generate", trained.stream, "--seed", 2, "-n", 4, *flags).succeeded()
    config = {"temperature": 0.7, "top_k": 6, "top_p": 0.8, "stop": ("z", "he"), "length": 60}
    samples = drawn(trained.stream, seed=2, count=4, **config)
    assert result.text == "".join(f"{sample.text}\n" for sample in samples)
    assert any(len(sample.text) < 59 for sample in samples)


@pytest.mark.parametrize("core", [core for core in CORES if not obstacle(core)])
@pytest.mark.parametrize("corpus", ["names", "sentences"])
def test_every_core_draws_the_same_text(charlm, monkeypatch, trained, tmp_path, corpus, core):
    """In double precision, in which no draw is so close that cores differ."""
    model, found = tmp_path / "m.safetensors", []
    small = ("--hidden-size", 6, "--max-steps", 5, "--dtype", "float64", "--seed", 1)
    flags = ("--unit", "stream") if corpus == "sentences" else ()
    charlm("train", getattr(trained, corpus), "-o", model, *small, *flags).succeeded()
    for name in ("numpy", core):
        monkeypatch.setenv("CHARLM_CORE", name)
        for more in ((), ("-p", "ra", "--stop", "s"), ("-t", 0.6, "--top-k", 9, "--top-p", 0.9)):
            found.append(charlm("generate", model, "--seed", 7, "-n", 6, "-l", 70, *more).succeeded().out)
    assert found[:3] == found[3:]
    assert len(set(found)) == 3


def test_temperature_zero_needs_no_seed_to_be_the_same(charlm, trained):
    texts = {charlm("generate", trained.char, "-t", 0, "-q").succeeded().text for _ in range(3)}
    assert len(texts) == 1


def test_of_length_zero_there_is_the_prompt(charlm, trained):
    assert charlm("generate", trained.char, "-l", 0, "--seed", 1).succeeded().out == b"\n"
    assert charlm("generate", trained.char, "-l", 0, "--seed", 1, "-p", "Ra").succeeded().out == b"Ra\n"


def test_a_chosen_seed_is_printed_and_repeats_the_text(charlm, trained):
    first = charlm("generate", trained.stream).succeeded()
    assert first.err.startswith("seed ") and first.err.count("\n") == 1
    again = charlm("generate", trained.stream, "--seed", first.err.split()[1]).succeeded()
    assert (again.out, again.err) == (first.out, "")
    assert charlm("generate", trained.stream).succeeded().out != first.out


# ---- prompts


def test_a_prompt_is_an_argument_or_standard_input(charlm, trained):
    (sample,) = drawn(trained.char, "Ra", seed=3)
    expected = sample.text + "\n"
    assert expected.startswith("Ra")
    for args, stdin in (
        (["-p", "Ra"], b""),
        (["--prompt", "Ra"], b"not read"),
        (["--prompt=Ra"], b""),
        (["-p", "-"], b"Ra\n"),
        (["-p", "-"], b"Ra"),
        (["-p", "-"], b"\xef\xbb\xbfRa\r\n"),
    ):
        assert charlm("generate", trained.char, "--seed", 3, *args, stdin=stdin).succeeded().text == expected


def test_a_prompt_of_several_lines_is_for_streams(charlm, trained):
    (sample,) = drawn(trained.stream, "the cat\nshe", seed=3, length=10)
    args = ["--seed", 3, "-l", 10]
    expected = sample.text + "\n"
    assert charlm("generate", trained.stream, *args, "-p", "the cat\nshe").succeeded().text == expected
    assert charlm("generate", trained.stream, *args, "-p", "-", stdin=b"the cat\nshe\n").succeeded().text == expected
    for command in (["-p", "Ra\nto"], ["-p", "-"]):
        assert charlm("generate", trained.char, *args, *command, stdin=b"Ra\nto\n").failed(2, "newline").out == b""


def test_unknown_symbols_of_the_prompt_are_warned_of(charlm, trained):
    result = charlm("generate", trained.char, "--seed", 1, "-p", "R?a\x1b?\N{SNOWMAN}").succeeded()
    assert result.text.startswith("R?a\x1b?\N{SNOWMAN}")
    assert result.err.startswith("charlm: warning: ") and result.err.count("\n") == 1
    assert "'?'" in result.err and "'\N{SNOWMAN}'" in result.err and "'R'" not in result.err
    assert result.err.count("?") == 1 and "\x1b" not in result.err
    words = charlm("generate", trained.word, "--seed", 1, "-p", "the zebra sees").succeeded()
    assert "'zebra'" in words.err and "'the'" not in words.err


def test_a_prompt_that_is_no_utf8_comes_out_as_it_went_in(charlm, trained):
    result = charlm("generate", trained.char, "--seed", 1, "-l", 0, "-p", "-", stdin=b"R\xff\xfea\n").succeeded()
    assert result.out == b"R\xff\xfea\n"
    assert result.err.count("\n") == 1
    shown = bash(f"charlm generate {trained.char} --seed 1 -l 0 -p $'R\\xff'").succeeded()
    assert shown.out == b"R\xff\n"


def test_a_prompt_that_looks_like_an_option(charlm, trained):
    assert charlm("generate", trained.char, "--seed", 1, "-l", 0, "--prompt=--help").succeeded().out == b"--help\n"
    assert charlm("generate", trained.char, "--seed", 1, "-l", 0, "-p", "-x").succeeded().out == b"-x\n"


def test_a_long_prompt(charlm, trained):
    prompt = "the cat sees fish.\n" * 2000
    (sample,) = drawn(trained.stream, prompt[:-1], seed=1, length=5)
    result = charlm("generate", trained.stream, "--seed", 1, "-l", 5, "-p", "-", stdin=prompt.encode()).succeeded()
    assert result.text == sample.text + "\n"


# ---- JSON Lines


def test_records(charlm, trained):
    args = ["--seed", 4, "-n", 3, "-l", 30, "-p", "Ra", "--format", "jsonl"]
    records = charlm("generate", trained.char, *args).succeeded().records
    samples = drawn(trained.char, "Ra", seed=4, count=3, length=30)
    assert len(records) == 3
    for record, sample in zip(records, samples, strict=True):
        assert set(record) == {"text", "tokens", "log10p", "unk_mass_rejected", "seed"}
        assert (record["text"], record["tokens"], record["seed"]) == (sample.text, sample.tokens, 4)
        assert record["log10p"] == pytest.approx(sample.log_prob / math.log(10))
        assert record["unk_mass_rejected"] == pytest.approx(sample.unk_mass_rejected)


def test_csv_has_the_same_records(charlm, trained):
    """A text of a stream has newlines; its tokens are a JSON array, which is a cell of its own."""
    for model, prompt in ((trained.stream, 'a "b",\n'), (trained.char, "Ra")):
        args = ["generate", model, "--seed", 4, "-n", 3, "-l", 30, "-p", prompt, "--format"]
        records = charlm(*args, "jsonl").succeeded().records
        table = charlm(*args, "csv").succeeded().text
        header, *rows = csv.reader(io.StringIO(table, newline=""), strict=True)
        assert header == list(records[0])
        for row, record in zip(rows, records, strict=True):
            cells = dict(zip(header, row, strict=True))
            assert (cells["text"], json.loads(cells["tokens"])) == (record["text"], record["tokens"])
            assert float(cells["log10p"]) == pytest.approx(record["log10p"], abs=1e-4) and cells["seed"] == "4"
        assert charlm(*args, "csv", "--no-header").succeeded().text == table.split("\n", 1)[1]
    ranked = charlm("generate", trained.char, "--seed", 4, "-n", 3, "--best-of", 2, "--format", "csv").succeeded().text
    assert len(list(csv.reader(io.StringIO(ranked, newline="")))) == 4


def test_what_is_generated_has_the_probability_that_scoring_tells(charlm, trained):
    args = ["--seed", 4, "-n", 20, "--format", "jsonl", "--allow-unk"]
    generated = charlm("generate", trained.char, *args).succeeded().records
    generated = [record for record in generated if record["tokens"][-1] == "<EOS>" and "<UNK>" not in record["tokens"]]
    assert len(generated) > 5
    text = "".join(f"{record['text']}\n" for record in generated).encode()
    scored = charlm("score", trained.char, "--format", "jsonl", stdin=text).succeeded().records
    for one, two in zip(generated, scored, strict=True):
        assert one["log10p"] == pytest.approx(two["log10p"], abs=1e-4)


def test_records_survive_bytes_that_are_no_utf8(charlm, trained):
    args = ["--seed", 1, "-l", 0, "-p", "-", "--format", "jsonl"]
    (record,) = charlm("generate", trained.char, *args, stdin=b"R\xff").succeeded().records
    assert record["text"].encode("utf-8", "surrogateescape") == b"R\xff"


# ---- mistakes and pipes


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("-t", "-1"),
        ("-t", "nan"),
        ("-t", "inf"),
        ("--top-k", "0"),
        ("--top-p", "-0.1"),
        ("--top-p", "1.5"),
        ("--top-p", "nan"),
        ("-l", "-1"),
        ("-n", "0"),
        ("--stop", ""),
        ("--seed", "-1"),
        ("--format", "tsv"),
        ("--threads", "0"),
    ],
)
def test_flags_out_of_range_are_refused_before_the_model_is_read(charlm, tmp_path, flag, value):
    assert charlm("generate", tmp_path / "missing", flag, value).failed(2).out == b""


@pytest.mark.thinned(2)
@pytest.mark.parametrize("flags", ["", " --unbuffered", " --format jsonl"])
def test_a_reader_that_leaves_ends_it_quietly(trained, flags):
    result = bash(f"set -o pipefail; charlm generate {trained.char} -n 1000000000 --seed 1{flags} | head -3")
    assert (result.code, result.err) == (0, "")
    assert result.out == b"".join(
        line + b"\n"
        for line in run("generate", trained.char, "-n", 3, "--seed", 1, *flags.split()).out.split(b"\n")[:3]
    )


def test_unbuffered_text_comes_piece_by_piece(trained):
    """An endless text: what comes first is far from a full buffer."""
    with started("generate", trained.stream, "-l", 10**9, "--seed", 1, "--unbuffered") as process:
        first = process.stdout.read(1 << 16)
    assert 0 < len(first) < 4096
    assert drawn(trained.stream, seed=1, length=4096)[0].text.startswith(first.decode())


def test_ctrl_c_ends_it_quietly(trained):
    with started("generate", trained.stream, "-l", 10**9, "--seed", 1) as process:
        assert process.stdout.read(100)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(SECONDS) == 130
        assert process.stderr.read() == b""
