"""What models of each task learn, from the shell, on the data in ../shared/corpora: the README's figures.

    python -m tests.benchmarks.tasks [NAME...]      all, or some of: cloze tagging persons polarity names translation
                                                    music vanishing

Prints every command that it runs. Splits, where the data have none, are the last lines; settings were chosen on
validation data that are no part of the test, unless the README says otherwise.
"""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
SHARED = PROJECT.parent / "shared" / "corpora"
WORK = PROJECT / ".bench" / "tasks"
CHARLM = Path(sys.executable).with_name("charlm")


def charlm(*arguments: object, stdin: str | None = None) -> str:
    """Run the command, print it, and give what it writes to standard output."""
    command = [str(CHARLM), *map(str, arguments)]
    print("$", shlex.join(["charlm", *command[1:]]).replace(f"{SHARED}/", "").replace(f"{WORK}/", ""), flush=True)
    begin = time.perf_counter()
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    if command[1] == "train":
        print(f"  {time.perf_counter() - begin:.0f} s; {done.stderr.splitlines()[-2]}", flush=True)
    return done.stdout


def train(corpus: Path, model: str, flags: str, *, seed: int = 1) -> Path:
    """Train a model and give its file."""
    path = WORK / f"{model}.safetensors"
    charlm("train", corpus, "-o", path, *shlex.split(flags), "--seed", seed, "--force")
    return path


def evaluate(model: Path, corpus: Path, *flags: object) -> dict[str, Any]:
    """Print the figures of a model on a corpus, and return them."""
    record: dict[str, Any] = json.loads(charlm("evaluate", model, corpus, "--format", "jsonl", *flags))
    shown = {key: round(value, 4) if isinstance(value, float) else value for key, value in record.items()}
    print(" ", shown, flush=True)
    return record


def write(name: str, lines: Iterable[str]) -> Path:
    """Write lines to a file of this benchmark."""
    path = WORK / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read(path: Path) -> list[str]:
    """Read the lines of a file."""
    return path.read_text(encoding="utf-8").rstrip("\n").split("\n")


def parts(lines: list[str], held_out: int) -> tuple[list[str], list[str]]:
    """Split off the last lines."""
    return lines[:-held_out], lines[-held_out:]


# --- the tasks ------------------------------------------------------------------------------------------------------

WORDS = "--level word --lowercase --min-count 2 --embedding-size 200 --hidden-size 200 --num-layers 1 --dropout 0.2 \
 --batch-size 32 --seq-length 32 --lr 0.004 --valid-fraction 0.02 --tie-weights --threads 1 --minutes 13"


