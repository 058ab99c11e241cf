"""The vocabulary: which token has which id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

EOS, UNK = "<EOS>", "<UNK>"
EOS_ID, UNK_ID = 0, 1

# The notes' x<1> = 0: before the first token of a sequence the network is fed the zero vector. It is no
# token, so its id is none of theirs.
NOTHING = -1


@dataclass(frozen=True)
class Vocabulary:
    """The tokens a model knows, each at the position that is its id.

    tokens: the end of sentence `<EOS>` first, then `<UNK>` for every unknown token, then the ordinary tokens.
    Raises ValueError if the first two are others, or if a token is empty or occurs twice.
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
        """Give ids to the commonest tokens, by falling count and, among equals, by code point.

        counts: token -> how often it was seen; `<EOS>` and `<UNK>` in it are passed over.
        max_size: ordinary tokens kept at most (the two special ones come on top); None keeps all.
        min_count: occurrences a token needs to be kept.
        Raises ValueError if max_size is negative.
        """
        if max_size is not None and max_size < 0:
            raise ValueError(f"max_size is a number of tokens, not {max_size}")
        frequent = [token for token, count in counts.items() if count >= min_count and token not in (EOS, UNK)]
        frequent.sort(key=lambda token: (-counts[token], token))
        return cls((EOS, UNK, *frequent[:max_size]))

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """Token -> id, for all tokens."""
        return {token: position for position, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def id_of(self, token: str) -> int:
        """The id of a token, `UNK_ID` if the vocabulary lacks it."""
        return self.ids.get(token, UNK_ID)

    def token_of(self, token_id: int) -> str:
        """The token with an id; raises IndexError outside 0..len-1, `NOTHING` included."""
        # Python would count a negative index from the end and make NOTHING the rarest token.
        if token_id < 0:
            raise IndexError(f"no token has the id {token_id}")
        return self.tokens[token_id]
