"""Tokens of a text that a model does not know."""

from __future__ import annotations

from collections.abc import Iterable

from charlm.language_model import LanguageModel
from charlm.text import UNK_ID
from charlm.text.records import pairs


def unknown_tokens(
    language_model: LanguageModel, lines: Iterable[str], *, most: int | None = None, with_labels: bool = False
) -> list[str]:
    """Return at most `most` different tokens of lines that are out of vocabulary and so read as `<UNK>`.

    with_labels: whether lines for a conditioned model begin with a label and a tab
    Raises CorpusError for a line without a label.
    """
    tokenizer, facts = language_model.tokenizer, language_model.facts
    reads_words = facts.needs_labels and facts.body == "stack"
    if with_labels and language_model.is_conditioned:
        lines = (text for _, text in pairs(lines, "label TAB text", set(language_model.labels)))
    found: dict[str, None] = {}
    for line in lines:
        tokens = tokenizer.split(line)
        ids = tokenizer.encode_tokens(tokens) if reads_words else tokenizer.encode(line)
        found.update((token, None) for token, one in zip(tokens, ids.tolist(), strict=True) if one == UNK_ID)
        if most is not None and len(found) >= most:
            break
    return list(found)[:most]
