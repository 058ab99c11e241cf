"""Reading the pages that the command writes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "br"}
# What no element of a page may be, nor an attribute begin with.
ACTIVE = {"script", "iframe", "object", "embed", "link", "img", "form", "svg", "base"}


@dataclass
class Row:
    """A row of a table: the figures in front of the text, the text, and its tokens with their class and title."""

    figures: list[str] = field(default_factory=list)
    text: str = ""
    tokens: list[tuple[str, str, str]] = field(default_factory=list)


class Read(HTMLParser):
    """A page, of which every element is closed in order.

    tables: the rows of the body of each table; words: all text outside tables
    """

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[list[Row]] = []
        self.words = ""
        self._open: list[tuple[str, dict[str, str]]] = []
        self.source = path.read_bytes().decode("utf-8")
        assert self.source.startswith("<!DOCTYPE html>\n<html lang=")
        assert not re.search(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]", self.source)  # no controls
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        assert tag not in ACTIVE and not any(name.startswith("on") or name in ("src", "href") for name in found)
        if tag == "tbody":
            self.tables.append([])
        if tag == "tr" and self._is_in("tbody"):
            self.tables[-1].append(Row())
        if tag == "span" and self._is_in("tbody"):
            self.tables[-1][-1].tokens.append(("", found.get("class", ""), found["title"]))
        if tag in ("td", "th") and self._is_in("tbody") and found.get("class") != "t":
            self.tables[-1][-1].figures.append("")
        if tag not in VOID:
            self._open.append((tag, found))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if not self._is_in("tbody"):
            self.words += "" if self._is_in("style") else data
            return
        if not self._is_in("tr"):
            assert data == "\n"
            return
        row, (tag, attrs) = self.tables[-1][-1], self._open[-1]
        if tag == "span":
            row.tokens[-1] = (row.tokens[-1][0] + data, *row.tokens[-1][1:])
        if tag == "span" or attrs.get("class") == "t":
            row.text += data
        else:
            row.figures[-1] += data

    def _is_in(self, tag: str) -> bool:
        return any(name == tag for name, _ in self._open)


def check_strictly(path: Path) -> None:
    """Parse a page as a browser does, and raise for what is not HTML; nothing is checked without html5lib."""
    try:
        import html5lib
    except ModuleNotFoundError:
        return
    html5lib.HTMLParser(strict=True).parse(path.read_bytes(), transport_encoding="utf-8")
