"""Models as ONNX files: a graph with the model's facts as its metadata.

Source: the operators RNN, GRU and LSTM of ONNX, opset 17.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import TensorProto, helper, numpy_helper

from charlm.config import ModelConfig
from charlm.errors import ModelFileError, UsageError
from charlm.exchange import sherpa
from charlm.exchange.blocks import ONNX, Form, Weights
from charlm.exchange.facts import KEY, facts_of, model_of
from charlm.exchange.network import Affine, Network, form_of, network_of, stacks_of
from charlm.exchange.onnx_graph import Graph, Layers
from charlm.exchange.options import SIGNATURES, Options
from charlm.language_model import LanguageModel
from charlm.storage.files import display_name, write_atomically
from charlm.version import __version__

_OPSET, _IR = 17, 8  # of onnxruntime 1.12 and later
_LARGEST = (1 << 31) - (1 << 20)  # bytes: protobuf allows 2 GiB


def write(language_model: LanguageModel, path: Path, options: Options) -> list[str]:
    """Write an ONNX file, atomically; return a line for each of its inputs and outputs.

    Raises UsageError if ONNX cannot compute the model or its task lacks the signature, ResourceError if writing fails.
    """
    config, signature = language_model.model.config, options.signature or SIGNATURES[0]
    form = form_of(config, ONNX, "ONNX")
    _check(language_model, signature)
    if options.tokens is not None and signature != "sherpa":
        raise UsageError(f"--tokens with --signature {signature}", hint="it is an option of --signature sherpa")
    network = _in_float32(network_of(language_model, form))
    graph = Graph()
    facts = facts_of(language_model, dtype="float32" if config.dtype == "float64" else None)
    if signature == "sherpa":
        tokens = None if options.tokens is None else sherpa.read_tokens(options.tokens)
        facts |= sherpa.add_graph(Layers(graph, network, config, form, ""), language_model, tokens)
    else:
        _own(graph, network, config, form, signature)
    facts["signature"] = signature
    try:
        data = _model(graph, facts).SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise _too_large(path) from error
    if len(data) > _LARGEST:
        raise _too_large(path)
    write_atomically(path, data)
    return [
        f"{kind:<6} {one.name:<14} {_type(one)}"
        for kind, ones in (("input", graph.inputs), ("output", graph.outputs))
        for one in ones
    ]


def read(path: Path) -> LanguageModel:
    """Read a model from an ONNX file that `write` has written; raise ModelFileError for another one."""
    name = display_name(path)
    try:
        file = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not in the ONNX format"
        raise ModelFileError(f"cannot read {name}: {reason}", hint="check the name and the file") from error
    facts = {one.key: one.value for one in file.metadata_props}
    if KEY not in facts:
        hint = "export its weights from the program that made it: charlm import --help"
        raise ModelFileError(f"{name} was not written by charlm export", hint=hint)
    try:
        if any(one.data_location == TensorProto.EXTERNAL for one in file.graph.initializer):
            raise ValueError("its weights are in another file")
        arrays = {one.name: numpy_helper.to_array(one) for one in file.graph.initializer}
        return model_of(facts, ONNX, lambda config: _network(arrays, config))
    except (KeyError, ValueError, TypeError, IndexError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(f"damaged file, {name}: {reason}", hint="export the model again") from error


def _check(language_model: LanguageModel, signature: str) -> None:
    """Raise UsageError for a signature that does not fit the model."""
    config = language_model.model.config
    if signature != "sequence" and config.bidirectional:
        hint = "it reads both sides of a token: use --signature sequence"
        raise UsageError(f"--signature {signature} with a --task {config.task} model", hint=hint)
    if signature != "sequence" and config.facts.body == "last step":
        hint = "its answer comes after the whole text: use --signature sequence"
        raise UsageError(f"--signature {signature} with a --task {config.task} model", hint=hint)
    if signature == "sherpa" and (not config.facts.is_language_model or config.is_conditioned):
        what = "a conditioned model" if config.is_conditioned else f"a --task {config.task} model"
        hint = "sherpa-onnx reads language models: use --signature sequence"
        raise UsageError(f"--signature sherpa with {what}", hint=hint)


def _own(graph: Graph, network: Network, config: ModelConfig, form: Form, signature: str) -> None:
    """Add the graph of --signature sequence or step."""
    is_step, facts = signature == "step", config.facts
    lengths = ""
    if is_step:
        ids = graph.node("Unsqueeze", [graph.input("token", TensorProto.INT64, "batch"), graph.ints(0)])
    else:
        ids = graph.node("Transpose", [graph.input("tokens", TensorProto.INT64, "batch", "time")], perm=[1, 0])
        lengths = graph.node("Cast", [graph.input("lengths", TensorProto.INT64, "batch")], to=TensorProto.INT32)
    layers = Layers(graph, network, config, form, lengths)
    after: dict[str, str] = {}
    if facts.body == "towers":
        y = layers.towers(ids)
    else:
        shape = (config.num_layers, "batch", config.hidden_size)
        first = None
        if facts.body == "stack" and not config.bidirectional:
            first = {state: graph.input(f"state_{state}", TensorProto.FLOAT, *shape) for state in layers.states}
        y, after, top = layers.recurrent(layers.embedded(ids), "rnn", first)
        if facts.body == "last step":
            graph.output("log_probs", layers.log_probs(layers.last(top)), "batch", len(network.output.b))
            return
    log_probs = layers.log_probs(y)
    choices = len(network.output.b)
    if is_step:
        graph.output("log_probs", graph.node("Squeeze", [log_probs, graph.ints(0)]), "batch", choices)
    else:
        graph.output("log_probs", graph.node("Transpose", [log_probs], perm=[1, 0, 2]), "batch", "time", choices)
    for state, value in after.items():
        graph.output(f"next_state_{state}", value, config.num_layers, "batch", config.hidden_size)


def _model(graph: Graph, facts: Mapping[str, str]) -> onnx.ModelProto:
    made = helper.make_graph(graph.nodes, "charlm", graph.inputs, graph.outputs, list(graph.constants.values()))
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="charlm",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(facts))
    return model


def _in_float32(network: Network) -> Network:
    """Return a network with its weights rounded to float32, which is what runtimes compute in."""

    def rounded(array: np.ndarray) -> np.ndarray:
        return np.asarray(array, np.float32)

    return Network(
        rounded(network.embedding),
        {
            name: tuple(tuple(Weights(*map(rounded, vars(one).values())) for one in layer) for layer in layers)
            for name, layers in network.stacks.items()
        },
        tuple(Affine(rounded(one.W), rounded(one.b)) for one in network.dense),
        Affine(rounded(network.output.W), rounded(network.output.b)),
    )


def _network(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> Network:
    """Return the network of a file's constants."""

    def affine(name: str) -> Affine:
        return Affine(arrays[f"{name}.W"], arrays[f"{name}.b"])

    def directions(name: str) -> tuple[Weights, ...]:
        W, R, B = (arrays[f"{name}.{key}"] for key in "WRB")
        half = B.shape[1] // 2
        return tuple(Weights(W[i], R[i], B[i, :half], B[i, half:]) for i in range(len(W)))

    stacks = {
        stack: tuple(directions(f"{stack}.layer{number}") for number in range(config.num_layers))
        for stack in stacks_of(config)
    }
    embedding = arrays["embedding"]
    tied = Affine(embedding[: config.vocabulary_size], arrays["output.b"]) if config.tie_weights else affine("output")
    return Network(embedding, stacks, tuple(affine(f"dense{i}") for i in range(len(config.dense))), tied)


def _type(value: onnx.ValueInfoProto) -> str:
    """Return the type and the shape of an input or output, for a reader."""
    tensor = value.type.tensor_type
    shape = ", ".join(one.dim_param or str(one.dim_value) for one in tensor.shape.dim)
    return f"{TensorProto.DataType.Name(tensor.elem_type).lower()} [{shape}]"


def _too_large(path: Path) -> UsageError:
    return UsageError(
        f"an ONNX file holds at most 2 GiB, {display_name(path)}", hint="export it for PyTorch: --to torch"
    )
