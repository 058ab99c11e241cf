"""Text as bytes and back, and which bytes may follow each other in UTF-8.

In a text, a byte that is not UTF-8 is a lone surrogate, U+DC80 to U+DCFF, as Python's `surrogateescape` has it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

# An ASCII byte is named by its character, any other one as SentencePiece names bytes.
BYTE_NAMES = tuple(chr(byte) if byte < 0x80 else f"<0x{byte:02X}>" for byte in range(256))

_CONTINUATION = range(0x80, 0xC0)
# The number of bytes of a character by its first byte. Other first bytes would spell a character in a second way.
_LENGTHS = {**dict.fromkeys(range(0xC2, 0xE0), 2), **dict.fromkeys(range(0xE0, 0xF0), 3)}
_LENGTHS |= dict.fromkeys(range(0xF0, 0xF5), 4)
# The second byte after some first bytes: no overlong form, no surrogate, nothing above U+10FFFF.
_SECOND = {0xE0: range(0xA0, 0xC0), 0xED: range(0x80, 0xA0), 0xF0: range(0x90, 0xC0), 0xF4: range(0x80, 0x90)}


def bytes_of(text: str) -> bytes:
    """Return the bytes of a text in UTF-8; a lone surrogate of `text_of` is the byte that it stands for."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # JSON may contain other lone surrogates, which stand for no byte.
        return b"".join(map(_bytes_of_one, text))


def _bytes_of_one(character: str) -> bytes:
    stands_for_byte = "\udc80" <= character <= "\udcff"
    return character.encode("utf-8", "surrogateescape" if stands_for_byte else "surrogatepass")


def text_of(data: bytes) -> str:
    """Return the text of bytes in UTF-8, with a lone surrogate for each byte that is not."""
    return data.decode("utf-8", "surrogateescape")


def is_unicode(text: str) -> bool:
    """Return whether a text contains no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def byte_text(data: bytes) -> str:
    """Return ASCII as it is and a lone surrogate for each other byte, so that parts of characters can be joined."""
    return data.decode("ascii", "surrogateescape")


class WholeCharacters:
    """Which tokens may come next so that their bytes are whole characters of UTF-8. A copy is of another text.

    tokens: the bytes of each token by its id: one byte, or whole characters
    never: ids of tokens that may never come
    """

    def __init__(self, tokens: Sequence[bytes], never: Collection[int]) -> None:
        self._tokens, self._never = tokens, frozenset(never)
        self._begun = b""
        self._banned: dict[object, Sequence[int]] = {}

    def add(self, token_id: int) -> None:
        """Take note of the token that came."""
        token = self._tokens[token_id]
        if not _is_part(token):
            self._begun = b""
            return
        self._begun += token
        if len(self._begun) == _LENGTHS[self._begun[0]]:
            self._begun = b""

    def banned(self) -> Sequence[int]:
        """Return the ids of the tokens that may not come next."""
        expected = self._expected()
        if expected not in self._banned:
            self._banned[expected] = [
                token_id
                for token_id, token in enumerate(self._tokens)
                if token_id in self._never or not _fits(token, expected)
            ]
        return self._banned[expected]

    def _expected(self) -> range | None:
        """Return the bytes that continue a character; None for a new one."""
        if not self._begun:
            return None
        return _SECOND.get(self._begun[0], _CONTINUATION) if len(self._begun) == 1 else _CONTINUATION


def _is_part(token: bytes) -> bool:
    """Return whether a token is a byte of a character of several bytes."""
    return len(token) == 1 and token[0] >= 0x80


def _fits(token: bytes, expected: range | None) -> bool:
    if expected is not None:
        return _is_part(token) and token[0] in expected
    return token[0] in _LENGTHS if _is_part(token) else True
