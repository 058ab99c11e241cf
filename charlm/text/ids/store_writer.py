"""A corpus in provisional ids, written to the disk window by window."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from charlm.errors import ResourceError
from charlm.storage.files import cache_folder, display_name
from charlm.text.ids.cache import lock
from charlm.text.ids.encoder import Counts
from charlm.text.ids.store import SIZES, TEMPORARY, DiskStore, Row, window_of
from charlm.text.tokens.joining import NO_SPACING, Spacing

_COPIED_TOGETHER = 1 << 20  # bytes
_SHARE_OF_MEMORY = 4  # without a disk, a corpus may take a quarter of the memory


class StoreWriter:
    """The file of a store while it is written; at the end of the `with` block it is removed, unless it was finished.

    It is a file of the cache folder, which is created. If that cannot be written, or is full, the writer continues in
    the folder for temporary files, and at last in memory.

    keep: whether the file may get a name in the cache; otherwise it has no name, and disappears when it is closed

    The constructor and all methods raise ResourceError if no place is left.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._places: list[Callable[[], tuple[int, str]]] = [partial(_in_cache, keep), _new_file]
        if hasattr(os, "memfd_create"):
            self._places.append(_in_memory)
        self._file, self._temporary, self._most = -1, "", float("inf")
        self._rows: list[Row] = []
        self._counts = Counts()
        self._digest = hashlib.sha256()
        self._at = 0
        self._done = 0  # bytes in the file
        self._open = 0  # tokens of a line that has not ended
        # A window is written and hashed while the next one is encoded.
        self._thread: ThreadPoolExecutor | None = ThreadPoolExecutor(1)
        self._written: Future[None] | None = None
        self._move(None)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._thread is not None:
            self._thread.shutdown()
        self._leave()

    def add(self, ids: np.ndarray) -> None:
        """Write a window of provisional ids; the last window must end with the end of a line."""
        row, ids, lengths = window_of(ids, self._at, self._open)
        self._open += row.tokens - row.tokens_of_lines
        self._rows.append(row)
        self._counts.add(ids)
        self._write(ids.tobytes() + lengths.tobytes())

    def finish(self, tokens: Sequence[str], name: str | None, spacing: Spacing = NO_SPACING) -> DiskStore:
        """Write the rest of the file and return its store.

        tokens: by provisional id; name: of the entry in the cache; None: the file is removed and can still be read
        spacing: how their text was spelled
        """
        numbers = (np.array(self._rows, "<i8"), self._counts.of(len(tokens)).astype("<i8"))
        named = [json.dumps(one).encode() for one in (list(tokens), spacing.to_json())]
        parts = [*(array.tobytes() for array in numbers), *named, (name or "").encode()]
        for part in (*parts, SIZES.pack(*map(len, parts))):
            self._write(part)
        self._wait()
        self._write(self._digest.digest())
        self._wait()
        if self._temporary and name is not None:
            # If it cannot be renamed, this run has no entry.
            with contextlib.suppress(OSError):
                os.replace(self._temporary, os.path.join(os.path.dirname(self._temporary), name))
                self._temporary = ""
        file, self._file = self._file, -1
        self._leave()
        return DiskStore(file)

    def _write(self, data: bytes) -> None:
        self._at += len(data)
        self._wait()
        if self._thread is not None:
            try:
                self._written = self._thread.submit(self._write_now, data)
                return
            except RuntimeError:
                # No thread can be started. Never try again: the submitted data could be written twice.
                self._thread = self._written = None
        self._write_now(data)

    def _write_now(self, data: bytes) -> None:
        self._digest.update(data)
        while data:
            try:
                if self._done + len(data) > self._most:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                count = os.write(self._file, data)
            except OSError as error:
                self._move(error)
                continue
            self._done += count
            data = data[count:]

    def _wait(self) -> None:
        if self._written:
            self._written.result()

    def _move(self, error: OSError | None) -> None:
        """Copy all that is written so far to the next place, and continue there."""
        while self._places:
            make = self._places.pop(0)
            file, temporary = -1, ""
            try:
                file, temporary = make()
                self._copy_to(file)
            except OSError as failure:
                error = error or failure
                _remove(file, temporary)
                continue
            self._leave()
            self._file, self._temporary = file, temporary
            self._most = _memory() / _SHARE_OF_MEMORY if make is _in_memory else float("inf")
            return
        reason = "" if error is None else f": {error.strerror or error}"
        raise ResourceError(
            f"cannot keep the encoded corpus, {display_name(cache_folder() or tempfile.gettempdir())}{reason}",
            hint="it needs up to 4 bytes a token: set the environment variable CHARLM_CACHE to another folder",
        )

    def _copy_to(self, file: int) -> None:
        for at in range(0, self._done, _COPIED_TOGETHER):
            data = os.pread(self._file, min(_COPIED_TOGETHER, self._done - at), at)
            while data:
                data = data[os.write(file, data) :]

    def _leave(self) -> None:
        """Close and remove the file, if there is one."""
        _remove(self._file, self._temporary)
        self._file, self._temporary = -1, ""


def _in_cache(keep: bool) -> tuple[int, str]:
    """Return a new file in the cache."""
    folder = cache_folder()
    if folder is None:
        raise FileNotFoundError(errno.ENOENT, "there is no home folder")
    folder.mkdir(parents=True, exist_ok=True)
    return _new_file(folder, keep=keep)


def _new_file(folder: Path | None = None, *, keep: bool = False) -> tuple[int, str]:
    """Return the descriptor and the name of a new file; without a name it disappears however this process ends."""
    file, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=".tmp", dir=folder)
    if keep:
        lock(file)
        return file, name
    _remove(-1, name)
    return file, ""


def _in_memory() -> tuple[int, str]:
    return os.memfd_create("charlm"), ""


def _memory() -> float:
    """Return the memory of the machine in bytes."""
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _remove(file: int, name: str) -> None:
    with contextlib.suppress(OSError):
        if name:
            os.unlink(name)
    if file >= 0:
        os.close(file)
