"""The cells of the notes. A new cell is one file, one entry here, and one in `charlm.config.CELL_VARIANTS`."""

from __future__ import annotations

from charlm.config import ModelConfig
from charlm.nn.cells.base import Cell
from charlm.nn.cells.gru import GruResetAfter, GruResetBefore
from charlm.nn.cells.gru_simple import SimpleGru
from charlm.nn.cells.lstm import Lstm
from charlm.nn.cells.peephole import PeepholeLstm
from charlm.nn.cells.relevance import GruResetBoth, RelevanceLstm
from charlm.nn.cells.rnn import ReluRnn, Rnn

__all__ = ["CELLS", "Cell", "cell_class"]

# The class of each variant of a cell, under the names of `CELL_VARIANTS`.
CELLS: dict[str, dict[str, type[Cell]]] = {
    "rnn": {"tanh": Rnn, "relu": ReluRnn},
    "gru-simple": {"": SimpleGru},
    "gru": {"after": GruResetAfter, "before": GruResetBefore, "both": GruResetBoth},
    "lstm": {"": Lstm, "relevance": RelevanceLstm},
    "lstm-peephole": {"": PeepholeLstm},
}


def cell_class(config: ModelConfig) -> type[Cell]:
    """Return the class of the configuration's cell."""
    return CELLS[config.cell][config.variant]
