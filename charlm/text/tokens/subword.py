"""Pieces of words, learned and found by SentencePiece (Kudo and Richardson 2018, extra `subword`).

The pieces are byte pairs (Sennrich et al. 2016). Nothing is lost: a character without a piece is its bytes, white space
stays as it is, and SentencePiece normalizes nothing. In a piece, U+2581 stands for a space.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charlm.errors import ResourceError, UsageError
from charlm.storage.files import display_name
from charlm.text.tokens.closed import ClosedSplitter
from charlm.text.tokens.joining import Spacing
from charlm.text.tokens.normalization import Normalization
from charlm.text.tokens.splitter import CharacterSplitter, Splitter
from charlm.text.tokens.utf8 import bytes_of
from charlm.text.tokens.vocabulary import EOS, EOS_ID, UNK, UNK_ID, Vocabulary

SPACE = "\u2581"  # SentencePiece's sign for a space
# SentencePiece would read this character as a space, and does not read lone surrogates.
_AS_BYTES = re.compile(f"[{SPACE}\ud800-\udfff]+")
# A text that pieces have to keep: white space at the ends and in a row, a ligature, a character without a piece.
_PROBE = "  a  \ufb01 e\u0301\t\U0010fffd "
_FEW_PIECES, _MOST_PIECES, _CHARACTERS_OF_PIECE = 512, 8_000, 500
_LEARNED_FROM = 10_000_000  # characters; more hardly change the pieces
_COVERAGE = 0.9995  # share of the text whose characters are pieces; the rest are bytes
_RESERVED = 2 + 256  # `<EOS>`, `<UNK>` and the bytes
_LETTERS = str.maketrans("0123456789", "ghijklmnop")
_PART = 1 << 16  # characters of a line that SentencePiece learns from or splits together: it takes much memory for each
_LONGEST = 1 << 20  # bytes of a part


class Pieces:
    """SentencePiece's model: text to pieces.

    encoded: the model in base64, as `TextConfig.piece_model` has it

    vocabulary: `<EOS>`, `<UNK>`, then the pieces in SentencePiece's order; for pieces learned here, ids are
        SentencePiece's own
    token_bytes: the bytes of each piece

    Raises ResourceError if SentencePiece is not installed. Raises ValueError for other data than a model, and for one
    that does not keep every text.
    """

    def __init__(self, encoded: str) -> None:
        try:
            self._processor = _library().SentencePieceProcessor(model_proto=base64.b64decode(encoded, validate=True))
        except (RuntimeError, TypeError, binascii.Error) as error:
            raise ValueError("not a SentencePiece model") from error
        processor, size = self._processor, self._processor.get_piece_size()
        pieces = [processor.id_to_piece(one) for one in range(size)]
        ordinary = [one for one in range(size) if not (processor.is_control(one) or processor.is_unknown(one))]
        self.vocabulary = Vocabulary((EOS, UNK, *(pieces[one] for one in ordinary)))
        self._ids = np.full(size, UNK_ID, np.int32)
        self._ids[ordinary] = np.arange(2, 2 + len(ordinary))
        of_bytes = {one: int(pieces[one][3:-1], 16) for one in ordinary if processor.is_byte(one)}
        self.token_bytes: Sequence[bytes] = (
            b"\n",
            UNK.encode(),
            *(
                bytes([of_bytes[one]]) if one in of_bytes else pieces[one].replace(SPACE, " ").encode()
                for one in ordinary
            ),
        )
        self._of_byte = np.zeros(256, np.int32)
        self._of_byte[list(of_bytes.values())] = self._ids[list(of_bytes)]
        self._begin_with_spaces = all(SPACE not in piece[1:] for piece in pieces)
        if len(of_bytes) < 256 or b"".join(self.token_bytes[one] for one in self.ids(_PROBE)) != _PROBE.encode():
            raise ValueError("its pieces do not keep every text")

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text without newlines."""
        found: list[int] = []
        at = 0
        for odd in _AS_BYTES.finditer(text):
            found += [*self._found(text[at : odd.start()]), *self._of_byte[list(bytes_of(odd[0]))].tolist()]
            at = odd.end()
        return found + self._found(text[at:])

    def _found(self, text: str) -> list[int]:
        found: list[int] = []
        at = 0
        while at < len(text):
            # No piece reaches across the beginning of a space, so a cut there changes nothing.
            cut = text.find(" ", at + _PART) if self._begin_with_spaces else -1
            end = cut if cut > 0 else len(text)
            found += self._ids[self._processor.encode(text[at:end])].tolist()
            at = end
        return found


