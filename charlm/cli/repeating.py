"""The command that repeats a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charlm.cli.train_options import model_options
from charlm.cli.training_command import train_command
from charlm.training.plan import DEFAULT_EPOCHS


def training_command(language_model: Any, path: Path) -> str:
    """Return the `charlm train` command that repeats the training of a model, all settings explicit.

    A time limit becomes the number of steps that it was. CORPUS stands for files that the model does not know.
    """
    run = language_model.run
    options = model_options(language_model, held_out_file=True)
    if options.pop("minutes", None) is not None:
        options.pop("epochs", None)
        options["max_steps"] = run.planned_steps or max((row["step"] for row in language_model.history), default=1)
    if not options.keys() & {"epochs", "max_steps"}:
        options["epochs"] = DEFAULT_EPOCHS
    facts = language_model.facts
    if len(facts.bidirectional) == 1:
        options.pop("bidirectional")
    if not facts.can_be_conditioned:
        options.pop("condition")
    of_run = {
        "init_from": run.init_from,
        "pieces": run.pieces,
        "sample_every": run.sample_every,
        "sample_prompt": run.sample_prompt,
        "test": run.test_file,
    }
    options |= {name: value for name, value in of_run.items() if value}
    return train_command("charlm train", run.corpus or ["CORPUS"], path, options)
