"""The vocabulary: order, limits, look-ups and what it refuses."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.text import EOS, EOS_ID, NOTHING, UNK, UNK_ID, Vocabulary
from tests.forms import properties


def test_special_tokens_come_first() -> None:
    vocabulary = Vocabulary.build({"a": 1})
    assert vocabulary.tokens == (EOS, UNK, "a")
    assert (vocabulary.id_of(EOS), vocabulary.id_of(UNK)) == (EOS_ID, UNK_ID) == (0, 1)


def test_order_is_count_then_code_point_whatever_the_order_of_counts() -> None:
    counts = {"b": 2, "é": 5, "z": 5, "a": 2, "B": 2, "\U0001f600": 2, "\uffff": 2}
    expected = (EOS, UNK, "z", "é", "B", "a", "b", "\uffff", "\U0001f600")
    assert Vocabulary.build(counts).tokens == expected
    assert Vocabulary.build(dict(reversed(counts.items()))).tokens == expected


@pytest.mark.parametrize(
    ("limits", "ordinary"),
    [
        ({}, "abcd"),
        ({"max_size": 2}, "ab"),
        ({"max_size": 0}, ""),
        ({"max_size": 9}, "abcd"),
        ({"min_count": 2}, "abc"),
        ({"min_count": 5}, ""),
        ({"max_size": 2, "min_count": 4}, "a"),
    ],
)
def test_limits_count_ordinary_tokens(limits: dict[str, int], ordinary: str) -> None:
    vocabulary = Vocabulary.build({"a": 4, "b": 3, "c": 2, "d": 1}, **limits)
    assert vocabulary.tokens == (EOS, UNK, *ordinary)
    assert len(vocabulary) == 2 + len(ordinary)


def test_build_passes_over_counted_special_tokens() -> None:
    assert Vocabulary.build({UNK: 9, "a": 1, EOS: 9}, max_size=1).tokens == (EOS, UNK, "a")


def test_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="max_size"):
        Vocabulary.build({"a": 1}, max_size=-1)


@pytest.mark.parametrize(
    "tokens", [(), (EOS,), (UNK, EOS), ("a", "b"), (EOS, UNK, ""), (EOS, UNK, "a", "a"), (EOS, UNK, EOS)]
)
def test_bad_tokens_are_refused(tokens: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"vocabulary|token"):
        Vocabulary(tokens)


@pytest.mark.parametrize("token_id", [NOTHING, -3, 3])
def test_no_token_outside_the_ids(token_id: int) -> None:
    with pytest.raises(IndexError):
        Vocabulary.build({"a": 1}).token_of(token_id)


@properties(50, 200)
@given(st.text(), st.text(min_size=1))
def test_ids_and_tokens_are_inverse(text: str, other: str) -> None:
    vocabulary = Vocabulary.build(Counter(text))
    assert [vocabulary.id_of(token) for token in vocabulary.tokens] == list(range(len(vocabulary)))
    assert [vocabulary.token_of(i) for i in range(len(vocabulary))] == list(vocabulary.tokens)
    assert (vocabulary.id_of(other) == UNK_ID) == (other not in set(text))


def test_equal_tokens_make_equal_vocabularies() -> None:
    one, two = Vocabulary.build({"a": 1}), Vocabulary.build({"a": 7})
    assert one.ids["a"] == 2
    assert one == two
    assert hash(one) == hash(two)
