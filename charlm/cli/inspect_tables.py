"""What `charlm inspect` prints as TSV or CSV: a row for each evaluation, token, sample, norm or command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def tokens(language_model: Any) -> Iterator[dict[str, Any]]:
    """Yield a record for each token, by id; for a translator, with its vocabulary, that of the source first."""
    codec = language_model.codec
    if codec.target is None:
        yield from ({"token": token} for token in codec.tokenizer.vocabulary.tokens)
        return
    for side, tokenizer in (("source", codec.tokenizer), ("target", codec.target)):
        yield from ({"vocabulary": side, "token": token} for token in tokenizer.vocabulary.tokens)


def of_models(opened: Iterable[tuple[str, Any]], what: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of each model: its vocabulary, its samples or the history of its training.

    opened: name and model
    """
    for name, language_model in opened:
        rows: Iterable[Mapping[str, Any]]
        if what == "vocabulary":
            rows = tokens(language_model)
        else:
            rows = language_model.run.samples if what == "samples" else language_model.history
        yield from ({"model": name, **row} for row in rows)


def of_gradients(decays: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the mean norm of dL<t>/da<t-k> for each model and number of steps k."""
    for name, decay in decays.items():
        yield from ({"model": name, "k": k, "norm": float(norm)} for k, norm in enumerate(decay.norms))


def united(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield rows with the columns of all of them; "" where one has no value."""
    held = list(rows)
    names = list(dict.fromkeys(name for row in held for name in row))
    for row in held:
        yield {name: "" if row.get(name) is None else row[name] for name in names}
