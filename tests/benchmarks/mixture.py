"""How well a model, a Kneser-Ney 5-gram and their mixture predict a text: python -m tests.benchmarks.mixture --help.

Each half of the text is predicted with the weights that EM finds on the other half, so no weight has seen its text.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np

from charlm import load
from charlm.inference.mixture_weights import best_weights, mixed
from charlm.inference.mixtures import Mixture, member_of
from charlm.inference.ngrams import NGramModel
from charlm.inference.scoring import Scorer
from charlm.text import read_lines
from tests.benchmarks import kneser_ney


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a model of words, split at white space")
    parser.add_argument("train", type=Path, help="the text of the n-gram model")
    parser.add_argument("text", type=Path, help="the text to predict")
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--arpa", type=Path, help="the n-gram model, if it is written already")
    options = parser.parse_args()
    first = load(options.model)
    with tempfile.TemporaryDirectory() as folder:
        arpa = options.arpa or Path(folder, "ngrams.arpa")
        if options.arpa is None:
            kneser_ney.write(options.train, options.order, arpa)
        ngrams = NGramModel(str(arpa), first.tokenizer.splitter)
    scorer = Scorer(first, carry_state=first.is_stream)
    mixture = Mixture(scorer, [member_of(first, ngrams, "the n-gram model")])
    of_lines = [nats for _, _, _, nats in mixture.parts(read_lines([str(options.text)]))]
    ends = np.cumsum([nats.shape[1] for nats in of_lines])
    nats = np.concatenate(of_lines, axis=1)
    # The end of the line that is nearest to the middle.
    middle = int(ends[np.argmin(np.abs(ends - nats.shape[1] / 2))])
    halves = nats[:, :middle], nats[:, middle:]
    weights = [best_weights(half) for half in halves]
    predicted = np.concatenate([mixed(halves[0], weights[1]), mixed(halves[1], weights[0])])
    print(f"{nats.shape[1]:,} tokens, halves of {middle:,} and {nats.shape[1] - middle:,}")
    for number, of_half in enumerate(weights, start=1):
        print(f"weights found on half {number}: model {of_half[0]:.6f}, n-grams {of_half[1]:.6f}")
    for name, of_each in (("model", nats[0]), ("n-grams", nats[1]), ("mixture", predicted)):
        print(f"{name:8} perplexity {math.exp(of_each.mean()):.2f}  {of_each.mean() / math.log(2.0):.4f} bits a token")


if __name__ == "__main__":
    main()
