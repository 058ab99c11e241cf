"""The manual page of charlm, written from the help of its commands.

python -m tests.readme writes it to the data files of the package; `tests/cli/test_cli_manual.py` compares the two.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from charlm import errors
from charlm.cli.app import make_app
from charlm.cli.commands import COMMANDS
from charlm.version import __version__

SHARE = Path(__file__).resolve().parents[1] / "charlm" / "cli" / "share"
PAGE = SHARE / "man" / "man1" / "charlm.1"
_LONGEST = 72  # characters of a line, before those that are escaped
_WIDTH = 8  # of the indentation of texts below their option

# Characters that roff would replace, and what it prints them for.
_ESCAPES = str.maketrans({"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"})
_METAVAR = re.compile(r"\b[A-Z]+\b")
_SUCCESS = {0: "Success.", 1: "Internal error, or a failed check."}
_SIGNALS = {"128 + N": "Ended by signal N."}
_ENVIRONMENT = {
    "NO_COLOR": "If it is set, nothing is coloured.",
    "CHARLM_CORE": "The core that computes: numpy, amx, v3, v4 or neon; without it, the fastest of this processor.",
}


def page() -> str:
    """Return the manual page in the macros of man(7)."""
    group = typer.main.get_command(make_app())
    context = group.make_context("charlm", [], resilient_parsing=True)
    return "".join(f"{line}\n" for line in _page(group, context))


def _page(group: Any, context: Any) -> Iterator[str]:
    text, examples = _parts(group.help)
    sections = group.sections(context)
    yield r".\" Written by python -m tests.readme from the help of charlm."
    yield f'.TH CHARLM 1 "" "charlm {__version__}" "charlm manual"'
    yield from (".nh", ".ad l")  # neither hyphens at the end of lines nor wide gaps between words
    yield ".SH NAME"
    yield rf"charlm \- {_escaped(text[0][:1].lower() + text[0][1:].rstrip('.'))}"
    yield from _usage(group, context, "SYNOPSIS")
    yield ".SH DESCRIPTION"
    yield from _lines(" ".join([*text, group.epilog]))
    yield from _examples(examples)
    yield ".SH COMMANDS"
    for heading, entries in sections.items():
        yield f'.SS "{heading}"' if heading in COMMANDS else f'.SH "{heading.upper()}"'
        yield from _entries(entries)
    for name, command in group.commands.items():
        own = command.make_context(name, [], parent=context, resilient_parsing=True)
        yield from _command(name, command, own)
    yield from _list("EXIT STATUS", {**_SUCCESS, **_codes_of_errors(), **_SIGNALS})
    yield from _list("ENVIRONMENT", _ENVIRONMENT)


def _command(name: str, command: Any, context: Any) -> Iterator[str]:
    """Yield the section of a command; its global options stand once, in the section of their own."""
    text, examples = _parts(command.help)
    yield from _usage(command, context, f"CHARLM {name.upper()}")
    yield from _paragraphs(text)
    yield from _examples(examples)
    for heading, entries in command.sections(context).items():
        if heading != "Global options":
            yield f'.SS "{heading}"'
            yield from _entries(entries)


def _codes_of_errors() -> dict[int, str]:
    """Return the documented meaning of each exit code, from the class of its errors."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if "exit_code" in vars(kind)]
    return {kind.exit_code: str(kind.__doc__) for kind in sorted(kinds, key=lambda kind: kind.exit_code)[1:]}


def _parts(help_text: str) -> tuple[list[str], list[str]]:
    """Return the paragraphs of a help text, and the lines of its examples."""
    paragraphs = inspect.cleandoc(help_text).split("\n\n")
    text = [" ".join(one.split()) for one in paragraphs if not one.startswith("\b")]
    examples = [line for one in paragraphs if one.startswith("\b") for line in one.splitlines()[1:]]
    return text, examples


def _usage(command: Any, context: Any, heading: str) -> Iterator[str]:
    yield f'.SH "{heading}"'
    pieces = " ".join(command.collect_usage_pieces(context))
    yield rf"\fB{_escaped(context.command_path)}\fR {_with_metavars(pieces)}"


def _paragraphs(text: list[str]) -> Iterator[str]:
    for paragraph in text:
        yield ".PP"
        yield from _lines(paragraph)


def _examples(lines: list[str]) -> Iterator[str]:
    if lines:
        yield from (".PP", ".RS 4", ".nf", *(_line(_escaped(line)) for line in lines), ".fi", ".RE")


def _entries(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        yield f".TP {_WIDTH}"
        yield _term(entry.term)
        yield from _lines(entry.text)


def _list(heading: str, entries: Mapping[Any, str]) -> Iterator[str]:
    yield f'.SH "{heading}"'
    for term, text in entries.items():
        yield f".TP {_WIDTH}"
        yield rf"\fB{_escaped(str(term))}\fR"
        yield from _lines(text)


def _term(term: str) -> str:
    """Return the names of an option in bold and its metavar in italics."""
    return " ".join(
        _with_metavars(word) if _METAVAR.search(word) else rf"\fB{_escaped(word)}\fR" for word in term.split(" ")
    )


def _with_metavars(text: str) -> str:
    return _line(_METAVAR.sub(r"\\fI\g<0>\\fR", _escaped(text)))


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def _lines(text: str) -> Iterator[str]:
    """Yield a text in lines of the length that roff's own manual asks for."""
    for line in textwrap.wrap(text, _LONGEST, break_long_words=False, break_on_hyphens=False):
        yield _line(_escaped(line))


def _line(text: str) -> str:
    """Return a line that roff takes for text, also where it begins as a request does."""
    return rf"\&{text}" if text.startswith((".", "'")) else text
