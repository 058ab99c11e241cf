"""`charlm evaluate` of translations that are right: 100 where BLEU is defined, and it says what was compared."""

import json

import pytest
import sacrebleu

from charlm import save, train

SMALL = {"hidden_size": 16, "num_layers": 1, "embedding_size": 8, "batch_size": 4, "learning_rate": 0.03, "seed": 1}
CORPORA = {  # pairs that are learned by heart, and the options of the text
    "joined": (
        ["el hueso de los perros\tthe dogs' bone is very big", "son\tit is 12:30 now", "no\tit costs 5 $ or 'less'"],
        {},
    ),
    "german": (["one\tEr sagte: „Das geht um 12:30 Uhr!“", "two\tHans' Buch kostet 5 € oder weniger?"], {}),
    "french": (["one\tQuoi ? Il a dit : « Viens vite ! »", "two\tÇa coûte 5 € ; c'est l'heure, 12:30."], {}),
    "swedish": (["one\tEU:s regler och S:t Eriks bro", "two\tHan sa: ”kom hit!” klockan 12:30"], {}),
    "lower": (["uno\tOne Two Three Four", "dos\tThe End Of It"], {"lowercase": True, "split": "whitespace"}),
    "lower-joined": (["uno\tIt is 12:30, OK", "dos\tMy Parents' House Is Old"], {"lowercase": True}),
    "char": (["thank you\t谢谢你", "see you\t明天见我们去公园"], {"level": "char"}),
    "short": (["one\tuno", "one two\tuno dos", "two one two two\tdos uno dos"], {}),
    "short-char": (["one\t早上好", "two\t谢谢"], {"level": "char"}),
    "space": (["a b\tle  chat voit   .", "b\tle chat  est la"], {"split": "whitespace"}),
}
COMPARED = {  # BLEU, its tokenizer, and the references
    "joined": (100.0, "13a", "as written"),
    **dict.fromkeys(("german", "french", "swedish"), (100.0, "13a", "as written")),
    "lower": (100.0, "13a", "lower-cased"),
    "lower-joined": (100.0, "13a", "lower-cased"),
    "char": (100.0, "char", "as written"),
    "short": (None, "13a", "as written"),
    "short-char": (None, "char", "as written"),
    "space": (100.0, "13a", "as written"),
}


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A model of each corpus that translates it without a mistake, and its file of pairs."""
    folder = tmp_path_factory.mktemp("translations")
    for name, (lines, options) in CORPORA.items():
        save(train(lines, task="translate", max_steps=90, valid_fraction=0.0, **SMALL, **options), folder / name)
        (folder / f"{name}.tsv").write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.slow
def test_right_translations_have_the_best_figures(charlm, learned, name):
    args = ("evaluate", learned / name, learned / f"{name}.tsv", "--format")
    (record,) = charlm(*args, "jsonl").succeeded().records
    bleu, tokenizer, references = COMPARED[name]
    assert record["bleu"] == (None if bleu is None else pytest.approx(bleu))
    assert record["chrf"] == pytest.approx(100.0)
    assert (record["bleu_tokenizer"], record["references"]) == (tokenizer, references)
    assert all(row["bleu"] is None or row["bleu"] == pytest.approx(100.0) for row in record["by_source_length"])


@pytest.mark.parametrize("name", ["short", "short-char"])
def test_undefined_bleu_is_a_dash_and_never_a_zero(charlm, learned, name):
    args = ("evaluate", learned / name, learned / f"{name}.tsv", "--format")
    header, row = charlm(*args, "tsv").succeeded().lines
    assert dict(zip(header.split("\t"), row.split("\t"), strict=True))["bleu"] == "-"
    text = charlm(*args, "text").succeeded().lines
    assert next(line.split()[-1] for line in text if line.startswith("bleu")) == "-"
    rows = [line for line in text if line.startswith("bleu, source")]
    assert rows and all(line.endswith("  -") for line in rows)
    out = charlm(*args, "jsonl").succeeded().text
    assert '"bleu": null' in out and '"bleu": 0' not in out
    assert all(one["bleu"] is None for one in json.loads(out)["by_source_length"])


def test_only_the_rows_without_4_grams_are_undefined(charlm, learned, tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("no\tit costs\nel hueso de los perros\tthe dogs' bone is very big\n")
    (record,) = charlm("evaluate", learned / "joined", pairs, "--format", "jsonl").succeeded().records
    assert 0 < record["bleu"] < 100
    assert [row["bleu"] for row in record["by_source_length"]] == [None, pytest.approx(100.0)]


@pytest.mark.parametrize("name", ["joined", "german", "french", "swedish"])
def test_right_translations_are_printed_as_their_references_were_written(charlm, learned, name):
    sources, references = zip(*(line.split("\t") for line in CORPORA[name][0]), strict=True)
    printed = charlm("predict", learned / name, stdin="".join(f"{s}\n" for s in sources).encode()).succeeded().lines
    assert printed == list(references)


def test_bleu_of_what_is_printed_and_of_what_is_compared_is_the_same(charlm, learned, tmp_path):
    """Whoever takes the lines of `predict`, and the references as they were written, gets our figure from sacrebleu."""
    pairs = tmp_path / "pairs.tsv"
    references = ["it is 12: 30 now", "the dogs 'bone is small", "it costs 4 $ or 'more'"]
    sources = ["son", "el hueso de los perros", "no"]
    pairs.write_text("".join(f"{s}\t{r}\n" for s, r in zip(sources, references, strict=True)))
    printed = charlm("predict", learned / "joined", stdin="".join(f"{s}\n" for s in sources).encode()).succeeded().lines
    (record,) = charlm("evaluate", learned / "joined", pairs, "--format", "jsonl").succeeded().records
    assert record["bleu"] == pytest.approx(sacrebleu.corpus_bleu(printed, [references]).score)
    assert record["chrf"] == pytest.approx(sacrebleu.corpus_chrf(printed, [references]).score)
    assert 0 < record["bleu"] < 100


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_sacrebleu_writes_nothing_to_standard_error(charlm, learned, tmp_path, quiet):
    """It has doubts about a hundred lines that end in a period of its own."""
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("a b\tle chat voit .\n" * 120)
    result = charlm("evaluate", learned / "space", pairs, *quiet).succeeded()
    assert charlm("predict", learned / "space", stdin=b"a b\n").succeeded().text.endswith(" .\n")
    assert result.err == ""
