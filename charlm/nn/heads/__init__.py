"""The heads, by the task that they learn. A new head is one file and one line here."""

from charlm.nn.heads.base import Head
from charlm.nn.heads.sigmoid import Sigmoid
from charlm.nn.heads.softmax import Softmax

__all__ = ["HEADS", "Head", "Sigmoid", "Softmax"]

HEADS: dict[str, type[Head]] = {
    "lm": Softmax,
    "cloze": Softmax,
    "tag": Softmax,  # of the tags 0 and 1: Sigmoid, see `build`
    "classify": Softmax,
    "translate": Softmax,
    "music": Sigmoid,
}