@lru_cache(maxsize=8)
def pieces_of(encoded: str) -> Pieces:
    """Return the pieces of a model in base64; raise what `Pieces` raises."""
    return Pieces(encoded)


class SubwordSplitter(ClosedSplitter):
    """The rule by which the pieces of SentencePiece are tokens.

    piece_model: in base64
    Raises what `Pieces` raises.
    """

    level = "subword"
    has_spaced_tokens = True

    def __init__(
        self,
        *,
        lowercase: bool = False,
        normalize: Normalization = "none",
        spacing: Spacing | None = None,
        piece_model: str,
    ) -> None:
        super().__init__(lowercase=lowercase, normalize=normalize, spacing=spacing)
        self.piece_model, self._pieces = piece_model, pieces_of(piece_model)
        self.vocabulary, self.token_bytes = self._pieces.vocabulary, self._pieces.token_bytes

    @property
    def gathered_by(self) -> Splitter:
        return CharacterSplitter(lowercase=self.lowercase, normalize=self.normalize)

    @property
    def rule(self) -> str:
        digest = hashlib.sha256(self.piece_model.encode()).hexdigest()
        return f"{super().rule}-{digest.translate(_LETTERS)}"

    def encode_lines(self, lines: Sequence[str]) -> npt.NDArray[np.int32]:
        ids: list[int] = []
        # One call, as normalization does not depend on what precedes a newline.
        for line in self.spelled("\n".join(lines)).split("\n") if lines else ():
            ids += self._pieces.ids(line)
            ids.append(EOS_ID)
        return np.array(ids, np.int32)


def learn_pieces(texts: Iterable[str], size: int | None) -> str:
    """Return SentencePiece's model of texts, in base64; the same texts have the same one.

    Of a text of more than ten million characters, only the beginning is read.

    texts: lines, as they are spelled
    size: number of tokens; None: one for 500 characters, at least 512 and at most 8,000. A short text has fewer.
    Raises ResourceError if SentencePiece is not installed.
    """
    trainer = _library().SentencePieceTrainer
    lines = list(_beginning(texts))
    counts = Counter[str]()
    for line in lines:
        counts.update(line)
    size = size or min(max(counts.total() // _CHARACTERS_OF_PIECE, _FEW_PIECES), _MOST_PIECES)
    part = re.compile(f"[{re.escape(_common(counts, (size - _RESERVED) // 2))}]{{1,{_PART}}}")
    model = io.BytesIO()
    trainer.train(
        # Without a piece for the space, spaces would become the bytes of its sign.
        sentence_iterator=iter([*chain.from_iterable(map(part.findall, lines)), " "]),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        eos_id=EOS_ID,
        unk_id=UNK_ID,
        bos_id=-1,
        pad_id=-1,
        eos_piece=EOS,
        unk_piece=UNK,
        # Sums do not depend on the number of threads of the machine.
        num_threads=1,
        max_sentence_length=_LONGEST,
        minloglevel=3,
    )
    return base64.b64encode(model.getvalue()).decode()


def _common(counts: Counter[str], most: int) -> str:
    """Return the characters that become pieces: the most frequent ones, at most half of the pieces."""
    common, left = " ", counts.total() * _COVERAGE
    for character, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:most]:
        if left > 0 and not _AS_BYTES.match(character):
            common += character
        left -= count
    return common


def _beginning(texts: Iterable[str]) -> Iterable[str]:
    left = _LEARNED_FROM
    for text in texts:
        yield text[:left]
        left -= len(text)
        if left <= 0:
            return


def read_pieces(path: Path) -> str:
    """Return SentencePiece's model of a file, in base64.

    Raises UsageError if it is missing, something else, or does not keep every text; ResourceError as `Pieces` does.
    """
    try:
        encoded = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"--pieces: {reason}, {display_name(path)}", hint="name a SentencePiece model") from error
    try:
        pieces_of(encoded)
    except ValueError as error:
        raise UsageError(
            f"--pieces: {error}, {display_name(path)}",
            hint="make it by: spm_train --byte_fallback=true --normalization_rule_name=identity "
            "--remove_extra_whitespaces=false --add_dummy_prefix=false",
        ) from error
    return encoded


def _library() -> Any:
    """Return the package of SentencePiece; raise ResourceError if it is not installed."""
    try:
        import sentencepiece
    except ImportError as error:
        raise ResourceError(
            "--level subword needs the package sentencepiece", hint="pip install 'charlm-rnn[subword]'"
        ) from error
    return sentencepiece
