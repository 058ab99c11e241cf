"""Digests of the lines that are read, which identify a corpus."""

from __future__ import annotations

from typing import Protocol, Self


class Digest(Protocol):
    """A hash object, as `hashlib.sha256()` returns it."""

    def update(self, data: bytes, /) -> None:
        """Hash more bytes."""

    def copy(self) -> Self:
        """Return a digest of the same bytes that can be updated on its own."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""


class Digested(Protocol):
    """Lines with a digest."""

    digest: Digest | None


class HeldOutDigest:
    """The digest of a corpus and its held-out lines; it changes if a line moves from one to the other.

    corpus: with a digest; it is read to its end before the first held-out line
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
        """Hash more bytes of the held-out lines."""
        if self._own is None:
            self._own = self._digest.copy()
            self._own.update(b"\0held out\0")  # lines contain no zero bytes
        self._own.update(data)

    def copy(self) -> HeldOutDigest:
        other = HeldOutDigest(self._corpus)
        other._own = self._own and self._own.copy()
        return other

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far; without held-out lines, that of the corpus."""
        return self._digest.hexdigest()
