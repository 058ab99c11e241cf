"""The counterpart of `charlm generate MODEL -l 1000`: a process that loads a PyTorch network and samples characters.

python -m tests.benchmarks.torch_start save FOLDER          writes network.pt and vocabulary.json
python -m tests.benchmarks.torch_start FORM FOLDER          prints the characters; FORM as of `torch_forms.py`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from tests.benchmarks.speed_cases import CASES, STARTED, tokens_of
from tests.benchmarks.torch_sampling import Sampling
from tests.benchmarks.torch_switches import switch

CASE = next(case for case in CASES if case.kind == "start")


def main() -> None:
    """Save a network, or load one and sample."""
    task, folder = sys.argv[1], Path(sys.argv[2])
    if task == "save":
        torch.save(Sampling(CASE, {}).state_dict(), folder / "network.pt")
        (folder / "vocabulary.json").write_text(json.dumps(tokens_of(CASE)))
        return
    form = json.loads(task)
    switch(form)
    network = Sampling(CASE, form)
    network.load_state_dict(torch.load(folder / "network.pt", weights_only=True))
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    print("".join("\n" if number == 0 else vocabulary[number] for number in network.draw(STARTED)))


if __name__ == "__main__":
    main()
