"""How far `charlm train --dry-run` is off: its memory and its time beside those of the training that follows.

    python -m tests.benchmarks.dry_run FOLDER_OF_CORPORA

Memory is the peak of the resident set minus the resident set before the corpus is read. Time is that of the steps with
their evaluations, without reading the corpus; in seconds of the processor, so that a busy machine does not matter. Each
runs in a process of its own, on one thread.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CONFIGURATIONS = {
    "characters, a stream": ("text.txt", ["--unit", "stream", "--hidden-size", 128, "--max-steps", 200]),
    "words, a vocabulary of 10,000": (
        "sentences.txt",
        ["--level", "word", "--vocab-size", 10000, "--embedding-size", 64, "--hidden-size", 128, "--max-steps", 60],
    ),
    "tags": ("tags.tsv", ["--task", "tag", "--hidden-size", 64, "--embedding-size", 64, "--max-steps", 250]),
    "translations": (
        "pairs.tsv",
        ["--task", "translate", "--hidden-size", 64, "--embedding-size", 64, "--max-steps", 150],
    ),
    "classes": ("classes.tsv", ["--task", "classify", "--level", "word", "--hidden-size", 64, "--max-steps", 150]),
}
COMMON = ["--batch-size", 32, "--num-layers", 1, "--seed", 1, "--threads", 1, "-q"]

_CHILD = """
import json, sys, time
time.perf_counter = time.process_time
from charlm.cli import app, training_preparation, training_run
from charlm.estimate import resident
seen = {}
def patched(owner, name, key):
    work = getattr(owner, name)
    def timed(self, *args):
        begin = time.perf_counter()
        seen.setdefault("before", resident())
        result = work(self, *args)
        seen[key] = time.perf_counter() - begin
        return result
    setattr(owner, name, timed)
patched(training_preparation.Preparation, "_read", "read")
patched(training_run.TrainingRun, "_learn", "seconds")
assert app.main(sys.argv[1:]) == 0
if "--dry-run" not in sys.argv:
    print(json.dumps({"memory": resident("VmHWM") - seen["before"], "seconds": seen["seconds"]}))
"""


def written(corpora, folder):
    """Write the corpora of the five configurations to a folder."""

    def write(name, lines):
        Path(folder, name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def read(name):
        return Path(corpora, name).read_text(encoding="utf-8", errors="replace").split("\n")

    write("text.txt", read("tinyshakespeare.txt")[:20000])
    write("sentences.txt", read("tatoeba/eng.txt")[:60000])
    write("tags.tsv", read("upos/upos_train.tsv"))
    write("pairs.tsv", ["\t".join(line.split("\t")[:2]) for line in read("tatoeba/eng-spa.tsv")[:20000]])
    reviews = [f"{name}\t{line}" for name in ("pos", "neg") for line in read(f"polarity/rt-polarity.{name}") if line]
    write("classes.tsv", reviews)


def run(*command):
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *map(str, command)], env=env, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def main(corpora):
    with tempfile.TemporaryDirectory() as folder:
        written(corpora, folder)
        for name, (corpus, flags) in CONFIGURATIONS.items():
            train = ["train", Path(folder, corpus), "-o", Path(folder, "m"), "--force", *COMMON, *flags]
            said = run(*train, "--dry-run", "--format", "jsonl")
            done = run(*train)
            memory, seconds = (said[key] / done[key] - 1 for key in ("memory", "seconds"))
            print(
                f"{name:30}  memory {said['memory'] / 1e6:6.1f} of {done['memory'] / 1e6:6.1f} MB ({memory:+.0%})  "
                f"time {said['seconds']:5.1f} of {done['seconds']:5.1f} s ({seconds:+.0%})",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
