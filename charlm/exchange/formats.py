"""The formats of other programs. A new one is an entry of `FORMATS` and of `SUFFIXES`, and a file that writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from charlm.errors import ModelFileError, ResourceError, UsageError
from charlm.exchange import state_dict
from charlm.exchange.options import PRECISIONS, SIGNATURES, SUFFIXES, Options
from charlm.exchange.state_dict import Reading
from charlm.language_model import LanguageModel
from charlm.storage.files import display_name


@dataclass(frozen=True)
class Format:
    """A format that models are written to.

    write: function of a model, a path and options that writes a file and returns lines about what is in it
    signatures, precisions: allowed ones; empty if the format has only one
    code: function of a model and a path that returns the lines of a program that loads it; None without such a program
    """

    write: Callable[[LanguageModel, Path, Options], list[str]]
    signatures: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    code: Callable[[LanguageModel, Path], str] | None = None


def _write_onnx(language_model: LanguageModel, path: Path, options: Options) -> list[str]:
    with _needs("onnx"):
        from charlm.exchange import onnx_file
    return onnx_file.write(language_model, path, options)


def _write_torch(language_model: LanguageModel, path: Path, _: Options) -> list[str]:
    from charlm.exchange import torch_file

    return torch_file.write(language_model, path)


def _write_page(language_model: LanguageModel, path: Path, options: Options) -> list[str]:
    from charlm.exchange import page_file

    return page_file.write(language_model, path, options)


def _torch_code(language_model: LanguageModel, path: Path) -> str:
    from charlm.exchange import torch_file

    return torch_file.code(language_model, path)


FORMATS: dict[str, Format] = {
    "onnx": Format(_write_onnx, SIGNATURES),
    "torch": Format(_write_torch, code=_torch_code),
    "page": Format(_write_page, precisions=PRECISIONS),
}


def format_named(path: Path, to: str | None) -> str:
    """Return the name of the format that --to or else the suffix of a file names; raise UsageError if neither does."""
    found = next((name for name, suffix in SUFFIXES.items() if path.suffix.lower() == suffix), None)
    if to is not None:
        if found not in (None, to):
            what = f"--to {to} with a file of another format, {display_name(path)}"
            raise UsageError(what, hint=f"name FILE{SUFFIXES[to]}")
        return to
    if found is None:
        suffixes = " or ".join(f"FILE{suffix}" for suffix in SUFFIXES.values())
        raise UsageError(f"unknown format, {display_name(path)}", hint=f"name {suffixes}, or add --to")
    return found


def export(
    language_model: LanguageModel, path: Path, *, to: str | None = None, options: Options | None = None
) -> list[str]:
    """Write a model for another program, atomically; return lines about what is in the file.

    to: a name in `FORMATS`; None for the one of the suffix
    Raises UsageError for a model that the other program cannot compute, ResourceError if writing fails.
    """
    _check(language_model)
    options = options or Options()
    name = format_named(path, to)
    one = FORMATS[name]
    chosen = {"signature": (options.signature, one.signatures), "precision": (options.precision, one.precisions)}
    for option, (value, allowed) in chosen.items():
        if value is not None and value not in allowed:
            hint = f"choose one of: {', '.join(allowed)}" if allowed else "leave it out"
            raise UsageError(f"--{option} {value} with --to {name}", hint=hint)
    if options.tokens is not None and not one.signatures:
        raise UsageError(f"--tokens with --to {name}", hint="it is an option of --signature sherpa")
    return one.write(language_model, path, options)


def _check(language_model: LanguageModel) -> None:
    """Raise UsageError for a model that no format holds."""
    language_model.require("export")
    if language_model.model.config.softmax == "adaptive":
        raise UsageError("charlm export does not work with --softmax adaptive", hint="train with --softmax full")


def loading_code(language_model: LanguageModel, path: Path, *, to: str | None = None) -> str:
    """Return the lines of a program that loads an exported file; raise UsageError if the format has none."""
    _check(language_model)
    name = format_named(path, to)
    code = FORMATS[name].code
    if code is None:
        able = " or ".join(f"--to {other}" for other, one in FORMATS.items() if one.code)
        raise UsageError(f"--show with --to {name}", hint=f"use it with {able}")
    return code(language_model, path)


def import_from(path: Path, *, reading: Reading | None = None) -> LanguageModel:
    """Read a model of another program: what `export` has written, or a state_dict of PyTorch in a safetensors file.

    reading: the vocabulary of a state_dict, and how it reads text; None for what `export` has written
    Raises ModelFileError for a file of another kind, UsageError for a state_dict without a vocabulary.
    """
    name = display_name(path)
    if path.suffix.lower() == ".onnx":
        if reading is not None:
            raise UsageError(f"a vocabulary for {name}", hint="an ONNX file has its own: leave --vocabulary out")
        with _needs("onnx"):
            from charlm.exchange import onnx_file
        return onnx_file.read(path)
    from safetensors import SafetensorError, safe_open

    from charlm.exchange import torch_file

    _check_start(path)
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelFileError(f"cannot read {name}: {error}", hint="save float32 or float64 weights") from error
    if torch_file.is_own(metadata):
        if reading is not None:
            raise UsageError(f"a vocabulary for {name}", hint="the file has its own: leave --vocabulary out")
        return torch_file.read(path, metadata, arrays)
    if "charlm" in metadata:
        raise UsageError(f"{name} is a model of charlm", hint="it needs no import: charlm inspect prints it")
    if reading is None:
        raise UsageError(f"no vocabulary in {name}", hint="name a file with one token a line: --vocabulary FILE")
    return state_dict.model_from(path, arrays, reading)


def _check_start(path: Path) -> None:
    """Raise ModelFileError for a file that is missing, or not in the safetensors format."""
    name = display_name(path)
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelFileError(f"cannot read {name}: {reason}", hint="check its name and permissions") from error
    if start[8:9] != b"{" and start.startswith((b"PK\x03\x04", b"\x80")):
        hint = "a pickle can run code: write the model with safetensors.torch.save_model(model, 'FILE.safetensors')"
        raise ModelFileError(f"a PyTorch file in the format of pickle, {name}", hint=hint)
    if start[8:9] != b"{":
        raise ModelFileError(
            f"neither an ONNX nor a safetensors file, {name}", hint="name FILE.onnx or FILE.safetensors"
        )


@contextmanager
def _needs(extra: str) -> Iterator[None]:
    """Turn a missing package inside the block into a ResourceError that names the extra of charlm to install."""
    try:
        yield
    except ImportError as error:
        raise ResourceError(f"{error.name} is not installed", hint=f"pip install 'charlm-rnn[{extra}]'") from error
