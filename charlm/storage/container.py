"""A JSON header and named arrays in one safetensors file, with a checksum over both."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from charlm.errors import ModelFileError, UsageError
from charlm.storage.files import display_name, write_atomically

_FOREIGN_STARTS = {
    b"PK\x03\x04": "a zip archive or a PyTorch file",
    b"\x80": "a pickle",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"<": "HTML or XML",
    b"\x1f\x8b": "a gzip file",
}
SUFFIX = ".safetensors"  # of all containers
_KEY = "charlm"  # the only entry of the safetensors metadata
# Levels of nesting in a header: ours have four, and Python's own limit differs between versions.
_DEEPEST = 8
_LONGEST_REASON = 200  # characters
_HOW_TO_GET_IT = "check the name, or train it: charlm train"
_MAKE_ONE = "train a model: charlm train CORPUS -o MODEL, or read that of another program: charlm import FILE -o MODEL"


def existing(path: Path) -> Path:
    """Return the path of a file that is named with or without its suffix; a file of the exact name comes first.

    Raises ModelFileError, with both names, if there is neither.
    """
    if path.name in ("", "..") or path.name.endswith(SUFFIX) or (os.path.lexists(path) and not os.path.isdir(path)):
        return path
    completed = path.with_name(path.name + SUFFIX)
    if os.path.lexists(completed):
        return completed
    try:
        os.stat(path)
    except FileNotFoundError:
        names = f"{display_name(path)} or {display_name(completed)}"
        raise ModelFileError(f"no such file, {names}", hint=_HOW_TO_GET_IT) from None
    except (OSError, ValueError):
        # Reading the file raises an error with the reason.
        pass
    return path


def checksum(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of a header without its entry `sha256`, and of arrays in the order of their names."""
    own = {key: value for key, value in header.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write(path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a container atomically.

    Raises ResourceError if the file cannot be written, UsageError if its header exceeds the limit of the format.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save

    # safetensors writes wrong data for arrays that are not contiguous.
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    signed = {**header, "sha256": checksum(header, contiguous)}
    try:
        data = save(contiguous, metadata={_KEY: json.dumps(signed, allow_nan=False)})
    except SafetensorError as error:
        message = f"too large for a model file ({error}), {display_name(path)}"
        raise UsageError(message, hint="try --vocab-size") from error
    write_atomically(path, data)


class Container:
    """An open file: the header and the types and shapes of the arrays are read at once, their data on request.

    path: named with or without its suffix
    header: the JSON object that was written
    types: the safetensors type and the shape of each array, by name
    Raises ModelFileError if the file is missing, damaged or not from charlm.
    """

    def __init__(self, path: Path) -> None:
        self.path = path = existing(path)
        self._look_at_start()
        # Opened once: another file may have the name by the time the arrays are read.
        self._file = self._read(self._opened)
        metadata, self.types = self._read(self._metadata_and_types)
        try:
            self.header: dict[str, Any] = json.loads(
                metadata[_KEY], object_pairs_hook=_each_once, parse_float=_finite, parse_constant=_finite
            )
            ours = self.header["format"] == "charlm"
        except _Unsound as error:
            raise self.damaged(f"invalid header: {error}") from error
        except (KeyError, TypeError, ValueError, RecursionError):
            ours = False
        if not ours:
            raise ModelFileError(f"not a charlm model, {display_name(path)}", hint=_MAKE_ONE)
        if _is_deeper(self.header, _DEEPEST):
            raise self.damaged("invalid header: nested too deeply")

    def arrays(self) -> dict[str, np.ndarray]:
        """Read the arrays; raises ModelFileError if the checksum over them and the header does not match."""
        arrays: dict[str, np.ndarray] = self._read(lambda: {name: self._file.get_tensor(name) for name in self.types})
        if self.header.get("sha256") != checksum(self.header, arrays):
            raise self.damaged("checksum mismatch")
        return arrays

    def damaged(self, reason: str) -> ModelFileError:
        """Return the error for a damaged file; the reason is cut to one printable line."""
        printable = "".join(c if c.isprintable() else " " for c in reason[:_LONGEST_REASON])
        return ModelFileError(
            f"damaged model file, {display_name(self.path)}: {printable}",
            hint="restore it from a copy, or train the model again",
        )

    def _look_at_start(self) -> None:
        name = display_name(self.path)
        try:
            found = os.stat(self.path)
            if stat.S_ISDIR(found.st_mode):
                raise ModelFileError(f"model file is a directory, {name}", hint="name the .safetensors file in it")
            if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for a writer
                raise ModelFileError(f"not a regular file, {name}", hint="name a .safetensors file")
            with open(self.path, "rb") as file:
                start = file.read(32)
        except FileNotFoundError:
            raise ModelFileError(f"no such file, {name}", hint=_HOW_TO_GET_IT) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ModelFileError(f"cannot read ({reason}), {name}", hint="check its name and permissions") from error
        if len(start) < 10 or start[8:9] != b"{":
            kinds = (kind for mark, kind in _FOREIGN_STARTS.items() if start.startswith(mark))
            found_kind = next(kinds, "not in the safetensors format")
            raise ModelFileError(f"not a model file, {name}: it is {found_kind}", hint=_MAKE_ONE)

    def _read(self, take: Callable[[], Any]) -> Any:
        from safetensors import SafetensorError

        try:
            return take()
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
            raise self.damaged(str(error)) from error

    def _opened(self) -> Any:
        from safetensors import safe_open

        return safe_open(self.path, framework="np")

    def _metadata_and_types(self) -> tuple[dict[str, str], dict[str, tuple[str, tuple[int, ...]]]]:
        slices = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118 - not a mapping
        types = {name: (piece.get_dtype(), tuple(piece.get_shape())) for name, piece in slices.items()}
        return self._file.metadata() or {}, types


class _Unsound(ValueError):
    """JSON that Python parses and `write` never produces."""


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's fields as a dict; raises _Unsound for a repeated key."""
    made = dict(pairs)
    if len(made) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise _Unsound(f"repeated key {name[:80]!r}")
    return made


def _finite(text: str) -> float:
    """Parse a number; raises _Unsound for NaN and infinity, which JSON does not have."""
    number = float(text)
    if not math.isfinite(number):
        raise _Unsound(f"non-finite number {text[:80]}")
    return number


def _is_deeper(value: Any, levels: int) -> bool:
    """Return whether a JSON value is nested more than `levels` deep."""
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in inner if type(one) in (dict, list))
