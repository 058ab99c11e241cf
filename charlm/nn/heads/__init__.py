"""The heads, by the name that a task's record has. A new head is one file and one entry here."""

from charlm.nn.heads.base import Head
from charlm.nn.heads.crf import Crf
from charlm.nn.heads.sigmoid import Sigmoid
from charlm.nn.heads.softmax import Softmax

__all__ = ["HEADS", "Crf", "Head", "Sigmoid", "Softmax"]

HEADS: dict[str, type[Head]] = {"softmax": Softmax, "sigmoid": Sigmoid, "crf": Crf}
