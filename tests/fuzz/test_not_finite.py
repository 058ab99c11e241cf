"""Models whose weights or outputs are not finite: every command refuses them with 4, whatever is read side by side."""

import numpy as np
import pytest

from charlm import checkpoint
from charlm.task import TASKS
from charlm.text import EOS_ID, NOTHING, UNK_ID
from tests.cli.shell import strict_json
from tests.fuzz.cases import PARTS, Failed, check_all, numbers
from tests.fuzz.models import Drawn, draw
from tests.fuzz.of_training import corpus_of
from tests.fuzz.properties import lines_for, plain_of

FIGURES = (
    "log10p",
    "pseudo_log10p",
    "prob",
    "nats_per_token",
    "pseudo_nats_per_token",
    "nats_per_text",
    "nats_per_step",
    "lnp",
    "pseudo_lnp",
    "total",
)
BATCHES = (1, 3, 64)
INPUTS = {
    "generate": ["-l", 5, "--seed", 1],
    "next": [],
    "compare": ["--on", "text"],
    "filter": ["text", "--below", "inf"],
    "rescore": ["lists", "--id", 1, "--score", 2, "--text", 3],
}


@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_not_finite_is_refused(part, charlm, monkeypatch, tmp_path, times, record_property):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARLM_CACHE", str(tmp_path / "cache"))

    def check(number: int) -> None:
        drawn = draw(number)
        weights, must_fail = damaged(drawn)
        checkpoint.save(tmp_path / "m.safetensors", drawn.model, weights=weights)
        corpus, lines = corpus_of(drawn, 4), lines_for(drawn, 4)
        if drawn.kind == "cloze":  # a token with nothing on its sides, and a gap
            corpus, lines = [*corpus, "r"], [*lines, "r", "___"]
        for command in TASKS[drawn.model.task].commands:
            if command == "export":  # it computes nothing
                continue
            _write(tmp_path / "text", corpus if command == "evaluate" else lines)
            _write(tmp_path / "lists", ["u\t0\t" + line.rpartition("\t")[2] for line in lines])
            arguments = [command, "m.safetensors", *INPUTS.get(command, ["text"])]
            is_prompted = command in ("generate", "next")
            if (is_prompted or command == "rescore") and drawn.model.labels:
                arguments += ["--class", drawn.model.labels[0]]
            for batch_size in BATCHES if not is_prompted else (None,):
                more = [] if batch_size is None else ["--batch-size", batch_size]
                form = [] if command == "filter" else ["--format", "jsonl"]
                result = charlm(*arguments, *form, *more)
                where = f"{command} {more}, exit code {result.code}, {drawn}"
                if result.code == 1 or result.code not in (0, 4):
                    raise Failed(f"{where}: {result.err}")
                if result.code == 0 and must_fail:
                    raise Failed(f"outputs that are not finite are used: {where}: {result.out[:300]!r}")
                for line in result.lines if result.code == 0 and form else ():
                    record = strict_json(line)
                    if any(_has_none(record[key]) for key in FIGURES if key in record):
                        raise Failed(f"a figure that is not finite: {where}: {line[:300]}")

    with np.errstate(all="ignore"):
        check_all(numbers(part, times(9, 90)), check, f"{__file__}::test_what_is_not_finite", record_property)


def damaged(drawn: Drawn) -> tuple[dict[str, np.ndarray], bool]:
    """Return weights that are not finite, or so large that outputs are not; and whether it is certain that they are."""
    parameters, rng = drawn.model.model.parameters, drawn.rng
    weights = {name: array.copy() for name, array in parameters.named(parameters.values).items()}
    largest = np.finfo(drawn.model.model.config.dtype).max
    how = str(rng.choice(["nan", "inf", "head", "head", "any"]))
    if how in ("nan", "inf"):
        flat = weights[str(rng.choice(list(weights)))].reshape(-1)
        flat[int(rng.integers(flat.size))] = np.nan if how == "nan" else rng.choice([-np.inf, np.inf])
        return weights, True
    tied = "towers.from_left.input.E" if drawn.kind == "cloze" else "input.E"
    name = str(rng.choice(list(weights))) if how == "any" else "head.W_y" if "head.W_y" in weights else tied
    weights[name][...] = largest * rng.choice([-1.0, 1.0], weights[name].shape)
    return weights, how == "head" and name == "head.W_y" and _overflows(drawn, weights, largest)


def _overflows(drawn: Drawn, weights: dict[str, np.ndarray], largest: float) -> bool:
    """Tell whether a logit of the softmax is above all numbers wherever a text begins."""
    config = drawn.model.model.config
    if config.task == "music" or config.labels == 1 or config.task not in ("lm", "cloze"):
        return False
    plain = plain_of(drawn.model)
    plain.p["head.W_y"] = weights["head.W_y"] / float(largest)
    plain.p["head.b_y"] = np.zeros_like(plain.p["head.b_y"])
    if config.task == "cloze":
        logits = plain.cloze_logits([UNK_ID])
    else:
        begins = [config.vocabulary_size + i for i in range(config.labels)] or [EOS_ID, NOTHING]
        logits = np.concatenate([plain.next_logits([first]) for first in begins])
    return bool(logits.size) and bool((logits.max(axis=1) > 1.01).all())


def _write(path, lines: list[str]) -> None:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def _has_none(value: object) -> bool:
    return value is None or (isinstance(value, list) and None in value)
