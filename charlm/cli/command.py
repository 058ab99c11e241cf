"""What every command has: global flags before and after it, help in groups, choices in any case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from typer.core import TyperArgument, TyperCommand, TyperOption

from charlm.cli import ranks, ui
from charlm.cli.loading import load_numpy
from charlm.cli.sharing import share_lines

# What stands for a value in the help, by the name of its type; without it Typer shows the type.
_METAVARS = {"int": "N", "int range": "N", "float": "N", "float range": "N", "path": "FILE", "str": "TEXT"}

# Groups of the help; options of no group are in the first.
_OPTIONS, _GLOBAL = "Options", "Global options"
_GLOBAL_NAMES = ("quiet", "no_color", "debug", "help")
_GROUPS = {
    "Adaptation": ("dynamic", "dynamic_length", "cache", "cache_weight", "cache_flatness", "save", "overwrite"),
    "Machine": ("batch_size", "device", "threads"),
}

_WIDEST = 26  # characters of a term with its text on the same line


@dataclass(frozen=True)
class Entry:
    """A line of the help: an option, an argument or a command, and its text."""

    term: str
    text: str


class Command(TyperCommand):
    """A command whose help has groups.

    groups: the names of parameters by the heading of their group
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = _GROUPS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for one in self.params:
            _make_readable(one)
        self.params += global_flags()

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the options; only help is written meanwhile, to standard output."""
        with ui.to_standard_output():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Load NumPy, checking memory and threads first, and run the command."""
        ranks.check_command(str(self.name))
        load_numpy()
        return share_lines(str(self.name), ctx.params, lambda: super(Command, self).invoke(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the arguments of the usage line without the braces that Typer puts around required ones."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def sections(self, ctx: Any) -> dict[str, list[Entry]]:
        """Return the entries of the help by their headings."""
        return sections_of(self.get_params(ctx), self.groups, ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections of the help."""
        write_sections(self.sections(ctx), formatter)


class TrainingCommand(Command):
    """A command with options of `charlm train`."""

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Files": ("output", "force", "resume", "keep_checkpoint", "init_from", "vectors", "like", "config", "storage"),
        "Text": (
            *("task", "condition", "level", "unit", "split", "lowercase", "normalize", "raw", "pieces"),
            *("vocab_size", "min_count", "token_column", "tag_column", "tag_scheme", "text"),
        ),
        "Network": (
            *("cell", "activation", "reset", "relevance_gate", "hidden_size", "num_layers", "embedding_size"),
            *("dense", "tie_weights", "softmax", "cutoffs", "bidirectional", "crf", "char_features"),
        ),
        "Regularisation": (
            *("dropout", "dropout_kind", "embedding_dropout", "weight_drop", "weight_noise", "activation_penalty"),
            *("temporal_penalty", "weight_decay", "average"),
        ),
        "Training": (
            *("seq_length", "batch_size", "shards", "optimizer", "lr", "momentum", "beta1", "beta2", "schedule"),
            *("decay", "decay_from", "warmup", "clip", "clip_value", "accumulate", "init_scale", "seed", "seeds"),
        ),
        "How long": (*("epochs", "minutes", "max_steps", "patience", "trials", "trial_minutes", "seconds", "repeats"),),
        "Held out": ("valid", "valid_fraction", "valid_seed", "keep", "test"),
        "Reports": ("dry_run", "log", "sample_every", "sample_prompt", "progress", "format", "no_header"),
        "Machine": ("device", "threads", "dtype"),
    }


def global_flags() -> list[TyperOption]:
    """Return --quiet, --no-color and --debug, which take effect before the command runs."""
    return [
        _switch(["-q", "--quiet"], "quiet", "Hide progress; keep warnings and errors."),
        _switch(["--no-color"], "no_color", "Turn colours off, as NO_COLOR=1 does."),
        _switch(["--debug"], "debug", "Show the traceback of an error."),
    ]


def _switch(names: list[str], name: str, help_text: str) -> TyperOption:
    def take(_context: Any, _parameter: Any, value: bool) -> None:
        if value and name == "no_color":
            ui.settings.color = False
        elif value:
            setattr(ui.settings, name, True)

    return TyperOption(
        param_decls=[name, *names], is_flag=True, default=False, expose_value=False, callback=take, help=help_text
    )


def _make_readable(one: Any) -> None:
    """Take choices in any case, and show a value as a word."""
    is_choice = hasattr(one.type, "choices")
    if is_choice:
        one.type.case_sensitive = False
    if isinstance(one, TyperOption) and not one.is_flag and not one.metavar:
        word = str(one.name).rpartition("_")[2].upper()
        one.metavar = word if is_choice else _METAVARS.get(one.type.name)


def sections_of(params: list[Any], groups: Mapping[str, tuple[str, ...]], ctx: Any) -> dict[str, list[Entry]]:
    """Return the entries of parameters by the heading of their group, in the order of the help."""
    heading_of = {name: heading for heading, names in groups.items() for name in names}
    heading_of |= dict.fromkeys(_GLOBAL_NAMES, _GLOBAL)
    sections: dict[str, list[Entry]] = {heading: [] for heading in ("Arguments", _OPTIONS, *groups, _GLOBAL)}
    for one in params:
        is_argument = isinstance(one, TyperArgument)
        heading = "Arguments" if is_argument else heading_of.get(one.name, _OPTIONS)
        sections[heading].append(Entry(_term(one, ctx), " ".join(_text(one))))
    return {heading: entries for heading, entries in sections.items() if entries}


def _term(one: Any, ctx: Any) -> str:
    """Return the names of a parameter with its metavar."""
    if isinstance(one, TyperArgument):
        return one.make_metavar(ctx)
    names = sorted(one.opts, key=lambda name: name.startswith("--"))
    if one.is_flag:
        return " / ".join([", ".join(names), *one.secondary_opts])
    return f"{', '.join(names)} {one.make_metavar(ctx)}"


def _text(one: Any) -> Iterator[str]:
    """Yield the help of a parameter, its choices if the help does not explain them, its default and its range."""
    yield one.help or ""
    if choices := [str(choice) for choice in getattr(one.type, "choices", ())]:
        explained = set((one.help or "").replace(",", ":").split())
        if not {f"{choice}:" for choice in choices} <= explained:
            yield f"[values: {', '.join(choices)}]"
    if isinstance(one.show_default, str):
        yield f"[default: {one.show_default}]"
    elif one.show_default and not (one.default is None or one.default is False or one.default == ""):
        yield f"[default: {one.default}]"
    low, high = getattr(one.type, "min", None), getattr(one.type, "max", None)
    if high is not None:
        yield f"[{low:,} to {high:,}]"
    elif low is not None and low > 1:
        yield f"[at least {low:,}]"
    if one.required:
        yield "[required]"


def write_sections(sections: Mapping[str, list[Entry]], formatter: Any) -> None:
    """Write sections, with all texts below each other."""
    widths = [len(entry.term) for entries in sections.values() for entry in entries]
    width = max((width for width in widths if width <= _WIDEST), default=_WIDEST)
    for heading, entries in sections.items():
        with formatter.section(heading):
            formatter.write_dl([(entry.term.ljust(width), entry.text) for entry in entries], col_max=width)
