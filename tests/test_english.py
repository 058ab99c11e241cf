"""The English of charlm/, read off its source: docstrings, messages, comments, help texts, and no way out of the house.

One file or room alone: pytest tests/test_english.py -k cli
"""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest
import typer

from charlm.cli.app import make_app
from tests import forms

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "charlm"
FILES = sorted(PACKAGE.rglob("*.py"))
PRODUCT = [
    *FILES,
    *sorted((PROJECT / "corpora").glob("*.py")),
    *(PROJECT / name for name in ("README.md", "Makefile", "pyproject.toml", "constraints.txt", ".ci/run")),
]
each_file = forms.each("path", FILES)

LONGEST_SENTENCE = 25  # words of a docstring
LONGEST_SUMMARY = 45  # characters of a command's summary
LONGEST_EXAMPLE = 76  # characters; the help indents it by two of the 80 columns of a terminal
WORD = re.compile(r"(?<!\S)[^\w\s]*[^\W\d_]\S*")  # has a letter: symbols and numbers of an equation do not count
VERBS = re.compile(r"(Give|Have|Tell|Say|Let)(s|n|ing)?\b")
NEGATED_NOUNS = re.compile(
    r"\b(is|are) none\b|\bno numbers?\b(?! of)|\bto be had\b|\bfor want of\b"
    r"|\b(that|which|it|they|file|figures|bytes) (is|are|was|were) no (?!longer|more|less|larger|smaller|better|later)"
)
OUTSIDE = re.compile(
    r"(?<![./])(\.\./)+(?!dist\b|\.\.)|\bshared/|\b(cli|design|style)\.md\b|\breference/"
    r"|(?<![\w.~$}/])/(work|home|root|Users|mnt|opt|srv)\b|\bissue \d|\bclosing note"
)
METAVAR = re.compile(r"\[?[A-Z]+\]?(\.\.\.)?|[<\[][a-z0-9-]+([|][a-z0-9-]+)+[>\]]")


def docstrings(source):
    """Yield the line and the text of each docstring of a module, a class or a function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield node.body[0].lineno, text


def strings(source):
    """Yield the line and the text of each other string; what an f-string fills in is `{}`."""
    tree = ast.parse(source)
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    expressions = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (one.value if isinstance(one, ast.Constant) else "{}" for one in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner | expressions:
            yield node.lineno, node.value


def comments(source):
    """Yield the line and the text of each comment."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def sentences(text):
    """Return the sentences of a docstring: a table's rows, examples and blank lines are between them.

    A line that begins with the name of an argument begins a sentence.
    """
    kept = []
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare.startswith(("|", "charlm ", "\b")) or line.startswith("    "):
            kept.append("\n")
        elif re.match(r"[\w, *]+( \[.*?\])?( \w+)?: |Raises ", bare):
            kept.append("\n" + bare)
        else:
            kept.append(bare)
    return [one for one in re.split(r"\n|(?<=[.?!])\s+", " ".join(kept)) if one.strip()]


def faults(source):
    """Return a sentence for each place of a file that breaks a rule."""
    found = []
    for line, text in docstrings(source):
        for sentence in sentences(text):
            if VERBS.match(sentence):
                found.append(f"{line}: begins with {sentence.split()[0]}: {sentence}")
            if (words := len(WORD.findall(sentence))) > LONGEST_SENTENCE:
                found.append(f"{line}: {words} words: {sentence}")
    for kind in (docstrings, strings, comments):
        for line, text in kind(source):
            if match := NEGATED_NOUNS.search(" ".join(text.split())):
                found.append(f"{line}: {match[0]!r} in {text!r}")
    return found


