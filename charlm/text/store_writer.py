"""A corpus in provisional ids written to the disk, window by window."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np

from charlm.errors import ResourceError
from charlm.files import cache_folder, display_name
from charlm.text.encoder import Counts
from charlm.text.store import SIZES, TEMPORARY, TYPES, Store
from charlm.text.vocabulary import EOS_ID


class StoreWriter:
    """The file of a store while it is written; what is not kept is gone when the `with` block ends.

    It lies in the cache, which is made where it is missing. Raises ResourceError, here and below, where nothing can be
    written there.
    """

    def __init__(self) -> None:
        self._folder = folder = cache_folder()
        self._rows: list[tuple[int, ...]] = []
        self._counts = Counts()
        self._digest = hashlib.sha256()
        self._at = 0
        self._open = 0  # tokens of a line that has not ended
        self._thread = ThreadPoolExecutor(1)  # to write and hash one window while the next one is encoded
        self._written: Future[None] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file, self._temporary = tempfile.mkstemp(prefix=TEMPORARY, suffix=".tmp", dir=folder)
        except OSError as error:
            raise _unwritable(folder, error) from error

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if self._temporary:
            os.unlink(self._temporary)
            os.close(self._file)

    def add(self, ids: np.ndarray) -> None:
        """Write a window, given in provisional ids; the last line of the last one has to end in it."""
        ends = np.flatnonzero(ids == EOS_ID)
        of_lines = np.diff(ends, prepend=-1 - self._open)
        self._open += ids.size - int(of_lines.sum())
        ids, lengths = _compact(ids), _compact(of_lines)
        widths = (TYPES.index(ids.dtype), TYPES.index(lengths.dtype))
        self._rows.append((self._at, ids.size, lengths.size, of_lines.sum(), *widths))
        self._counts.add(ids)
        self._write(ids.tobytes() + lengths.tobytes())

    def finish(self, tokens: Sequence[str], name: str | None) -> Store:
        """Write what is known at the end, and open what was written.

        tokens: by provisional id; name: the file's in the folder, None removes it while it can still be read
        """
        numbers = (np.array(self._rows, "<i8"), self._counts.of(len(tokens)).astype("<i8"))
        parts = [*(array.tobytes() for array in numbers), json.dumps(list(tokens)).encode()]
        for part in (*parts, SIZES.pack(*map(len, parts))):
            self._write(part)
        self._wait()
        self._write(self._digest.digest())
        self._wait()
        try:
            if name is None:
                os.unlink(self._temporary)
            else:
                os.replace(self._temporary, self._folder / name)
        except OSError as error:
            raise _unwritable(self._folder, error) from error
        self._temporary = ""
        return Store(self._file)

    def _write(self, data: bytes) -> None:
        self._at += len(data)
        self._wait()
        try:
            self._written = self._thread.submit(self._write_now, data)
        except RuntimeError as error:  # no room for the stack of a thread
            raise MemoryError(str(error)) from error

    def _write_now(self, data: bytes) -> None:
        self._digest.update(data)
        while data:
            data = data[os.write(self._file, data) :]

    def _wait(self) -> None:
        try:
            if self._written:
                self._written.result()
        except OSError as error:
            raise _unwritable(self._folder, error) from error


def _unwritable(folder: Path, error: OSError) -> ResourceError:
    """Make the error of a folder in which the encoded corpus cannot be kept."""
    return ResourceError(
        f"cannot keep the encoded corpus, {display_name(folder)}: {error.strerror or error}",
        hint="it needs up to four bytes a token: name another folder with the environment variable CHARLM_CACHE",
    )


def _compact(numbers: np.ndarray) -> np.ndarray:
    """Give numbers that are not negative in the smallest type that holds them."""
    most = int(numbers.max(initial=0))
    return numbers.astype(next(kind for kind in TYPES if most <= np.iinfo(kind).max), copy=False)
