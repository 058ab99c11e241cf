"""What each regulariser changes, on corpora small enough to overfit, as markdown: mean validation loss of three seeds.

    python -m tests.benchmarks.regularisers                 all of it, about ten minutes on a thread
    python -m tests.benchmarks.regularisers --seeds 1       a first look

Two corpora: names of dinosaurs by characters, three tenths of them held out, and 3,000 of the sentences of the film
reviews in ../shared/corpora/polarity, classified by words, with 2,662 others held out.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import statistics
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.quality import PROJECT, SHARED, timed

NAMES = (
    "--valid-fraction 0.3 --hidden-size 192 --num-layers 1 --embedding-size 0 --dropout 0 --batch-size 16 "
    "--seq-length 32 --epochs 14 --lr 0.006"
)
REVIEWS = (
    "--task classify --level word --min-count 2 --hidden-size 48 --embedding-size 48 --num-layers 1 --dropout 0 "
    "--keep loss --epochs 4 --batch-size 16 --lr 0.005"
)
CASES = {
    "names": (
        *("", "--dropout 0.4", "--dropout 0.4 --dropout-kind variational", "--weight-drop 0.4"),
        "--weight-noise 0.05",
        *("--activation-penalty 3", "--temporal-penalty 0.7", "--weight-decay 0.1"),
        *("--schedule constant", "--schedule constant --average 0.5"),
    ),
    "reviews": ("", "--embedding-dropout 0.3", "--weight-decay 1"),
}


def write_reviews(train: Path, valid: Path) -> None:
    """Write the sentences of both opinions, in one shuffled order, to two files."""
    lines = []
    for ending, label in (("pos", "good"), ("neg", "bad")):
        text = (SHARED / "polarity" / f"rt-polarity.{ending}").read_text(encoding="latin-1")
        lines += [f"{label}\t{line.strip()}" for line in text.split("\n") if line.strip()]
    random.Random(1).shuffle(lines)
    train.write_text("\n".join(lines[:3000]) + "\n")
    valid.write_text("\n".join(lines[8000:]) + "\n")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(1, 1 + parser.parse_args().seeds)
    print("| corpus | flags | lowest validation loss | the last one | training loss |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        train, valid, model = (Path(name) / file for file in ("train.tsv", "valid.tsv", "model.safetensors"))
        write_reviews(train, valid)
        corpora = {
            "names": [str(PROJECT / "corpora" / "dinosaurs.txt"), *NAMES.split()],
            "reviews": [str(train), "--valid", str(valid), *REVIEWS.split()],
        }
        for corpus, flags in ((corpus, flags) for corpus, cases in CASES.items() for flags in cases):
            rows = []
            for seed in seeds:
                command = [sys.executable, "-m", "charlm", "train", *corpora[corpus], *shlex.split(flags), "--force"]
                timed([*command, "-o", str(model), "--seed", str(seed), "--threads", "1", "-q"])
                printed, _ = timed([sys.executable, "-m", "charlm", "inspect", str(model), "--format", "jsonl"])
                history = json.loads(printed)["history"]
                losses = [row["valid_nats"] for row in history]
                rows.append((min(losses), losses[-1], history[-1]["train_nats"]))
            figures = " | ".join(f"{statistics.mean(column):.4f}" for column in zip(*rows, strict=True))
            print(f"| {corpus} | {f'`{flags}`' if flags else 'none'} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
