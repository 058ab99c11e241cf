"""A file of a JSON object and named arrays, in the safetensors format, with a checksum over both."""

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
    b"\x1f\x8b": "compressed by gzip",
}
_KEY = "charlm"  # of the metadata's one entry
_DEEPEST = 8  # values in values: ours are four deep, and Python's own limit is not the same everywhere
_LONGEST_REASON = 200


def checksum(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Give the SHA-256 of a header, its own entry `sha256` left out, and of arrays, by name."""
    own = {key: value for key, value in header.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write(path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file, atomically; raises ResourceError where it cannot be, UsageError where no file could hold it."""
    from safetensors import SafetensorError
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}  # else its bytes are wrong
    signed = {**header, "sha256": checksum(header, contiguous)}
    try:
        data = save(contiguous, metadata={_KEY: json.dumps(signed, allow_nan=False)})
    except SafetensorError as error:
        raise UsageError(f"too much for a file ({error}), {display_name(path)}", hint="try --vocab-size") from error
    write_atomically(path, data)


class Container:
    """An opened file: its header and its arrays' types and shapes are read, their bytes are not yet.

    Raises ModelFileError for a file that is missing or none of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._look_at_start()
        self._file = self._read(self._opened)  # once: another file may have the name by the time the arrays are read
        metadata, self.types = self._read(self._metadata_and_types)
        try:
            self.header: dict[str, Any] = json.loads(
                metadata[_KEY], object_pairs_hook=_each_once, parse_float=_finite, parse_constant=_finite
            )
            ours = self.header["format"] == "charlm"
        except _Unsound as error:
            raise self.damaged(f"its header has {error}") from error
        except (KeyError, TypeError, ValueError, RecursionError):
            ours = False
        if not ours:
            raise ModelFileError(f"not a charlm model, {display_name(path)}", hint="charlm train makes one")
        if _is_deeper(self.header, _DEEPEST):
            raise self.damaged("its header has values in values in values")

    def arrays(self) -> dict[str, np.ndarray]:
        """Read the arrays; raises ModelFileError where they or the header are not those that were written."""
        arrays: dict[str, np.ndarray] = self._read(lambda: {name: self._file.get_tensor(name) for name in self.types})
        if self.header.get("sha256") != checksum(self.header, arrays):
            raise self.damaged("its checksum does not fit")
        return arrays

    def damaged(self, reason: str) -> ModelFileError:
        """Make the error that says what is wrong with the file."""
        printable = "".join(c if c.isprintable() else " " for c in reason[:_LONGEST_REASON])
        return ModelFileError(
            f"damaged model file, {display_name(self.path)}: {printable}",
            hint="restore it from a copy, or train it again",
        )

    def _look_at_start(self) -> None:
        name = display_name(self.path)
        try:
            found = os.stat(self.path)
            if stat.S_ISDIR(found.st_mode):
                raise ModelFileError(f"is a directory, {name}", hint="name the .safetensors file in it")
            if not stat.S_ISREG(found.st_mode):  # to open a pipe is to wait for somebody who writes
                raise ModelFileError(f"no regular file, {name}", hint="name a .safetensors file")
            with open(self.path, "rb") as file:
                start = file.read(32)
        except FileNotFoundError:
            raise ModelFileError(f"no such file, {name}", hint="check the name, or train it: charlm train") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ModelFileError(f"cannot read ({reason}), {name}", hint="check its name and its mode") from error
        if len(start) < 10 or start[8:9] != b"{":
            what = next((w for mark, w in _FOREIGN_STARTS.items() if start.startswith(mark)), "no safetensors file")
            raise ModelFileError(f"not a model, {name} is {what}", hint="charlm train makes one")

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
        slices = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118 - it is no mapping
        types = {name: (piece.get_dtype(), tuple(piece.get_shape())) for name, piece in slices.items()}
        return self._file.metadata() or {}, types


class _Unsound(ValueError):
    """JSON that Python reads and nobody but a person would write."""


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its fields, none of which may hide another of its name."""
    made = dict(pairs)
    if len(made) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise _Unsound(f"{name[:80]!r} twice")
    return made


def _finite(text: str) -> float:
    """Read a number; the standard has no other than finite ones, and `write` writes no others."""
    number = float(text)
    if not math.isfinite(number):
        raise _Unsound(f"the number {text[:80]}")
    return number


def _is_deeper(value: Any, levels: int) -> bool:
    """Tell whether there are values in values in ... more than `levels` times."""
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in inner if type(one) in (dict, list))
