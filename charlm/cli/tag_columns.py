"""The columns of a CoNLL file, on the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

TokenColumn = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="tag: the column of the token in a CoNLL file, a number from 1 or a name."),
]
TagColumn = Annotated[str | None, typer.Option(metavar="COLUMN", help="tag: the column of the tag.")]


def with_columns(language_model: Any, token_column: str | None, tag_column: str | None) -> Any:
    """Return a tagger that reads its text from other columns; None: the one of its training.

    Raises UsageError for a model of another task, and for one column without the other.
    """
    from charlm.config import check_text

    given = {"token_column": token_column, "tag_column": tag_column}
    given = {name: column for name, column in given.items() if column is not None}
    text = replace(language_model.text, **given)
    if given:
        check_text(language_model.task, text)
    return replace(language_model, text=text)


def with_token_column(language_model: Any, token_column: str | None) -> Any:
    """Return a tagger that reads its tokens from another column; None: the one of its training.

    Raises UsageError for a model of another task.
    """
    # The tags of the text are not read.
    tag_column = None if token_column is None else language_model.text.tag_column or token_column
    return with_columns(language_model, token_column, tag_column)
