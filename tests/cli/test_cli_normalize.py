"""`--normalize`: composed and decomposed characters are the same to every command, and come out as they came in."""

import json
import math
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from charlm import api, load
from charlm.checkpoint import FORMAT_VERSION
from charlm.config import TextConfig, TrainConfig
from charlm.inference.scoring import Scorer
from charlm.session import prepare
from tests import task_models
from tests.cli.conftest import TINY
from tests.task_models import KINDS, saved, task_model

FORMAT1 = Path(__file__).parents[1] / "fixtures" / "format1"
WORDS, CHARACTERS = ("café", "Å", "là", "각", "."), "aéÅ각 c"
TOKENS = {"lm": CHARACTERS, "conditioned": CHARACTERS, "cloze-char": CHARACTERS, "classify": CHARACTERS}
TOKENS |= {"cloze": WORDS, "tag": WORDS, "yes-no": WORDS, "translate": WORDS}
COMMANDS = {  # of which model, what it reads
    "score": ("lm", "café Å\n\naé각\n"),
    "score --per token": ("lm", "café Å\n\naé각\n"),
    "score --suspect": ("cloze", "là café Å.\n각\n"),
    "evaluate": ("lm", "café Å\naé각\n"),
    "fill": ("cloze", "là ___ Å\ncafé ___\né___\n"),
    "fill -n 2": ("cloze-char", "é___각\n___Å\n"),
    "predict": ("translate", "là café.\n각\n"),
    "predict --beam 2": ("translate", "là café.\n각\n"),
    "predict --batch-size 1": ("tag", "là café .\n각 x\n"),
    "predict --columns": ("yes-no", "là\ncafé\n\n각\n"),
    "predict --unbuffered": ("classify", "là café.\né\n"),
    "score --log-base 2": ("conditioned", "x\tcafé Å\nzz\taé\n"),
    "evaluate --batch-size 2": ("translate", "là café.\tle chat\n각\tvoit\n"),
    "evaluate --batch-size 3": ("tag", "là\tN\ncafé\tV\n\n각\tP\n"),
    "evaluate --batch-size 4": ("classify", "good\tcafé Å\nbad\té\n"),
}
AS_IT_CAME = ("text", "filled", "tokens_per_second", "bits_per_char", "pseudo_bits_per_char", "bits_per_byte")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for kind, tokens in TOKENS.items():
            patch.setitem(task_models.KINDS, kind, (tokens, *KINDS[kind][1:]))
        yield saved(tmp_path_factory.mktemp("normalize"))


def decomposed(text):
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_reads_either_spelling_alike_and_prints_what_came(charlm, models, command):
    kind, text = COMMANDS[command]
    name, *flags = command.split()
    path = models.folder / f"{kind}.safetensors"
    found = []
    for spelled in (text, decomposed(text)):
        records = charlm(name, path, *flags, "--format", "jsonl", stdin=spelled.encode()).succeeded().records
        if "text" in records[0]:
            lines = [line.split("\t")[-1] for line in spelled.splitlines()]
            assert [record["text"] for record in records] == lines
        found.append([{key: value for key, value in one.items() if key not in AS_IT_CAME} for one in records])
    assert found[0] == found[1]
    assert decomposed(text) != text


def test_a_prompt_is_read_alike(charlm, models):
    found = []
    for prompt in ("é각", decomposed("é각")):
        args = ("generate", models.folder / "lm.safetensors", "-p", prompt, "--format", "jsonl", "--seed", 1)
        result = charlm(*args).succeeded()
        assert result.err == ""
        assert result.records[0]["text"].startswith(prompt)
        found.append({key: value for key, value in result.records[0].items() if key != "text"})
    assert found[0] == found[1]


def test_tokens_are_printed_as_they_are_read_and_texts_as_they_came(charlm, models):
    path, text = models.folder / "lm.safetensors", decomposed("é Å\udcff")
    stdin = text.encode("utf-8", "surrogateescape")
    (record,) = charlm("score", path, "--per", "token", "--format", "jsonl", stdin=stdin).succeeded().records
    assert record["text"] == text
    assert [one["token"] for one in record["token_scores"]] == ["é", " ", "Å", "\udcff", "<EOS>"]
    assert [one["oov"] for one in record["token_scores"]] == [False] * 3 + [True, False]


