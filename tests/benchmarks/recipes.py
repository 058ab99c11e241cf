"""What a recipe comes to on the field's corpora in a given time, as markdown.

    python -m tests.benchmarks.recipes wikitext2                       `words`, 30 minutes: test perplexity
    python -m tests.benchmarks.recipes shakespeare                     `characters`, 10 minutes: nats, last tenth
    python -m tests.benchmarks.recipes shakespeare --models 1          one network in place of four and their mixture
    python -m tests.benchmarks.recipes wikitext2 --recipe zaremba-small --minutes 5
    python -m tests.benchmarks.recipes shakespeare --choose            judged on a part of the training text alone
    python -m tests.benchmarks.recipes wikitext2 --flags "--dropout 0.2"

Several models learn at the same time, as many as there are threads, each on one. Two networks on a thread each take
more steps a second than one network on both.

Products are in bfloat16, which needs a processor that computes them. The data lie beside the project, in
../shared/corpora. Settings are chosen by the validation loss: that of WikiText-2's validation text, or with `--choose`
that of the last ninth of tinyshakespeare's first nine tenths. The test text is read once, at the end. A run without
`--choose` learns from all nine tenths and holds out nothing: the last tenth goes on with the play in which they end.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.quality import SHARED, timed


@dataclass(frozen=True)
class Corpus:
    """A corpus, the recipe, networks and minutes that its figure is quoted for, and the figure's bar and aim."""

    recipe: str
    models: int
    minutes: float
    figure: str
    key: str
    bar: float
    aim: float


CORPORA = {
    "wikitext2": Corpus("words", 1, 30.0, "test perplexity", "perplexity", 125.0, 110.0),
    "shakespeare": Corpus("characters", 4, 10.0, "nats a character, last tenth", "nats_per_token", 1.43, 1.38),
}


def files_of(name: str, folder: Path, *, choosing: bool) -> tuple[Path, Path | None, Path]:
    """Return the files to learn from, to validate on, and to test on; None: nothing is held out."""
    if name == "wikitext2":
        words = SHARED / "wikitext2"
        return words / "train.txt", words / "valid.txt", words / ("valid.txt" if choosing else "test.txt")
    text = (SHARED / "tinyshakespeare.txt").read_text()
    tenth = len(text) // 10
    learned, test = text[:-tenth], text[-tenth:]
    train, held_out, last = (folder / f"{part}.txt" for part in ("train", "valid", "test"))
    last.write_text(test)
    if not choosing:
        train.write_text(learned)
        return train, None, last
    train.write_text(learned[:-tenth])
    held_out.write_text(learned[-tenth:])
    return train, held_out, held_out


def main() -> None:
    """Train, judge, and print a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("--recipe", help="a name or a file, in place of the corpus's own")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--flags", default="", help="more options of charlm train")
    parser.add_argument("--choose", action="store_true", help="do not look at the test text")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", type=int, help="seeds that share the minutes; their mixture is judged")
    options = parser.parse_args()
    corpus = CORPORA[options.corpus]
    recipe, minutes = options.recipe or corpus.recipe, options.minutes or corpus.minutes
    models = [f"model{number}.safetensors" for number in range(options.models or corpus.models)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, valid, test = files_of(options.corpus, folder, choosing=options.choose)
        charlm = [sys.executable, "-m", "charlm"]
        at_once = min(options.threads, len(models))
        flags = ["--config", recipe, "--minutes", f"{minutes * at_once / len(models):g}"]
        flags += ["--threads", str(options.threads // at_once), "--dtype", "bfloat16", *shlex.split(options.flags)]
        held_out = ["--valid-fraction", "0"] if valid is None else ["--valid", str(valid)]
        shown = [*held_out[:1], Path(held_out[1]).name, *flags]

        def learn(number: int) -> None:
            seed = str(options.seed + number)
            timed([*charlm, "train", str(train), "-o", str(folder / models[number]), *held_out, *flags, "--seed", seed])

        begin = time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(learn, range(len(models))))
        seconds = time.perf_counter() - begin
        history, _ = timed([*charlm, "inspect", str(folder / models[0]), "--format", "jsonl"])

        def judged(first: str, *others: str) -> float:
            mixed = [f"--mix={folder / model}" for model in others]
            evaluate = [*charlm, "evaluate", str(folder / first), str(test), *mixed, "--format", "jsonl"]
            return json.loads(timed(evaluate)[0])[corpus.key]

        alone = [judged(model) for model in models]
        found = judged(*models) if len(models) > 1 else alone[0]
    validated = [row["valid_nats"] for row in json.loads(history)["history"] if row.get("valid_nats") is not None]
    by_words = corpus.key == "perplexity"
    what = corpus.figure if not options.choose else "of the validation text"
    best = min(validated, default=math.nan)
    if len(models) > 1:
        print("each alone:", ", ".join(f"{figure:.4g}" for figure in alone))
    print(
        f"| validation | {what} | bar | aim | minutes | command |\n|---|---|---|---|---|---|\n"
        f"| {math.exp(best) if by_words else best:.4g} | {found:.4g} | {corpus.bar:g} | {corpus.aim:g} "
        f"| {seconds / 60:.1f} | `charlm train {train.name} {shlex.join(shown)}` |"
    )


if __name__ == "__main__":
    main()
