"""What has to hold of the answer to a command line, whatever it is: `cli.md`, as far as it can be told from outside."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import zlib
from typing import Any

from tests.cli.shell import Result, strict_json
from tests.fuzz import command_lines
from tests.fuzz.cases import Failed
from tests.fuzz.command_lines import Case
from tests.fuzz.pool import LABELS, LINES, NOT_FINITE

DOCUMENTED = (0, 2, 3, 4, 5, 6)  # of those that nobody interrupts; 1 is a fault of ours
PER_LINE = ("score", "fill", "predict")
KEYS = {  # of a record of JSON Lines
    "score": {"text", "tokens", "oov"},
    "generate": {"text", "tokens", "log10p", "unk_mass_rejected", "seed"},
    "next": {"token", "prob", "log10p"},
    "surprisal": {"line", "surprisal", "entropy", "entropy_reduction", "rank", "tokens", "oov"},
    "rescore": {"text", "words", "total"},
    "rank": {"file", "line", "text", "tokens", "oov", "runs"},
    "fill": {"text", "gaps"},
    "predict": {"text", "prediction", "prob"},
    "inspect": set(),
    "vocab": set(),
}
_OURS = (".tmp", ".lock")  # what is to be gone at the end


def keeps_to_the_contract(case: Case, result: Result) -> None:
    """The exit code, what is said on standard error, and the records on standard output."""
    _is_said_well(case, result)
    ends_otherwise = case.command == "filter" or (case.command == "generate" and case.has("--separator"))
    if result.out and not result.out.endswith(b"\n") and result.code == 0 and not ends_otherwise:
        raise Failed(f"the last line has no end: {result.out[-80:]!r}")
    if not case.is_plain or case.has("-h", "--help", "--version"):
        return
    _has_the_right_code(case, result)
    form = case.value("--format", default=_default(case, "format"))
    if form == "jsonl" and result.code == 0:
        _is_json(case, result)
        _has_all_records(case, result)
    if form in ("tsv", "csv") and result.code == 0:
        _is_table(case, result, form)
    if case.command in PER_LINE:
        _has_a_line_for_each(case, result, form)
    if case.command == "filter":
        _is_part_of_the_input(case, result)
    if result.code == 0 and case.model in NOT_FINITE and _says_something(case, result):
        raise Failed(f"a model whose outputs are not finite is used: {result.out[:200]!r}")


def _says_something(case: Case, result: Result) -> bool:
    """Tell whether the model is asked for a probability."""
    without = re.search(r"lines without a gap, printed as they are: ([\d,]+) of ([\d,]+);", result.err)
    if without is not None and without[1] == without[2]:
        return False
    if case.command == "generate":
        return case.value("-l", "--length") != "0"
    if case.command == "surprisal":
        return len(result.lines) > 1
    if case.command == "rank":  # a cloze model of words has no token in a blank line
        return any(line.strip() for line in _lines_in(case) or ())
    return case.command in ("evaluate", "next") or (case.command in (*PER_LINE, "filter") and bool(_lines_in(case)))


def _is_said_well(case: Case, result: Result) -> None:
    lines = result.err.split("\n")
    errors = [line for line in lines if line.startswith("charlm: error:")]
    hints = [line for line in lines if line.startswith("hint:")]
    said = f"exit code {result.code}, {result.err[-1500:]!r}"
    has_found_too_few = case.command == "generate" and result.code == 1 and " texts found: " in result.err
    has_kept_nothing = case.command == "filter" and result.code == 1 and not errors
    if result.code not in DOCUMENTED and not (has_found_too_few or has_kept_nothing):
        raise Failed(f"no documented exit code: {said}")
    if "Traceback" in result.err and not case.has("--debug"):
        raise Failed(f"a traceback: {said}")
    if len(errors) != (result.code != 0 and not has_kept_nothing) or len(hints) > len(errors):
        raise Failed(f"{len(errors)} errors and {len(hints)} hints: {said}")
    if errors and lines[-2 - len(hints) :] != [*errors, *hints, ""]:
        raise Failed(f"the error is not what is said last: {said}")
    if not result.err.isprintable() and any(not c.isprintable() and c != "\n" for c in result.err):
        raise Failed(f"control characters: {said}")


def _has_the_right_code(case: Case, result: Result) -> None:
    """4, 5 and 6 are said only where there is a model, a training or a machine to be at fault."""
    models = [one for one in case.models if one not in case.good_models]
    at_fault = {
        4: bool(models)
        or case.command == "import"
        or case.has("--resume", "--init-from", "--like", "--plot", "--gradients", "--minus", "--mix"),
        5: case.command == "train",
        6: bool(case.outputs) or case.value("--device") == "cuda",
    }
    if not at_fault.get(result.code, True):
        raise Failed(f"exit code {result.code} where nothing of that kind is wrong: {result.err[-500:]!r}")


def _has_all_records(case: Case, result: Result) -> None:
    """A record for each text that is drawn, and for each model that is inspected."""
    wanted = None
    if case.command == "generate":
        wanted = int(case.value("-n", "--num-samples", default="1") or 1)
    elif case.command == "inspect" and not case.has("--vocabulary", "--samples"):
        wanted = None if case.has("--plot", "--gradients", "--trace", "--activations") else len(case.models)
    if wanted is not None and result.out.count(b"\n") != wanted:
        raise Failed(f"{len(result.lines)} records, not {wanted}")


def _default(case: Case, name: str) -> str | None:
    found = next((one for one in command_lines.commands()[case.command].params if one.name == name), None)
    if found is None:
        return None
    # These have a table at a terminal, and TSV in a pipe.
    return "tsv" if name == "format" and found.default is None else found.default


def _is_json(case: Case, result: Result) -> None:
    for line in result.out.decode("utf-8", "surrogateescape").split("\n")[:-1]:
        try:
            record = strict_json(line)
        except (AssertionError, ValueError) as error:
            raise Failed(f"not strict JSON: {line[:300]!r}") from error
        others = ("--vocabulary", "--gradients", "--coverage", "--command", "--samples", "--trace")
        chosen = case.command == "surprisal" and case.has("--columns")
        keys = set() if chosen or case.has(*others) else KEYS.get(case.command, set())
        if missing := keys - record.keys():
            raise Failed(f"a record without {missing}: {line[:300]!r}")
        if not set(case.models) & NOT_FINITE.keys() and not _are_probabilities(record):
            raise Failed(f"a probability that is none: {line[:300]!r}")


def _are_probabilities(record: dict[str, Any]) -> bool:
    """Tell whether all that is called a probability is a number of 0 to 1, or its logarithm; a blank line has none."""
    found = [record[name] for name in ("prob", "pseudo_prob") if name in record]
    probs = [prob for one in found for prob in (one if isinstance(one, list) else [one])]
    probs += [candidate["prob"] for gap in record.get("gaps", ()) for candidate in gap]
    logs = [record[name] for name in record if name.removeprefix("pseudo_") in ("log10p", "log2p", "lnp")]
    if record.get("text") == "" and probs == [None]:
        return True
    return all(one is not None and 0.0 <= one <= 1.00001 for one in probs) and all(
        one is not None and one <= 0.00001 for one in logs
    )


def _is_table(case: Case, result: Result, form: str) -> None:
    """Every row has as many fields as the header."""
    text = result.out.decode("utf-8", "surrogateescape")
    if form == "csv":
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    else:
        rows = [line.split("\t") for line in text.split("\n")[:-1]]
    # A single training has no records.
    if not rows and not case.has("--no-header") and case.command != "train":
        raise Failed("a table without a header")
    for row in rows:
        if len(row) != len(rows[0]):
            how = "more" if len(row) > len(rows[0]) else "fewer"
            raise Failed(f"a row of {how} fields than {rows[0]!r}: {row!r}"[:600])


def _lines_in(case: Case) -> list[bytes] | None:
    """Return the lines that a command reads, each without its end; None where there is nothing that can be read."""
    lines: list[bytes] = []
    for name in case.files or ["-"]:
        data = case.stdin if name == "-" else LINES.get(name.removeprefix("./"), b"" if name == "/dev/null" else None)
        if data is None:
            return None
        try:
            data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return None
        of_file = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        lines += [line.removesuffix(b"\r") for line in of_file[:-1]] + [line for line in of_file[-1:] if line]
    return lines


def _has_a_line_for_each(case: Case, result: Result, form: str | None) -> None:
    """One line out for each line in, also for those that are empty, and never more."""
    if form not in ("text", "tsv", "jsonl") or (form == "tsv" and case.value("--per") in ("token", "word")):
        return
    if case.has("--field"):
        return  # a row may be several lines, and a header is none
    if any(name.endswith(".safetensors") for name in case.files):
        return  # no text, but nothing says that it must be refused
    lines = _lines_in(case)
    if lines is None:
        if result.code == 0:
            raise Failed("a file that cannot be read was read")
        return
    count = result.out.count(b"\n") - (form == "tsv" and bool(result.out) and not case.has("--no-header"))
    if count > len(lines) or (result.code == 0 and count != len(lines)):
        raise Failed(f"{count} lines out for {len(lines)} in, exit code {result.code}")
    if form == "jsonl" and result.code == 0 and not case.has("--columns"):
        conditioned = case.model.removesuffix(".safetensors") in LABELS
        for line, record in zip(lines, result.out.decode().split("\n"), strict=False):
            text = strict_json(record)["text"].encode("utf-8", "surrogateescape")
            if text != line and not (conditioned or line.endswith(b"\t" + text)):
                raise Failed(f"the text of a record is {text[:100]!r}, not {line[:100]!r}")


def _is_part_of_the_input(case: Case, result: Result) -> None:
    """Each line out is one of those in, in order, and none are left where none were."""
    lines = _lines_in(case)
    if lines is None or case.has("--field"):
        return  # a row may be several lines
    left = iter(lines)
    for line in result.out.removesuffix(b"\n").split(b"\n") if result.out else ():
        if line.removesuffix(b"\r") not in left:
            raise Failed(f"a line out that is not one of those in: {line[:200]!r}")
    if result.code == (1 if result.out else 0):
        raise Failed(f"exit code {result.code} with {len(result.out)} bytes")


def keeps_files(case: Case, result: Result, changed: set[str]) -> None:
    """Nothing is written but what was asked for, and nothing at all where it was refused."""
    refused = result.code in (2, 3, 4)
    for name in sorted(changed):
        if name.endswith(_OURS):
            raise Failed(f"left behind: {name}")
        if name in ("fifo.safetensors", "fifo.mid"):
            raise Failed(f"an output that is no file was replaced: {name}, exit code {result.code}")
        if refused or not any(_is_of(name, output) for output in case.outputs):
            raise Failed(f"changed, exit code {result.code}: {name}")


def _is_of(name: str, output: str) -> bool:
    """Tell whether a file belongs to an output: it, the model's file, or the checkpoint's."""
    path = os.path.normpath(output)
    stem = path.removesuffix(".safetensors")
    also = {"old.safetensors"} if stem == "link" else set()  # what the link points to
    if name.startswith(f"{stem}.seed-"):
        return True
    return name in {path, stem, f"{stem}.safetensors", f"{stem}.ckpt.safetensors", *also}


def same(case: Case, one: Result, other: Result) -> None:
    """The same exit code and the same bytes, but for the speed."""
    first, second = (
        _without_speed(result.out) if case.command == "evaluate" else result.out for result in (one, other)
    )
    if one.code != other.code or first != second:
        raise Failed(
            f"not the same again: {one.code} {first[:400]!r}, {other.code} {second[:400]!r}, {other.err[-400:]!r}"
        )


def _without_speed(out: bytes) -> bytes:
    lines = out.split(b"\n")
    last = re.compile(rb"[\t,][0-9.]+$")  # TSV and CSV, the row below the header
    if lines[0].endswith(b"tokens_per_second") and len(lines) > 1:
        lines[1] = last.sub(b"", lines[1])
    elif len(lines) == 2:  # the row alone: --no-header
        lines[0] = last.sub(b"", lines[0])
    kept = [line for line in lines if not line.startswith(b"tokens_per_second")]
    return b"\n".join(line.partition(b', "tokens_per_second"')[0] for line in kept)