@pytest.mark.parametrize("text", ["éÅ각", "abc"])
def test_bits_a_character_count_those_of_the_text_as_it_came(charlm, models, text):
    """So that models with another form are compared by the same number of characters."""
    path = models.folder / "lm.safetensors"
    for spelled in (text, decomposed(text)):
        (score,) = Scorer(load(path)).score([spelled])
        assert score.bits_per_char == pytest.approx(score.nats / math.log(2) / (len(spelled) + 1))
        (record,) = charlm("evaluate", path, "--format", "jsonl", stdin=f"{spelled}\n".encode()).succeeded().records
        assert record["bits_per_char"] == pytest.approx(score.bits_per_char, rel=1e-6)


# ---- learning

CORPORA = {  # by task: lines
    "lm": ["café là", "naïve Å", "été 각"] * 3,
    "cloze": ["café là", "naïve Å", "été 각"] * 3,
    "tag": ["café\tN", "là\tA", "", "Été\tN", "naïve\tB", ""] * 3,
    "classify": ["a\tcafé là", "b\tété"] * 4,
    "translate": ["café là\tété", "naïve\tÅ"] * 4,
}


def weights(lines, **options):
    model = api.train(lines, hidden_size=4, num_layers=1, batch_size=2, max_steps=2, seed=1, **options)
    return model, model.model.parameters.values.copy()


@pytest.mark.thinned(3)
@pytest.mark.parametrize("options", [{}, {"lowercase": True}, {"level": "word"}, {"level": "word", "min_count": 2}])
@pytest.mark.parametrize("task", CORPORA)
def test_either_spelling_trains_the_same_model(task, options):
    if task == "tag" and options == {}:
        options = {"split": "punct"}
    lines = CORPORA[task]
    mixed = [decomposed(line) if number % 3 else line for number, line in enumerate(lines)]
    (plain, expected), (other, found), (as_is, same) = (
        weights(text, task=task, normalize=form, **options)
        for text, form in ((lines, "nfc"), (mixed, "nfc"), (lines, "none"))
    )
    assert np.array_equal(expected, found)
    assert np.array_equal(expected, same)  # text that is in the form already is learned as it ever was
    assert plain.codec.labels == other.codec.labels == as_is.codec.labels
    assert plain.tokenizer.vocabulary == other.tokenizer.vocabulary == as_is.tokenizer.vocabulary
    assert (plain.text.normalize, as_is.text.normalize) == ("nfc", "none")
    apart, _ = weights(mixed, task=task, normalize="none", **{**options, "min_count": 1})
    assert {"\u0300", "\u0301"} & set("".join(apart.tokenizer.vocabulary.tokens))


@pytest.mark.parametrize("task", ["lm", "cloze"])
def test_held_out_text_is_read_alike(task):
    found = []
    for held in (["café"], [decomposed("café")]):
        network = {"hidden_size": 4, "num_layers": 1, "task": task}
        session = prepare(CORPORA[task], TextConfig(), network, TrainConfig(max_steps=2, seed=1), valid_lines=held)
        found.append(session.valid.ids.tolist())
    assert found[0] == found[1]


def header_of(path):
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["charlm"])


@pytest.mark.parametrize("form", [None, "nfc", "nfkc", "none"])
def test_the_form_is_stored_and_shown(charlm, tmp_path, form):
    corpus, path = tmp_path / "corpus", tmp_path / "m.safetensors"
    corpus.write_text(decomposed("café ﬁn\n") * 8)
    flags = () if form is None else ("--normalize", form)
    charlm("train", corpus, "-o", path, *TINY, "--max-steps", 1, "--seed", 1, *flags).succeeded()
    assert header_of(path)["text"]["normalize"] == (form or "nfc")
    shown = "not normalized" if form == "none" else f"normalized to {(form or 'nfc').upper()}"
    assert f", {shown}\n" in charlm("inspect", path).succeeded().text
    (record,) = charlm("inspect", path, "--format", "jsonl").succeeded().records
    assert record["config"]["normalize"] == (form or "nfc")
    tokens = set(load(path).tokenizer.vocabulary.tokens)
    assert ("é" in tokens, "\u0301" in tokens, "ﬁ" in tokens) == (form != "none", form == "none", form != "nfkc")
    charlm("train", corpus, "-o", path, "--force", "--normalize", "nfd").failed(2, "nfd")


