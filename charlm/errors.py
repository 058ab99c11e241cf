"""Errors that are not bugs in charlm, each with the exit code of the command line."""

from __future__ import annotations

from typing import ClassVar


class CharlmError(Exception):
    """The base of all errors that a person can act on.

    message: what is wrong, and where, on one line
    hint: what to type or to change, on one line; may be empty
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
    """The input text cannot be read or has the wrong form."""

    exit_code = 3


class ModelFileError(CharlmError):
    """The model file is missing, damaged, or for another task."""

    exit_code = 4


class NonFiniteOutputError(ModelFileError):
    """The model's outputs contain NaN or infinity: its weights have exploded."""


class DivergenceError(CharlmError):
    """The loss, the gradient or the weights became NaN or infinite in training."""

    exit_code = 5


class ResourceError(CharlmError):
    """The machine lacks disk space, memory or a device."""

    exit_code = 6
