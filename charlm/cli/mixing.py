"""`--mix` and `--tune-mix` of `charlm score` and `charlm evaluate`: a mixture of the model with others."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.cli import ui
from charlm.cli.completion import complete_model
from charlm.cli.tables_in import Source

Mix = Annotated[
    list[str] | None,
    typer.Option(
        "--mix",
        metavar="MODEL",
        help="Mix with MODEL or MODEL=WEIGHT, a model or FILE.arpa (repeatable); the first model has the rest.",
        show_default="equal weights",
        autocompletion=complete_model,
    ),
]
_EXAMPLE = "for example: --mix MODEL=0.3"

TuneMix = Annotated[
    str | None,
    typer.Option("--tune-mix", metavar="FILE", help="Find the weights with which a text is likeliest, and print them."),
]


class Mixing:
    """What the command line mixes with the model.

    Raises UsageError for options that do not fit each other, and for invalid weights.
    """

    def __init__(self, mix: list[str] | None, tune: str | None, model: Path, files: list[str] | None) -> None:
        from charlm.errors import UsageError

        named = [_named(one) for one in mix or []]
        self._names, given = [name for name, _ in named], [weight for _, weight in named if weight is not None]
        self._model, self._tune = model, tune
        if tune is not None and not named:
            raise UsageError("--tune-mix without --mix", hint="name a second model: --mix MODEL")
        if tune is not None and given:
            raise UsageError("--tune-mix with a weight", hint="leave the weights out: --tune-mix finds them")
        if tune == "-" and "-" in (files or ["-"]):
            raise UsageError("two inputs are standard input", hint="name the file of --tune-mix or of the text")
        if given and len(given) < len(named):
            raise UsageError("--mix with and without a weight", hint="give all weights, or none for equal ones")
        self._given = given

    def __bool__(self) -> bool:
        return bool(self._names)

    def check(self, language_model: Any) -> None:
        """Raise UsageError for a model that cannot be mixed."""
        if self:
            from charlm.inference.mixtures import check_first

            check_first(language_model)

    def mixture(
        self,
        new_scorer: Callable[[], Any],
        language_model: Any,
        *,
        batch_size: int,
        carry_state: bool,
        threads: int | None,
    ) -> Any:
        """Return the mixture; print its weights unless they were given.

        new_scorer: returns a scorer of the model at the start of a text
        """
        from charlm.inference.mixture_weights import equal_weights, with_rest
        from charlm.inference.mixtures import Mixture, member_of, tune

        weights = with_rest(self._given) if self._given else equal_weights(1 + len(self._names))
        others = [
            member_of(
                language_model, _opened(name, language_model), name, batch_size=batch_size, carry_state=carry_state
            )
            for name in self._names
        ]
        if self._tune is not None:
            source = Source([self._tune], text=language_model.text)
            with language_model.model.ops.workers.limit(threads), source.progress():
                tuned = tune(Mixture(new_scorer(), others), source.lines)
            weights = tuned.weights
            alone = ", ".join(f"{one:.2f}" for one in tuned.alone)
            self._print(weights, f"; perplexity {alone} -> {tuned.perplexity:.2f} ({tuned.tokens:,} tokens)")
        elif not self._given:
            self._print(weights, "")
        return Mixture(new_scorer(), others, weights)

    def _print(self, weights: Sequence[float], more: str) -> None:
        shown = ", ".join(
            f"{name}={weight:.6f}" for name, weight in zip([str(self._model), *self._names], weights, strict=True)
        )
        ui.needed(f"mixture: {shown}{more}")


def _named(one: str) -> tuple[str, float | None]:
    """Return the name and the weight of a value of --mix; None without a weight."""
    from charlm.errors import UsageError
    from charlm.storage.container import SUFFIX

    name, equals, weight = one.rpartition("=")
    if not equals or os.path.lexists(one) or os.path.lexists(one + SUFFIX):
        return one, None
    try:
        value = float(weight)
    except ValueError:
        raise UsageError(f"--mix {one}: the weight {weight!r} is not a number", hint=_EXAMPLE) from None
    if not 0.0 <= value <= 1.0:
        raise UsageError(f"--mix {one}: the weight is not between 0 and 1", hint=_EXAMPLE)
    return name, value


def _opened(name: str, first: Any) -> Any:
    """Return a language model, or the n-gram model of an ARPA file, on the device of the first model."""
    from charlm.checkpoint import load
    from charlm.inference.ngrams import NGramModel
    from charlm.storage.container import existing
    from charlm.text.arpa import is_arpa

    if is_arpa(name):
        return NGramModel(name, first.tokenizer.splitter)
    return load(existing(Path(name)), first.model.ops).language_model
