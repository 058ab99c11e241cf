"""The options of a model that adapts to the text it reads: dynamic evaluation and the neural cache."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Adaptation:
    """The options as they were given, checked against each other.

    Raises UsageError for options that need another one, and for a file that cannot be written.

    model, files: what the command reads
    """

    dynamic: float | None
    length: int | None
    cache: int | None
    weight: float | None
    flatness: float | None
    save: Path | None
    force: bool
    model: Path
    files: list[str] | None

    def __post_init__(self) -> None:
        needs = {
            "--dynamic-length": (self.length, "--dynamic", self.dynamic),
            "--cache-weight": (self.weight, "--cache", self.cache),
            "--cache-flatness": (self.flatness, "--cache", self.cache),
            "--save": (self.save, "--dynamic", self.dynamic),
            "--force": (self.force or None, "--save", self.save),
        }
        for flag, (value, other, needed) in needs.items():
            if value is not None and needed is None:
                raise UsageError(f"{flag} without {other}", hint=f"add {other}, or leave it out")
        if self.save is not None:
            from charlm.storage.container import existing

            path = self._path(self.save)
            refuse_same_file(
                [str(existing(self.model)), *(self.files or ["-"])],
                path,
                hint="name another file for the adapted model",
            )
            check_new(path, force=self.force)

    def adapter(self, language_model: Any) -> Adapter | None:
        """Return what adapts the model; None if nothing would adapt: a rate of 0 learns nothing."""
        if self.dynamic is None and self.cache is None:
            return None
        from charlm.inference.adaptation import Adapter

        given = {"length": self.length, "cache": self.cache, "weight": self.weight, "flatness": self.flatness}
        options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        adapter = Adapter(language_model, rate=self.dynamic, **options)
        # In order, one line at a time, the last bits would be rounded in another way.
        return adapter if self.dynamic or self.cache else None

    def write(self, adapter: Adapter | None, language_model: Any) -> None:
        """Write the adapted model if --save asks for it; language_model: as it was before."""
        if self.save is None:
            return
        from charlm import checkpoint

        if adapter is not None:
            adapter.finish()
            language_model = adapter.language_model
        with signals.undisturbed():
            checkpoint.save(self._path(self.save), language_model)

    def _path(self, save: Path) -> Path:
        model, _ = output_files(save, flag="--save")
        return model
