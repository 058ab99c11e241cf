"""`charlm inspect --vocabulary`: the tokens of each model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from charlm.cli import ui
from charlm.cli.inspect_views import Asked, losses
from charlm.cli.tables_out import tsv_field


def show_vocabulary(asked: Asked, plot: str | None) -> None:
    """Print the tokens by id; of a translator, those of both vocabularies."""
    if asked.is_table:
        asked.table({"model": name, **record} for name, one in asked.models for record in _tokens(one))
        return
    losses.draw(asked, plot)
    for name, language_model in asked.models:
        asked.title(name)
        for record in _tokens(language_model):
            if asked.format == "text":
                asked.output.line("\t".join(map(tsv_field, record.values())))
            else:
                asked.output.line(ui.strict_json({**record, **asked.name_of(name)}))
    losses.chart(asked, plot)


def _tokens(language_model: Any) -> Iterator[dict[str, Any]]:
    """Yield a record for each token, by id; for a translator, with its vocabulary, that of the source first."""
    codec = language_model.codec
    if codec.target is None:
        yield from ({"token": token} for token in codec.tokenizer.vocabulary.tokens)
        return
    for side, tokenizer in (("source", codec.tokenizer), ("target", codec.target)):
        yield from ({"vocabulary": side, "token": token} for token in tokenizer.vocabulary.tokens)
