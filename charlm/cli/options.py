"""Options of several commands, the options of every command, and reading their models and texts."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.completion import complete_label, complete_model
from charlm.config import ACTIVATIONS, CELL_NAMES, DTYPES, RESETS, SOFTMAXES, TextConfig
from charlm.inference.measures import MEASURE_NAMES
from charlm.task import TASK_NAMES
from charlm.version import __version__


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"charlm {__version__}\n")
        raise typer.Exit


def charlm(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Train recurrent language models, generate from them, and score text with them.

    \b
    charlm train names.txt -o names     learn from a text file
    charlm generate names -n 10         draw ten new lines
    charlm score names names.txt        the probability of each line
    """
    if context.invoked_subcommand is None:
        with ui.to_standard_output():
            sys.stdout.write(context.get_help() + "\n")


ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="Model file; its suffix may be left out.",
        show_default=False,
        readable=False,
        autocompletion=complete_model,
    ),
]
ModelsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="MODEL...",
        help="Model files; their suffix may be left out.",
        show_default=False,
        readable=False,
        autocompletion=complete_model,
    ),
]
LabelOption = Annotated[
    str | None,
    typer.Option(
        "--class",
        metavar="LABEL",
        help="Label for a model trained with --condition.",
        autocompletion=complete_label,
    ),
]
FilesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE]...", help="UTF-8 text or .gz; - or no FILE: standard input.", show_default=False),
]
CorpusArgument = Annotated[
    list[str],
    typer.Argument(metavar="CORPUS...", help="UTF-8 text or .gz; - is standard input.", show_default=False),
]
Level = Annotated[Literal["char", "byte", "subword", "word"], typer.Option(help="Token unit.")]
Split = Annotated[
    Literal["punct", "whitespace"], typer.Option(help="word: split off punctuation, or split at white space only.")
]
Lowercase = Annotated[bool, typer.Option("--lowercase", help="Convert the text to lower case.")]
Normalize = Annotated[
    Literal["nfc", "nfkc", "none"],
    typer.Option(
        metavar="FORM",
        help="Unicode normalization form; none leaves the text unchanged.",
        show_default="nfc; of bytes: none",
    ),
]
VocabSize = Annotated[
    int | None, typer.Option(min=1, help="Keep the N most frequent tokens, the rest is <UNK>; subword: learn N pieces.")
]
MinCount = Annotated[int, typer.Option(min=1, help="Keep tokens that occur at least N times.")]
TaskName = Annotated[Literal[TASK_NAMES], typer.Option(help="What to learn.")]  # type: ignore[valid-type]
Cell = Annotated[Literal[CELL_NAMES], typer.Option(help="Recurrent unit.")]  # type: ignore[valid-type]
Activation = Annotated[
    Literal[ACTIVATIONS],  # type: ignore[valid-type]
    typer.Option(help="Activation of the rnn cell and the dense layers."),
]
Reset = Annotated[
    Literal[RESETS],  # type: ignore[valid-type]
    typer.Option(help="gru: where the relevance gate acts."),
]
RelevanceGate = Annotated[bool, typer.Option("--relevance-gate", help="lstm: add a relevance gate on the candidate.")]
Softmax = Annotated[
    Literal[SOFTMAXES],  # type: ignore[valid-type]
    typer.Option(help="Output layer; adaptive: faster above 20,000 tokens, with clusters of rare ones."),
]
Cutoffs = Annotated[
    list[int] | None,
    typer.Option(
        metavar="N",
        help="adaptive: begin a cluster at token N of the vocabulary; repeatable.",
        show_default="a twentieth and a quarter of the vocabulary; with --tie-weights five of its shares",
    ),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Random seed; without it, one is chosen and printed.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Device to compute on.")]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="Threads that share the work.", show_default="all")]
BatchSize = Annotated[int, typer.Option(min=1, max=1 << 20, help="Sequences per mini-batch.")]
Dtype = Annotated[
    Literal[DTYPES],  # type: ignore[valid-type]
    typer.Option(metavar="TYPE", help="Precision; bfloat16: of products in training, all else float32."),
]
By = Annotated[
    Literal[MEASURE_NAMES],  # type: ignore[valid-type]
    typer.Option(metavar="MEASURE", help="Figure of a line that is compared; the higher, the odder."),
]
Beam = Annotated[int, typer.Option(min=1, max=1000, help="translate: width of the beam search.")]
Unbuffered = Annotated[bool, typer.Option("--unbuffered", help="Write each result at once.")]


def choose_seed() -> int:
    """Return a random seed, which the caller prints so that the run can be repeated."""
    import secrets

    return secrets.randbelow(1 << 31)


def open_model(path: Path, device: str, command: str | None = None) -> Any:
    """Return the model of a file on a device; raises UsageError if `command` does not fit its task."""
    from charlm.backends import get_backend
    from charlm.checkpoint import load
    from charlm.storage.container import existing

    path = existing(path)
    refuse_same_file([str(path)], sys.stdout, hint="write to another file: > OUTPUT")
    language_model = load(path, get_backend(device)).language_model
    if command is not None:
        language_model.require(command)
    return language_model


def _is_text(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def texts(paths: list[str], **how: Any) -> Any:
    """Return the lines of texts for a command that writes to standard output; options as in `read_lines`.

    Raises UsageError if one of them is standard output itself, because the output would be read without end.
    """
    from charlm.text import read_lines

    refuse_same_file(paths, sys.stdout, hint="write to another file: > OUTPUT")
    note_standard_input(paths)
    return read_lines(paths, **how)


def note_standard_input(paths: Iterable[str]) -> None:
    """Print a note if standard input is read from a terminal."""
    if "-" in paths and ui.is_terminal(sys.stdin):
        ui.note("reading standard input; end it with Ctrl-D")


def refuse_same_file(inputs: Iterable[str], output: Any, *, hint: str) -> None:
    """Raise UsageError if an input is also the output, which is a name or an open stream."""
    from charlm.errors import UsageError
    from charlm.storage.files import display_name

    written = _regular_file(output)
    for path in inputs:
        if written is not None and _regular_file(sys.stdin if path == "-" else path) == written:
            raise UsageError(f"input is also the output, {display_name(path)}", hint=hint)


def _regular_file(file: Any) -> tuple[int, int] | None:
    """Return the identity of a regular file, named or open; None for pipes, devices and missing files."""
    try:
        found = os.stat(file if isinstance(file, str | Path) else file.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def watch_encoding(text: TextConfig | None = None) -> Callable[[str], None]:
    """Return a function of a line that warns once if it has bytes that are not UTF-8, unless bytes are read.

    text: of the model that reads the lines, if one does
    """
    warned = kept(text) != "keep"
    read_as = "unknown characters"
    if text is not None and text.level == "subword":
        read_as = "tokens of one byte each"

    def watch(line: str) -> None:
        nonlocal warned
        if not warned and not line.isascii() and not _is_text(line):
            ui.warn(f"the text has bytes that are not UTF-8: they are read as {read_as}")
            warned = True

    return watch


def input_lines(
    files: list[str] | None, *, watch: Callable[[str], None] | None = None, text: TextConfig | None = None
) -> Any:
    """Return the lines of files or of standard input; bytes that are not UTF-8 are kept, with one warning.

    watch: called with each line, in place of the warning
    text: of the model that reads the lines, if one does
    """
    return texts(files or ["-"], errors=kept(text), watch=watch or watch_encoding(text))


def kept(text: TextConfig | None) -> Any:
    """Return how `read_lines` reads input for a model, see `TextConfig.reading`: bytes that are not text are kept.

    text: of the model; None for lines that no model reads
    """
    return "keep" if text is None or text.reading == "text" else text.reading


def least_lossy(configs: Iterable[TextConfig]) -> TextConfig:
    """Return the configuration, of those of several models, that leaves out least of a file that all of them read."""
    readings = ("raw", "bytes", "text")
    return min(configs, key=lambda one: (readings.index(one.reading), one.level == "subword"))
