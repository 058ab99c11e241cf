"""Random command lines, drawn from what the commands themselves declare, so that a new option is covered at once.

Values come from pools: good ones, those at the edge of what is allowed, and bad ones. What an option is for decides on
its good values, by its name; an option that is in no table here gets values of its type.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from charlm.task import task_of
from tests.fuzz import pool
from tests.fuzz.pool import LABELS, LINES, LISTS, NOT_FINITE, ODD_MODELS, ODD_TEXTS
from tests.task_models import TASKS

SHARES = {  # of the commands among the command lines; a command that is not here has one
    "train": 16, "generate": 14, "score": 20, "surprisal": 10, "evaluate": 12, "fill": 10, "predict": 14, "inspect": 8,
    "vocab": 6, "bench": 1, "selfcheck": 0.2, "rank": 6,
}  # fmt: skip
GOOD: dict[str, tuple[object, ...]] = {
    "hidden_size": (1, 2, 4, 8), "num_layers": (1, 2), "embedding_size": (0, 1, 4, 8), "dense": (1, 3, 6),
    "dropout": (0, 0.2, 0.5), "seq_length": (1, 2, 8, 32), "batch_size": (1, 2, 3, 8, 64), "epochs": (1, 2),
    "minutes": (0.0001, 0.001), "max_steps": (1, 2, 3), "lr": (0.001, 0.1, 1.0, 1e6), "clip": (0, 0.5, 5),
    "valid_fraction": (0, 0.05, 0.3, 0.9), "patience": (1, 2), "vocab_size": (1, 3, 5, 100), "min_count": (1, 2),
    "seed": (0, 1, 7, (1 << 63) - 1), "threads": (1, 2), "temperature": (0, 0.5, 1, 2), "top_k": (1, 2, 50),
    "top_p": (0, 0.5, 0.9, 1), "length": (0, 1, 5, 30), "num_samples": (1, 2, 3), "num_candidates": (1, 2, 50),
    "seconds": (0.001,), "repeats": (1, 2), "longest": (1, 5, 24), "beam": (1, 2, 3), "suspect_factor": (1, 2, 100),
    "best_of": (1, 2, 5), "min_length": (0, 1, 3), "max_length": (2, 5, 40), "separator": ("", r"\n--\n", r"\0", "\t"),
    "prompt": ("", "a", "abc", "the", "the cat", "60 - 62", "60,64 67", "\n", "a\nb", " ", "é", "👍🏽", "\udcff", "-"),
    "stop": ("a", "b", ".", "\n", "the", "cat sees"), "label": ("x", "y", "zz", "jig", "waltz", "bad", "ß", "nope"),
    "output": ("new", "new.safetensors", "new.onnx", "folder/new", "old", "old.safetensors", "link.safetensors", "lm"),
    "log": ("new.jsonl", "folder/new.jsonl"), "seeds": (2,), "sample_every": (1, 2, 50),
    "sample_prompt": ("", "a", "60"),
    "vocabulary": ("corpus.txt",), "eos": ("a", r"\n"), "unk": ("b", "<UNK>"), "tokens": ("corpus.txt",),
    "trace": ("", "a", "abc", "the cat", "x\tab", "a" * 30), "trace_file": ("new.md", "new.tex"),
    "field": (1, 2, "text"), "key": (1, 2, "id"), "id": (1,) * 9 + ("id",),
    "score": (2,) * 9 + ("costs.txt",), "text": (3,) * 9 + ("text",), "lm_weight": (0, 0.5, 12),
    "word_bonus": (-1, 0, 3), "tune": ("refs.txt", "refs.txt", "-"),
    "num_lines": (1, 2, 50), "mask": ("digits", "hex", "digits,hex"),
    "html": ("new.html", "folder/new.htm"), "states": ("new.npz",), "unit": ("0:0", "0:1:a", "1:2:forget", "0:2:u"),
    "activations": ("abc", "the cat", "", "x\tab", r"a\nb", "@corpus.txt", "-", "jig\t60"),
    "top": ("20%", "50%", 0, 1, 3, "0.1%"), "below": (0.5, 2, 5, "inf"), "above": ("-inf", 0, 2, 5),
    "dynamic": (0, 0.01, 1.0), "dynamic_length": (1, 5, 200), "cache": (1, 3, 100), "cache_weight": (0, 0.5, 0.999),
    "cache_flatness": (0, 0.3, 50), "save": ("new", "new.safetensors", "folder/new", "old", "lm"),
    "percentile": (0, 50, 95, 100), "region": ("|", "a", " ", "^^", "\n", "\t"),
    "columns": ("line", "surprisal,rank", "entred,entropy", "column1,line", "text", "word", "token,sentid"),
    "mix": ("lm", "lm.safetensors=0.3", "lm=0", "old=0.25", "abc.arpa", "abc.arpa=0.5", "conditioned", "cloze", "link"),
    "tune_mix": ("abc.txt", "corpus.txt", "lm.tsv", "conditioned.tsv", "-"),
    "midi": ("new.mid", "folder/new.mid", "tune.mid", "fifo.mid"), "plot": ("new.svg", "new.png", "curve.svg", "-"),
}  # fmt: skip
EDGE: dict[str, tuple[object, ...]] = {
    "mix": ("missing", "cut.arpa", "corpus.txt=0.1", "lm=2", "lm=x", "lm=nan", "=0.5", "", "tag", "abc.txt.arpa"),
    "output": ("folder", "", ".", "..", "-", "no/such/folder", "fifo.safetensors", "x" * 260, "x" * 240, "old.ckpt"),
    "midi": ("corpus.txt", "-", "", "folder", "fifo.mid", "no/such/folder.mid", "lm.safetensors", "y" * 300, "y" * 240),
    "plot": ("corpus.txt", "new.txt", "", "folder", "no/such/folder.svg", "z" * 300 + ".svg"),
    "html": ("corpus.txt", "lm.safetensors", "", "no/such/folder.html"), "states": ("corpus.txt", "new.html"),
    "unit": ("0", "9:9", "0:0:c~", "0:0:x", ":", "-1:0", "0:99999999999"), "activations": ("@", "@no-such-file", "\0"),
    "prompt": ("x" * 400, "<UNK>", "<EOS>", "\t", "200", "60 H"), "label": ("",), "stop": ("",),
    "top": ("101%", "-1", "nan", "%", "1.5", "1/3%"), "percentile": (-1, 101, "nan"),
    "minutes": (0, -1, "nan", "inf"), "seconds": (0, -1, "nan"), "repeats": (0, 1001), "num_samples": (0, -1),
}  # fmt: skip
_HUGE = 10**30  # above what these options allow, so that it is refused and not tried
_BOUNDED = (
    *("hidden_size", "num_layers", "embedding_size", "dense", "seq_length", "batch_size", "epochs", "max_steps"),
    *("patience", "vocab_size", "min_count", "seed", "top_k", "length", "num_candidates", "threads", "beam", "longest"),
    *("num_lines", "char_features"),
)
BAD_NUMBERS = ("x", "", "0x10", " ", "1.5.5", "--", "1e")
JUNK = (["--nonsense"], ["--format"], ["-z"], ["extra.txt"], ["--"], ["--seed"], ["-h"], ["--version"], ["--help=1"])
_RULES = ("top", "below", "above", "percentile", "of")  # of `filter`, which wants one
_RARE = ("quiet", "no_color", "debug", "device", "dry_run", "seeds", "config")


@dataclass
class Case:
    """A command line, what it reads on standard input, and what its generator knows of it."""

    command: str
    arguments: list[str]
    stdin_name: str = "empty.txt"
    models: list[str] = field(default_factory=list)
    good_models: frozenset[str] = frozenset()
    files: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    is_plain: bool = True  # whether nothing was put in that makes the parser see other things than the generator did

    @property
    def model(self) -> str:
        """The first model, or nothing."""
        return self.models[0] if self.models else ""

    @property
    def stdin(self) -> bytes:
        """What standard input has."""
        return LINES[self.stdin_name]

    def value(self, *names: str, default: str | None = None) -> str | None:
        """Return the last value that was given to an option."""
        found = default
        for at, argument in enumerate(self.arguments):
            for name in names:
                if argument == name and at + 1 < len(self.arguments):
                    found = self.arguments[at + 1]
                elif name.startswith("--") and argument.startswith(f"{name}="):
                    found = argument.split("=", 1)[1]
        return found

    def has(self, *names: str) -> bool:
        """Tell whether an option is given."""
        return any(argument in names or argument.split("=", 1)[0] in names for argument in self.arguments)

    def __str__(self) -> str:
        return f"charlm {shlex.join([self.command, *self.arguments])} < {shlex.quote(self.stdin_name)}"


@cache
def commands() -> dict[str, Any]:
    """Return the commands by name, as Typer has them."""
    from typer.main import get_command

    from charlm.cli.app import make_app

    return dict(get_command(make_app()).commands)  # type: ignore[attr-defined]


def draw(number: int, kinds: dict[str, str], command: str | None = None) -> Case:
    """Draw a command line, of any command or of one; kinds: the kind of each good model by its file's name."""
    rng = np.random.default_rng([28, number])
    names = list(commands())
    shares = np.array([SHARES.get(name, 1.0) for name in names])
    name = command or str(rng.choice(names, p=shares / shares.sum()))
    case = Case(name, [], stdin_name=_pick(rng, list(LINES)), good_models=frozenset(kinds))
    _Drawing(rng, case, kinds).draw(commands()[name].params)
    return case