# ---- older models


def test_a_model_of_format_1_reads_text_as_it_is():
    for name in ("names", "phrases", "places", "cloze", "tags", "stream"):
        assert load(FORMAT1 / f"{name}.safetensors").text.normalize == "none"
    one = load(FORMAT1 / "names.safetensors")
    assert one.tokenizer.split(decomposed("é")) == ["e", "\u0301"]


@pytest.mark.parametrize("flags", [(), ("--normalize", "none")])
def test_a_training_goes_on_with_the_form_that_it_began_with(charlm, tmp_path, flags):
    for name in ("stopped.safetensors", "stopped.ckpt.safetensors", "stopped.txt"):
        shutil.copy(FORMAT1 / name, tmp_path)
    corpus, path = tmp_path / "stopped.txt", tmp_path / "stopped.safetensors"
    before = path.read_bytes()
    charlm("train", corpus, "-o", path, "--resume", "--normalize", "nfc").failed(2, "--normalize nfc", "none")
    assert path.read_bytes() == before
    charlm("train", corpus, "-o", path, "--resume", "--keep-checkpoint", "--max-steps", 26, *flags).succeeded()
    assert header_of(path)["version"] == FORMAT_VERSION
    assert load(path).text.normalize == load(tmp_path / "stopped.ckpt.safetensors").text.normalize == "none"


@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--normalize", "none"), 0), (("--normalize", "nfc"), 2)])
def test_starting_from_a_models_weights_takes_its_form(charlm, tmp_path, flags, code):
    corpus = tmp_path / "corpus"
    corpus.write_text("Raton\nSaurus\n" * 8)
    begin, path = FORMAT1 / "names.safetensors", tmp_path / "m.safetensors"
    network = load(begin).model.config
    sizes = ("--hidden-size", network.hidden_size, "--num-layers", network.num_layers, "--cell", network.cell)
    args = ("train", corpus, "-o", path, "--init-from", begin, *sizes, "--max-steps", 1, "--seed", 1, *flags)
    result = charlm(*args)
    if code:
        result.failed(code, "normalize")
    else:
        result.succeeded()
        assert load(path).text.normalize == "none"


# ---- vocab


def test_vocab_counts_as_train_does(charlm):
    text = f"café {decomposed('café')} ﬁn\n".encode()

    def tokens(*flags):
        records = charlm("vocab", "-", "--level", "word", "--format", "jsonl", *flags, stdin=text).succeeded().records
        return {record["token"]: record["count"] for record in records}

    assert tokens() == tokens("--normalize", "nfc") == {"café": 2, "ﬁn": 1}
    assert tokens("--normalize", "nfkc") == {"café": 2, "fin": 1}
    assert tokens("--normalize", "none") == {"café": 1, decomposed("café"): 1, "ﬁn": 1}
    assert tokens("--lowercase", "--split", "whitespace") == {"café": 2, "ﬁn": 1}


@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize(("form", "lacks"), [("nfc", False), ("nfkc", False), ("none", True)])
def test_coverage_is_of_the_form_as_well(charlm, tmp_path, level, form, lacks):
    corpus, other = tmp_path / "corpus", tmp_path / "other"
    corpus.write_text("café Å\n")
    other.write_text(decomposed("café Å\n"))
    flags = ("--level", level, "--normalize", form, "--coverage", other, "--format", "jsonl")
    (record,) = charlm("vocab", corpus, *flags).succeeded().records
    assert (record["oov"] > 0) == lacks


def test_bench_reads_either_spelling_alike(tmp_path):
    from charlm.benchmark import text_workload

    lines = ["café là naïve Å été", "été là Å"] * 40
    network = {"hidden_size": 4, "num_layers": 1}
    for level in ("char", "word"):
        found = [
            text_workload(text, network, level, TrainConfig(seq_length=4, batch_size=2)).ids.tolist()
            for text in (lines, list(map(decomposed, lines)))
        ]
        assert found[0] == found[1]


def test_a_model_that_is_made_in_python_has_the_form_of_its_configuration():
    for form in ("nfc", "nfkc", "none"):
        assert task_model("lm", text={"normalize": form}).tokenizer.splitter.normalize == form
