"""The documents are true: help texts are those of the commands, examples print what is shown, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from charlm.cli import guide, ui
from charlm.cli.app import make_app
from charlm.cli.commands import COMMANDS
from tests.readme import GUIDE, HELP, MEASURED, PROJECT, Examples, documents, examples, help_page

DOCUMENTS = {str(path.relative_to(PROJECT)): path.read_text() for path in documents()}
TEXT = DOCUMENTS["README.md"]
PROSE = {
    **DOCUMENTS,
    **{str(path.relative_to(PROJECT)): path.read_text() for path in (MEASURED, PROJECT / "charlm/README.md")},
}
each_document = pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in PROSE.items()])

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
_WORD = re.compile(r"[a-z]+")
_MACHINE = re.compile(r"(?<=tokens_per_second) +[\d,.]+|(?<=^core) +\w+")  # what differs between two machines
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"""\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)\"""")
_HTML = re.compile("<!--.*?-->|</?(picture|source|img)\\b[^>]*>", re.DOTALL)
_QUOTED = re.compile(r"```python file=(\S+)\n(.*?)```", re.DOTALL)
RELATIVE, ABSOLUTE = 0.1, 0.005  # of a figure: processors round differently, and a training amplifies that
MOST_LINES = 400  # of the README
MEDIAN_SENTENCE, LONGEST_SENTENCE = 20, 45  # words


def test_help_texts_are_the_commands_own() -> None:
    assert HELP.read_text() == help_page(), "run: make readme"


def test_every_command_is_in_the_readme() -> None:
    table = re.findall(r"^\| `(\w+)` \| (.*) \|$", TEXT, re.MULTILINE)
    assert dict(table).keys() >= {name for group in COMMANDS.values() for name in group}


def test_the_readme_is_short() -> None:
    assert TEXT.count("\n") < MOST_LINES


def test_the_figure_of_the_recipe_is_the_measured_one() -> None:
    """It takes half an hour to measure, so the documents are compared with each other."""
    (measured,) = re.findall(r"--config words --dtype bfloat16` \| ([\d.]+) \|", MEASURED.read_text())
    (in_short,) = re.findall(r"--config words .*perplexity (\d+)$", TEXT, re.MULTILINE)
    assert in_short == f"{float(measured):.0f}"
    assert f"a test perplexity of {measured} on WikiText-2" in DOCUMENTS["charlm/guide/recipes.md"]


def test_the_figures_of_the_mixture_are_the_measured_ones() -> None:
    """They take ten minutes to measure, so the documents are compared with each other."""
    ((alone, mixture),) = re.findall(
        r"^\| the test part \| (.*) \| \*\*([\d.]+)\*\* \|$", MEASURED.read_text(), re.MULTILINE
    )
    best, *_, worst = alone.split(", ")
    told = f"each of the four costs {best} to {worst} nats a character, and all together {mixture}."
    assert told in DOCUMENTS["charlm/guide/mixing.md"]
    assert f"cost {mixture} nats a character on tinyshakespeare" in DOCUMENTS["charlm/guide/recipes.md"]


@each_document
def test_no_placeholder_is_left(text: str) -> None:
    assert not re.search("@[A-Z0-9]+@|^[A-Z]+$", _FENCE.sub("", text), re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings of a page, as sites for repositories write them."""
    titles = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PROSE)
def test_relative_links_lead_somewhere(name: str) -> None:
    here = PROJECT / name
    for found in _LINK.finditer(_CODE.sub("", _FENCE.sub("", PROSE[name]))):
        link = found[1] or found[2]
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (here.parent / path).resolve() if path else here
        assert target.exists() and target.is_relative_to(PROJECT), link
        assert not anchor or anchor in anchors(target.read_text()), link


@each_document
def test_nothing_is_taken_for_html(text: str) -> None:
    """Outside of code, Markdown drops the <t> of a<t>."""
    prose = _HTML.sub("", _CODE.sub("", _FENCE.sub("", text)))
    assert not re.search(r"<[\w/-]+>", prose)


def sentences(text: str) -> list[str]:
    """Return the sentences of the paragraphs and lists of a page, without tables, code and headings."""
    lines = [line for line in _FENCE.sub("", text).splitlines() if not re.match(r"\s*[|#<!]", line)]
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:- |\d+\. ))", "\n".join(lines))
    return [one for part in paragraphs for one in re.split(r"(?<=[.?!:])\s+", _CODE.sub("CODE", part).strip()) if one]


@each_document
def test_sentences_are_short(text: str) -> None:
    words = [len(one.split()) for one in sentences(text)]
    assert statistics.median(words) < MEDIAN_SENTENCE
    assert [one for one in sentences(text) if len(one.split()) > LONGEST_SENTENCE] == []


@each_document
def test_quoted_code_is_the_code(text: str) -> None:
    for file, code in _QUOTED.findall(text):
        assert code in (PROJECT / file).read_text(), file


