r"""A trace as a page: Markdown with formulas between `$$`, or a LaTeX document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from charlm.cli.inspect_views.trace_text import headings, legend, number, one_hot, shown_places, summary, terms_of
from charlm.storage.files import write_atomically

SUFFIXES = (".md", ".tex")
_TERMS = 3  # of a sum, in a line

_SYMBOL = re.compile(
    r"(?P<d>d?)(?P<letter>Gamma|[A-Za-z])(?:_(?P<index>[a-z]+))?(?P<over>~|\^(?![T2]))?"
    r"(?P<layer>\[\d+\])?(?:<(?P<step>[t\d]+(?:-1)?)>)?(?P<power>\^[T2])?"
)
_WORDS = {
    "tanh": r"\tanh",
    "sigma": r"\sigma",
    "log": r"\log",
    "ReLU": r"\operatorname{ReLU}",
    "softmax": r"\operatorname{softmax}",
    "sum": r"\operatorname{sum}",
    "sum over t of": r"\sum_t",
}
_TOKEN = re.compile(rf"(?P<word>sum over t of|(?:{'|'.join(_WORDS)})(?=\())|(?P<symbol>{_SYMBOL.pattern})|(?P<other>.)")
_OTHER = {"*": r"\odot", "(": r"\left(", ")": r"\right)"}

_LATEX_HEAD = r"""\documentclass[fleqn]{article}
\usepackage[margin=15mm]{geometry}
\usepackage{amsmath}
\usepackage{amssymb}
\allowdisplaybreaks
\begin{document}
"""
_TEXT = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",
}  # fmt: skip


def write(path: Path, text: str, traces: Sequence[tuple[str, str, Any]]) -> None:
    """Write a page; traces: name, network in words, and trace of each model."""
    lines = _latex(text, traces) if path.suffix.lower() == ".tex" else _markdown(text, traces)
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))


def _markdown(text: str, traces: Sequence[tuple[str, str, Any]]) -> Iterator[str]:
    for name, network, trace in traces:
        yield f"# {_in_markdown(f'{name} over {text!r}')}"
        yield ""
        yield _in_markdown(f"{network}. {summary(trace)}.")
        yield ""
        yield _with_formulas(" ".join(legend(trace)))
        for title, records in headings(trace):
            yield ""
            yield f"## {_in_markdown(title)}"
            for record in records:
                yield from ("", "$$", formula(record), "$$")
        yield ""


def _latex(text: str, traces: Sequence[tuple[str, str, Any]]) -> Iterator[str]:
    yield _LATEX_HEAD
    for name, network, trace in traces:
        yield rf"\section*{{{_in_latex(f'{name} over {text!r}')}}}"
        yield _in_latex(f"{network}. {summary(trace)}.")
        yield rf"\\ {_with_formulas(' '.join(legend(trace)))}"
        for title, records in headings(trace):
            yield rf"\subsection*{{{_in_latex(title)}}}"
            for record in records:
                yield from (r"\[", formula(record), r"\]")
    yield r"\end{document}"


def formula(record: Any) -> str:
    """Return a record in TeX's language: symbol, equation, numbers."""
    symbol, lines = in_tex(record.symbol), []
    if record.equation:
        terms = terms_of(record.equation)
        first, *others = (" ".join(terms[at : at + _TERMS]) for at in range(0, len(terms), _TERMS))
        lines = [rf"{symbol} &= {in_tex(first)}", *(rf"&\quad {in_tex(other)}" for other in others)]
    lines.append(rf"{'' if lines else symbol} &= {_numbers(record)}")
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def _numbers(record: Any) -> str:
    values = record.values
    if short := one_hot(record):
        return rf"\text{{{short}}} \in \mathbb{{R}}^{{{values.size}}}"
    if values.ndim == 0:
        return _number(float(values))
    rows = values.reshape(1, -1) if values.ndim < 2 else values
    places = shown_places(rows.shape[1])
    written = [
        " & ".join(r"\vdots" if row is None else r"\cdots" if at is None else _number(rows[row, at]) for at in places)
        for row in shown_places(rows.shape[0])
    ]
    size = r" \times ".join(map(str, values.shape))
    turned = r"^{\top}" if values.ndim < 2 else ""
    body = r" \\ ".join(written)
    return rf"\begin{{bmatrix}} {body} \end{{bmatrix}}{turned} \in \mathbb{{R}}^{{{size}}}"


def _number(value: float) -> str:
    text = number(value)
    digits, e, exponent = text.partition("e")
    return rf"{digits} \cdot 10^{{{int(exponent)}}}" if e else text


def in_tex(equation: str) -> str:
    """Return an equation in TeX's language."""
    return " ".join(_piece(found) for found in _TOKEN.finditer(equation) if found[0] != " ")


def _piece(found: re.Match[str]) -> str:
    if found["word"]:
        return _WORDS[found["word"]]
    if found["other"]:
        return _OTHER.get(found[0], found[0])
    letter = r"\Gamma" if found["letter"] == "Gamma" else found["letter"]
    over = {"~": r"\tilde", "^": r"\hat"}.get(found["over"] or "")
    text = f"{over} {letter}" if over else letter
    text = rf"\mathrm{{d}}{text}" if found["d"] else text
    if found["index"]:
        text += f"_{{{found['index']}}}"
    step = rf"\langle {found['step']} \rangle" if found["step"] else ""
    above = f"{found['layer'] or ''}{step}"
    if found["power"] == "^T":
        above += r"\top"
    text += f"^{{{above}}}" if above else ""
    return rf"\left({text}\right)^2" if found["power"] == "^2" else text


def _with_formulas(text: str) -> str:
    """Return a text whose formulas are between backticks in the language of both pages."""
    return re.sub(r"`([^`]*)`", lambda found: f"${in_tex(found[1])}$", text)


def _in_latex(text: str) -> str:
    """Return text that LaTeX prints as it is; characters that its fonts may lack become their numbers."""
    return "".join(_TEXT.get(c, c if " " <= c <= "~" else f"U+{ord(c):04X}") for c in text)


def _in_markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#$|~])", r"\\\1", text)
