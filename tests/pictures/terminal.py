"""A terminal at work, in light and dark: commands with what they print at a terminal of these colours."""

from __future__ import annotations

import fcntl
import functools
import io
import os
import re
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.pictures.runs import KITCHEN, folder, output_of

COLUMNS, LINES = 120, 40


@dataclass(frozen=True)
class Shown:
    """A command of a shell.

    lines: pattern of the lines that are shown of what it prints
    """

    command: str
    lines: str = ""


COMMANDS = [
    Shown("charlm train corpora/dinosaurs.txt -o dinosaurs --seed 1", "^best"),
    Shown("charlm generate dinosaurs -n 4 --unique --not-in corpora/dinosaurs.txt --best-of 50 --sort score --seed 1"),
    Shown("charlm train corpora/log.txt -o log --epochs 3 --seed 1 -q"),
    Shown("charlm rank log corpora/log_new.txt -n 5 --highlight"),
    Shown("printf 'the apple and pear salad\\nthe apple and pair salad\\n' | charlm score kitchen"),
]
# Background, text, and eight colours; the style sheets of repositories have the same.
THEMES = {
    "light": ("#ffffff", "#1f2328", "#24292f #cf222e #116329 #9a6700 #0969da #8250df #1b7c83 #6e7781"),
    "dark": ("#0d1117", "#f0f6fc", "#484f58 #ff7b72 #3fb950 #d29922 #58a6ff #bc8cff #39c5cf #b1bac4"),
}
TITLE = "charlm at work in a terminal"


def light() -> str:
    """Return the picture for a light page."""
    return drawn("light")


def dark() -> str:
    """Return the picture for a dark page."""
    return drawn("dark")


def drawn(theme: str) -> str:
    """Return the picture of the commands in a theme."""
    background, foreground, colors = THEMES[theme]
    # The model of the last command.
    output_of(KITCHEN)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    for number, shown in enumerate(COMMANDS):
        console.print(*[""] * bool(number), Text.assemble(("$ ", "green"), (shown.command, "bold")), sep="\n")
        if found := printed(shown):
            console.print(Text.from_ansi(found))
    return console.export_svg(
        title="charlm",
        theme=TerminalTheme(_rgb(background), _rgb(foreground), list(map(_rgb, colors.split()))),
        code_format=FORMAT,
        unique_id="t",
    ).replace("rgba(255,255,255,0.35)", "#8c959f")  # the frame, which is white on white otherwise


@functools.cache
def printed(shown: Shown) -> str:
    """Return what a command prints at a terminal, with its colours, except the time, which differs between runs."""
    main, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        ["bash", "-c", shown.command], cwd=folder(), env=environment, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    found = bytearray()
    while True:
        try:
            found += os.read(main, 1 << 16)
        except OSError:  # the last process has closed the terminal
            break
    os.close(main)
    if process.wait():
        raise RuntimeError(f"{shown.command}\n{found.decode()}")
    lines = [line.split("\r")[-1] for line in found.decode().replace("\r\n", "\n").splitlines()]
    kept = "\n".join(line for line in lines if re.search(shown.lines, line))
    return re.sub(r", [\d.]+ s\b", "", kept)


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


def _format() -> str:
    """Return rich's template with a title for those who cannot see the picture, and with the reader's own letters."""
    without_fonts = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    letters = 'ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace'
    named = without_fonts.replace("Fira Code, monospace", letters).replace("<svg ", '<svg role="img" ', 1)
    described = "; ".join(shown.command for shown in COMMANDS)
    titled = named.replace(">", f">\n<title>{TITLE}</title>\n<desc>{escape(described)}</desc>", 1)
    return "\n".join(line.strip() for line in titled.splitlines() if line.strip())


FORMAT = _format()
