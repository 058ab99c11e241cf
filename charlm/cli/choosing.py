"""The options of `charlm generate` that choose among the drawn texts, and what is reported of the choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from charlm.cli import ui
from charlm.cli.escapes import unescaped
from charlm.cli.options import kept, texts


class Chooser:
    """Keeps some of the drawn texts, and reports how many there were.

    choice: a `Choice`; not_in: files of known texts
    """

    def __init__(self, choice: Any, not_in: list[str], *, has_lengths: bool) -> None:
        from charlm.inference.choosing import Counts

        self._choice, self._not_in, self._has_lengths = choice, not_in, has_lengths
        self._counts = Counts()

    def read_known(self, language_model: Any) -> None:
        """Read the known texts, as the tokens of the model; raise CorpusError for a file that cannot be read."""
        from charlm.inference.choosing import known_texts

        self._tokenizer = language_model.tokenizer
        lines = texts(self._not_in, errors=kept(language_model.text)) if self._not_in else []
        self._known = known_texts(language_model, lines)

    def kept(self, draw: Callable[[int], Any]) -> Iterator[Any]:
        """Yield the texts that are kept."""
        from charlm.inference.choosing import choose

        return choose(draw, self._choice, self._tokenizer, known=self._known, counts=self._counts)

    def report(self) -> None:
        """Print the counts on one line; raise CharlmError if there are fewer texts than asked for."""
        from charlm.errors import CharlmError
        from charlm.inference.choosing import STALLED

        counts, count = self._counts, self._choice.count
        parts = [f"drawn {counts.drawn:,}"]
        parts += [f"distinct {counts.distinct:,}"] * self._choice.unique
        parts += [f"known {counts.known:,}"] * bool(self._not_in)
        ui.note("; ".join([*parts, f"kept {counts.kept:,}"]))
        if counts.kept < count:
            widen = "widen --min-length and --max-length, " if self._has_lengths else ""
            raise CharlmError(
                f"{counts.kept:,} of {count:,} texts found: {STALLED:,} draws in a row brought no new one",
                hint=f"{widen}raise --temperature, or ask for fewer texts with -n",
            )


def chooser_of(
    count: int,
    unique: bool,
    not_in: list[str],
    best_of: int | None,
    sort: str | None,
    min_length: int | None,
    max_length: int | None,
) -> Chooser | None:
    """Return what keeps the texts that the options ask for, or None if they keep all; raises what `Choice` raises."""
    has_lengths = min_length is not None or max_length is not None
    if not (unique or not_in or best_of is not None or sort is not None or has_lengths):
        return None

    from charlm.inference.choosing import Choice

    # An empty text is nothing new.
    least = min_length if min_length is not None else int(unique or bool(not_in))
    choice = Choice(count, unique, best_of or 1, sort is not None, least, max_length)
    return Chooser(choice, not_in, has_lengths=has_lengths)


def check_separator(separator: str | None, form: str) -> str | None:
    """Return the text between two texts, None for a newline after each; raise UsageError for records."""
    from charlm.errors import UsageError

    if separator is None:
        return None
    if form != "text":
        raise UsageError(f"--separator with --format {form}", hint="leave it out, or use --format text")
    return unescaped(separator, allow_nul=True)
