"""Regions of a line, set apart by a mark that is not part of its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charlm.inference.words import token_begins, written_words
from charlm.text import Splitter


@dataclass(frozen=True)
class Regions:
    """A line without its marks, and its regions.

    text: what the model reads
    regions: their texts, in order; a region may be empty
    starts: where each begins in `text`; an empty one begins where the next one does
    joined: the end of one region and the start of the next if removing the mark made one word of both, else ""
    """

    text: str
    regions: Sequence[str]
    starts: Sequence[int]
    joined: str = ""

    def first_tokens(self, splitter: Splitter) -> list[int]:
        """Return for each region the number of tokens that begin before it."""
        begins = token_starts(self.text, splitter)
        found, at = [], 0
        for start in self.starts:
            while at < len(begins) and begins[at] < start:
                at += 1
            found.append(at)
        return found


def split_at_marks(line: str, mark: str) -> Regions:
    """Remove the marks of a line.

    White space beside a mark becomes the first character of it, and disappears at the ends of the line. Without white
    space the two sides are joined as they are: `arrived|.` is `arrived.`
    """
    texts, starts, text, gap, joined = [], [], "", "", ""
    *before, last = line.split(mark)
    for number, part in enumerate([*before, last]):
        core = part.lstrip() if number else part
        gap += part[: len(part) - len(core)]
        space_after = ""
        if number < len(before):
            whole, core = core, core.rstrip()
            space_after = whole[len(core) :]
        if core:
            if text and not gap and text[-1].isalnum() and core[0].isalnum():
                joined = joined or f"{text.rsplit(maxsplit=1)[-1]}{mark}{core.split()[0]}"
            text += gap[:1] if text else ""
            gap = ""
        texts.append(core)
        # An empty region begins where the next one does, behind the white space between them.
        starts.append(len(text) if core else -1)
        text += core
        gap += space_after
    following = len(text)
    for number in reversed(range(len(starts))):
        if starts[number] < 0:
            starts[number] = following
        following = starts[number]
    return Regions(text, texts, starts, joined)


def token_starts(line: str, splitter: Splitter) -> list[int]:
    """Return where each token of a line begins in it, without `<EOS>`.

    Where normalisation changes the number of characters, a position is still inside the same written word.
    """
    if splitter.vocabulary is not None:
        return token_begins(line, splitter)
    tokens, words = splitter.split(line), written_words(line, splitter, has_eos=False)
    begins = [0 if splitter.level == "char" else word.at for word in words[:1]] + [word.at for word in words[1:]]
    found = []
    for number, word in enumerate(words):
        at = begins[number]
        end = begins[number + 1] if number + 1 < len(words) else len(line)
        for token in tokens[word.start : word.end]:
            found.append(min(at, end - 1))
            at += len(token)
    return found
