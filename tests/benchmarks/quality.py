"""How good a model becomes in a given time, or by a given recipe: the README's figures, as markdown.

    python -m tests.benchmarks.quality shakespeare                       three minutes on tinyshakespeare
    python -m tests.benchmarks.quality wikitext                          an epoch of WikiText-2, beside PyTorch's
    python -m tests.benchmarks.quality shakespeare --flags "--hidden-size 320 --dropout 0.2" --minutes 1

The data lie beside the project, in ../shared/corpora.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

SHARED = PROJECT.parent / "shared" / "corpora"
PLAY, PLAY_BAR = SHARED / "tinyshakespeare.txt", 1.46
PLAY_FLAGS = ""  # what is not given follows from the corpus
WORDS, WORDS_BAR = SHARED / "wikitext2", 252.9
WORDS_FLAGS = (
    "--level word --split whitespace --hidden-size 200 --embedding-size 200 --optimizer sgd --lr 20 --clip 0.25 "
    "--dropout 0.2 --seq-length 35 --batch-size 20 --schedule constant --epochs 1 --valid-fraction 0"
)
# what some environments pin for OpenBLAS is another processor than this one
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}


def timed(command: list[str]) -> tuple[str, float]:
    """Run a command; give what it writes to standard output, and the seconds that it took."""
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=PROJECT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout, time.perf_counter() - begin


def trained(corpus: Path, valid: Path, flags: str, threads: int, folder: Path) -> tuple[dict[str, float], float, str]:
    """Train and evaluate; give the figures on the valid text, the seconds of both, and the command of the first."""
    model = folder / "model.safetensors"
    arguments = ["--unit", "stream", *shlex.split(flags), "--threads", str(threads)]
    charlm = [sys.executable, "-m", "charlm"]
    _, training = timed([*charlm, "train", str(corpus), "-o", str(model), *arguments])
    printed, evaluating = timed(
        [*charlm, "evaluate", str(model), str(valid), "--format", "jsonl", "--threads", str(threads)]
    )
    shown = shlex.join(["charlm", "train", corpus.name, "-o", model.name, *arguments])
    return json.loads(printed), training + evaluating, shown


def shakespeare(options: argparse.Namespace, folder: Path) -> str:
    """Learn from the first nine tenths for some minutes; measure on the last tenth."""
    text = PLAY.read_text()
    rest = folder / "rest.txt"
    rest.write_text(text[len(text) - len(text) // 10 :])
    flags = f"{options.flags or PLAY_FLAGS} --valid-fraction 0.1 --minutes {options.minutes:g} --seed {options.seed}"
    figures, seconds, command = trained(PLAY, rest, flags, options.threads, folder)
    return (
        f"| nats a character | bar | minutes in all | command |\n|---|---|---|---|\n"
        f"| {figures['nats_per_token']:.4f} | {PLAY_BAR} | {seconds / 60:.2f} | `{command}` |"
    )


def wikitext(options: argparse.Namespace, folder: Path) -> str:
    """Learn for an epoch by the recipe of PyTorch's example, on both sides; measure on the valid part."""
    flags, steps = f"{options.flags or WORDS_FLAGS} --seed {options.seed}", options.max_steps
    if steps:
        flags += f" --max-steps {steps}"
    figures, seconds, command = trained(WORDS / "train.txt", WORDS / "valid.txt", flags, options.threads, folder)
    theirs = [sys.executable, "-m", "tests.benchmarks.torch_wikitext", str(WORDS), str(options.threads)]
    printed, their_seconds = timed([*theirs, *([str(steps)] if steps else [])])
    return (
        "| | validation perplexity | bar | minutes in all |\n|---|---|---|---|\n"
        f"| charlm | {figures['perplexity']:.1f} | {WORDS_BAR} | {seconds / 60:.2f} |\n"
        f"| PyTorch | {json.loads(printed)['perplexity']:.1f} | | {their_seconds / 60:.2f} |\n\n`{command}`"
    )


def main() -> None:
    """Print the table of one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["shakespeare", "wikitext"])
    parser.add_argument("--flags", help="of charlm train, in place of the recipe's")
    parser.add_argument("--minutes", type=float, default=3.0, help="shakespeare")
    parser.add_argument("--max-steps", type=int, help="wikitext: break the epoch off")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print({"shakespeare": shakespeare, "wikitext": wikitext}[options.name](options, Path(folder)))


if __name__ == "__main__":
    main()
