"""Models as safetensors files with the names and shapes of torch.nn, and the lines of Python that load them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from charlm.config import ModelConfig
from charlm.errors import ModelFileError
from charlm.exchange.blocks import TORCH, Weights
from charlm.exchange.facts import KEY, facts_of, model_of
from charlm.exchange.network import Affine, Network, form_of, network_of
from charlm.exchange.torch_code import loader
from charlm.language_model import LanguageModel
from charlm.storage.files import display_name, write_atomically

_ARRAYS = {"weight_ih": "W_ih", "weight_hh": "W_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
_SIDES = ("", "_reverse")


def write(language_model: LanguageModel, path: Path) -> list[str]:
    """Write a safetensors file, atomically; return a line for each of its arrays.

    Raises UsageError if torch.nn cannot compute the model, ResourceError if writing fails.
    """
    from safetensors.numpy import save

    form = form_of(language_model.model.config, TORCH, "torch.nn")
    arrays = _named(network_of(language_model, form))
    # "pt" is what PyTorch's own files have.
    write_atomically(path, save(arrays, metadata={"format": "pt", **facts_of(language_model)}))
    return [f"{name:<24} {' x '.join(map(str, array.shape))}" for name, array in arrays.items()]


def code(language_model: LanguageModel, path: Path) -> str:
    """Return lines of Python that load the file at `path` with PyTorch.

    Raises UsageError if torch.nn cannot compute the model.
    """
    form = form_of(language_model.model.config, TORCH, "torch.nn")
    return loader(language_model, form, network_of(language_model, form).embedding.shape, path.name)


def is_own(metadata: Mapping[str, str]) -> bool:
    """Return whether a file's metadata is that of `write`."""
    return metadata.get("format") == "pt" and KEY in metadata


def read(path: Path, metadata: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> LanguageModel:
    """Return the model of a file that `write` has written; raise ModelFileError if it is damaged."""
    try:
        return model_of(metadata, TORCH, lambda config: _network(arrays, config))
    except (KeyError, ValueError, TypeError, IndexError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(f"damaged file, {display_name(path)}: {reason}", hint="export the model again") from error


def weights_at(arrays: Mapping[str, np.ndarray], prefix: str, layer: int, side: str = "") -> Weights:
    """Return the weights of one direction of a layer of nn.RNN, nn.GRU or nn.LSTM; a missing bias is zero.

    prefix: of the names of its arrays
    """
    W_hh = arrays[f"{prefix}weight_hh_l{layer}{side}"]
    zero = np.zeros(len(W_hh), W_hh.dtype)
    biases = (arrays.get(f"{prefix}{name}_l{layer}{side}", zero) for name in ("bias_ih", "bias_hh"))
    return Weights(arrays[f"{prefix}weight_ih_l{layer}{side}"], W_hh, *biases)


def _named(network: Network) -> dict[str, np.ndarray]:
    """Return the arrays of a network by their names in torch.nn."""
    named = {"embedding.weight": network.embedding}
    for stack, layers in network.stacks.items():
        for number, directions in enumerate(layers):
            for side, weights in zip(_SIDES, directions, strict=False):
                for name, field in _ARRAYS.items():
                    named[f"{stack}.{name}_l{number}{side}"] = getattr(weights, field)
    for name, affine in [*((f"dense.{i}", one) for i, one in enumerate(network.dense)), ("output", network.output)]:
        named |= {f"{name}.weight": affine.W, f"{name}.bias": affine.b}
    # safetensors writes wrong data for arrays that are not contiguous.
    return {name: np.ascontiguousarray(array) for name, array in named.items()}


def _network(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> Network:
    """Return the network of a file's arrays."""
    has_towers = config.facts.body == "towers"
    sides = _SIDES if config.bidirectional and not has_towers else ("",)
    stacks = {
        stack: tuple(
            tuple(weights_at(arrays, f"{stack}.", number, side) for side in sides)
            for number in range(config.num_layers)
        )
        for stack in (("left", "right") if has_towers else ("rnn",))
    }
    names = [*(f"dense.{i}" for i in range(len(config.dense))), "output"]
    *dense, output = (Affine(arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in names)
    return Network(arrays["embedding.weight"], stacks, tuple(dense), output)
