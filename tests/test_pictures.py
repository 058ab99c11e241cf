"""The pictures that the documents show: they can be read by all, in light and dark, and none is left over."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.pictures import FOLDER, PICTURES
from tests.pictures.runs import AGREEMENT, CELLS, KITCHEN
from tests.readme import GUIDE, PROJECT, documents

MOST_BYTES = 60_000
SVG = "{http://www.w3.org/2000/svg}"
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"""\]\(([^)\s]+\.svg)\)|(?:src|srcset)="([^"]+\.svg)\"""")


def linked() -> dict[Path, str]:
    """Return each picture that a document links, with the name of the document."""
    return {
        (document.parent / (link[1] or link[2])).resolve(): document.name
        for document in documents()
        for link in _LINK.finditer(_FENCE.sub("", document.read_text()))
    }


def faults(picture: str) -> list[str]:
    """Return what is wrong with an SVG picture on a page."""
    if len(picture.encode()) > MOST_BYTES:
        return ["too large"]
    try:
        root = ElementTree.fromstring(picture)
    except ElementTree.ParseError as error:
        return [str(error)]
    found = []
    if root.tag != f"{SVG}svg" or root.get("role") != "img":
        found.append("not an image")
    found += [f"no {name}" for name in ("title", "desc") if not root.findtext(SVG + name)]
    if not any((text.text or "").strip() for text in root.iter(f"{SVG}text")):
        found.append("no text to select")
    for element in root.iter():
        name, values = element.tag.removeprefix(SVG), element.attrib.items()
        if name in ("script", "foreignObject", "image"):
            found.append(f"a {name}")
        found += [key for key, value in values if key.startswith("on") or value.startswith(("javascript:", "data:"))]
        if any("href" in key and not value.startswith("#") for key, value in values) or "url(h" in (element.text or ""):
            found.append("loads another file")
    return found


def test_linked_pictures_are_there() -> None:
    assert [f"{document}: {path.name}" for path, document in linked().items() if not path.is_file()] == []


def test_pictures_can_be_read() -> None:
    assert {path.name: found for path in FOLDER.iterdir() if (found := faults(path.read_text()))} == {}


def test_pictures_hold_no_times() -> None:
    """They are the same bytes after each `make pictures`."""
    assert [path.name for path in FOLDER.iterdir() if re.search(r"\d(&#160;| )s\b", path.read_text())] == []


def test_every_picture_is_linked() -> None:
    pictures = set(FOLDER.iterdir())
    assert pictures
    assert {path.name for path in pictures - set(linked())} == set()


def test_every_picture_is_drawn_by_a_script() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(PICTURES)


def test_pictures_show_what_the_lessons_do() -> None:
    lessons = (GUIDE / "lessons.md").read_text()
    assert [command for command in (AGREEMENT, KITCHEN, *CELLS.values()) if f"$ {command}\n" not in lessons] == []
    (unit,) = re.findall("<title>Unit ([0-9]+) ", (FOLDER / "unit.svg").read_text())
    assert f"--unit 0:{unit}\n" in lessons
    levels = re.findall("([0-9])-grams ([0-9.]+)</text>", (FOLDER / "floor.svg").read_text())
    assert "".join(f"{n} {bits}\n" for n, bits in levels) in lessons


@pytest.mark.parametrize(
    ("changed", "to", "fault"),
    [
        ("</svg>", "", "no element found"),
        (' role="img"', "", "not an image"),
        ("<title>a</title>", "", "no title"),
        ("<desc>b</desc>", "<desc/>", "no desc"),
        (">c<", "> <", "no text to select"),
        ("<text>", "<script/><text>", "a script"),
        ("<text>", '<text onclick="f()">', "onclick"),
        ("<text>", '<use href="http://a.b/c"/><text>', "loads another file"),
        ("<text>", "<style>@font-face { src: url(https://a.b/c) }</style><text>", "loads another file"),
        ("b", "b" * MOST_BYTES, "too large"),
    ],
)
def test_a_fault_is_seen(changed: str, to: str, fault: str) -> None:
    right = '<svg xmlns="http://www.w3.org/2000/svg" role="img"><title>a</title><desc>b</desc><text>c</text></svg>'
    assert faults(right) == []
    assert any(one.startswith(fault) for one in faults(right.replace(changed, to, 1)))


@pytest.mark.slow
def test_the_floor_is_what_the_lesson_says() -> None:
    text = (GUIDE / "lessons.md").read_text()
    code, printed = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", text, re.DOTALL).groups()
    run = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert run.stdout == printed
