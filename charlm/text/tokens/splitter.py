"""Text to tokens and back, without a vocabulary."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from typing import ClassVar, Literal, Self

from charlm.text.tokens.joining import LineState, Spacing
from charlm.text.tokens.normalization import Normalization, normalized
from charlm.text.tokens.vocabulary import EOS, UNK, Vocabulary

Level = Literal["char", "byte", "subword", "word"]
Split = Literal["punct", "whitespace"]

# How word corpora spell the special tokens.
UNK_SPELLINGS = ("<unk>", UNK)
RESERVED = (*UNK_SPELLINGS, EOS)


class Splitter(ABC):
    """A rule that splits lines into tokens and joins tokens to text, with `split(join(split(line))) == split(line)`.

    lowercase: whether a line is lower-cased (`str.lower`) before it is split
    normalize: the Unicode form of the tokens; unless it is "none", canonically equivalent lines have equal tokens
    spacing: where spaces go when tokens are joined, as learned from a corpus; None for the rule's own way

    level: the token unit
    joins_with_spaces: whether white space stands between tokens, and is not part of any
    has_spaced_tokens: whether a token may contain white space beside other characters
    vocabulary: the tokens of a rule that has its own; None if a corpus determines them
    piece_model: the model of a rule that has learned its tokens from a corpus, else empty
    """

    level: ClassVar[Level]
    joins_with_spaces: ClassVar[bool] = False
    has_spaced_tokens: ClassVar[bool] = False
    vocabulary: Vocabulary | None = None
    piece_model: str = ""

    def __init__(
        self, *, lowercase: bool = False, normalize: Normalization = "none", spacing: Spacing | None = None
    ) -> None:
        self.lowercase, self.normalize, self.spacing = lowercase, normalize, spacing

    def spelling_as(self, spacing: Spacing | None) -> Self:
        """Return a splitter that splits like this one, and joins with a given spacing."""
        return type(self)(lowercase=self.lowercase, normalize=self.normalize, spacing=spacing)

    @property
    def gathered_by(self) -> Splitter:
        """The rule by which a corpus is encoded before its tokens are learned and a part of it is held out."""
        return self

    @property
    def rule(self) -> str:
        """A name, in lower-case letters and hyphens, that splitters share if and only if they split alike."""
        name = type(self).__name__.removesuffix("Splitter").lower()
        return name + "-lower" * self.lowercase + f"-{self.normalize}" * (self.normalize != "none")

    def normalized(self, text: str) -> str:
        """Return text of any number of lines in the Unicode form of the tokens."""
        return normalized(text, self.normalize)

    def spelled(self, text: str) -> str:
        """Return text of any number of lines as the tokens spell it: normalised, and lower-cased if `lowercase`.

        Equivalent texts may have different lower cases, so normalisation comes first. It is repeated, because
        lower-casing may leave a letter and a mark that compose.
        """
        text = self.normalized(text)
        return self.normalized(text.lower()) if self.lowercase else text

    @abstractmethod
    def split(self, line: str) -> list[str]:
        """Return the tokens of a line, as they are spelled there, without `<EOS>`."""

    @abstractmethod
    def stream(self, tokens: Iterable[str]) -> Iterator[str]:
        """Yield the text of the tokens of one line, a piece for each token as soon as it is known."""

    def join(self, tokens: Iterable[str]) -> str:
        """Return the text of the tokens of one line."""
        return "".join(self.stream(tokens))

    def spans(self, line: str) -> list[tuple[int, int]]:
        """Return the start and the end of each token in the line as it is spelled, see `spelled`.

        Bytes of one character have its span.
        """
        spelled = self.spelled(line)
        spans, at = [], 0
        for token in self.split(line):  # white space alone stands between words, and no word begins with it
            start = spelled.index(token, at)
            at = start + len(token)
            spans.append((start, at))
        return spans


class CharacterSplitter(Splitter):
    """The rule by which every Unicode code point is a token; nothing is lost."""

    level = "char"

    def split(self, line: str) -> list[str]:
        return list(self.spelled(line))

    def stream(self, tokens: Iterable[str]) -> Iterator[str]:
        return iter(tokens)


class WordSplitter(Splitter):
    """A rule by which words are tokens.

    A literal `<unk>`, `<UNK>` or `<EOS>` in the text is the unknown token: no text can end a sentence by spelling it.
    """

    level = "word"
    joins_with_spaces = True


class WhitespaceSplitter(WordSplitter):
    """The rule for text that is tokenised already: split at ASCII white space only, joined by single spaces.

    `str.split` would also split at U+00A0 and U+3000, which occur inside the tokens of tokenised corpora.
    """

    def split(self, line: str) -> list[str]:
        return BETWEEN_ASCII_SPACE.findall(self.spelled(line))

    def stream(self, tokens: Iterable[str]) -> Iterator[str]:
        space = ""
        for token in tokens:
            yield space + token
            space = " "


class PunctuationSplitter(WordSplitter):
    """The rule by which words, punctuation marks and symbols are tokens.

    They are joined as the training text was spelled, see `Spacing`, or as English is written if nothing was learned.

    A word is a run of letters, digits, underscores, combining marks and joiners. An apostrophe, hyphen, period or comma
    inside it does not end it: "don't", "well-known", "3.5", "1,000", "e.g" and then ".". A symbol keeps its marks, so
    that an emoji with its joiners, selectors and skin tone is one token. White space of any kind separates tokens.
    """

    def split(self, line: str) -> list[str]:
        line = self.spelled(line)
        return _token_pattern(line).findall(line)

    def spaced(self, line: str) -> Iterator[tuple[str, bool]]:
        """Yield the tokens of a line, each with whether it is attached to the one before."""
        line, end = self.spelled(line), 0
        for found in _token_pattern(line).finditer(line):
            yield found[0], found.start() == end
            end = found.end()

    def stream(self, tokens: Iterable[str]) -> Iterator[str]:
        return _joined_as_english(tokens) if self.spacing is None else self._joined_as_learned(tokens, self.spacing)

    def _joined_as_learned(self, tokens: Iterable[str], spacing: Spacing) -> Iterator[str]:
        line = LineState()
        run: list[str] = []  # the last two tokens, as far as they are attached
        for token in tokens:
            contexts = line.contexts(token)
            attached = bool(contexts) and spacing.is_attached(contexts)
            # Attached tokens must not become another token, as "well", "-", "known" would.
            attached = attached and self.split("".join(run) + token) == [*run, token]
            yield token if attached or line.left is None else " " + token
            line.add(token, attached=attached)
            run = [*run[-1:], token] if attached else [token]


def _joined_as_english(tokens: Iterable[str]) -> Iterator[str]:
    previous = None
    open_quotes: set[str] = set()
    glue_next = True
    for token in tokens:
        glue_right = token in _NO_SPACE_AFTER
        glue_left = token in _NO_SPACE_BEFORE or (token == "-" and previous == "-")
        if token in _STRAIGHT_QUOTES:
            glue_left = token in open_quotes
            glue_right = not glue_left
            open_quotes ^= {token}
        glued = glue_left or (glue_next and not _attaches_to_symbols(token))
        yield token if glued or previous is None else " " + token
        previous, glue_next = token, glue_right


# Tokens without a space before or after them. Splitting the joined text must return the same tokens, so a mark that may
# be inside a word (apostrophe, hyphen, period, comma) is never in both sets.
_CLOSING = ".,;:!?)]}%" + "\u2026\u2019\u201d\u00bb\u203a" + "\u060c\u061b\u061f\u0964"
_OPENING = "([{$#@" + "\u201c\u2018\u201e\u201a\u00ab\u2039" + "\u00bf\u00a1\u00a3\u20ac\u00a5"
_EM_DASH_AND_SLASH = "\u2014/"
# Chinese and Japanese have no spaces between words, and their marks contain one.
_FULL_WIDTH = "".join(map(chr, [*range(0x3001, 0x3004), *range(0x3008, 0x3012), *range(0x3014, 0x301C)]))
_FULL_WIDTH += "\u30fb\uff01\uff08\uff09\uff0c\uff0e\uff1a\uff1b\uff1f\uff3b\uff3d\uff5b\uff5d\uff5e"
_NO_SPACE_BEFORE = frozenset(_CLOSING + _EM_DASH_AND_SLASH + _FULL_WIDTH)
_NO_SPACE_AFTER = frozenset(_OPENING + _EM_DASH_AND_SLASH + _FULL_WIDTH)
_STRAIGHT_QUOTES = frozenset("\"'")


def _attaches_to_symbols(token: str) -> bool:
    # Without a space, a token that begins with a mark, joiner or skin tone would become part of a symbol.
    return unicodedata.category(token[0]) in {"Mn", "Mc", "Me", "Cf", "Sk"}


BETWEEN_ASCII_SPACE = re.compile(r"[^ \t\n\v\f\r]+")
_RESERVED = "|".join(RESERVED)
# Possessive repetitions find the same tokens, and do not take 64 bytes of memory a character for going back.
# The lookahead is for Python before 3.11.5, which keeps the characters that a failing repetition has consumed:
# https://github.com/python/cpython/issues/106052
_ASCII_TOKEN = re.compile(rf"\w++(?:(?=['.,-]\w)['.,-]\w++)*+|{_RESERVED}|\S")
_MARKS = frozenset({"Mn", "Mc", "Me"})
_IN_WORDS = _MARKS | {"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Cf", "Co", "Cs", "Cn"}

# The range in which Unicode has symbols, mostly emoji. All of it counts as symbols, so that emoji newer than the tables
# of this Python do too. Letters follow in the planes above.
_FIRST_PICTOGRAPH, _LAST_PICTOGRAPH = 0x1F000, 0x1FFFF


def _token_pattern(line: str) -> re.Pattern[str]:
    """Return the pattern of a token; for ASCII text both find the same, and this one is faster and takes no tables."""
    return _ASCII_TOKEN if line.isascii() else _unicode_token()


@cache
def _unicode_token() -> re.Pattern[str]:
    """Return the pattern of a token, made when it is first needed: that takes about 40 ms."""
    in_words = f"_{_ranges(_IN_WORDS)}\\U{_LAST_PICTOGRAPH + 1:08x}-\\U0010ffff"
    word, symbol = f"[{in_words}]", rf"[^\s{in_words}]"
    selectors_tones_tags = r"\U000e0100-\U000e01ef\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f"
    marks = f"[{_ranges(_MARKS)}{selectors_tones_tags}]*+"
    flag = r"[\U0001f1e6-\U0001f1ff]{2}"
    within = r"['\u2019\-\u2010\u2011.,]"
    return re.compile(
        rf"{word}++(?:(?={within}{word}){within}{word}++)*+|{_RESERVED}"
        rf"|(?:{flag}|\S){marks}(?:(?=\u200d{symbol})\u200d\S{marks})*+"
    )


def _ranges(categories: frozenset[str]) -> str:
    """Return the code points of some general categories, below the pictographs, as ranges of a character class."""
    member = [unicodedata.category(chr(point)) in categories for point in range(_FIRST_PICTOGRAPH)]
    ranges = []
    start = 0
    for inside, run in groupby(member):
        end = start + sum(1 for _ in run)
        if inside:
            ranges.append(f"\\U{start:08x}-\\U{end - 1:08x}")
        start = end
    return "".join(ranges)
