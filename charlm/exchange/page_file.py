"""Models as pages: HTML that computes the network itself, in one file, and sends nothing.

The folder `page` has the parts: the page, its style, and scripts. They are the equations (`network.js`), tokens
(`text.js`), the text so far (`session.js`), what is shown of it (`show.js`), and what a person does (`view.js`). The
weights are base64 in elements of their own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from charlm.config import ModelConfig
from charlm.errors import UsageError
from charlm.exchange.network import is_by_token
from charlm.exchange.options import PRECISIONS, Options
from charlm.language_model import LanguageModel
from charlm.nn.cells import cell_class
from charlm.storage.files import write_atomically
from charlm.version import __version__

_FOLDER = files("charlm") / "exchange" / "page"
_SCRIPTS = ("network.js", "text.js", "session.js", "show.js", "view.js")
_LEVELS = {"char": "character", "word": "word"}
_UNITS = {"line": "line", "stream": "text"}
_SYMBOL = re.compile(r"(Gamma|sigma|tanh|ReLU|softmax|[A-Za-z])(_[a-z]+)?(~)?(<t(?:-1)?>)?|\*|.")
_GREEK = {"Gamma": "\u0393", "sigma": "\u03c3", "*": "\u2299", "-": "\u2212"}
_UPRIGHT = ("tanh", "ReLU", "softmax")


def write(language_model: LanguageModel, path: Path, options: Options) -> list[str]:
    """Write a page, atomically; return lines about what is in it.

    Raises UsageError for a model that the page cannot compute, ResourceError if writing fails.
    """
    config, precision = language_model.model.config, options.precision or PRECISIONS[0]
    parts = {name: (_FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", *_SCRIPTS)}
    _check(language_model, parts["network.js"])
    arrays = _rounded(_arrays(language_model), precision)
    unit = _LEVELS[language_model.text.level]
    values = {
        **parts,
        "policy": _policy(parts),
        "name": html.escape(path.stem),
        "about": html.escape(_about(language_model)),
        "unit": unit,
        "units": f"{unit}s",
        "enter": ", and so does Enter in the prompt" * (language_model.text.unit == "line"),
        "equations": "".join(f"<p>{_equation(one)}</p>" for one in _equations(config)),
        "version": __version__,
        "facts": _json(_facts(language_model, arrays, precision)),
        "weights": "".join(map(_element, arrays, arrays.values())),
    }
    template = (_FOLDER / "page.html").read_text(encoding="utf-8")
    text = re.sub(r"\{\{([\w.]+)\}\}", lambda found: values[found[1]], template)
    write_atomically(path, text.encode())
    return [f"{name:<14} {' x '.join(map(str, array.shape))} {array.dtype.name}" for name, array in arrays.items()]


def _check(language_model: LanguageModel, equations: str) -> None:
    """Raise UsageError for a model that is not a causal language model of characters or words.

    equations: the script in which each cell has an entry
    """
    config, text = language_model.model.config, language_model.text
    if not config.facts.is_language_model or config.bidirectional:
        hint = "a page writes text: use a language model that reads from left to right"
        raise UsageError(f"a page cannot show a --task {config.task} model", hint=hint)
    if text.level not in _LEVELS:
        hint = f"train with --level {' or --level '.join(_LEVELS)}"
        raise UsageError(f"a page cannot show a --level {text.level} model", hint=hint)
    if f'"{cell_class(config).name}":' not in equations:
        raise UsageError(f"a page cannot compute --cell {config.cell}", hint="train with another --cell")


def _arrays(language_model: LanguageModel) -> dict[str, np.ndarray]:
    """Return the matrices of the page by name; W of the first layer includes W_x by token.

    Raises UsageError for a network with other parameters.
    """
    model, config = language_model.model, language_model.model.config
    named = dict(model.parameters.named(model.ops.numpy(model.parameters.values)))
    if is_by_token(config):
        W, E = named["layer0.W"], named.pop("input.E")
        named["layer0.W"] = np.concatenate([W[:, :-1], E.T, W[:, -1:]], axis=1)
    known = re.compile(r"input\.E|layer\d+\.(W|b_ca|P)|dense\d+\.(W|b)|head\.(W_y|b_y)")
    if strange := next((name for name in named if not known.fullmatch(name)), None):
        hint = "train with another --cell or output layer, or export it to another format"
        raise UsageError(f"a page cannot compute {strange} of this network", hint=hint)
    return named


def _rounded(arrays: Mapping[str, np.ndarray], precision: str) -> dict[str, np.ndarray]:
    """Return the arrays in a precision; raise UsageError if it cannot hold a weight."""
    with np.errstate(over="ignore"):
        rounded = {name: array.astype(f"<{np.dtype(precision).str[1:]}") for name, array in arrays.items()}
    for name, array in rounded.items():
        if not np.isfinite(array).all() and np.isfinite(arrays[name]).all():
            raise UsageError(f"{name} has a weight too large for {precision}", hint="use --precision float32")
    return rounded


def _facts(language_model: LanguageModel, arrays: Mapping[str, np.ndarray], precision: str) -> dict[str, Any]:
    """Return what the scripts know of the model."""
    config, text = language_model.model.config, language_model.text
    spacing = language_model.tokenizer.splitter.spacing
    return {
        "cell": cell_class(config).name,
        "layers": config.num_layers,
        "units": config.hidden_size,
        "embedding": bool(config.embedding_size),
        "dense": list(config.dense),
        "activation": config.activation,
        "tied": config.tie_weights,
        "level": text.level,
        "unit": text.unit,
        "split": text.split,
        "lowercase": text.lowercase,
        "normalize": text.normalize,
        "spacing": None if spacing is None else spacing.to_json(),
        "labels": list(language_model.labels),
        "vocabulary": list(language_model.tokenizer.vocabulary.tokens),
        "precision": precision,
        "arrays": {name: array.shape for name, array in arrays.items()},
    }


def _about(language_model: LanguageModel) -> str:
    config, text = language_model.model.config, language_model.text
    cell = f"{config.cell} of {config.num_layers} layer{'s' * (config.num_layers > 1)}, {config.hidden_size} units each"
    return (
        f"{cell}, {language_model.model.parameters.count:,} weights. "
        f"It has learned to predict the next {_LEVELS[text.level]} of a {_UNITS[text.unit]}."
    )


def _policy(parts: Mapping[str, str]) -> str:
    """Return a Content Security Policy that allows this style and these scripts, and no request."""

    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    scripts = " ".join(hashed(parts[name]) for name in _SCRIPTS)
    return (
        f"default-src 'none'; connect-src 'none'; img-src data:; style-src {hashed(parts['page.css'])}; "
        f"script-src {scripts}; base-uri 'none'; form-action 'none'"
    )


def _element(name: str, array: np.ndarray) -> str:
    """Return the element with an array, row by row, little-endian."""
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return f'<script type="application/octet-stream" id="{name}">{data}</script>\n'


def _json(value: Any) -> str:
    """Return JSON that can be inside a script element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _equations(config: ModelConfig) -> list[str]:
    """Return the equations of the network, as `nn.notation` reads them."""
    dense = "tanh" if config.activation == "tanh" else "ReLU"
    return [
        *cell_class(config).equations,
        *[f"a<t> = {dense}(W a<t> + b)"] * len(config.dense),
        "y<t> = softmax(W_y a<t> + b_y)",
    ]


def _equation(text: str) -> str:
    """Return an equation as HTML."""

    def symbol(found: re.Match[str]) -> str:
        letter, index, tilde, step = found[1], found[2], found[3], found[4]
        if letter is None:
            return html.escape(_GREEK.get(found[0], found[0]))
        shown = _GREEK.get(letter, letter) + ("\u0303" if tilde else "")
        if letter not in (*_UPRIGHT, "sigma"):
            shown = f"<i>{shown}</i>"
        return (
            shown
            + (f"<sub>{index[1:]}</sub>" if index else "")
            + (f"<sup>\u27e8{step[1:-1].replace('-', chr(0x2212))}\u27e9</sup>" if step else "")
        )

    return _SYMBOL.sub(symbol, text)
