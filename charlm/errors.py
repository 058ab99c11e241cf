"""The mistakes a user can make, each with the exit code that the command line ends with."""

from __future__ import annotations

from typing import ClassVar


class CharlmError(Exception):
    """A mistake of the user's, not of the program's.

    message: WHAT went wrong, WHERE; one line.
    hint: what to do about it; one line, "" for none.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CharlmError):
    """The command line or the configuration asks for something impossible."""

    exit_code = 2


class CorpusError(CharlmError):
    """The input text cannot be read or is not what it should be."""

    exit_code = 3


class ModelFileError(CharlmError):
    """The model file is missing, damaged, or of another kind than needed."""

    exit_code = 4


class NonFiniteOutputError(ModelFileError):
    """The model's outputs contain NaN or infinity: its weights have exploded."""


class DivergenceError(CharlmError):
    """Training left the finite numbers."""

    exit_code = 5


class ResourceError(CharlmError):
    """The machine lacks disk space, memory or a device."""

    exit_code = 6
