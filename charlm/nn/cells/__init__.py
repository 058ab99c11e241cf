"""The recurrent units of the notes. A new cell is one file and one line here."""

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

CELLS: dict[str, dict[str, type[Cell]]] = {  # name -> its variants: the first is the default
    "rnn": {"tanh": Rnn, "relu": ReluRnn},
    "gru-simple": {"": SimpleGru},
    "gru": {"after": GruResetAfter, "before": GruResetBefore, "both": GruResetBoth},
    "lstm": {"": Lstm, "relevance": RelevanceLstm},
    "lstm-peephole": {"": PeepholeLstm},
}


def cell_class(config: ModelConfig) -> type[Cell]:
    """Give the class of the cell that a configuration asks for."""
    variants = {
        "rnn": config.activation,
        "gru": config.reset,
        "lstm": "relevance" if config.relevance_gate else "",
    }
    return CELLS[config.cell][variants.get(config.cell, "")]
