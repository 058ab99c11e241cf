"""Digests of what is read, which tell one corpus from another."""

from __future__ import annotations

from typing import Protocol, Self


class Digest(Protocol):
    """What `hashlib.sha256()` returns."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""

    def copy(self) -> Self:
        """Give another one, which has taken in the same."""

    def hexdigest(self) -> str:
        """Give the digest so far."""


class Digested(Protocol):
    """What is read with a digest."""

    digest: Digest | None


class HeldOutDigest:
    """The digest of a corpus and of held-out lines, told apart so that a line cannot change sides unnoticed.

    corpus: with a digest; it is read to its end before any of the held-out lines
    """

    def __init__(self, corpus: Digested) -> None:
        self._corpus = corpus
        self._own: Digest | None = None

    @property
    def _digest(self) -> Digest:
        digest = self._own or self._corpus.digest
        assert digest is not None
        return digest

    def update(self, data: bytes, /) -> None:
        """Take in more bytes of the held-out lines."""
        if self._own is None:
            self._own = self._digest.copy()
            self._own.update(b"\0held out\0")  # no line holds a zero byte
        self._own.update(data)

    def copy(self) -> HeldOutDigest:
        """Give another one, which has taken in the same."""
        other = HeldOutDigest(self._corpus)
        other._own = self._own and self._own.copy()
        return other

    def hexdigest(self) -> str:
        """Give the digest so far; of no held-out line, that of the corpus."""
        return self._digest.hexdigest()
