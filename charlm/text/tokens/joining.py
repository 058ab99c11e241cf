"""Where spaces go when tokens are joined, learned from how the training text was spelled.

Splitting `it's 12:30, "he said"` at marks loses the spaces. Whether a mark is attached to its neighbours depends on the
language: English writes `Oh!`, French `Oh !`. So neighbours, a mark and a word or two marks, are counted while a corpus
is read. Each pair is counted in four contexts, from general to specific:

| level | context | example, with two attached tokens |
|---|---|---|
| 0 | the right token if it is a mark, else the left one | `- ,` |
| 1 | both tokens, a word only by the kind of its character beside the other token | `digit :` |
| 2 | the same, and the state of the line | `letter " open` |
| 3 | both tokens as they are, and the state of the line | `dogs ' closed` |

The state is needed because a quote opens and closes by the same character. A mark is open if it has occurred an odd
number of times in the line. Of a mark on the left, the state also contains whether it is attached, apart, or the first.

The probability that two tokens are attached is estimated as in interpolated smoothing (Jelinek and Mercer 1980):

    p(context) = (attached + K p(general context)) / (attached + apart + K),  0 before level 0

Tokens are attached if p > 1/2 in their most specific context. Only a context that decides otherwise than its general
context is kept. So the table of a corpus of English prose has about a hundred rows.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

LEVELS = 4
_STRENGTH = 2.0  # K: the pairs that the general context counts for
# Counting them takes about half a second, and more of them hardly change the table.
_MOST_TOKENS = 1 << 18

Table = Sequence[Mapping[str, bool]]  # by level: context -> whether the tokens are attached


class Spacing:
    """The learned spelling of a corpus: which tokens are attached to the token before.

    table: by level, the contexts that decide otherwise than their general context
    """

    def __init__(self, table: Table) -> None:
        self.table = table

    @classmethod
    def from_json(cls, table: Any) -> Spacing:
        """Return the spacing that `to_json` has described; raise ValueError for anything else."""
        if not isinstance(table, list) or len(table) != LEVELS:
            raise ValueError("the spacing is not a list of four levels")
        for level in table:
            if not isinstance(level, dict) or not all(isinstance(value, bool) for value in level.values()):
                raise ValueError("a level of the spacing is not a table of contexts")
        return cls(table)

    def to_json(self) -> list[dict[str, bool]]:
        """Return the table, as plain JSON values."""
        return [dict(level) for level in self.table]

    def within(self, vocabulary: Collection[str]) -> Spacing:
        """Return the spacing without the contexts that name a token outside a vocabulary."""
        specific = {key: value for key, value in self.table[-1].items() if vocabulary_has(key, vocabulary)}
        return Spacing([*self.table[:-1], specific])

    def is_attached(self, contexts: Sequence[str]) -> bool:
        """Return whether a token is attached to the one before; contexts: those of `LineState.contexts`."""
        levels = zip(reversed(self.table), reversed(contexts), strict=True)
        return next((level[context] for level, context in levels if context in level), False)


# Every mark is apart.
NO_SPACING = Spacing([{} for _ in range(LEVELS)])


def vocabulary_has(context: str, vocabulary: Collection[str]) -> bool:
    """Return whether both tokens of a most specific context are in a vocabulary."""
    return all(token in vocabulary for token in context.split(" ")[:2])


class LineState:
    """What is known of a line before its next token.

    left: the last token, None at the start of a line
    """

    def __init__(self) -> None:
        self.left: str | None = None
        self._stands = ""
        self._open: set[str] = set()

    def contexts(self, right: str) -> Sequence[str]:
        """Return the contexts, by level, of the next token with the last one; empty for the first token, or two words.

        Two words are never attached: they would be one.
        """
        left = self.left
        if left is None:
            return ()
        left_word, right_word = is_word(left), is_word(right)
        if left_word and right_word:
            return ()
        left_kind = _kind(left[-1]) if left_word else left
        right_kind = _kind(right[0]) if right_word else right
        state = ""
        if not left_word:
            state += f" {self._stands} {self._openness(left)}"
        if not right_word:
            state += f" {self._openness(right)}"
        pair = f"{left_kind} {right_kind}"
        return f"{left} -" if right_word else f"- {right}", pair, pair + state, f"{left} {right}{state}"

    def add(self, token: str, *, attached: bool) -> None:
        """Append a token to the line; attached: to the one before."""
        self._stands = "first" if self.left is None else "attached" if attached else "apart"
        self.left = token
        if not is_word(token):
            self._open ^= {token}

    def _openness(self, mark: str) -> str:
        return "open" if mark in self._open else "closed"


class SpacingCounts:
    """Counts of the pairs of neighbours in the first lines of a corpus, about a quarter of a million tokens."""

    def __init__(self) -> None:
        self._tokens = 0
        # By level: context -> how often the tokens were apart, and attached.
        self._counts: list[dict[str, list[int]]] = [{} for _ in range(LEVELS)]
        self._general: list[dict[str, str]] = [{} for _ in range(LEVELS)]

    def add_lines(self, lines: Iterable[str], spaced: Callable[[str], Iterable[tuple[str, bool]]]) -> None:
        """Count lines until enough are counted; spaced: returns the tokens of a line, as `add` takes them."""
        for line in lines:
            if self.is_full:
                return
            self.add(spaced(line))

    @property
    def is_full(self) -> bool:
        """Whether further lines would not be counted."""
        return self._tokens >= _MOST_TOKENS

    def add(self, tokens: Iterable[tuple[str, bool]]) -> None:
        """Count a line: its tokens, each with whether it is attached to the one before."""
        line = LineState()
        for token, attached in tokens:
            if self.is_full:
                return
            self._tokens += 1
            contexts = line.contexts(token)
            for counts, context in zip(self._counts, contexts, strict=False):
                counts.setdefault(context, [0, 0])[attached] += 1
            for general, (broad, narrow) in zip(self._general[1:], pairwise(contexts), strict=False):
                general[narrow] = broad
            line.add(token, attached=attached)

    def spacing(self) -> Spacing:
        """Return the most likely spelling of all that was counted."""
        table: list[dict[str, bool]] = []
        broad: dict[str, float] = {}
        for counts, general in zip(self._counts, self._general, strict=True):
            probs, rows = {}, {}
            for context in sorted(counts):
                apart, attached = counts[context]
                before = broad[general[context]] if general else 0.0
                probs[context] = prob = (attached + _STRENGTH * before) / (attached + apart + _STRENGTH)
                if (prob > 0.5) != (before > 0.5):
                    rows[context] = prob > 0.5
            table.append(rows)
            broad = probs
        return Spacing(table)


def is_word(token: str) -> bool:
    """Return whether a token is a word, not a punctuation mark or a symbol; `<unk>` and its like are words."""
    return unicodedata.category(token[0])[0] not in "PS" or token[0] == "_" or (len(token) > 3 and token[0] == "<")


def _kind(character: str) -> str:
    """Return the kind of a character at the edge of a word."""
    if character.isdigit():
        return "digit"
    return "capital" if character.isupper() else "letter"
