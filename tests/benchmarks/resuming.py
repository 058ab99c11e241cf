"""What a finished training gains from more epochs: its validation loss before, and after a new plan of as many steps.

    python -m tests.benchmarks.resuming FOLDER_OF_CORPORA

Each training is small and ends before it has converged. Beside it: one of twice the steps from the start.
"""

import sys
import tempfile
from pathlib import Path

from charlm.backends import get_backend
from charlm.session import prepare_from, resume
from tests.trainings import through_file

COMMON = {"hidden_size": 48, "num_layers": 1, "learning_rate": 0.004, "seed": 1}
CASES = {
    "characters": ("tinyshakespeare.txt", 1500, {"unit": "stream", "batch_size": 16}, 150),
    "words": ("tatoeba/eng.txt", 1500, {"level": "word", "embedding_size": 32, "batch_size": 16}, 80),
    "dinosaurs": ("names/dinosaurs.txt", 800, {"batch_size": 8}, 150),
    "tags": ("upos/upos_dev.tsv", 6000, {"task": "tag", "embedding_size": 32, "batch_size": 8}, 40),
}


def trained(session):
    """Train to the end; return the lowest validation loss."""
    for _ in session.trainer.run():
        pass
    return session.trainer.numbers.best_nats


def main(corpora):
    ops = get_backend("cpu")
    for name, (file, count, given, steps) in CASES.items():
        lines = Path(corpora, file).read_text(encoding="utf-8").split("\n")[:count]
        with ops.workers.limit(1), tempfile.TemporaryDirectory() as folder:
            session = prepare_from(lines, {**COMMON, **given, "max_steps": steps}, ops=ops)
            before = trained(session)
            more = resume(through_file(session, Path(folder, "c")), lines, None, {"max_steps": 2 * steps})
            whole = prepare_from(lines, {**COMMON, **given, "max_steps": 2 * steps}, ops=ops)
            after, at_once = trained(more), trained(whole)
        print(
            f"{name:12} {before:.4f} after {steps} steps, {after:.4f} after {2 * steps}; at once {at_once:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
