"""The vocabulary: tokens and their ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

EOS, UNK = "<EOS>", "<UNK>"
EOS_ID, UNK_ID = 0, 1

# The input x<1> = 0 of the lecture notes, the zero vector before the first token of a sequence. It is not a token.
NOTHING = -1


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model, each at the position that is its id.

    tokens: the end of sentence `<EOS>`, then `<UNK>` for every unknown token, then the ordinary tokens
    Raises ValueError if the first two differ, or if a token is empty or occurs twice.
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.tokens[:2] != (EOS, UNK):
            raise ValueError(f"a vocabulary starts with {EOS}, {UNK}, not with {self.tokens[:2]}")
        if not all(isinstance(token, str) and token for token in self.tokens):
            raise ValueError("a token is a string of at least one character")
        if len(set(self.tokens)) != len(self.tokens):
            raise ValueError("a token occurs twice in the vocabulary")

    @classmethod
    def build(cls, counts: Mapping[str, int], *, max_size: int | None = None, min_count: int = 1) -> Vocabulary:
        """Return the vocabulary of the most frequent tokens, in order of falling count, then of code points.

        counts: token -> how often it occurs; `<EOS>` and `<UNK>` are ignored
        max_size: the most ordinary tokens to keep, without the two special ones; None keeps all
        min_count: the occurrences that a token needs
        Raises ValueError if max_size is negative.
        """
        if max_size is not None and max_size < 0:
            raise ValueError(f"max_size is negative: {max_size}")
        frequent = [token for token, count in counts.items() if count >= min_count and token not in (EOS, UNK)]
        frequent.sort(key=lambda token: (-counts[token], token))
        return cls((EOS, UNK, *frequent[:max_size]))

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """The id of each token."""
        return {token: position for position, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def id_of(self, token: str) -> int:
        """Return the id of a token; `UNK_ID` if it is out of vocabulary."""
        return self.ids.get(token, UNK_ID)

    def token_of(self, token_id: int) -> str:
        """Return the token with an id; raise IndexError outside 0..len-1, also for `NOTHING`."""
        # A negative index would count from the end: NOTHING would be the rarest token.
        if token_id < 0:
            raise IndexError(f"no token has the id {token_id}")
        return self.tokens[token_id]