@each_file
def test_the_english_of_a_file(path):
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        '"""Give the sum."""',
        '"""Tells whether."""',
        'def f():\n    """Have signals wait."""',
        'class A:\n    """Say so."""',
        'def f():\n    """Return the sum. Gives nothing else."""',
        f'"""Return {"very " * LONGEST_SENTENCE}much."""',
        f'"""Return.\n\nfactor: {"very " * LONGEST_SENTENCE}much\n"""',
        'raise ValueError("the loss is none")',
        "raise ValueError(f'{name} has no number')",
        'hint = "CuPy is not to be had"',
        'help = "bytes that are no UTF-8"',
        "x = 1  # a file that is no model",
    ],
)
def test_a_fault_is_seen(source):
    assert len(faults(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        '"""Return the sum.\n\na, b: numbers\nRaises ValueError if b is NaN.\n"""',
        '"""Givens of a rotation."""',
        f'"""Return {"very " * (LONGEST_SENTENCE - 2)}much."""',
        f'"""Return.\n\na: {"very " * 20}much\nb: {"very " * 20}much\n"""',
        'raise ValueError("give a number above 0; there is no checkpoint, no such file")',
        "x = 1  # a difference that is no larger than rounding explains; no number of steps",
    ],
)
def test_what_is_right_is_no_fault(source):
    assert faults(source) == []


def test_there_is_something_to_read():
    source = '''"""A."""\nclass B:\n    """C."""\n    def d(self):\n        """E."""\n        f(f"g {h} i", "j")  # k'''
    assert [text for _, text in docstrings(source)] == ["A.", "C.", "E."]
    assert [text for _, text in strings(source)] == ["g {} i", "j"]
    assert list(comments(source)) == [(6, "# k")]
    counts = [sum(len(list(kind(path.read_text()))) for path in FILES[::5]) for kind in (docstrings, strings, comments)]
    assert min(counts) > 60


# ---- nothing points outside the repository


@forms.each("path", PRODUCT)
def test_no_file_of_the_product_points_outside(path):
    assert [match[0] for match in OUTSIDE.finditer(path.read_text(encoding="utf-8"))] == []


@forms.each("path", [path for path in PRODUCT if path.suffix != ".py"])
def test_other_files_negate_no_nouns_either(path):
    assert [match[0] for match in NEGATED_NOUNS.finditer(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "text",
    [
        "`../shared/formats.md` has them",
        "see shared/corpora",
        "as `cli.md` lists them",
        "design.md, part A",
        "reference/models.md",
        "in /work/main/charlm",
        "/home/me/corpus.txt",
        "from issue 15",
        "--wheel-dir ../../build",
    ],
)
def test_a_way_out_is_seen(text):
    assert OUTSIDE.search(text)


@pytest.mark.parametrize("text", ["--wheel-dir ../../dist .", "references/x", "is shared", "$HOME/work", "from ...nn"])
def test_a_way_within_is_none_out(text):
    assert not OUTSIDE.search(text)


def test_the_notes_are_named_where_they_are_first_used():
    for name in ("charlm/nn/__init__.py", "README.md"):
        text = " ".join((PROJECT / name).read_text(encoding="utf-8").split())
        assert text.count('lecture notes "Recurrent neural networks"') == 1
        assert "Andrew Ng" in text


# ---- the help


COMMANDS = typer.main.get_command(make_app()).commands
each_command = pytest.mark.parametrize("name", COMMANDS)


@each_command
def test_a_summary_fits_into_the_list_of_commands(name):
    summary = COMMANDS[name].get_short_help_str(1000)
    assert summary.endswith(".")
    assert len(summary) <= LONGEST_SUMMARY


@each_command
def test_examples_fit_into_a_terminal(name):
    _, _, examples = COMMANDS[name].help.partition("\b\n")
    assert examples or name == "help"
    assert [line for line in examples.splitlines() if len(line) > LONGEST_EXAMPLE] == []


@each_command
def test_metavars_are_words(name):
    command = COMMANDS[name]
    context = command.make_context(name, [], resilient_parsing=True)
    shown = {one.name: one.make_metavar(context) for one in command.get_params(context) if not _is_flag(one)}
    assert {one: metavar for one, metavar in shown.items() if not METAVAR.fullmatch(metavar)} == {}


def _is_flag(one):
    return getattr(one, "is_flag", False)


@pytest.mark.parametrize("metavar", ["<int range>", "<int>", "<path>", "<str>", "<float range>"])
def test_a_type_is_no_metavar(metavar):
    assert not METAVAR.fullmatch(metavar)


@pytest.mark.parametrize("metavar", ["N", "[FILE]", "[FILE]...", "MODEL...", "<cpu|cuda>", "[train|score]"])
def test_a_word_is_one(metavar):
    assert METAVAR.fullmatch(metavar)