def _pick(rng: np.random.Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


class _Drawing:
    """Draws the arguments of one case; wildness: how likely it is that a value is not a good one."""

    def __init__(self, rng: np.random.Generator, case: Case, kinds: dict[str, str]) -> None:
        self.rng, self.case, self.kinds = rng, case, kinds
        self.wildness = float(rng.choice([0.0, 0.0, 0.1, 0.4]))
        self.kind = "lm"

    def draw(self, parameters: list[Any]) -> None:
        """Draw all arguments, options among positional ones."""
        rng, parts = self.rng, []
        if self.case.command == "train":
            self.kind = str(_pick(rng, ["lm", *TASKS]))
        positional = [self._argument(one) for one in parameters if one.param_type_name == "argument"]
        chance = float(rng.choice([0.0, 0.1, 0.25]))
        # Of n-best lists: all columns or none, but for a few command lines.
        self.columns = self.case.command == "rescore" and rng.random() < 0.8
        rule = _pick(rng, [["top"], ["below"], ["above"], ["percentile", "of"]])
        for one in parameters:
            if one.param_type_name == "argument":
                continue
            if one.name == "follow" and self.case.files:  # it waits for more
                continue
            wanted = one.required or rng.random() < (chance / 3 if one.name in _RARE else chance)
            often = ("format", "seed", "force", "keep_checkpoint")
            if one.name in often or (one.name == "midi" and self.kind in ("music", "genre")):
                wanted = rng.random() < 0.5
            if one.name in ("max_steps", "hidden_size", "seconds", "repeats") and rng.random() < 0.97:
                wanted = True  # what has large defaults takes long
            if self.case.command == "train" and one.name in ("task", "condition"):
                fits = self.kind in LABELS if one.name == "condition" else _task(self.kind) != "lm"
                wanted = rng.random() < (0.95 if fits else chance / 3)
            if self.case.command == "rescore" and one.name in ("id", "score", "text"):
                wanted = self.columns
            if self.case.command == "bench" and one.name in ("seconds", "repeats"):
                wanted = True
            if one.name in _RULES:
                wanted = (one.name in rule) == (rng.random() < 0.95)
            for _ in range((2 if one.multiple and rng.random() < 0.3 else 1) if wanted else 0):
                parts.append(self._option(one))
        if rng.random() < self.wildness / 2:
            parts.append(list(_pick(rng, JUNK)))
            self.case.is_plain = False
        parts = [parts[i] for i in rng.permutation(len(parts))]
        at = int(rng.integers(len(parts) + 1)) if rng.random() < 0.3 else 0
        arguments = [*parts[:at], *positional, *parts[at:]]
        self.case.arguments = [argument for part in arguments for argument in part]

    def _is_wild(self) -> bool:
        return bool(self.rng.random() < self.wildness)

    # ---- positional arguments

    def _argument(self, one: Any) -> list[str]:
        if (one.metavar or "").startswith("MODEL"):
            count = int(self.rng.choice([1, 1, 1, 2, 3])) if one.nargs == -1 else 1
            named = [self._model() for _ in range(count)]
            if self.rng.random() < self.wildness / 8:  # then a text is taken for it
                self.case.is_plain = False
                return []
            self.case.models = named
            return named
        if getattr(one.type, "choices", None):
            return [_pick(self.rng, one.type.choices)] if self.rng.random() < 0.9 else []
        count = int(self.rng.choice([1, 1, 1, 2])) if one.required else int(self.rng.choice([0, 1, 1, 1, 2, 3]))
        files = ["/dev/null" if self.rng.random() < 0.01 else self._text() for _ in range(count)]
        self.case.files = files
        return files

    def _model(self) -> str:
        """Name a model that the command is for, or, now and then, another."""
        rng, command = self.rng, self.case.command
        if self._is_wild():
            return str(_pick(rng, [*ODD_MODELS, NOT_FINITE, *self.kinds]))
        fitting = [
            name
            for name, kind in self.kinds.items()
            if command == "inspect" or command in task_of(_task(kind)).commands
        ]
        name = str(_pick(rng, fitting or list(self.kinds)))
        self.kind = self.kinds[name]
        if rng.random() < 0.04:
            return str(_pick(rng, [one for one, kind in NOT_FINITE.items() if kind == self.kind] or [*NOT_FINITE]))
        return name.removesuffix(".safetensors") if rng.random() < 0.02 else name

    def _text(self) -> str:
        """Name a text: as the model reads it, of another kind, or none."""
        rng = self.rng
        if self._is_wild():
            return str(_pick(rng, ODD_TEXTS))
        if self.case.command == "rescore" and rng.random() < 0.8:
            return str(_pick(rng, LISTS))
        if self.case.command in ("train", "evaluate") and rng.random() < 0.7:
            return f"{self.kind if self.kind in TASKS else 'lm'}.tsv"
        if self.kind in LABELS and rng.random() < 0.7:
            return f"{self.kind}.tsv"
        name = str(_pick(rng, list(LINES)))
        return f"./{name}" if name.startswith("-") else name

    # ---- options

    def _option(self, one: Any) -> list[str]:
        name = str(_pick(self.rng, [*one.opts, *one.secondary_opts]))
        if one.is_flag:
            return [name]
        value = self._value(one)
        if one.name not in ("not_in", "minus", "tune_mix") and (
            "FILE" in (one.metavar or "") or getattr(one.type, "name", "") == "path"
        ):
            self.case.outputs.append(value)
        if name.startswith("--") and self.rng.random() < 0.2:
            return [f"{name}={value}"]
        return [name, value]

    def _value(self, one: Any) -> str:
        rng, kind = self.rng, getattr(one.type, "name", "text")
        if self._is_wild():
            edge = [*EDGE.get(one.name, ()), *_edges(one)]
            return str(_pick(rng, edge))
        if getattr(one.type, "choices", None):
            choices = list(one.type.choices)
            if one.name == "task":  # whose corpus is drawn already
                choices += [_task(self.kind)] * 5 * len(choices)
            return str(_pick(rng, choices))
        if one.name in GOOD:
            return str(_pick(rng, GOOD[one.name]))
        if one.name == "of":
            return self._text()
        if one.name in ("init_from", "like", "minus"):
            return str(_pick(rng, list(self.kinds)))
        if kind == "path" or "FILE" in (one.metavar or ""):
            return self._text()
        if kind.startswith("int"):
            return str(_pick(rng, [max(1, getattr(one.type, "min", None) or 1), 2, 3]))
        if kind.startswith("float"):
            return str(_pick(rng, [max(0.1, getattr(one.type, "min", None) or 0.1), 0.5, 1.0]))
        return str(_pick(rng, ["a", "the", "x"]))


def _edges(one: Any) -> list[object]:
    """Return values at the edge of what an option's type allows, and beyond."""
    kind = getattr(one.type, "name", "text")
    low, high = getattr(one.type, "min", None), getattr(one.type, "max", None)
    beyond = [low, None if low is None else low - 1, None if high is None else high + 1]
    values: list[object] = [value for value in beyond if value is not None]
    if getattr(one.type, "choices", None):
        return ["nonsense", "", str(one.type.choices[0]).upper()]
    if kind.startswith("int"):
        return [*values, -1, *([0, _HUGE] if one.name in _BOUNDED else []), *BAD_NUMBERS]
    if kind.startswith("float"):
        return [*values, 0, -0.5, "nan", "-inf", "1e-300", *BAD_NUMBERS] + (
            ["inf", "1e308"] if one.name not in ("minutes", "seconds") else []
        )
    return list(pool.ODD_TEXTS)


def _task(kind: str) -> str:
    return TASKS.get(kind, kind)
