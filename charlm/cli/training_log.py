"""The log of a training: one record of JSON an evaluation, written as soon as it is known."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.cli import ui
from charlm.errors import ResourceError, UsageError
from charlm.storage.files import check_writable, display_name, hint_for


class TrainingLog:
    """A file that records are appended to. A pipe or a device is written to, and never replaced.

    Raises ResourceError if it cannot be written, UsageError if it has content that a new training would lose.
    """

    def __init__(self, path: Path, *, force: bool, resume: bool) -> None:
        self.path, self._descriptor = path, -1
        try:
            found = os.stat(path)
        except OSError:
            # Created only when training begins.
            check_writable(path)
            return
        self._open()
        if stat.S_ISREG(found.st_mode) and found.st_size and not resume:
            if not force:
                self.close()
                raise UsageError(
                    f"the log exists, {display_name(path)}", hint="--force overwrites it, or name another: --log FILE"
                )
            os.ftruncate(self._descriptor, 0)

    def _open(self) -> None:
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            reason = error.strerror or error
            raise ResourceError(f"cannot write {display_name(self.path)}: {reason}", hint=hint_for(error)) from error

    def begin(self, step: int) -> None:
        """Create the file, or remove the records of steps after `step`, which a resumed training does again."""
        if self._descriptor < 0:
            self._open()
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            return
        kept = 0
        with open(self.path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n") or _step_of(line) > step:
                    break
                kept += len(line)
        os.ftruncate(self._descriptor, kept)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record; after an error the training goes on without its log."""
        if self._descriptor < 0:
            return
        data = (ui.strict_json(record) + "\n").encode()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            ui.warn(f"cannot write {display_name(self.path)}: {error.strerror}; training goes on without its log")
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = -1


def _step_of(line: bytes) -> int:
    """Return the step of a record; 0 for a line that is not one, which is kept."""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return int(json.loads(line).get("step", 0))
    return 0
