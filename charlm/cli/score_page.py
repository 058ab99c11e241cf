"""`charlm score` in colour: the page of --html, and the texts of its table at a terminal."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from charlm.cli import signals
from charlm.cli.pages import Page, row, surprisal_class, surprisal_swatches, token
from charlm.cli.shading import Shaded, bits_of_a_level, surprisal_level, surprisal_style


def shaded(score: Any, text: str, language_model: Any) -> Shaded:
    """Return the text of a score for a table, each token in the colour of its surprisal.

    text: as it is shown; without colours if it is another than the text of the score
    """
    from charlm.inference.parts import part_scores

    if text != score.text:
        return Shaded([(text, "")])
    width = bits_of_a_level(language_model)
    parts, _ = part_scores(score, language_model.tokenizer.splitter)
    return Shaded((one.text, surprisal_style(surprisal_level(one.bits, width))) for one in parts)


class ScorePage:
    """The page of all scores: a row for each line, with its surprisal in bits, each token shaded by its own.

    path: where it is written; model: the model's file
    """

    def __init__(self, path: Path, model: Path, language_model: Any) -> None:
        self._path, self._name = path, model.name.removesuffix(".safetensors")
        self._language_model = language_model
        self._is_labelled = language_model.is_conditioned
        self._width = bits_of_a_level(language_model)
        self._rows: list[str] = []
        self._bits, self._characters, self._tokens = 0.0, 0, 0

    @contextlib.contextmanager
    def made_of(self, found: Iterable[Any], *, with_suspects: bool) -> Iterator[Iterator[Any]]:
        """Yield an iterator over the same scores, and write the page at the end of the block.

        The page is complete even if the reader of standard output goes away.

        with_suspects: whether each score comes with its suspects
        """
        watched = self._watched(found, with_suspects)
        try:
            yield watched
        except signals.ClosedPipe:
            for _ in watched:
                pass
            self._write()
            raise
        self._write()

    def _watched(self, found: Iterable[Any], with_suspects: bool) -> Iterator[Any]:
        for one in found:
            self._add(one[0] if with_suspects else one)
            yield one

    def _add(self, score: Any) -> None:
        from charlm.inference.parts import part_scores

        parts, end = part_scores(score, self._language_model.tokenizer.splitter)
        shown = [self._token(one.text, one) for one in parts]
        if end is not None:
            shown.append(self._token("", end))
        bits = math.fsum(one.bits for one in (*parts, end) if one is not None)
        per_character = score.bits_per_char
        figures = [f"{bits:.2f}", "-" if math.isnan(per_character) else f"{per_character:.2f}"]
        label = [score.label] if self._is_labelled else []
        self._rows.append(row(len(self._rows) + 1, [*figures, *label], "".join(shown)))
        self._bits += bits
        self._characters += len(score.text) + score.has_eos
        self._tokens += score.tokens

    def _token(self, text: str, part: Any) -> str:
        if not part.tokens:
            return token(text, "", "")
        classes = [surprisal_class(surprisal_level(part.bits, self._width))]
        classes += ["u"] if part.oov else []
        classes += [] if text else ["e"]
        title = f"{part.bits:.2f} bits" + (", out of vocabulary" if part.oov else "") + ("" if text else ", <EOS>")
        return token(text, " ".join(filter(None, classes)), title)

    def _write(self) -> None:
        is_cloze = self._language_model.facts.is_cloze
        given = "all other tokens of its line" if is_cloze else "the tokens before it"
        page = Page(f"Surprisal by {self._name}")
        sentences = [
            "The stronger its shade, the less the model expected a token.",
            f"Its surprisal is -log2 P(token given {given}), in bits.",
            "The pointer on a token shows it, and the sum stands in front of each line.",
            *([] if is_cloze else ["The arrow \u21b5 is <EOS>, the end of the line."]),
            "What is underlined is out of vocabulary.",
        ]
        page.paragraph(" ".join(sentences))
        page.legend("bits", surprisal_swatches(self._width))
        per_character = f"{self._bits / self._characters:.3f}" if self._characters else "-"
        caption = (
            f"{len(self._rows):,} lines, {self._tokens:,} tokens, {self._bits:,.2f} bits, {per_character} bits/char"
        )
        page.table(caption, ["bits", "bits/char", *(["label"] if self._is_labelled else [])], self._rows)
        page.write(self._path)
