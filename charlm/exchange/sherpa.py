"""The language model of a transducer in sherpa-onnx, for shallow fusion.

Source: `online-rnn-lm.cc` of sherpa-onnx, which finds inputs and outputs by their places, and reads the metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto

from charlm.errors import UsageError
from charlm.exchange.network import rows_of
from charlm.exchange.onnx_graph import Layers
from charlm.language_model import LanguageModel
from charlm.storage.files import display_name
from charlm.text import EOS_ID, UNK_ID

# How acoustic models spell the end of a sentence.
_ENDS = ("<sos/eos>", "<eos>", "</s>", "<EOS>")


def read_tokens(path: Path) -> list[str]:
    """Return the tokens of an acoustic model in the order of their ids; raise UsageError for another file.

    Each line of the file has a token, a space and its id; a line with an id alone is a space.
    """
    name = display_name(path)
    try:
        lines = path.read_bytes().decode().split("\n")
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}", hint="name the tokens.txt of the model") from error
    except ValueError as error:
        raise UsageError(f"not UTF-8, {name}", hint="name the tokens.txt of the model") from error
    found: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        if not (fields := line.split()):
            continue
        if len(fields) > 2 or not fields[-1].isdecimal():
            raise UsageError(f"no token and id, {name}, line {number}", hint="write lines: TOKEN ID")
        found[int(fields[-1])] = fields[0] if len(fields) == 2 else " "
    if not found or sorted(found) != list(range(len(found))):
        raise UsageError(f"the ids are not 0, 1, 2 and so on, {name}", hint="name the tokens.txt of the model")
    return [found[number] for number in range(len(found))]


def add_graph(layers: Layers, language_model: LanguageModel, tokens: Sequence[str] | None) -> dict[str, str]:
    """Add the graph; return the metadata that sherpa-onnx reads, under its own keys.

    It has two states; the second one of a cell with one state is passed on.

    tokens: of the acoustic model, in the order of their ids; None for those of the model
    """
    graph, config = layers.graph, layers.config
    size, nothing = config.vocabulary_size, rows_of(config)
    ours = np.arange(size, dtype=np.int64) if tokens is None else _ours(language_model, tokens)
    shape = (config.num_layers, "N", config.hidden_size)
    x = graph.node("Transpose", [graph.input("x", TensorProto.INT64, "N", "L")], perm=[1, 0])
    states = {"a": graph.input("h0", TensorProto.FLOAT, *shape), "c": graph.input("c0", TensorProto.FLOAT, *shape)}
    if tokens is not None:
        # The id behind those of all tokens is the first input.
        x = graph.node("Gather", [graph.constant("our_ids", np.append(ours, nothing)), x], axis=0)
    first = {state: states[state] for state in layers.states}
    y, after, _ = layers.recurrent(layers.embedded(x), "rnn", first)
    log_probs = layers.log_probs(y)
    if tokens is not None:
        log_probs = graph.node("Gather", [log_probs, graph.constant("our_outputs", ours)], axis=-1)
    graph.output("log_softmax", graph.node("Transpose", [log_probs], perm=[1, 0, 2]), "N", "L", len(ours))
    for state, value in (states | after).items():
        graph.output({"a": "next_h0", "c": "next_c0"}[state], value, *shape)
    end = next((number for number, one in enumerate(ours.tolist()) if one == EOS_ID), 0)
    facts = {
        "model_type": "rnnlm",
        "version": "1",
        "model_author": "charlm",
        "sos_id": end if language_model.is_stream else len(ours),
        "eos_id": end,
        "vocab_size": len(ours),
        "num_layers": config.num_layers,
        "hidden_size": config.hidden_size,
    }
    return {key: str(value) for key, value in facts.items()}


def _ours(language_model: LanguageModel, tokens: Sequence[str]) -> np.ndarray:
    """Return the model's id of each token, int64; raise UsageError if it knows no token."""
    ids = dict(language_model.tokenizer.vocabulary.ids) | dict.fromkeys(_ENDS, EOS_ID)
    ours = np.array([ids.get(token, UNK_ID) for token in tokens], np.int64)
    if (ours <= UNK_ID).all():
        hint = "train the model on text in the tokens of the acoustic model"
        raise UsageError("--tokens: the model knows none of the tokens", hint=hint)
    if language_model.is_stream and EOS_ID not in ours:
        raise UsageError("--tokens: no token ends a sentence", hint=f"one of these does: {' '.join(_ENDS)}")
    return ours
