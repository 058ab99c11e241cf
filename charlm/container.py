"""A file of a JSON object and named arrays, in the safetensors format, with a checksum over both."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from charlm.errors import ModelFileError
from charlm.files import display_name, write_atomically

_FOREIGN_STARTS = {
    b"PK\x03\x04": "a zip archive or a PyTorch file",
    b"\x80": "a pickle",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"<": "HTML or XML",
    b"\x1f\x8b": "compressed by gzip",
}
_KEY = "charlm"  # of the metadata's one entry


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
    """Write a file, atomically; raises ResourceError where it cannot be."""
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}  # else its bytes are wrong
    signed = {**header, "sha256": checksum(header, contiguous)}
    write_atomically(path, save(contiguous, metadata={_KEY: json.dumps(signed, allow_nan=False)}))


class Container:
    """An opened file: its header and its arrays' types and shapes are read, their bytes are not yet.

    Raises ModelFileError for a file that is missing or none of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._look_at_start()
        metadata, self.types = self._read(_metadata_and_types)
        try:
            self.header: dict[str, Any] = json.loads(metadata[_KEY])
            ours = self.header["format"] == "charlm"
        except (KeyError, TypeError, ValueError, RecursionError):
            ours = False
        if not ours:
            raise ModelFileError(f"not a charlm model, {display_name(path)}", hint="charlm train makes one")

    def arrays(self) -> dict[str, np.ndarray]:
        """Read the arrays; raises ModelFileError where they or the header are not those that were written."""
        arrays: dict[str, np.ndarray] = self._read(lambda file: {name: file.get_tensor(name) for name in self.types})
        if self.header.get("sha256") != checksum(self.header, arrays):
            raise self.damaged("its checksum does not fit")
        return arrays

    def damaged(self, reason: str) -> ModelFileError:
        """Make the error that says what is wrong with the file."""
        printable = "".join(c if c.isprintable() else " " for c in reason)[:200]
        return ModelFileError(
            f"damaged model file, {display_name(self.path)}: {printable}",
            hint="restore it from a copy, or train it again",
        )

    def _look_at_start(self) -> None:
        name = display_name(self.path)
        try:
            if self.path.is_dir():
                raise ModelFileError(f"is a directory, {name}", hint="name the .safetensors file in it")
            with open(self.path, "rb") as file:
                start = file.read(32)
                size = os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            raise ModelFileError(f"no such file, {name}", hint="check the name, or train it: charlm train") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ModelFileError(f"cannot read ({reason}), {name}", hint="check its name and its mode") from error
        if size < 10 or start[8:9] != b"{":
            what = next((w for mark, w in _FOREIGN_STARTS.items() if start.startswith(mark)), "no safetensors file")
            raise ModelFileError(f"not a model, {name} is {what}", hint="charlm train makes one")

    def _read(self, take: Callable[[Any], Any]) -> Any:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="np") as file:
                return take(file)
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
            raise self.damaged(str(error)) from error


def _metadata_and_types(file: Any) -> tuple[dict[str, str], dict[str, tuple[str, tuple[int, ...]]]]:
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    return file.metadata() or {}, {name: (s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}
