"""The options of a model that adapts to the text it reads: dynamic evaluation and the neural cache."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli import signals
from charlm.cli.export import check_new
from charlm.cli.options import refuse_same_file
from charlm.cli.training_output import output_files
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.inference.adaptation import Adapter
    from charlm.inference.scoring import Scorer

Dynamic = Annotated[
    float | None,
    typer.Option(metavar="LR", help="Learn each piece of the text, after it is scored, at this rate."),
]
DynamicLength = Annotated[
    int | None,
    typer.Option(min=1, help="--dynamic: tokens of a piece; a line also ends one.", show_default="20"),
]
CacheSize = Annotated[
    int | None,
    typer.Option(min=1, max=100_000, help="Mix in a cache of the last N tokens."),
]
CacheWeight = Annotated[
    float | None, typer.Option(metavar="F", help="--cache: its weight in the mixture.", show_default="0.1")
]
CacheFlatness = Annotated[
    float | None,
    typer.Option(metavar="F", help="--cache: how much more similar contexts count; 0: all alike.", show_default="0.6"),
]
Save = Annotated[Path | None, typer.Option(metavar="MODEL", help="--dynamic: write the adapted model.")]
Overwrite = Annotated[bool, typer.Option("--force", help="--save: overwrite an existing file.")]


class Adaptation:
    """How the command line asks a model to adapt.

    Raises UsageError for options that need another one, and for a file that cannot be written.

    model, files: what the command reads
    """

    def __init__(
        self,
        dynamic: float | None,
        length: int | None,
        cache: int | None,
        weight: float | None,
        flatness: float | None,
        save: Path | None,
        force: bool,
        model: Path,
        files: list[str] | None,
    ) -> None:
        needs = {
            "--dynamic-length": (length, "--dynamic", dynamic),
            "--cache-weight": (weight, "--cache", cache),
            "--cache-flatness": (flatness, "--cache", cache),
            "--save": (save, "--dynamic", dynamic),
            "--force": (force or None, "--save", save),
        }
        for flag, (value, other, needed) in needs.items():
            if value is not None and needed is None:
                raise UsageError(f"{flag} without {other}", hint=f"add {other}, or leave it out")
        given = {"rate": dynamic, "length": length, "cache": cache, "weight": weight, "flatness": flatness}
        self._options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self._adapter: Adapter | None = None
        self._save = None if save is None else output_files(save, flag="--save")[0]
        if self._save is not None:
            from charlm.storage.container import existing

            read = [str(existing(model)), *(files or ["-"])]
            refuse_same_file(read, self._save, hint="name another file for the adapted model")
            check_new(self._save, force=force)

    def __bool__(self) -> bool:
        # A rate of 0 learns nothing. In order, one line at a time, the last bits would be rounded in another way.
        return bool(self._options.get("rate") or self._options.get("cache"))

    @property
    def is_given(self) -> bool:
        """Whether there is any option to adapt, even one that learns nothing."""
        return bool(self._options)

    def check(self, language_model: Any) -> None:
        """Raise UsageError for a model that cannot adapt."""
        if self._options:
            from charlm.inference.adaptation import check_adapts

            check_adapts(language_model)

    def adapter(self, language_model: Any) -> Adapter | None:
        """Return what adapts the model, from its own weights on; None if nothing adapts."""
        if self:
            from charlm.inference.adaptation import Adapter

            self._adapter = Adapter(language_model, **self._options)
        return self._adapter

    def scorer_maker(self, language_model: Any, *, batch_size: int, **options: Any) -> Callable[[], Scorer]:
        """Return a function that returns a scorer of the model at the start of a text; options: as for `Scorer`."""
        from charlm.inference.scoring import Scorer

        def new_scorer() -> Scorer:
            adapter = self.adapter(language_model)
            if adapter is None:
                return Scorer(language_model, batch_size=batch_size, **options)
            return adapter.scorer(**options)

        return new_scorer

    @contextlib.contextmanager
    def saving(self, found: Iterable[Any], language_model: Any) -> Iterator[Iterator[Any]]:
        """Yield an iterator over the same results, and `write` at the end of the block.

        The text is learned to its end even if the reader of standard output goes away.

        found: the results, each of which is learned as it is taken
        """
        results = iter(found)
        try:
            yield results
        except signals.ClosedPipe:
            if self._save is not None:
                for _ in results:
                    pass
                self.write(language_model)
            raise
        self.write(language_model)

    def write(self, language_model: Any) -> None:
        """Write the model with the weights of the last adapter if --save asks for it; without one, as it was."""
        if self._save is None:
            return
        from charlm import checkpoint

        if self._adapter is not None:
            self._adapter.finish()
            language_model = self._adapter.language_model
        with signals.undisturbed():
            checkpoint.save(self._save, language_model)
