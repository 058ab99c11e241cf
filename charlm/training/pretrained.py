"""Starting the embedding of a model from word vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from charlm.errors import UsageError
from charlm.language_model import LanguageModel
from charlm.task import Task
from charlm.text.tokens.codec import SPECIAL
from charlm.text.vectors import read_vectors, vector_size

# The embeddings of the tokens that a network reads, the first that it has.
_TABLES = ("encoder.input.E", "towers.from_left.input.E", "input.E")


def size_of_vectors(lines: Iterable[str], facts: Task, given: Mapping[str, Any]) -> int:
    """Return the embedding size that vectors need.

    lines: of a file of vectors; given: the settings of the training
    Raises UsageError if another size is given or the task reads no tokens, CorpusError for a malformed first line.
    """
    if facts.inputs != "tokens":
        hint = f"it reads {facts.inputs}: leave --vectors out"
        raise UsageError(f"--task {facts.name} with --vectors", hint=hint)
    size = vector_size(lines)
    if given.get("embedding_size", size) != size:
        asked = given["embedding_size"]
        raise UsageError(f"--embedding-size {asked} with vectors of {size} numbers", hint="leave --embedding-size out")
    return size


def start_from_vectors(language_model: LanguageModel, lines: Iterable[str]) -> tuple[int, int]:
    """Overwrite the embedding of each token that has a vector, as it is spelled or else in lower case.

    Returns the number of these tokens, and that of all ordinary tokens. Raises CorpusError for a malformed vector.
    """
    tokens = language_model.tokenizer.vocabulary.tokens[SPECIAL:]
    vectors = read_vectors(lines, {spelling for token in tokens for spelling in (token, token.lower())})
    parameters, ops = language_model.model.parameters, language_model.model.ops
    table = parameters.value(next(name for name in _TABLES if name in parameters.shapes))
    values, found = ops.numpy(table), 0
    for row, token in enumerate(tokens, SPECIAL):
        vector = vectors.get(token, vectors.get(token.lower()))
        if vector is not None:
            values[row], found = vector, found + 1
    table[...] = ops.array(values, table.dtype)
    return found, len(tokens)
