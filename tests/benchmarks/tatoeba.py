"""Homophones in context, for a word model of English sentences: does it put the right spelling first?

    charlm train ../shared/corpora/tatoeba/eng.txt -o tatoeba.safetensors --level word --lowercase --min-count 2 \
      --embedding-size 256 --hidden-size 256 --dropout 0.2 --batch-size 32 --seq-length 32 --lr 0.003 --minutes 14
    python -m tests.benchmarks.tatoeba tatoeba.safetensors
"""

from __future__ import annotations

import sys

from charlm import api

PAIRS = [  # right, wrong; the first is the notes' own
    ("the apple and pear salad", "the apple and pair salad"),
    ("I can't hear you.", "I can't here you."),
    ("I want to buy a new car.", "I want to by a new car."),
    ("I don't know where he lives.", "I don't know wear he lives."),
    ("We went swimming in the sea.", "We went swimming in the see."),
    ("It has been raining for a week.", "It has been raining for a weak."),
    ("The wind blew hard last night.", "The wind blue hard last night."),
    ("He ate two pieces of meat.", "He ate two pieces of meet."),
]


def main() -> None:
    """Print for each pair which spelling is the more probable one, and by what factor."""
    model = api.load(sys.argv[1])
    scores = list(api.score(model, [sentence for pair in PAIRS for sentence in pair]))
    for right, wrong in zip(scores[::2], scores[1::2], strict=True):
        verdict = "right" if right.nats < wrong.nats else "WRONG"
        oov = f"  ({right.oov} and {wrong.oov} unknown)" if right.oov or wrong.oov else ""
        print(f"{verdict}  10^{right.log10p - wrong.log10p:+.1f}  {right.text}  |  {wrong.text}{oov}")


if __name__ == "__main__":
    main()
