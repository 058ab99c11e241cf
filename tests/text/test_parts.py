"""The parts of a line: their texts are the line, byte for byte, and their tokens are all of its tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.text import make_splitter
from charlm.text.tokens.parts import WrittenPart, written_parts
from tests import forms

SPLITTERS = [
    make_splitter(level, split, lowercase, form)
    for level, split in (("char", "punct"), ("word", "punct"), ("word", "whitespace"))
    for lowercase in (False, True)
    for form in ("none", "nfc", "nfkc")
]
# Letters that lower-casing and normalisation make longer, shorter, or put in another order.
ODD = "aA \t-.'İﬁ\u03a3\u03c3\u0301\u0323\u0345å각\u1161\u11a8\u017f¼0\u0958\u0f71\u0f72\u00a0👍\U0001f3fd\u200d\udc80"
SIGMAS = "\u03c3", "\u03c2"  # inside a word, and at its end


def texts(parts):
    return [part.text for part in parts]


@forms.properties(50, 1_500)
@given(st.text(ODD, max_size=12) | st.text(st.characters(exclude_characters="\n"), max_size=12))
def test_nothing_is_lost(line):
    for splitter in SPLITTERS:
        parts = written_parts(line, splitter)
        assert "".join(texts(parts)) == line and all(texts(parts))
        numbers = [number for part in parts for number in range(part.start, part.end)]
        assert numbers == list(range(len(splitter.split(line))))


def test_parts_of_the_corpora_are_their_tokens(shared_corpora):
    """White space is between words, and a part is spelled as its tokens are, but for a sigma at a word's end."""
    for path in sorted((shared_corpora / "unicode").glob("*")):
        for line in path.read_text().split("\n")[: forms.times(3, 1_000)]:
            for splitter in SPLITTERS[1::3]:
                tokens = splitter.split(line)
                for part in written_parts(line, splitter):
                    spelled = splitter.spelled(part.text)
                    if part.start == part.end:
                        assert not spelled.strip()
                    else:
                        found = "".join(tokens[part.start : part.end])
                        assert spelled.replace(*SIGMAS) == found.replace(*SIGMAS)


@pytest.mark.parametrize(
    ("line", "splitter", "parts"),
    [
        ("ab", make_splitter("char", "punct", False), [("a", 0, 1), ("b", 1, 2)]),
        ("", make_splitter("char", "punct", False), []),
        (" It's,  so ", make_splitter("word", "punct", True),
         [(" ", 0, 0), ("It's", 0, 1), (",", 1, 2), ("  ", 2, 2), ("so", 2, 3), (" ", 3, 3)]),
        ("a, b", make_splitter("word", "whitespace", False), [("a,", 0, 1), (" ", 1, 1), ("b", 1, 2)]),
        ("  ", make_splitter("word", "punct", False), [("  ", 0, 0)]),
        ("e\u0301a", make_splitter("char", "punct", False, "nfc"), [("e\u0301", 0, 1), ("a", 1, 2)]),
        ("aﬁb", make_splitter("char", "punct", False, "nfkc"), [("a", 0, 1), ("ﬁ", 1, 3), ("b", 3, 4)]),
        ("İs Er", make_splitter("word", "punct", True), [("İs", 0, 1), (" ", 1, 1), ("Er", 1, 2)]),
        ("\u1100\u1161\u11a8", make_splitter("char", "punct", False, "nfc"), [("\u1100\u1161\u11a8", 0, 1)]),
        ("¼0", make_splitter("word", "punct", False, "nfkc"), [("¼", 0, 2), ("0", 2, 3)]),
    ],
)  # fmt: skip
def test_examples(line, splitter, parts):
    assert written_parts(line, splitter) == [WrittenPart(*part) for part in parts]
