"""Unicode normalisation: canonically equivalent text has equal tokens, wherever a model reads it."""

import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlm.config import TextConfig, TrainConfig
from charlm.text import UNK_ID, Tokenizer, Vocabulary, make_splitter, read_lines
from charlm.text.ids.encoder import count_tokens, make_encoder
from charlm.text.learning import gather
from charlm.text.tasks import corpus_reader
from charlm.text.tokens import normalization
from charlm.text.tokens.normalization import normalized
from tests.stored import keep_on_disk
from tests.text.test_encoder import RULES, SPECIAL, counted, decoded, expected

FORMS = ("nfc", "nfkc")
SPLITTERS = [make_splitter(*rule, form) for rule in RULES for form in FORMS]
each_splitter = pytest.mark.parametrize("splitter", SPLITTERS, ids=lambda splitter: splitter.rule)
FEW = settings(max_examples=60, deadline=None, derandomize=True)

# Marks of several classes, letters that compose and decompose, signs that are other letters, parts of Hangul, what NFKC
# makes spaces, marks, underscores or several letters of, lone surrogates.
ODD = "aeJIi\u00e9\u0301\u0323\u0327\u030c\u0307\u0130\u0345\u0344\u0f73\u0958\u212b\u2126\u1100\u1161\u11a8\uac00"
ODD += "\u00a0\u00a8\uff9e\ufb01\uff1c\u2460\ufdfa\uff3f<>=\u0338 \u03a3\u03c3\udc80\ud800"
TEXT = st.text(st.sampled_from(ODD), max_size=20) | st.text(st.sampled_from(SPECIAL.replace("\n", "")), max_size=20)
PAIRS = [  # composed, and another spelling that is canonically equivalent
    ("café", "cafe\u0301"),
    ("\u1e69", "s\u0307\u0323"),  # a letter with two marks, in the wrong order
    ("Å", "\u212b"),
    ("Ω", "\u2126"),
    ("각", "\u1100\u1161\u11a8"),
    ("\u01f0", "j\u030c"),
    ("\u0958", "\u0915\u093c"),
    ("İ", "I\u0307"),
]


def spellings(text):
    return {text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))}


# ---- the form itself


@pytest.mark.parametrize("form", FORMS)
@settings(FEW, max_examples=100)
@given(text=TEXT | st.text(max_size=30), long=st.sampled_from([2, 4, 1000]))
@example(text="a" + "\u0301\u0323" * 9, long=4)
@example(text="\u0301\uff9e" * 9, long=4)
@example(text="\u0f73" * 9 + "e\u0301", long=4)
def test_the_form_is_that_of_the_standard_however_long_its_runs_are(form, text, long):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalization, "_LONG", long)
        run = normalization._LONG_RUN.replace("1000", str(long))
        patch.setattr(normalization, "_LONG_RUN", run)
        patch.setattr(normalization, "_OTHER", "(?s:.)")
        assert normalized(text, form) == unicodedata.normalize(form.upper(), text)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("piece", ["\u0301\u0323", "\u0f73", "\u0301\uff9e", "e\u0301", "\u0e40\u0e48", "\u1100"])
def test_no_long_run_is_left_to_a_sort_in_quadratic_time(monkeypatch, form, piece):
    """`unicodedata` moves each mark back one by one: in a million of them, for a quarter of an hour."""
    sorted_there = []
    monkeypatch.setattr(normalization, "unicodedata", Spy(sorted_there))
    for text in ("a" + piece * 3000, "é" * 999 + piece * 3000 + "é"):
        assert normalized(text, form) == unicodedata.normalize(form.upper(), text)
    assert len(sorted_there) > 1
    for text in sorted_there:
        decomposed = "".join(unicodedata.normalize(form.upper().replace("C", "D"), one) for one in text)
        assert moves_of_a_sort(decomposed) <= 2 * len(text)


def moves_of_a_sort(text):
    """Count how many marks of a decomposed text are moved past by sorting each run of them by insertion."""
    moves, before = 0, Counter()
    for mark in map(unicodedata.combining, text):
        moves += sum(count for other, count in before.items() if other > mark > 0)
        before = before + Counter([mark]) if mark else Counter()
    return moves


class Spy:
    """`unicodedata`, which writes down what it is to normalise."""

    combining = staticmethod(unicodedata.combining)

    def __init__(self, seen):
        self.seen = seen

    def normalize(self, form, text):
        self.seen.append(text)
        return unicodedata.normalize(form, text)


def test_ascii_and_text_that_is_to_stay_as_it_is_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(normalization, "unicodedata", None)
    assert normalized("plain text", "nfc") == "plain text"
    assert normalized("cafe\u0301 \udc80", "none") == "cafe\u0301 \udc80"


def test_bytes_that_are_no_utf8_pass():
    assert normalized("e\u0301\udcff\ud800e\u0301", "nfc") == "\u00e9\udcff\ud800\u00e9"


# ---- tokens


@each_splitter
@pytest.mark.parametrize(("composed", "other"), PAIRS)
def test_spellings_of_a_letter_are_one_token(splitter, composed, other):
    for around in ("{}", "un {} la", "({}),", "x{}y"):
        assert splitter.split(around.format(composed)) == splitter.split(around.format(other))
    assert dict(count_tokens([composed, other], splitter)) == {
        token: 2 * count for token, count in count_tokens([composed], splitter).items()
    }


