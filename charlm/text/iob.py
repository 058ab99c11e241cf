"""Tags of entities: `B-X` begins an entity of type X, `I-X` continues one, and `O` is outside.

Ramshaw and Marcus 1995. In IOB2 every entity begins with `B-X`. In IOB1 it begins with `I-X`, unless an entity of the
same type ends at the token before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

OUTSIDE = "O"
BEGIN, INSIDE = "B-", "I-"


def are_iob(labels: Collection[str]) -> bool:
    """Return whether tags are `O`, `B-X` and `I-X`, with at least one entity."""
    return any(label != OUTSIDE for label in labels) and all(
        label == OUTSIDE or (label[:2] in (BEGIN, INSIDE) and len(label) > 2) for label in labels
    )


def are_entities(labels: Collection[str]) -> bool:
    """Return whether tags are `O`, `B-X` and `I-X`, with at least one `B-X`."""
    return are_iob(labels) and any(label.startswith(BEGIN) for label in labels)


def iob2(tag: str, before: str) -> str:
    """Return a tag of IOB1 or IOB2 in IOB2: `I-X` becomes `B-X` where it begins an entity.

    before: the tag of the token before; `O` at the first token
    """
    begins = tag.startswith(INSIDE) and before[2:] != tag[2:]
    return BEGIN + tag[2:] if begins else tag


def as_iob2(tags: Sequence[str]) -> list[str]:
    """Return the tags of a sentence, of IOB1 or IOB2, in IOB2."""
    return [iob2(tag, before) for tag, before in zip(tags, (OUTSIDE, *tags), strict=False)]


def follows(labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return which tags of IOB2 may follow each tag, `[L, L]` bool, and which may come first, [L]."""
    may = np.array([[iob2(tag, before) == tag for tag in labels] for before in labels])
    return may, np.array([iob2(tag, OUTSIDE) == tag for tag in labels])
