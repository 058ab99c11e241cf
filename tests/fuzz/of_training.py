"""What has to hold of trainings of a few steps, of every task and option."""

from __future__ import annotations

import numpy as np

from charlm.config import TrainConfig
from charlm.errors import DivergenceError
from charlm.inference.figures import figures
from charlm.language_model import LanguageModel
from charlm.session import prepare
from tests.fuzz import texts
from tests.fuzz.models import Drawn
from tests.fuzz.of_columns import CORPORA
from tests.fuzz.properties import lines_for, require


def learning(drawn: Drawn) -> None:
    """What a training says of its held-out text is what `evaluate` says; the same seed learns the same."""
    model = drawn.model
    if len(model.labels) == 1:
        return  # there is nothing to learn from
    corpus, held_out = (corpus_of(drawn, 5) for _ in range(2))
    network = {
        name: value
        for name, value in model.model.config.to_dict().items()
        if name not in ("vocabulary_size", "labels", "target_size", "characters", "cutoffs")
    }
    config = TrainConfig(
        batch_size=int(drawn.rng.integers(1, 9)),
        seq_length=int(drawn.rng.integers(1, 40)),
        max_steps=int(drawn.rng.integers(1, 4)),
        optimizer=str(drawn.rng.choice(["adam", "rmsprop", "sgd"])),
        schedule=str(drawn.rng.choice(["constant", "cosine", "plateau", "step"])),
        accumulate=int(drawn.rng.integers(1, 4)),
        average=float(drawn.rng.choice([0.0, 0.5, 1.0])),
        weight_decay=float(drawn.rng.choice([0.0, 0.1])),
        seed=int(drawn.rng.integers(100)),
        weight_noise=float(drawn.rng.choice([0.0, 0.1])),
    )
    trained: list[LanguageModel] = []
    told: list[str] = []
    for _ in range(2):
        conditioned = model.is_conditioned
        session = prepare(corpus, model.text, network, config, conditioned=conditioned, valid_lines=held_out)
        try:
            for _ in session.trainer.run():
                pass
            told.append("")
        except DivergenceError as error:
            # A few steps may end worse than a uniform guess.
            told.append(error.message)
        session.trainer.take_best()
        trained.append(session.language_model)
    weights = [one.model.parameters.values for one in trained]
    require(told[0] == told[1], "the same seed, another end", config, network, *told)
    require(np.array_equal(*weights), "the same seed, other weights", config, network)
    require(bool(np.isfinite(weights[0]).all()), "weights that are not finite", config, network)
    kept = session.trainer.outcome().valid_nats
    if not model.is_stream:  # whose lanes begin elsewhere
        found = figures(trained[0], held_out)
        key = ("pseudo_nats_per_token", "nats_per_token", "nats_per_text", "nats_per_step")
        per = next(found[name] for name in key if name in found)
        require(drawn.close(per, kept), "evaluate and the training's own figure", config, network, per, kept)


def corpus_of(drawn: Drawn, count: int) -> list[str]:
    """Draw a corpus of the model's kind, with each of its labels and without anything that no file could hold."""
    if drawn.model.task in ("tag", "classify", "translate", "music"):
        lines = CORPORA[drawn.model.task](drawn, count)[0]
        form = {"tag": "ra\t{}", "classify": "{}\tra", "music": "{}\t-"}.get(drawn.model.task, "")
        lines = [form.format(label) for label in drawn.model.labels if form] + lines
    elif drawn.kind == "conditioned":
        lines = [f"{x}\tra" for x in drawn.model.labels] + lines_for(drawn, count)
    else:
        lines = ["ra to", *texts.lines(drawn.rng, count)]
    return [line.replace("\0", "") for line in lines]
