"""The settings of PyTorch that belong to a form; they apply to the whole process."""

from __future__ import annotations

from typing import Any

import torch


def switch(form: dict[str, Any]) -> None:
    """Set the number of threads, and whether oneDNN's layers are used."""
    torch.set_num_threads(form["threads"])
    torch.backends.mkldnn.set_flags(form["onednn"])
