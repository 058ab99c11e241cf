"""What dynamic evaluation and the neural cache are worth: bits and perplexity before and after, with the seconds.

    python -m tests.benchmarks.adaptation words MODEL           WikiText-2's test text
    python -m tests.benchmarks.adaptation words MODEL --choose  the settings, on its validation text
    python -m tests.benchmarks.adaptation chars MODEL           the last 10 % of tinyshakespeare
    python -m tests.benchmarks.adaptation chars MODEL --choose  the settings, on the last 5 % of the 90 % before them

--tokens N reads the first N tokens only.

The models: `charlm train` on the training text of WikiText-2, a stream of words; and on the first 90 % of
tinyshakespeare, of which it holds out the last 5 % itself. The settings below were chosen with --choose, one after the
other, on texts that are not the reported ones.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charlm.backends import get_backend
from charlm.checkpoint import load
from charlm.inference.adaptation import Adapter
from charlm.inference.scoring import Scorer
from charlm.language_model import LanguageModel

CORPORA = Path(__file__).resolve().parents[3] / "shared" / "corpora"
HELD_OUT = 50_193  # characters: what `charlm train` holds out of the first 90 % of tinyshakespeare
DYNAMIC = {"words": {"rate": 0.02}, "chars": {"rate": 0.006}}
CACHE = {
    "words": {"cache": 2000, "weight": 0.25, "flatness": 0.3},
    "chars": {"cache": 2000, "weight": 0.05, "flatness": 1.0},
}
RATES = {"words": (0.01, 0.02, 0.03, 0.05), "chars": (0.003, 0.006, 0.01)}
LENGTHS = (5, 20, 50)
WEIGHTS, FLATNESSES = (0.1, 0.15, 0.2, 0.25, 0.3), (0.1, 0.2, 0.3, 0.4, 0.6)


def texts(kind: str) -> tuple[list[str], list[str]]:
    """Return the lines to choose the settings on, and those to report."""
    if kind == "words":
        folder = CORPORA / "wikitext2"
        valid, test = ((folder / f"{name}.txt").read_text(encoding="utf-8") for name in ("valid", "test"))
    else:
        play = (CORPORA / "tinyshakespeare.txt").read_text(encoding="utf-8")
        at = len(play) - len(play) // 10
        valid, test = play[at - HELD_OUT : at], play[at:]
    return valid.removesuffix("\n").split("\n"), test.removesuffix("\n").split("\n")


def measured(
    language_model: LanguageModel, lines: list[str], most: int, options: dict[str, Any]
) -> tuple[float, float]:
    """Return the nats a token of a text, or of about its first `most` tokens, and the seconds."""
    # A small window, so that no more is computed than `most` asks for.
    how = {"carry_state": True, "window": 8}
    scorer = Adapter(language_model, **options).scorer(**how) if options else Scorer(language_model, **how)
    begin, nats, tokens = time.perf_counter(), 0.0, 0
    for score in scorer.score(lines):
        nats, tokens = nats + score.nats, tokens + score.tokens
        if tokens >= most:
            break
    return nats / tokens, time.perf_counter() - begin


def rows_of(kind: str, *, choose: bool) -> Iterator[dict[str, Any]]:
    """Yield the settings to measure; the first is the plain model."""
    yield {}
    if not choose:
        yield DYNAMIC[kind]
        yield CACHE[kind]
        yield {**DYNAMIC[kind], **CACHE[kind]}
        return
    for rate in RATES[kind]:
        yield {"rate": rate}
    for length in LENGTHS:
        yield {**DYNAMIC[kind], "length": length}
    for weight, flatness in itertools.product(WEIGHTS, FLATNESSES):
        yield {"cache": CACHE[kind]["cache"], "weight": weight, "flatness": flatness}


def main() -> None:
    """Print a row for each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["words", "chars"])
    parser.add_argument("model", type=Path)
    parser.add_argument("--choose", action="store_true", help="measure many settings on the text to choose them on")
    parser.add_argument("--tokens", type=int, default=1 << 60)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    language_model = load(options.model, get_backend("cpu")).language_model
    valid, test = texts(options.kind)
    plain = 0.0
    print("| settings | nats | bits | perplexity | bits, change | perplexity, change | seconds |\n" + "|---" * 7 + "|")
    with language_model.model.ops.workers.limit(options.threads):
        for row in rows_of(options.kind, choose=options.choose):
            lines = valid if options.choose else test
            nats, seconds = measured(language_model, lines, options.tokens, row)
            plain = plain or nats
            shown = ", ".join(f"{name} {value:g}" for name, value in row.items()) or "plain"
            bits, change = nats / math.log(2.0), f"{nats / plain - 1:+.1%} | {math.exp(nats - plain) - 1:+.1%}"
            print(
                f"| {shown} | {nats:.4f} | {bits:.4f} | {math.exp(nats):.2f} | {change} | {seconds:.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
