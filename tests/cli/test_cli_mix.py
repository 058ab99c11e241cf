"""`--mix` and `--tune-mix`: a mixture in every format, its printed weights, and the mistakes that are refused."""

import contextlib
import math

import pytest

from charlm import load
from charlm.cli import ui
from charlm.inference.mixtures import Mixture, member_of
from charlm.inference.ngrams import NGramModel
from charlm.inference.scoring import Scorer
from tests.benchmarks import kneser_ney
from tests.task_models import saved

LINES = ["Ratoni", "", "sau? rus", "Tritritri"]
TEXT = "".join(f"{line}\n" for line in LINES).encode()


@pytest.fixture(scope="module")
def arpa(trained, tmp_path_factory):
    """Return an ARPA file of the characters of a few names."""
    folder = tmp_path_factory.mktemp("arpa")
    spaced = "".join(
        " ".join(line.replace(" ", "\u2581")) + "\n" for line in trained.names.read_text().splitlines()[:12]
    )
    (folder / "spaced.txt").write_text(spaced)
    kneser_ney.write(folder / "spaced.txt", 2, folder / "names.arpa")
    return folder / "names.arpa"


def mixture_of(trained, arpa, weights):
    """Return the mixture of the model of names, the stream model and the ARPA file, from the library."""
    first, second = (load(path, device="cpu") for path in (trained.char, trained.stream))
    others = [second, NGramModel(str(arpa), first.tokenizer.splitter)]
    return Mixture(Scorer(first), [member_of(first, other, "other") for other in others], weights)


def printed_weights(err):
    """Return the values for --mix that a line of weights shows, with the weight of the first model."""
    (line,) = [line for line in err.splitlines() if line.startswith("mixture: ")]
    return line.removeprefix("mixture: ").split(";")[0].split(", ")


def test_records_are_those_of_the_library(charlm, trained, arpa):
    args = ("--mix", f"{trained.stream}=0.25", "--mix", f"{arpa}=0.35", "--format", "jsonl")
    result = charlm("score", trained.char, *args, "--per", "token", stdin=TEXT).succeeded()
    assert result.err == ""
    for record, score in zip(result.records, mixture_of(trained, arpa, [0.4, 0.25, 0.35]).score(LINES), strict=True):
        assert record["log10p"] == pytest.approx(score.log10p, rel=1e-6)
        assert (record["tokens"], record["oov"]) == (score.tokens, score.oov)
        assert sum(one["log10p"] for one in record["token_scores"]) == pytest.approx(score.log10p, rel=1e-6)


@pytest.mark.parametrize("flags", [(), ("--per", "token"), ("--format", "kenlm"), ("--per", "word", "--no-eos")])
def test_weight_one_changes_no_byte(charlm, trained, arpa, flags):
    plain = charlm("score", trained.char, *flags, stdin=TEXT).succeeded()
    for other in (f"{trained.stream}=0", f"{arpa}=0"):
        assert charlm("score", trained.char, *flags, "--mix", other, stdin=TEXT).succeeded().out == plain.out


def test_the_text_of_the_weights_and_pairs_show_progress(charlm, trained, monkeypatch):
    shown = []

    @contextlib.contextmanager
    def shows(unit, total=None):
        shown.append((unit, total, []))
        yield shown[-1][2].append

    monkeypatch.setattr(ui, "progress_of", shows)
    args = ("evaluate", trained.char, "--mix", trained.stream, "--tune-mix", trained.names)
    charlm(*args, stdin=TEXT).succeeded()
    size = trained.names.stat().st_size
    assert [(unit, total, sum(done)) for unit, total, done in shown[:1]] == [("B", size, size)]
    charlm("evaluate", trained.char, "--pairs", stdin=b"a\tb\nc\td\n").succeeded()
    assert shown[-1] == ("pair", None, [1, 1])


def test_equal_weights_are_printed_and_may_be_given_again(charlm, trained, arpa):
    names = (trained.stream, arpa)
    equal = charlm("score", trained.char, *(f"--mix={name}" for name in names), stdin=TEXT).succeeded()
    shown = printed_weights(equal.err)
    assert shown == [f"{trained.char}=0.333334", f"{names[0]}=0.333333", f"{names[1]}=0.333333"]
    again = charlm("score", trained.char, *(f"--mix={one}" for one in shown[1:]), stdin=TEXT).succeeded()
    assert (again.out, again.err) == (equal.out, "")


