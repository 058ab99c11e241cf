"""Entities and parts of speech, with and without a CRF and characters: the figures of the guide's page of taggers.

    python -m tests.benchmarks.tagging [NAME...] [--seeds N]    all, or some of: entities parts persons characters
                                                                chosen

Prints every command and its figures on the test set, and their mean over the seeds 1 to N, 3 by default. The settings
were chosen on parts held out of the training data. `entities` and `persons` learn from the development set of the
corpus, which has no other training data in ../shared/corpora.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from tests.benchmarks.tasks import SHARED, WORK, charlm, read, write

NER = SHARED / "ner"
UPOS = SHARED / "upos"
COLUMNS = "--token-column 2 --tag-column 3"
_NAMES = "--task tag --cell gru --min-count 2 --embedding-size 50 --hidden-size 50 --num-layers 1 --dropout 0.5 \
 --batch-size 4 --seq-length 32 --lr 0.005 --epochs 12 --valid-fraction 0.1 --threads 1"
ENTITIES, PERSONS = f"{_NAMES} {COLUMNS}", _NAMES
PARTS = f"--task tag --min-count 2 --embedding-size 100 --hidden-size 64 --num-layers 1 --dropout 0.4 --batch-size 8 \
 --seq-length 64 --lr 0.005 --epochs 5 --valid {UPOS / 'upos_dev.tsv'}"

CHARACTERS = "--char-features 25"
# Chosen for the chain and the characters, by the accuracy on the development set.
CHOSEN = f"--task tag --crf --char-features 50 --min-count 2 --embedding-size 100 --embedding-dropout 0.25 \
 --hidden-size 128 --num-layers 1 --dropout 0.5 --batch-size 8 --seq-length 64 --lr 0.005 --epochs 12 \
 --valid {UPOS / 'upos_dev.tsv'} --threads 1"


def measured(name: str, corpus: Path, test: Path, flags: str, seeds: int, figure: str) -> None:
    """Train with each seed, print the figures of each model on the test set, and their mean."""
    found: list[dict[str, Any]] = []
    for seed in range(1, seeds + 1):
        path = WORK / f"{name}-{seed}.safetensors"
        charlm("train", corpus, "-o", path, *flags.split(), "--seed", seed, "--force", "--no-checkpoint")
        found.append(json.loads(charlm("evaluate", path, test, "--format", "jsonl")))
        print(f"  {figure} {found[-1][figure]:.4f}, {found[-1]['nats_per_token']:.4f} nats/tag", flush=True)
    for row in found[0].get("by_type", []):
        of_type = [next(one["f1"] for one in record["by_type"] if one["type"] == row["type"]) for record in found]
        print(f"  {row['type']}: mean F1 {statistics.mean(of_type):.4f}")
    values = [record[figure] for record in found]
    print(f"{name}: mean {figure} {statistics.mean(values):.4f}, of {len(values)} seeds from {min(values):.4f} to "
          f"{max(values):.4f}", flush=True)  # fmt: skip


def entities(seeds: int) -> None:
    """Print the F1 of named entities."""
    for name, flags in (("entities", ENTITIES), ("entities-crf", f"{ENTITIES} --crf")):
        measured(name, NER / "dev.iob2", NER / "test.iob2", flags, seeds, "f1")


def parts(seeds: int) -> None:
    """Print the accuracy of parts of speech."""
    for name, flags in (("parts", PARTS), ("parts-crf", f"{PARTS} --crf")):
        measured(name, UPOS / "upos_train.tsv", UPOS / "upos_test.tsv", flags, seeds, "accuracy")


def persons(seeds: int) -> None:
    """Print the F1 of the tokens of persons' names, tags 0 and 1."""
    corpus, test = _binary("dev.iob2"), _binary("test.iob2")
    for name, flags in (("persons", PERSONS), ("persons-crf", f"{PERSONS} --crf")):
        measured(name, corpus, test, flags, seeds, "f1")


def _binary(name: str) -> Path:
    """Write a part of the corpus with tags that are 1 for the tokens of persons' names."""
    rows = [line.split("\t") for line in read(NER / name) if not line.startswith("#")]
    lines = [f"{row[1]}\t{int(row[2].endswith('PER'))}" if len(row) > 1 else "" for row in rows]
    return write(f"persons_{name}.tsv", lines)


def characters(seeds: int) -> None:
    """Print the figures of all three corpora with and without characters and a CRF, the settings the same otherwise."""
    for name, corpus, test, flags, figure in (
        ("entities-crf", NER / "dev.iob2", NER / "test.iob2", f"{ENTITIES} --crf", "f1"),
        ("parts", UPOS / "upos_train.tsv", UPOS / "upos_test.tsv", PARTS, "accuracy"),
        ("persons", _binary("dev.iob2"), _binary("test.iob2"), PERSONS, "f1"),
    ):
        measured(name, corpus, test, flags, seeds, figure)
        measured(f"{name}-characters", corpus, test, f"{flags} {CHARACTERS}", seeds, figure)
        if "--crf" not in flags:
            measured(f"{name}-crf-characters", corpus, test, f"{flags} --crf {CHARACTERS}", seeds, figure)


def chosen(seeds: int) -> None:
    """Print the accuracy of parts of speech with settings of their own for a CRF and characters."""
    measured("parts-chosen", UPOS / "upos_train.tsv", UPOS / "upos_test.tsv", CHOSEN, seeds, "accuracy")


CASES = {one.__name__: one for one in (entities, parts, persons, characters, chosen)}


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    for name in asked.names or CASES:
        print(f"\n=== {name}", flush=True)
        CASES[name](asked.seeds)


if __name__ == "__main__":
    main()
