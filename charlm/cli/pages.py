"""Texts in colour as HTML pages: complete in one file, without scripts, readable without colours and in the dark.

A page has tables of lines: their number, figures, and the text, in which each token has a shade and a title.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from charlm.cli import signals, ui
from charlm.cli.options import refuse_same_file
from charlm.cli.shading import SIGNED_LEVELS, SURPRISAL_LEVELS

SUFFIXES = (".html", ".htm")

# How opaque a shade is, which leaves the text on it dark enough, or in the dark light enough, to be read.
_OPAQUE = (".1", ".2", ".32", ".44", ".56", ".68", ".8", ".92")

_STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1b1b1b;--dim:#5d5d5d;--rule:#ddd;
--hot:255 120 40;--plus:80 150 255;--minus:255 95 85}
@media (prefers-color-scheme:dark){:root{--page:#161616;--ink:#ececec;--dim:#a6a6a6;--rule:#333;
--hot:190 65 10;--plus:35 95 205;--minus:190 48 42}}
body{background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif;margin:2em auto;max-width:72em;
padding:0 1em}
h1{font-size:1.4em}h2{font-size:1.1em;margin:2em 0 .3em}p{max-width:44em}.k{max-width:none}
table{border-collapse:collapse;width:100%}
caption{text-align:left;color:var(--dim);padding:.3em 0}
th,td{text-align:right;vertical-align:top;padding:.15em 1em .15em 0;white-space:nowrap;font-weight:normal}
thead th{border-bottom:1px solid var(--rule);color:var(--dim)}
tbody th{color:var(--dim)}td,tbody th{font-variant-numeric:tabular-nums}
.t{text-align:left;width:100%;white-space:pre-wrap;overflow-wrap:anywhere}
td.t,.k span{font-family:ui-monospace,monospace;print-color-adjust:exact}
.k span{display:inline-block;padding:0 .5em;margin:0 .1em}
.u{text-decoration:underline dotted}
.e::before{content:"\\21B5"}
"""


class Page:
    """A page that is made line by line, and written at the end.

    title: its heading
    """

    def __init__(self, title: str) -> None:
        self._title = escaped(title)
        self._body: list[str] = []

    def paragraph(self, text: str) -> None:
        """Add a paragraph of text."""
        self._body.append(f"<p>{escaped(text)}</p>\n")

    def legend(self, name: str, swatches: Iterable[tuple[str, str]]) -> None:
        """Add a legend; swatches: pairs of a class and a text."""
        shown = " ".join(f'<span class="{kind}">{escaped(text)}</span>' for kind, text in swatches)
        self._body.append(f'<p class="k">{escaped(name)}: {shown}</p>\n')

    def table(self, caption: str, columns: Sequence[str], rows: Iterable[str], *, title: str = "") -> None:
        """Add a table of lines; columns: between the number and the text; rows: of `row`."""
        if title:
            self._body.append(f"<h2>{escaped(title)}</h2>\n")
        head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in ("line", *columns))
        self._body.append(
            f'<table>\n<caption>{escaped(caption)}</caption>\n<thead><tr>{head}<th scope="col" class="t">text</th>'
            "</tr></thead>\n<tbody>\n"
        )
        self._body += rows
        self._body.append("</tbody>\n</table>\n")

    def write(self, path: Path) -> None:
        """Write the page, atomically; raise ResourceError if that fails."""
        from charlm.storage.files import write_atomically

        levels = [(f"s{at}", "hot", opaque) for at, opaque in enumerate(_OPAQUE, start=1)]
        for kind, colour in (("p", "plus"), ("m", "minus")):
            levels += [(f"{kind}{at}", colour, _OPAQUE[at + 1]) for at in range(1, SIGNED_LEVELS + 1)]
        shades = "".join(f".{kind}{{background:rgb(var(--{colour})/{opaque})}}\n" for kind, colour, opaque in levels)
        head = (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{self._title}</title>\n<style>{_STYLE}{shades}</style>\n</head>\n<body>\n<h1>{self._title}</h1>\n"
        )
        with signals.undisturbed():
            write_atomically(path, "".join([head, *self._body, "</body>\n</html>\n"]).encode())


def row(number: int, figures: Sequence[str], text: str) -> str:
    """Return a row of a table: the number of a line, figures, and the text, of `token`s.

    Each text has the direction of its own first letter. Its language is not known.
    """
    cells = "".join(f"<td>{escaped(figure)}</td>" for figure in figures)
    return f'<tr><th scope="row">{number}</th>{cells}<td class="t" lang="" dir="auto">{text}</td></tr>\n'


def token(text: str, kind: str, title: str) -> str:
    """Return a token as HTML; kind: its class, "" for none; title: shown where the pointer is."""
    if not (kind or title):
        return escaped(text)
    classes = f' class="{kind}"' if kind else ""
    return f'<span{classes} title="{escaped(title)}">{escaped(text)}</span>'


def escaped(text: str) -> str:
    """Return text as HTML; control characters and marks of direction become visible escapes."""
    return html.escape(ui.printable(text))


def surprisal_class(level: int) -> str:
    """Return the class of a level of surprisal."""
    return f"s{level}" if level else ""


def signed_class(level: int) -> str:
    """Return the class of a level of a value between -1 and 1."""
    return f"{'m' if level < 0 else 'p'}{abs(level)}" if level else ""


def surprisal_swatches(width: float) -> list[tuple[str, str]]:
    """Return the legend of the levels of surprisal; width: bits of a level."""
    texts = [f"{width * at:g} to {width * (at + 1):g}" for at in range(SURPRISAL_LEVELS)]
    return [
        (surprisal_class(at) or "s0", text) for at, text in enumerate([*texts, f"{width * SURPRISAL_LEVELS:g} or more"])
    ]


def signed_swatches() -> list[tuple[str, str]]:
    """Return the legend of the levels of values."""
    levels = range(-SIGNED_LEVELS, SIGNED_LEVELS + 1, 2)
    return [(signed_class(at) or "s0", f"{at / SIGNED_LEVELS:.2g}") for at in levels]


def output_file(option: str, name: str, suffixes: Sequence[str], inputs: Iterable[Any]) -> Path:
    """Return the path of an option's output file, which can be written; an existing file is replaced.

    Raises UsageError for another suffix, which keeps a text or a model from being overwritten, and if the file is also
    an input. Raises ResourceError if it cannot be written.
    """
    from charlm.errors import UsageError
    from charlm.storage.files import check_writable, display_name

    path = Path(name)
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{option} {display_name(name)}: unknown suffix", hint=f"name a file FILE{suffixes[0]}")
    refuse_same_file(map(str, inputs), path, hint=f"name another file with {option}")
    with signals.undisturbed():
        check_writable(path)
    return path