def cloze() -> None:
    """Print how often the hidden word, and the next one, is the likeliest; and what goes into the notes' sentence."""
    learned, held_out = parts(read(SHARED / "tatoeba" / "eng.txt"), 191_460 // 20)
    corpus, test = write("eng_train.txt", learned), write("eng_test.txt", held_out)
    for name, flags in (("cloze", "--bidirectional --dense 200"), ("causal", "")):
        evaluate(train(corpus, name, f"{WORDS} {flags}"), test)
    model = WORK / "cloze.safetensors"
    salads = "the apple and pear salad\nthe apple and pair salad\n"
    print(charlm("score", model, stdin=salads))
    print(charlm("fill", model, "-n", 10, stdin="the apple and ___ salad\n"))
    print(charlm("score", model, "--suspect", stdin=salads))


TAGS = "--task tag --min-count 2 --embedding-size 100 --hidden-size 64 --num-layers 1 --dropout 0.4 --batch-size 8 \
 --seq-length 64 --lr 0.005 --epochs 5"


def tagging() -> None:
    """Print the accuracy of parts of speech, read from both sides and from the left alone."""
    folder = SHARED / "upos"
    for name, flags in (("tag_both", ""), ("tag_causal", "--causal")):
        model = train(folder / "upos_train.tsv", name, f"{TAGS} --valid {folder / 'upos_dev.tsv'} {flags}")
        evaluate(model, folder / "upos_test.tsv")


def persons() -> None:
    """Print the F1 of the tokens of persons' names, and that of a list of the names seen in training."""

    def binary(name: str) -> list[str]:
        rows = [line.split("\t") for line in read(SHARED / "ner" / name) if not line.startswith("#")]
        return [f"{row[1]}\t{int(row[2].endswith('PER'))}" if len(row) > 1 else "" for row in rows]

    dev, test = binary("dev.iob2"), binary("test.iob2")
    names = {line.split("\t")[0] for line in dev if line.endswith("\t1")}
    gold = [line.split("\t") for line in test if line]
    found = [token in names for token, _ in gold]
    both = sum(is_found and tag == "1" for is_found, (_, tag) in zip(found, gold, strict=True))
    there = sum(tag == "1" for _, tag in gold)
    print(f"dictionary of {len(names)} names: F1 {2 * both / (sum(found) + there):.4f}")
    model = train(write("persons_train.tsv", dev), "persons", PERSONS)
    evaluate(model, write("persons_test.tsv", test))


PERSONS = "--task tag --min-count 2 --embedding-size 50 --hidden-size 50 --num-layers 1 --dropout 0.5 --batch-size 4 \
 --seq-length 32 --lr 0.01 --epochs 10 --valid-fraction 0.1"
# Chosen on the last ninth of what is learned, by loss and accuracy, among about thirty.
POLARITY = "--task classify --level word --split whitespace --min-count 1 --embedding-size 200 --hidden-size 64 \
 --num-layers 1 --dropout 0.5 --embedding-dropout 0.5 --weight-decay 1 --batch-size 16 --lr 0.002 --epochs 8 \
 --schedule constant --average 0.6 --keep last --valid-fraction 0 --threads 1"


def polarity() -> None:
    """Print the accuracy of the sentiment of film reviews, the last 10 % of each side held out, with three seeds."""
    learned, held_out = [], []
    for side in ("pos", "neg"):
        lines = [f"{side}\t{line.strip()}" for line in read(SHARED / "polarity" / f"rt-polarity.{side}")]
        first, last = parts(lines, len(lines) // 10)
        learned += first
        held_out += last
    print(f"naive Bayes of the words that occur: {naive_bayes(learned, held_out):.4f}")
    corpus, test = write("polarity_train.tsv", learned), write("polarity_test.tsv", held_out)
    for seed in (1, 2, 3):
        evaluate(train(corpus, "polarity", POLARITY, seed=seed), test)


def naive_bayes(learned: list[str], held_out: list[str]) -> float:
    """Return the accuracy of naive Bayes with add-one smoothing, which looks at whether a word occurs in a sentence."""
    counts = {side: Counter[str]() for side in ("pos", "neg")}
    for line in learned:
        side, text = line.split("\t")
        counts[side].update(set(text.split()))
    known = {word for of_side in counts.values() for word in of_side}
    of_word = {
        side: {word: math.log((of_side[word] + 1) / (of_side.total() + len(known))) for word in known}
        for side, of_side in counts.items()
    }
    right = 0
    for line in held_out:
        side, text = line.split("\t")
        words = set(text.split()) & known
        right += side == max(of_word, key=lambda one: sum(of_word[one][word] for word in words))
    return right / len(held_out)


NAMES = "--batch-size 16 --lr 0.004 --dropout 0.3 --epochs 12"
CLASSES = "--task classify --hidden-size 128 --num-layers 1 --batch-size 16 --lr 0.003 --dropout 0.3 --epochs 12"


def names() -> None:
    """Print how often a classifier of surnames recognises the language of generated ones, and of real ones."""
    lines = sorted(set(read(SHARED / "names" / "surnames.tsv")))
    held_out = lines[::10]
    learned = [line for number, line in enumerate(lines) if number % 10]
    corpus, test = write("surnames_train.tsv", learned), write("surnames_test.tsv", held_out)
    classifier = train(corpus, "surname_classes", CLASSES)
    real = evaluate(classifier, test)
    generator = train(corpus, "surnames", f"--condition {NAMES}")
    drawn = []
    for label in sorted({line.split("\t")[0] for line in held_out}):
        count = sum(line.startswith(f"{label}\t") for line in held_out)
        text = charlm("generate", generator, "--class", label, "-n", count, "--seed", 1)
        drawn += [f"{label}\t{name}" for name in text.rstrip("\n").split("\n") if name]
    generated = evaluate(classifier, write("surnames_generated.tsv", drawn))
    seen = {line.split("\t")[1] for line in learned}
    new = [line for line in drawn if line.split("\t")[1] not in seen]
    of_new = evaluate(classifier, write("surnames_new.tsv", new))
    for name, record in (("generated", generated), (f"generated, not in the corpus ({len(new)})", of_new)):
        print(f"{name}: {record['accuracy']:.4f}, {record['accuracy'] / real['accuracy']:.1%} of that on real ones")


TRANSLATION = "--task translate --min-count 2 --embedding-size 512 --hidden-size 512 --num-layers 1 --dropout 0.5 \
 --tie-weights --batch-size 64 --lr 0.003 --epochs 18"


def translation() -> None:
    """Print BLEU of English to Spanish, greedily and with a beam."""
    pairs = ["\t".join(line.split("\t")[:2]) for line in read(SHARED / "tatoeba" / "eng-spa.tsv")]
    learned, held_out = parts(pairs, 1000)
    model = train(write("eng-spa_train.tsv", learned), "spanish", TRANSLATION)
    test = write("eng-spa_test.tsv", held_out)
    evaluate(model, test)
    evaluate(model, test, "--beam", 5)


MUSIC = "--task music --num-layers 1 --dropout 0.1 --seq-length 100"


def music() -> None:
    """Print nats a step of Bach's chorales, for models of 20,000 parameters."""
    folder = SHARED / "jsb"
    for cell, flags in (
        ("rnn", "--hidden-size 77 --lr 0.005 --epochs 60 --batch-size 4"),
        ("gru", "--hidden-size 41 --lr 0.01 --epochs 60 --batch-size 2"),
        ("lstm", "--hidden-size 34 --lr 0.015 --epochs 120 --batch-size 4"),
    ):
        model = train(
            folder / "train.txt", f"jsb_{cell}", f"{MUSIC} --cell {cell} {flags} --valid {folder / 'valid.txt'}"
        )
        evaluate(model, folder / "test.txt")


def vanishing() -> None:
    """Print the gradient's half-life of the kitchen's models, and draw it."""
    corpora = PROJECT / "corpora"
    flags = "--level word --embedding-size 64 --epochs 12 --batch-size 16 --lr 0.005"
    models = [train(corpora / "kitchen.txt", cell, f"--cell {cell} {flags}") for cell in ("rnn", "gru", "lstm")]
    picture = WORK / "gradients.svg"
    print(charlm("inspect", *models, "--gradients", corpora / "kitchen_heldout.txt", "--plot", picture))


TASKS: dict[str, Callable[[], None]] = {
    task.__name__: task for task in (cloze, tagging, persons, polarity, names, translation, music, vanishing)
}


def main() -> None:
    """Run the tasks that were asked for."""
    WORK.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or TASKS:
        print(f"\n=== {name}", flush=True)
        TASKS[name]()


if __name__ == "__main__":
    main()
