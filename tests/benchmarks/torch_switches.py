"""The settings of PyTorch's that belong to a form; they are the whole process's."""

from __future__ import annotations

from typing import Any

import torch


def switch(form: dict[str, Any]) -> None:
    """Set the number of threads, and whether oneDNN's layers are taken."""
    torch.set_num_threads(form["threads"])
    torch.backends.mkldnn.set_flags(form["onednn"])
