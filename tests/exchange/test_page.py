"""Pages: the weights are those of the model, and their scripts compute what charlm computes."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import charlm
from charlm.cli import pages
from charlm.config import SampleConfig
from charlm.errors import UsageError
from charlm.exchange import page_file
from charlm.inference.generation import Sampler, _Writer
from charlm.text import Tokenizer, Vocabulary
from charlm.text.tokens.joining import SpacingCounts
from charlm.text.tokens.splitter import RESERVED
from tests import task_models
from tests.cli.pages import check_strictly
from tests.exchange.cases import CASES, model_of, sequences_of
from tests.exchange.chromium import PROGRAM, Chromium
from tests.task_models import task_model

PAGE = Path(charlm.__file__).with_name("exchange") / "page"
NODE = shutil.which("node")
DRIVER = Path(__file__).with_name("page_in_node.js")
KINDS = {  # models that a page shows
    **{case: lambda case=case: model_of(case) for case in CASES if CASES[case][0] in ("lm", "conditioned", "large")},
    "both": lambda: lm(cell="gru", reset="both"),
    "relevance": lambda: lm(relevance_gate=True),
    "peephole": lambda: lm(cell="lstm-peephole", num_layers=3),
    "words": lambda: lm(words=True, cell="gru"),
    "words, tied": lambda: lm(words=True, embedding_size=5, tie_weights=True, unit="stream"),
    "float64": lambda: lm(dtype="float64", lowercase=True),
}
# Letters, marks and spaces whose tokens, cases and normal forms are easy to get wrong.
ODD = [
    "abc", "", " ", "a  b ", "<b>&amp;", "A\u0301e\u0301 \u00e9\u1e9e", "don't well-known 3.5, (1,000) \"yes\" e.g.",
    "\u00a0a\u3000b\u2028c\x85d\x1ce\ufefff", "👍🏽 👨\u200d👩\u200d👧 🇩🇪🇫🇷x \u20dd", "<unk> <UNK> <EOS> <eos>",
    "ΣΑΣ ΟΔΟΣ. İI", "שלום \u202eabc", "\u0915\u094d\u0937 \u1100\u1161\u11a8 ﬁ ½ \u2167", "-- 'tis '' _a_ a_b -5",
    "「日本」、語。", "a\u0308\u0323 \U0001f1e6", "\U000e0041 \U00020000 \uf8ff \u0378", "x\u00b2",
]  # fmt: skip


MARKS = [*".,;:!?-'()[]\"/%$#\u201c\u201d\u2014「、👍"]
TOKENS = ("the", "cat", "don't", "3", "Well", "known", "_", *MARKS)
SPELLED = [  # from which the spaces between them are learned
    'the cat, the (cat) - "the cat" don\'t: 3 %', "the 'cat' - the /cat/; the cat!", '"the cat," the cat - 3, "Well!"',
    "Well-known cat: 3%", "the cat? - the [cat] the 3.", "「the」、the cat — the",
] * 3  # fmt: skip


def lm(*, words=False, dtype="float32", **fields):
    """Draw a language model of the letters a, b and c, or of words and marks."""
    text = {name: fields.pop(name) for name in ("unit", "split", "lowercase", "normalize") if name in fields}
    text |= {"level": "word"} if words else {}
    with mock.patch.dict(task_models.KINDS, {"words": (TOKENS, (), (), {}, {"task": "lm"})}):
        return task_model("words" if words else "lm", text=text, **{"dtype": dtype, "spread": 0.8, **fields})


def with_spacing(language_model):
    """Return a model of words whose spaces are learned."""
    tokenizer = language_model.tokenizer
    counts = SpacingCounts()
    counts.add_lines(SPELLED, tokenizer.splitter.spaced)
    splitter = tokenizer.splitter.spelling_as(counts.spacing())
    codec = dataclasses.replace(language_model.codec, tokenizer=Tokenizer(splitter, tokenizer.vocabulary))
    return dataclasses.replace(language_model, codec=codec)


class Elements(HTMLParser):
    """The elements of a page in order: tag, attributes, and the text that follows the tag."""

    def __init__(self, source):
        super().__init__(convert_charrefs=False)
        self.found = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), ""))

    def handle_data(self, data):
        if self.found:
            tag, attrs, text = self.found[-1]
            self.found[-1] = (tag, attrs, text + data)

    def handle_endtag(self, tag):
        self.found.append((f"/{tag}", {}, ""))

    def of(self, tag):
        return [(attrs, text) for name, attrs, text in self.found if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


def exported(folder, language_model, name="m", **options):
    path = folder / f"{name}.html"
    charlm.export(language_model, path, **options)
    return path


def in_node(*requests):
    """Return what the scripts of pages answer."""
    if NODE is None:
        pytest.skip("no node")
    asked = json.dumps([{**one, "page": str(one["page"])} for one in requests])
    done = subprocess.run([NODE, DRIVER], input=asked.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


# ---- the file


@pytest.mark.parametrize("precision", [None, "float16"])
def test_a_page_has_the_weights_of_its_model(folder, precision):
    """And its style and scripts are all that its policy allows."""
    language_model = model_of("conditioned")
    path = exported(folder, language_model, "a<b>&", precision=precision)
    check_strictly(path)
    page = Elements(path.read_text())
    assert all(f"<{tag}>a&lt;b&gt;&amp;</{tag}>" in path.read_text() for tag in ("title", "h1"))
    blocks = {attrs["id"]: text for attrs, text in page.of("script") if "type" in attrs}
    facts = json.loads(blocks.pop("facts"))
    named = language_model.model.parameters.named(language_model.model.parameters.values)
    assert facts["vocabulary"] == list(language_model.tokenizer.vocabulary.tokens) and set(named) == set(blocks)
    dtype = precision or "float32"
    for name, array in named.items():
        found = np.frombuffer(base64.b64decode(blocks[name], validate=True), dtype).reshape(facts["arrays"][name])
        assert np.array_equal(found, array.astype(dtype))
    policy = next(attrs["content"] for attrs, _ in page.of("meta") if attrs.get("http-equiv"))
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["connect-src"] == "'none'"
    scripts = [text for attrs, text in page.of("script") if "type" not in attrs]
    for allowed, texts in ((rules["script-src"], scripts), (rules["style-src"], [page.of("style")[0][1]])):
        hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
        assert allowed.split() == [f"'sha256-{one}'" for one in hashes]
    addresses = [attrs[key] for _, attrs, _ in page.found for key in ("src", "href") if key in attrs]
    assert len(addresses) == 1 and addresses[0].startswith("data:image/svg+xml,")
    before = path.read_bytes()
    charlm.export(language_model, path, precision=precision)
    assert path.read_bytes() == before


def test_names_cannot_leave_their_element(folder):
    strange = "</script><b>"
    language_model = model_of("conditioned")
    codec = dataclasses.replace(language_model.codec, labels=(strange, "\u2028", "<!--"))
    page = Elements(exported(folder, dataclasses.replace(language_model, codec=codec)).read_text())
    facts = next(text for attrs, text in page.of("script") if attrs.get("id") == "facts")
    assert json.loads(facts)["labels"] == [strange, "\u2028", "<!--"] and not page.of("b")


def test_what_a_page_cannot_show_is_refused(folder):
    for case in ("cloze", "tag", "classify", "yes-no"):
        with pytest.raises(UsageError, match=f"cannot show a --task {CASES[case][0].replace('yes-no', 'tag')} model"):
            exported(folder, model_of(case), "refused")
    large = model_of("lstm")
    large.model.parameters.values[:] *= 1e6
    with pytest.raises(UsageError, match="too large for float16") as refused:
        exported(folder, large, "refused", precision="float16")
    assert "--precision float32" in refused.value.hint
    with pytest.raises(UsageError, match="--precision float16 with --to torch"):
        charlm.export(large, folder / "refused.safetensors", precision="float16")
    with pytest.raises(UsageError, match="--signature step with --to page"):
        exported(folder, large, "refused", signature="step")
    assert not list(folder.glob("refused*"))


def test_a_part_that_the_scripts_do_not_have_is_refused(folder, monkeypatch):
    """Not computed without it: a new cell or output layer needs its equations there."""
    language_model = lm(cell="gru")
    equations = (PAGE / "network.js").read_text()
    with pytest.raises(UsageError, match="cannot compute --cell gru"):
        page_file._check(language_model, equations.replace("gru-after", "gru-other"))
    named = language_model.model.parameters.named(language_model.model.parameters.values)
    monkeypatch.setattr(language_model.model.parameters, "named", lambda _: {**named, "head.W_tail": named["head.W_y"]})
    with pytest.raises(UsageError, match=r"cannot compute head\.W_tail"):
        exported(folder, language_model, "refused")
    assert not list(folder.glob("refused*"))


def test_the_shades_are_those_of_other_pages():
    css = (PAGE / "page.css").read_text()
    for colour in ("hot", "plus", "minus"):
        values = re.findall(rf"--{colour}:([\d ]+)", pages._STYLE)
        assert len(values) == 2 and re.findall(rf"--{colour}: ([\d ]+?) ?[;}}]", css) == values
    levels = [(f"s{at}", "hot", opaque) for at, opaque in enumerate(pages._OPAQUE, start=1)]
    levels += [(f"{k}{at}", c, pages._OPAQUE[at + 1]) for k, c in (("p", "plus"), ("m", "minus")) for at in range(1, 7)]
    for kind, colour, opaque in levels:
        assert f".{kind} {{ background: rgb(var(--{colour}) / {opaque}) }}" in css


# ---- what it computes


def test_the_scripts_find_what_score_finds(folder, times):
    """Of every cell, and of every other part of a network, in one process."""
    made = {case: draw() for case, draw in [*KINDS.items()][:: times(4, 1)]}
    paths = {case: exported(folder, one, f"m{at}") for at, (case, one) in enumerate(made.items())}
    sequences = {case: sequences_of(one, times(5, 200)) for case, one in made.items()}
    requests = [
        {"page": paths[case], "inputs": [[*map(int, one.inputs), int(one.targets[-1, 1])] for one in of_case]}
        for case, of_case in sequences.items()
    ]
    for case, found in zip(made, in_node(*requests), strict=True):
        for one, log_probs in zip(sequences[case], found["logP"], strict=True):
            assert np.allclose(log_probs, one.log_probs, rtol=0, atol=1e-5), case


def test_half_precision_is_near(folder):
    language_model = model_of("gru")
    (found,) = in_node(
        {
            "page": exported(folder, language_model, precision="float16"),
            "inputs": [[*map(int, one.inputs), 0] for one in sequences_of(language_model, 5)],
        }
    )
    pairs = zip(found["logP"], sequences_of(language_model, 5), strict=True)
    differences = [np.abs(np.array(log_probs) - one.log_probs).max() for log_probs, one in pairs]
    assert 0 < max(differences) < 0.02


@pytest.mark.parametrize("normalize", ["nfc", pytest.param("nfkc", marks=pytest.mark.slow)])
def test_the_scripts_split_as_charlm_does(folder, shared_corpora, times, normalize):
    lines = ODD + [
        line[:200]
        for path in sorted((shared_corpora / "unicode").glob("*"))
        for line in path.read_text().split("\n")[: times(3, 300)]
    ]
    requests, expected = [], []
    for number, (words, split, lowercase) in enumerate([(0, "punct", 0), (1, "punct", 0), (1, "whitespace", 1)]):
        drawn = lm(words=bool(words), split=split, lowercase=bool(lowercase), normalize=normalize)
        splitter = drawn.tokenizer.splitter
        tokens = sorted({token for line in lines[::2] for token in splitter.split(line)} - set(RESERVED))
        vocabulary = Vocabulary((*drawn.tokenizer.vocabulary.tokens[:2], *tokens))
        codec = dataclasses.replace(drawn.codec, tokenizer=Tokenizer(splitter, vocabulary))
        # The network does not matter here.
        made = dataclasses.replace(drawn, codec=codec)
        requests.append({"page": exported(folder, made, f"split{number}"), "lines": lines})
        expected.append([[*codec.tokenizer.encode(line).tolist(), 0] for line in lines])
    for found, ids in zip(in_node(*requests), expected, strict=True):
        for line, ours, theirs in zip(lines, ids, found["ids"], strict=True):
            assert theirs == ours, line


def test_the_scripts_join_as_charlm_does(folder, times):
    english = lm(words=True)
    models = [with_spacing(english), english, lm(words=True, split="whitespace"), lm(unit="stream")]
    rng, requests, expected = np.random.default_rng(1), [], []
    for number, language_model in enumerate(models):
        tokens = language_model.tokenizer.vocabulary.tokens
        prompts = ["", "the ", 'the "cat', "(the - 3", " ", *(["the cat.\n", "a\n\n'the"] if number else [])]
        joins = [(prompts[i % len(prompts)], rng.integers(2, len(tokens), 12).tolist()) for i in range(times(60, 3000))]
        requests.append({"page": exported(folder, language_model, f"join{number}"), "joins": joins})
        texts = []
        for prompt, ids in joins:
            writer = _Writer(language_model)
            texts.append(writer.text(prompt.split("\n")) + "".join(writer.token(tokens[one]) for one in ids))
        expected.append(texts)
    assert [one["joined"] for one in in_node(*requests)] == expected


def test_the_likeliest_text_is_that_of_generate(folder):
    requests, expected, length = [], [], 40
    cases = [lm(), lm(unit="stream", cell="gru"), with_spacing(lm(words=True, embedding_size=4, spread=2.0))]
    for number, language_model in enumerate(cases):
        prompts = ["", "ab", "a q", 'the "cat" ', *(["a\nb"] if language_model.is_stream else [])]
        requests.append(
            {"page": exported(folder, language_model, f"greedy{number}"), "prompts": prompts, "length": length}
        )
        sampler = Sampler(language_model, SampleConfig(length=length, temperature=0.0))
        expected.append([sampler.sample(prompt).text for prompt in prompts])
    found = [[text.removesuffix("\n") for text in one["written"]] for one in in_node(*requests)]
    assert found == [[text.removesuffix("\n") for text in texts] for texts in expected]


# ---- in a browser


@pytest.mark.slow
def test_a_person_uses_the_page(folder):
    if PROGRAM is None:
        pytest.skip("no Chromium")
    with Chromium() as browser:
        for case, draw in KINDS.items():
            language_model = draw()
            path = exported(folder, language_model)
            browser.requests.clear()
            browser.open(path)
            browser.wait("page.plan === null")
            sequences = sequences_of(language_model, 20)
            asked = json.dumps([[*map(int, one.inputs), int(one.targets[-1, 1])] for one in sequences])
            found = browser.evaluate(f"{asked}.map(ids => score(page.network, ids.slice(1), ids[0]))")
            for one, log_probs in zip(sequences, found, strict=True):
                assert np.allclose(log_probs, one.log_probs, rtol=0, atol=1e-4), case
            assert browser.requests == [path.as_uri()] and browser.complaints == []


PRESS = "document.getElementById('{}').click()"
TEXT = "page.session.toString()"


@pytest.mark.slow
def test_the_buttons_and_fields(folder):
    if PROGRAM is None:
        pytest.skip("no Chromium")

    def put(name, value, event="input"):
        browser.evaluate(f"""(() => {{ const field = document.getElementById({name!r});
            field.value = {json.dumps(value)}; field.dispatchEvent(new Event({event!r})); }})()""")

    def shown(name):
        return browser.evaluate(f"document.getElementById({name!r}).textContent")

    def written():
        browser.evaluate(PRESS.format("write"))
        browser.wait("page.plan === null")
        return browser.evaluate(TEXT)

    with Chromium() as browser:
        browser.open(exported(folder, lm(unit="stream")))
        put("length", "50")
        first, second = written(), written()
        assert len(first) == len(second) == 50 and first != second
        put("seed", "7")
        assert written() == written()
        assert "<UNK>" not in first and "\n" in first + second
        put("prompt", "ab<é\nqa")
        assert shown("unknown") == "Unknown to the model, read as <UNK>: < é q"
        assert written().startswith("ab<é\nqa")
        assert browser.evaluate("document.querySelectorAll('#text .given').length") == 7
        assert browser.evaluate("document.querySelectorAll('#text span').length") == 57
        assert browser.evaluate("document.querySelectorAll('#next button').length") == 4  # a, b, c, <EOS>
        browser.evaluate(PRESS.format("step"))
        assert browser.evaluate(TEXT + ".length") == 58
        put("temperature", "0")
        assert browser.evaluate("document.querySelector('#next .figure').textContent") == "100 %"
        browser.evaluate("document.querySelectorAll('#next button')[1].click()")
        assert browser.evaluate(TEXT + ".length") == 59
        # What would have come if another token had been taken.
        browser.evaluate("page.look('pinned', 20); document.querySelectorAll('#next button')[1].click()")
        assert browser.evaluate(TEXT + ".length") == 21
        put("length", "2000")
        browser.evaluate(PRESS.format("write"))
        browser.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }))")
        assert browser.evaluate("page.plan === null && page.session.read.length < 2000")
        put("layer", "1")
        put("number", "3")
        put("quantity", "Gamma_f")
        value = browser.evaluate("page.session.steps[0].states[1].Gamma_f[3]")
        title = browser.evaluate("document.getElementById('strip').firstElementChild.title")
        assert title == f"{value:.3f}" and shown("strip") == shown("text")
        browser.open(exported(folder, lm()))
        put("texts", "3")
        assert written().count("\n") == 3
        assert browser.complaints == []
