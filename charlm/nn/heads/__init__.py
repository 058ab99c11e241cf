"""The heads, by the name that a task's record has. A new head is one file and one entry here.

The adaptive softmax takes the place of the softmax in a configuration with `softmax="adaptive"`.
"""

from charlm.nn.heads.adaptive import AdaptiveSoftmax
from charlm.nn.heads.base import Head
from charlm.nn.heads.crf import Crf
from charlm.nn.heads.sigmoid import Sigmoid
from charlm.nn.heads.softmax import Softmax

__all__ = ["HEADS", "AdaptiveSoftmax", "Crf", "Head", "Sigmoid", "Softmax"]

HEADS: dict[str, type[Head]] = {"softmax": Softmax, "sigmoid": Sigmoid, "adaptive": AdaptiveSoftmax, "crf": Crf}
