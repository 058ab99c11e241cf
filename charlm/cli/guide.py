"""`charlm guide`: print the guide, which is Markdown in the folder `charlm/guide`."""

from __future__ import annotations

import difflib
import re
import sys
from importlib.resources import files
from typing import Annotated

import typer

from charlm.cli import ui
from charlm.cli.help import HelpCommand
from charlm.errors import UsageError

COMMAND = HelpCommand  # it needs no NumPy

_FOLDER = files("charlm") / "guide"
_INDEX = "README"
_WIDEST = 100  # columns of a text that is easy to read
_SUMMARY = re.compile(r"^\| \[`?([\w-]+)`?\]\(\1\.md\) \| (.+) \|$", re.MULTILINE)
_PICTURE = re.compile(r"^!\[(.*)\]\(.*\)$", re.MULTILINE)
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)[^)]*\)")


def topics() -> dict[str, str]:
    """Return the summary of each topic, by its name, in the order of the guide's first page."""
    return dict(_SUMMARY.findall(_text(_INDEX)))


def _names(incomplete: str) -> list[tuple[str, str]]:
    return [one for one in topics().items() if one[0].startswith(incomplete)]


def guide(
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="[TOPIC]", help="A topic; without it, a list of them.", show_default=False, autocompletion=_names
        ),
    ] = None,
) -> None:
    """Print the guide, or one of its topics.

    \b
    charlm guide
    charlm guide settings
    charlm guide lessons | less
    """
    name = _INDEX if topic is None else topic.lower().removesuffix(".md")
    known = topics()
    if topic is not None and name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"the guide has no topic {topic!r}",
            hint=f"did you mean charlm guide {near[0]}?" if near else f"choose one of: {', '.join(known)}",
        )
    output = ui.Output()
    if ui.is_terminal(sys.stdout):
        output.write(_rendered(_text(name)), is_styled=True)
    else:
        output.write(_text(name))
    output.close()


def _text(name: str) -> str:
    """Return the Markdown of a page."""
    return (_FOLDER / f"{name}.md").read_text(encoding="utf-8")


def _rendered(text: str) -> str:
    """Return Markdown as it looks at this terminal.

    Links to other pages and pictures become their texts. Lines of code are not wrapped, so that they can be copied.
    """
    import io

    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    has_color = ui.has_color(sys.stdout)
    theme = Theme({"markdown.code": "cyan"})
    page = io.StringIO()
    console = Console(file=page, force_terminal=True, no_color=not has_color, color_system="standard", theme=theme)
    width = min(_WIDEST, console.width)
    # Pairs of a text and the code after it.
    for number, part in enumerate(_FENCE.split(_LINK.sub(r"\1", _PICTURE.sub(r"*Picture: \1*", text)))):
        if number % 2 == 0:
            console.print(Markdown(part, hyperlinks=False), width=width)
        else:
            lines = "".join(f"  {line}\n" for line in part.expandtabs().splitlines())
            page.write(f"\n\x1b[36m{lines}\x1b[0m\n" if has_color else f"\n{lines}\n")
    return page.getvalue()
