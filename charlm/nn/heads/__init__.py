"""The heads, by the task that they learn. A new head is one file and one line here."""

from charlm.nn.heads.base import Head
from charlm.nn.heads.next_token import NextToken

__all__ = ["HEADS", "Head", "NextToken"]

HEADS: dict[str, type[NextToken]] = {"lm": NextToken}