def test_tuned_weights_predict_the_text_best(charlm, trained, arpa, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("".join(path.read_text()[:500] for path in (trained.names, trained.sentences)))
    args = ("evaluate", trained.char, "--format", "jsonl", text)
    tuned = charlm(*args, "--mix", trained.stream, "--mix", arpa, "--tune-mix", text).succeeded()
    (best,) = tuned.records
    assert f"-> {best['perplexity']:.2f} ({best['tokens']:,} tokens)" in tuned.err
    _, *given = printed_weights(tuned.err)
    (again,) = charlm(*args, *(f"--mix={one}" for one in given)).succeeded().records
    assert {**again, "tokens_per_second": 0} == {**best, "tokens_per_second": 0}
    first, second = (float(one.rpartition("=")[2]) for one in given)
    assert 0.05 < first < 0.95
    for moved in (-0.02, 0.02):
        other = (f"--mix={trained.stream}={first + moved}", f"--mix={arpa}={second - moved}")
        (worse,) = charlm(*args, *other).succeeded().records
        assert worse["nats_per_token"] > best["nats_per_token"]


def test_figures_of_weight_one_are_those_of_the_model(charlm, trained, arpa):
    for model in (trained.char, trained.stream):
        args = ("evaluate", model, "--format", "jsonl", trained.names)
        (plain,) = charlm(*args).succeeded().records
        (mixed,) = charlm(*args, "--mix", f"{arpa}=0").succeeded().records
        assert plain.keys() == mixed.keys() and mixed["accuracy"] is None
        for name in plain.keys() - {"accuracy", "tokens_per_second"}:
            assert mixed[name] == pytest.approx(plain[name], rel=1e-5), name


def test_a_mixture_has_pages_and_reads_columns(charlm, trained, arpa, tmp_path):
    (tmp_path / "table.csv").write_text("id,text\n1,Ratoni\n2,sau\n")
    args = ("--field", "text", "--format", "csv", "--html", tmp_path / "page.html")
    result = charlm("score", trained.char, tmp_path / "table.csv", *args, "--mix", f"{arpa}=0.5").succeeded()
    scores = list(mixture_of(trained, arpa, [0.5, 0.0, 0.5]).score(["Ratoni", "sau"]))
    expected = [f"{at},{s.log10p:.4f},{s.tokens},0,{s.perplexity:.4f},{s.text}" for at, s in enumerate(scores, 1)]
    assert result.lines[1:] == expected
    page = (tmp_path / "page.html").read_text()
    assert all(f"{score.nats / math.log(2.0):.2f}" in page for score in scores)


def test_each_stream_model_carries_its_state(charlm, trained):
    args = ("score", trained.stream, "--carry-state", "--format", "jsonl")
    alone, mixed = (charlm(*args, *more, stdin=TEXT) for more in ((), ("--mix", f"{trained.stream}=0.5")))
    for one, other in zip(mixed.succeeded().records, alone.succeeded().records, strict=True):
        assert one["log10p"] == pytest.approx(other["log10p"], rel=1e-6)


def test_mistakes(charlm, trained, arpa, tmp_path):
    kinds = saved(tmp_path)
    broken = tmp_path / "broken.arpa"
    broken.write_text(arpa.read_text().replace("\\2-grams:", "\\2-gram:"))
    other_words = tmp_path / "words.arpa"
    other_words.write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n-1\t</s>\n-1\tword\n\n\\end\\\n")
    for command, model, args, code, words in (
        ("score", trained.char, ("--mix", "none"), 4, "no such file, none or none.safetensors"),
        ("score", trained.char, ("--mix", "none.arpa=0.5"), 4, "no such file, none.arpa"),
        ("score", trained.char, ("--mix", broken), 4, f"instead of \\2-grams:, {broken} line "),
        ("score", trained.char, ("--mix", other_words), 4, "'word' is not a token of the model"),
        ("score", trained.char, ("--mix", f"{arpa}=0.6", "--mix", f"{arpa}=0.5"), 2, "the weights of --mix sum to 1.1"),
        ("score", trained.char, ("--mix", f"{arpa}=1.5"), 2, "the weight is not between 0 and 1"),
        ("score", trained.char, ("--mix", f"{arpa}=-0.1"), 2, "the weight is not between 0 and 1"),
        ("score", trained.char, ("--mix", f"{arpa}=nan"), 2, "the weight is not between 0 and 1"),
        ("score", trained.char, ("--mix", f"{arpa}=x"), 2, "the weight 'x' is not a number"),
        ("score", trained.char, ("--mix", f"{arpa}=0.5", "--mix", arpa), 2, "--mix with and without a weight"),
        ("score", trained.char, ("--tune-mix", trained.names), 2, "--tune-mix without --mix"),
        ("score", trained.char, ("--mix", f"{arpa}=0.5", "--tune-mix", trained.names), 2, "--tune-mix with a weight"),
        ("score", trained.char, ("--mix", arpa, "--tune-mix", "-"), 2, "two inputs are standard input"),
        ("score", trained.char, ("--mix", arpa, "--tune-mix", "/dev/null"), 3, "the text is empty"),
        ("score", trained.char, ("--mix", trained.word), 2, "splits text into other tokens"),
        ("score", trained.char, ("--mix", kinds.cloze_char), 2, "is a --task cloze model"),
        ("score", kinds.cloze_char, ("--mix", trained.char), 2, "--mix with a --task cloze model"),
        ("evaluate", kinds.tag, ("--mix", trained.word), 2, "--mix with a --task tag model"),
        ("evaluate", trained.char, ("--mix", arpa, "--pairs"), 2, "--pairs with --mix"),
    ):
        charlm(command, model, *args, stdin=TEXT).failed(code, words)


def test_a_name_with_an_equals_sign_is_a_name(charlm, trained, arpa, tmp_path):
    named = tmp_path / "lr=0.5.arpa"
    named.write_bytes(arpa.read_bytes())
    plain = charlm("score", trained.char, "--mix", f"{arpa}=0.5", stdin=TEXT).succeeded()
    for value in (str(named), f"{named}=0.5"):
        result = charlm("score", trained.char, "--mix", value, stdin=TEXT).succeeded()
        assert result.out == plain.out