@pytest.mark.parametrize("rule", RULES)
def test_without_a_form_they_are_different_tokens(rule):
    splitter = make_splitter(*rule, "none")
    assert splitter.split("café") != splitter.split("cafe\u0301")
    assert splitter.rule in {"character", "punctuation", "whitespace"} | {
        f"{name}-lower" for name in ("character", "punctuation", "whitespace")
    }


@pytest.mark.thinned(2)
@each_splitter
@FEW
@given(text=TEXT)
@example(text="J\u030c \u0130\u0327 \u212b")
def test_canonically_equivalent_lines_have_equal_tokens(splitter, text):
    tokens = splitter.split(text)
    assert all(splitter.split(one) == tokens for one in spellings(text))
    assert splitter.split(splitter.join(tokens)) == tokens
    tokenizer = Tokenizer(splitter, Vocabulary.build(count_tokens([text], splitter)))
    ids = tokenizer.encode(text).tolist()
    assert all(tokenizer.encode(one).tolist() == ids for one in spellings(text))
    assert splitter.level == "word" or UNK_ID not in ids


@pytest.mark.thinned(5)
@each_splitter
@settings(FEW, max_examples=40)
@given(lines=st.lists(TEXT, max_size=6), cut=st.integers(0, 6))
@example(lines=["\u03a3\u00a8 \u0301b", "\uff1cUNK> e", "\u00a0\u0301", "\u0301", ""], cut=3)
def test_blocks_are_split_as_their_lines_are(splitter, lines, cut):
    encoder = make_encoder(splitter)
    blocks = ["".join(f"{line}\n" for line in part) for part in (lines[:cut], lines[cut:]) if part]
    ids = np.concatenate([np.empty(0, np.int64), *map(encoder, blocks)])
    assert decoded(encoder, ids) == expected(splitter, lines)
    assert count_tokens(lines, splitter) == counted(splitter, lines)


def test_compatible_characters_are_one_token_with_nfkc_alone():
    for text, plain in (("\ufb01n", "fin"), ("\uff21", "A"), ("x\u00b2", "x2"), ("\uff1cunk\uff1e", "<unk>")):
        for rule in RULES:
            tokens = {form: make_splitter(*rule, form).split(text) for form in ("none", *FORMS)}
            assert tokens["nfkc"] == make_splitter(*rule).split(plain)
            assert tokens["nfc"] == tokens["none"] != tokens["nfkc"]
    assert make_splitter("word", "whitespace", False, "nfkc").split("a\u00a0b") == ["a", "b"]


@pytest.mark.parametrize("splitter", SPLITTERS[::5], ids=lambda splitter: splitter.rule)
def test_a_text_that_is_one_line_is_read_alike_however_it_is_cut(splitter, monkeypatch, tmp_path):
    keep_on_disk(monkeypatch, tmp_path / "cache", block=30)
    rng = np.random.default_rng(3)
    text = " ".join("".join(rng.choice(list(ODD[:-2]), rng.integers(0, 9))) for _ in range(200))
    path = tmp_path / "line.txt"
    path.write_text(text)
    gathered = gather(read_lines([str(path)]), splitter)
    ids = gathered.slice(0, gathered.size)
    assert [gathered.tokens[token_id] for token_id in ids.tolist()] == [*splitter.split(text), "<EOS>"]


@pytest.mark.parametrize("rule", RULES)
def test_another_form_is_another_entry_of_the_cache(rule, monkeypatch, tmp_path):
    keep_on_disk(monkeypatch, tmp_path / "cache")
    path = tmp_path / "corpus.txt"
    path.write_text("cafe\u0301 \ufb01n\n" * 3)
    tokens = {}
    for form in ("none", *FORMS) * 2:
        found = gather(read_lines([str(path)]), make_splitter(*rule, form)).tokens
        assert tokens.setdefault(form, [*found]) == [*found]
        names = {name for one in tokens for name in make_splitter(*rule, one).split("cafe\u0301 \ufb01n")}
        assert set(found) <= {"<EOS>", "<UNK>", *map(chr, range(128)), *names}
        assert set(make_splitter(*rule, form).split("cafe\u0301 \ufb01n")) <= set(found)
    assert len(list((tmp_path / "cache").iterdir())) == 3


# ---- tokens that are apart already


@pytest.mark.parametrize("lowercase", [False, True])
def test_tags_of_either_spelling_are_learned_and_read_as_one_word(lowercase):
    text = TextConfig(level="word", split="whitespace", lowercase=lowercase)
    lines = ["Café\tN", "Cafe\u0301\tN", "là\tA", "", "la\u0300\tA", "Bâle\tN", "Bale\u0300\tN", "Thale\u0300\tN"]
    train = TrainConfig(min_count=2)
    codec, encoded, _ = corpus_reader("tag", text, conditioned=False).learn(lines, train, 0.0)
    tokens = codec.tokenizer.vocabulary.tokens
    assert {"café", "là"} <= {token.lower() for token in tokens}
    assert "<UNK Aa-alè>" in tokens  # the shape of what is rare
    ids = encoded.ids.tolist()
    assert ids[0] == ids[1] and ids[2] == ids[3] and ids[5] == ids[6]
    for word in ("Café", "là", "Vevalè", "\u1e69"):
        read = [codec.tokenizer.encode_tokens([one]).tolist() for one in spellings(word)]
        assert all(one == read[0] for one in read) and len(read) > 1
    assert codec.tokenizer.encode_tokens(["Vevale\u0300"]).tolist() == [tokens.index("<UNK Aa-alè>")]