def test_every_page_of_the_guide_is_a_topic() -> None:
    assert set(guide.topics()) == {page.stem for page in GUIDE.glob("*.md")} - {"README"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    return Examples(tmp_path_factory.mktemp("examples"))


def commands_of(line: str) -> Iterator[list[str]]:
    """Yield the arguments of each `charlm` on a line of shell."""
    words = shlex.shlex(line, posix=True, punctuation_chars="|;&<>()")
    words.whitespace_split = True
    command: list[str] = []
    for word in [*words, ";"]:
        if set(word) <= set("|;&<>()"):
            if command[:1] == ["charlm"]:
                yield command[1:]
            command = []
        else:
            command.append(word)


def test_console_examples_are_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The long form runs them; here they are only read."""
    monkeypatch.setattr(ui, "settings", ui.Settings())  # options set them while they are read
    app = typer.main.get_command(make_app())
    shown = [command for text in DOCUMENTS.values() for command, _ in examples(text)]
    read = [arguments for command in shown for arguments in commands_of(command)]
    assert len(read) > 20
    for name, *arguments in read:
        app.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


def differences(printed: list[str], shown: list[str]) -> list[tuple[str, str]]:
    """Return the pairs of lines that differ in a word, a whole number, or a figure by more than its tolerance."""
    return [
        pair
        for pair in zip(printed, shown, strict=True)
        if _NUMBER.sub("N", pair[0]) != _NUMBER.sub("N", pair[1])
        or not all(map(_is_near, *(_NUMBER.findall(line) for line in pair)))
    ]


def _is_near(printed: str, shown: str) -> bool:
    if shown.lstrip("-").replace(",", "").isdecimal():
        return printed == shown
    value, expected = (float(number.replace(",", "")) for number in (printed, shown))
    return abs(value - expected) <= max(RELATIVE * abs(expected), ABSOLUTE)


@pytest.mark.parametrize(
    ("printed", "shown", "is_same"),
    [
        ("accuracy 0.9957", "accuracy 0.9957", True),
        ("-4.9 6 0 6.6 the salad", "-4.7956 6 0 6.2990 the salad", True),
        ("-5.3 6 0 6.6 the salad", "-4.7956 6 0 6.2990 the salad", False),
        ("-4.9 6 0 7.0 the salad", "-4.7956 6 0 6.2990 the salad", False),
        ("-4.9 5 0 6.6 the salad", "-4.7956 6 0 6.2990 the salad", False),
        ("-4.9 6 0 6.6 the soup", "-4.7956 6 0 6.2990 the salad", False),
        ("4.7956", "-4.7956", False),
        ("nats 0.0061", "nats 0.0040", True),
        ("nats 0.0141", "nats 0.0040", False),
        ("norm 6.5e-02", "norm 6.344e-02", True),
        ("norm 6.3e-01", "norm 6.344e-02", False),
        ("tokens 12,018", "tokens 12,019", False),
        ("0.5", "1", False),
    ],
)
def test_figures_are_compared(printed: str, shown: str, is_same: bool) -> None:
    assert (differences([printed], [shown]) == []) == is_same


def _line_number(row: str) -> str:
    """Return the number of the line in a row of `charlm rank`, "" in the header."""
    found = re.match(r" *\d+ +(\d+) ", row)
    return found[1] if found else ""


@pytest.mark.slow
def test_console_examples_print_what_is_shown(run: Examples) -> None:
    """Figures, drawn texts and the words of gaps, which are nearly as likely as the next, depend on the machine's
    arithmetic; everything else is compared to the letter."""
    for command, shown in (one for text in DOCUMENTS.values() for one in examples(text)):
        done = run.run(command)
        if done is None:
            assert shown == []
            continue
        enough = 128 + signal.SIGPIPE if "| head" in command else 0  # of what head did not wait for
        assert done.returncode in (0, enough), f"{command}\n{done.stderr}"
        printed = [line.rstrip() for line in done.stdout.splitlines()]
        assert len(printed) == len(shown), f"{command}\n{done.stdout}"
        words = command.split()
        if {"generate", "--gradients", "--activations"} & set(words):
            continue
        if "--plot" in words:  # where its marks stand is drawn, too
            printed, shown = ([line for line in lines if "|" not in line] for lines in (printed, shown))
        if "rank" in words:  # the order of lines that are nearly as odd, too: their numbers are compared
            printed, shown = (sorted(filter(None, map(_line_number, lines))) for lines in (printed, shown))
        if "fill" in words:
            printed, shown = ([_WORD.sub("word", line) for line in lines] for lines in (printed, shown))
        printed, shown = ([_MACHINE.sub(" blank", line) for line in lines] for lines in (printed, shown))
        assert differences(printed, shown) == [], command


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_examples_run(tmp_path: Path, name: str) -> None:
    (tmp_path / "corpora").symlink_to(PROJECT / "corpora")
    for code in re.findall(r"```python\n(.*?)```", DOCUMENTS[name], re.DOTALL):
        if "charlm" not in code:  # a line for another program
            continue
        run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
