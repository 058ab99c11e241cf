"""Many lines encoded at once: the same tokens as line by line, whatever the text and wherever it is cut."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charlm.text import EOS_ID, UNK_ID, make_splitter, read_lines
from charlm.text.ids.encoder import Counts, count_tokens, make_encoder
from charlm.text.lines.reading import blocks_of
from charlm.text.tokens.splitter import RESERVED
from tests.forms import properties

RULES = [(level, split, lower) for level, split in (("char", "punct"), ("word", "punct"), ("word", "whitespace"))
         for lower in (False, True)]  # fmt: skip
each_rule = pytest.mark.parametrize(("level", "split", "lowercase"), RULES)

# What the rules treat in a way of its own is rare among all of Unicode.
SPECIAL = " \t\v\f\r\x1c\x1f\x85\xa0\u2028\u3000" + "aZé_0.,'-\u2019\u2011!" + "Σσς\u0130\u0301\u200d\u0300\ufe0f"
SPECIAL += "\U0001f468\U0001f3fd\U0001f1e6\ud800\U0010ffff<>"
lines_of_text = st.lists(
    st.text(st.characters(blacklist_characters="\n") | st.sampled_from(SPECIAL), max_size=12)
    | st.text(st.sampled_from(SPECIAL), max_size=30)
    | st.lists(st.sampled_from([*RESERVED, "don't", "e.g.", "ΟΔΟΣ", "a"]), max_size=5).map(" ".join),
    max_size=8,
)


def expected(splitter, lines):
    """Return the tokens line by line, by the splitter alone; None ends a line."""
    tokens = []
    for line in lines:
        words = splitter.split(line)
        unknown = RESERVED if splitter.level == "word" else ()
        tokens += [*("<UNK>" if word in unknown else word for word in words), None]
    return tokens


def counted(splitter, lines):
    """Return how often each token occurs, by the splitter alone."""
    return Counter(token for token in expected(splitter, lines) if token not in (None, "<UNK>"))


def decoded(encoder, ids):
    return [None if token_id == EOS_ID else encoder.tokens[token_id] for token_id in ids.tolist()]


@each_rule
@properties(63, 250)
@given(lines=lines_of_text, cut=st.integers(0, 8))
@example(lines=["ΛΣ", "ΛΣ Λ", "ΛΣ\u00a0Λ", "\u0130"], cut=2)
@example(lines=["a\x1cb", "a\rb", "\ud800 \udcff", "a \u0301b", "\U0001f468 \u200d\U0001f468"], cut=1)
@example(lines=["<unk>", "<UNK><EOS>", "<EOS> x"], cut=0)
def test_blocks_are_split_as_their_lines_are(level, split, lowercase, lines, cut):
    splitter = make_splitter(level, split, lowercase)
    encoder = make_encoder(splitter)
    blocks = ["".join(f"{line}\n" for line in part) for part in (lines[:cut], lines[cut:]) if part]
    ids = np.concatenate([np.empty(0, np.int64), *map(encoder, blocks)])
    assert decoded(encoder, ids) == expected(splitter, lines)
    assert len(set(encoder.tokens)) == len(encoder.tokens)


@each_rule
@properties(15, 60)
@given(lines=lines_of_text)
def test_counts_are_those_of_the_splitter(level, split, lowercase, lines):
    splitter = make_splitter(level, split, lowercase)
    assert count_tokens(lines, splitter) == counted(splitter, lines)


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("count", [100, 255, 256, 300, 70_000])
def test_any_number_of_characters_fits(count, ascii_only):
    text = "".join(chr(code) for code in range(33, 127)) * 3
    if not ascii_only:
        text += "".join(map(chr, range(0x4E00, 0x4E00 + min(count, 20_000))))
        text += "".join(map(chr, range(0x20000, 0x20000 + max(0, count - 20_000))))
    splitter = make_splitter("char", "punct", False)
    encoder = make_encoder(splitter)
    assert decoded(encoder, encoder(f"{text}\n")) == [*text, None]
    assert decoded(encoder, encoder(f"{text[::-1]}\n")) == [*text[::-1], None]


def test_chunks_that_are_forgotten_keep_their_tokens(monkeypatch):
    monkeypatch.setattr("charlm.text.ids.encoder._MOST_CHUNKS", 3)
    splitter = make_splitter("word", "punct", False)
    encoder = make_encoder(splitter)
    lines = ["a, b. c-d", "e f! a, g", "", "b. h i, a"]
    assert [decoded(encoder, encoder(f"{line}\n")) for line in lines] == [expected(splitter, [line]) for line in lines]


@pytest.mark.parametrize("size", [10, 65_536, 65_537, 200_001])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_counting(size, kind):
    rng = np.random.default_rng(size)
    counts, found = Counts(), Counter()
    for most in (3, 200, 255):
        ids = rng.integers(0, most, size).astype(kind)
        counts.add(ids)
        found.update(ids.tolist())
    assert counts.of(300).tolist() == [found[i] for i in range(300)]
    assert counts.of(2).tolist() == [found[0], found[1]]
    counts.add(np.array([299], np.int32))
    assert counts.of(300)[299] == 1 and counts.of(300)[:299].tolist() == [found[i] for i in range(299)]


def test_a_newline_within_a_line_is_refused_or_white_space():
    with pytest.raises(ValueError, match="newline"):
        list(blocks_of(["a\nb"], words=False))
    assert "".join(blocks_of(["a\nb", "c"], words=True)) == "a b\nc\n"


def test_the_literal_unknown_word_is_unknown():
    encoder = make_encoder(make_splitter("word", "whitespace", False))
    assert encoder("<unk> <UNK> <EOS> x\n").tolist() == [UNK_ID, UNK_ID, UNK_ID, 2, EOS_ID]


# --- reading in blocks ------------------------------------------------------------------------------------------------


contents = st.lists(
    st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b" ", "é".encode(), b"\xef\xbb\xbf", b"bcdef" * 3]), max_size=12
).map(b"".join)


@properties(38, 150)
@given(contents=st.lists(contents, min_size=1, max_size=3), block=st.integers(1, 40))
def test_blocks_hold_the_same_lines(tmp_path_factory, contents, block):
    folder = tmp_path_factory.mktemp("blocks")
    paths = [str(folder / str(number)) for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        with open(path, "wb") as file:
            file.write(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charlm.text.lines.lines_of_bytes.BLOCK_BYTES", block)
        patch.setattr("charlm.text.lines.reading.BLOCK_BYTES", block)
        text = "".join(read_lines(paths).blocks())
    assert text == "".join(f"{line}\n" for line in read_lines(paths))
