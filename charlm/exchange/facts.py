"""What a file of another program says about its model: strings by key, beside the weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from charlm.backends import NumpyBackend
from charlm.config import ModelConfig
from charlm.errors import CharlmError
from charlm.exchange.blocks import Form
from charlm.exchange.network import Network, form_of, parameters_of, rows_of
from charlm.header import FORMAT_VERSION, assembled, header_of
from charlm.language_model import LanguageModel
from charlm.text import EOS_ID

# Whose value is the rest of the header. The metadata of a model file of charlm has another key.
KEY = "charlm_header"
_LISTS = ("vocabulary", "labels")


def facts_of(language_model: LanguageModel, *, dtype: str | None = None) -> dict[str, str]:
    """Return the facts of a model: its header, with the names that a program needs under keys of their own.

    first_id: the id of x<1>: the row of zeros, or <EOS> of a model of one stream
    dtype: of the weights in the file, if it differs from that of the model
    """
    header = header_of(language_model)
    if dtype is not None:
        header["model"] = {**header["model"], "dtype": dtype}
    lists = {key: json.dumps(header.pop(key)) for key in _LISTS if key in header}
    first = EOS_ID if language_model.is_stream else rows_of(language_model.model.config)
    return {"task": language_model.task, **lists, "first_id": str(first), KEY: json.dumps(header)}


def model_of(
    facts: Mapping[str, str], forms: Mapping[str, Form], read: Callable[[ModelConfig], Network]
) -> LanguageModel:
    """Return the model that a file describes.

    forms: how the program computes each cell
    read: function of a configuration that returns the network in the file
    Raises ValueError or KeyError for facts or weights that are not those of an exported model.
    """
    header = json.loads(facts[KEY])
    if not isinstance(header, dict) or not isinstance(header.get("model"), dict):
        raise ValueError("its facts are not a header")
    if not isinstance(version := header.get("version"), int) or version > FORMAT_VERSION:
        raise ValueError(f"format version {version} is newer than this charlm")
    # The keys keep the order of a model file.
    whole: dict[str, Any] = {}
    for key, value in header.items():
        whole[key] = value
        if key == "train":
            whole |= {name: json.loads(facts[name]) for name in _LISTS if name in facts}
    try:
        config = ModelConfig.from_dict(whole["model"])
        form = form_of(config, forms, "this format")
    except CharlmError as error:
        raise ValueError(error.message) from error
    network = read(config)
    values = parameters_of(network, config, form)
    if config.tie_weights and not np.array_equal(network.output.W, network.embedding[: config.vocabulary_size]):
        # Another program has trained them apart.
        whole["model"] = replace(config, tie_weights=False).to_dict()
        values["head.W_y"] = network.output.W
    return assembled(whole, values, NumpyBackend())
