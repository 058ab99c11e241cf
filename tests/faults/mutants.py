"""Damaged model files and checkpoints: number N of them is a function of N alone, so that one can be made again.

Some are damaged in their bytes; some are taken apart, changed in the table of their arrays, in the metadata or in the
numbers, and put together again, with a checksum that fits or without: every check behind it is reached.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as to_bytes

from tests.test_checkpoint import mutants, parts_of, signed

FIXTURES = sorted((Path(__file__).parents[1] / "fixtures" / "format1").glob("*.safetensors"))
CHECKPOINT = next(number for number, path in enumerate(FIXTURES) if path.name.endswith(".ckpt.safetensors"))
DTYPES = ["BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "I16", "BF16", "F16", "F32", "I64", "U64", "F64", "C64", "F4", "x"]
TYPES = {"F32": np.float32, "F64": np.float64}
SIZES = [
    0,
    1,
    -1,
    2,
    1000,
    10**6,
    10**9,
    (1 << 20) + 1,
    1 << 31,
    1 << 32,
    1 << 62,
    (1 << 64) - 1,
    (1 << 64) + 4,
    10**40,
]
NAMES = ["", "../x", "/etc/passwd", "a\0b", "\x1b]0;x\x07", "weights/", "state/0", "state/99", "x" * 10_000, "é", "W"]
VALUES: list[Any] = [
    *SIZES,
    *NAMES,
    *(None, True, False, 0.5, -0.0, 1.5e308, -1e-320, 10**400, float("nan"), float("inf"), float("-inf")),
    *([], {}, [[]], [None], [1, 2], ["a", "b"], {"a": 1}, ["<EOS>", "<UNK>"], {"<EOS>": 0, "<UNK>": 1, "a": 2}),
    *("lm", "cloze", "tag", "classify", "translate", "music", "model", "checkpoint", "char", "word", "stream", "line"),
    *("rnn", "gru-simple", "gru", "lstm", "lstm-peephole", "relu", "before", "both", "float64", "float16", "sgd"),
    *("\ud800", "\udcff", "\n", "\x1b[2J", "0", "1", "60", "\u202e", "\x00", "ab", "<EOS>", "<unk>"),
]


def nested(depth: int) -> Any:
    """Give a list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def mutant(number: int) -> tuple[str, bytes]:
    """Make damaged file `number`; give what was done to it, too."""
    rng = np.random.default_rng([20, number])
    path = FIXTURES[CHECKPOINT if rng.random() < 0.3 else int(rng.integers(len(FIXTURES)))]
    kind = KINDS[number % len(KINDS)]
    return f"{kind.__name__} of {path.name}", kind(path, rng)


def joined(header: dict[str, Any], data: bytes) -> bytes:
    """Put a file together."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _pick(rng: np.random.Generator, values: Any) -> Any:
    listed = list(values)
    return listed[int(rng.integers(len(listed)))]


def _copy(value: Any) -> Any:
    """Copy a JSON value, however deep it is."""
    return json.loads(json.dumps(value))


def _places(value: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    """Give (container, key) of what is in a JSON value, of long lists a few."""
    if isinstance(value, dict):
        keys: Any = list(value)
    else:
        keys = range(len(value)) if len(value) < 8 else (0, 1, 2, len(value) // 2, -1)
    places = [(value, key) for key in keys]
    deeper = [value[key] for key in keys if depth < 5 and isinstance(value[key], dict | list)]
    return places + [place for inner in deeper for place in _places(inner, depth + 1)]


def _damage(value: Any, rng: np.random.Generator) -> None:
    """Change a JSON value in one place."""
    container, key = _pick(rng, _places(value))
    found, choice = container[key], int(rng.integers(8))
    if choice == 0:
        del container[key]
    elif choice == 1 and isinstance(found, list) and found:
        changes: list[Callable[[], Any]] = [found.pop, found.reverse, lambda: found.extend(found[-1:])]
        changes += [lambda: found.append(_copy(_pick(rng, VALUES))), lambda: found.extend(found)]
        _pick(rng, changes)()
    elif choice == 2 and isinstance(found, int | float) and abs(found) < 1e300:
        container[key] = _pick(rng, [found + 1, found - 1, -found, found * 2, found + 0.5, str(found), [found]])
    elif choice == 3 and isinstance(container, dict):
        container[_pick(rng, NAMES)] = found if rng.random() < 0.5 else container.pop(key)
    elif choice == 4:
        container[key] = _copy(_pick(rng, VALUES)) if rng.random() < 0.8 else nested(_pick(rng, (5, 900, 970)))
    elif choice == 5:
        other, there = _pick(rng, _places(value))
        container[key] = _copy(other[there])
    else:
        container[key] = _copy(_pick(rng, VALUES))


def _some_bytes(path: Path, rng: np.random.Generator) -> bytes:
    seed = int(rng.integers(1 << 30))
    return list(mutants(path.read_bytes(), 1 + seed % 7, seed))[-1]


def _cut_and_spliced(path: Path, rng: np.random.Generator) -> bytes:
    raw, other = path.read_bytes(), _pick(rng, FIXTURES).read_bytes()
    (header,) = struct.unpack("<Q", raw[:8])
    at = int(rng.integers(len(raw)))
    block = raw[at : at + int(rng.integers(1, 400))]
    return _pick(
        rng,
        [
            raw[:at],
            raw[:at] + other[at:],
            raw[: 8 + header] + other[-(len(raw) - 8 - header) :],
            raw + rng.bytes(int(rng.integers(1, 64))),
            raw[:at] + block + raw[at:],
            raw[:at] + bytes(len(block)) + raw[at + len(block) :],
        ],
    )


def _another_length(path: Path, rng: np.random.Generator) -> bytes:
    raw = path.read_bytes()
    (header,) = struct.unpack("<Q", raw[:8])
    near = header + int(rng.integers(-9, 10))
    length = _pick(
        rng, [0, 1, 2, near, near, header * 2, len(raw), len(raw) - 8, 10**8, 1 << 31, 1 << 63, (1 << 64) - 1]
    )
    return struct.pack("<Q", length) + raw[8:]


def _table(path: Path, rng: np.random.Generator) -> bytes:
    """Change the table of the arrays: types, shapes, offsets, names; what lies in the file stays as it is."""
    header, data = parts_of(path)
    names = [name for name in header if name != "__metadata__"]
    name, other = _pick(rng, names), _pick(rng, names)
    entry = header[name]
    choice = int(rng.integers(9))
    if choice == 0:
        entry["dtype"] = _pick(rng, DTYPES)
    elif choice == 1:
        entry["shape"][_pick(rng, range(len(entry["shape"])))] = _pick(rng, SIZES)
    elif choice == 2:
        shape = entry["shape"]
        entry["shape"] = _pick(
            rng, [shape[::-1], [*shape, 1], [1] * 100 + shape, [], [0, *shape], [1 << 32, 1 << 32, 4]]
        )
    elif choice == 3:
        entry["data_offsets"][int(rng.integers(2))] = _pick(rng, [*SIZES, entry["data_offsets"][0] + 4])
    elif choice == 4:
        header[_pick(rng, NAMES)] = header.pop(name)
    elif choice == 5:
        header[name], header[other] = header[other], header[name]
    elif choice == 6:
        header[_pick(rng, [*NAMES, name + "x"])] = dict(entry)
    elif choice == 7:
        header["empty"] = {"dtype": "F32", "shape": [0], "data_offsets": [len(data), len(data)]}
    else:
        _damage({key: value for key, value in header.items() if key == name}, rng)
    return joined(signed(header, data) if rng.random() < 0.3 else header, data)


def _whole_header(path: Path, rng: np.random.Generator) -> bytes:
    header, data = parts_of(path)
    _damage(header, rng)
    return joined(header, data)


def _metadata(path: Path, rng: np.random.Generator) -> bytes:
    """Change the JSON in the metadata, mostly with a checksum that fits again."""
    header, data = parts_of(path)
    ours = json.loads(header["__metadata__"]["charlm"])
    for _ in range(_pick(rng, (1, 1, 1, 2))):
        parts = [ours[key] for key in ("model", "train", "text", "history", "training") if key in ours]
        part = _pick(rng, [ours, ours, *parts])
        _damage(part if part else ours, rng)
    header["__metadata__"]["charlm"] = json.dumps(ours)
    return joined(signed(header, data) if rng.random() < 0.85 else header, data)


def _text_of_metadata(path: Path, rng: np.random.Generator) -> bytes:
    """Change the text that the metadata's JSON is: a name twice, a bracket too many, an exponent too large."""
    header, data = parts_of(path)
    text = header["__metadata__"]["charlm"]
    at, value = int(rng.integers(1, len(text) - 1)), json.dumps(_pick(rng, VALUES))
    key = _pick(rng, ["model", "vocabulary", "version", "sha256", "kind", "zebra"])
    header["__metadata__"]["charlm"] = _pick(
        rng,
        [
            text[:-1] + f', "{key}": {value}}}',
            f'{{"{key}": {value}, ' + text[1:],
            text[:at] + _pick(rng, '[]{},:"\\e9') + text[at:],
            text.replace(".", "e9", 1),
            text.replace(": 1", ": 1e999", 1),
            text[at:],
            text + text,
        ],
    )
    return joined(header, data)


def _arrays(path: Path, rng: np.random.Generator) -> bytes:
    """Change the arrays themselves; the table and the checksum fit them."""
    header, data = parts_of(path)
    arrays = {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], TYPES[entry["dtype"]]).reshape(entry["shape"]).copy()
        for name, entry in header.items()
        if name != "__metadata__"
    }
    name, choice = _pick(rng, arrays), int(rng.integers(6))
    array = arrays[name]
    if choice == 0:
        del arrays[name]
    elif choice == 1:
        arrays[_pick(rng, NAMES[3:])] = np.zeros(_pick(rng, [(), (0,), (1,), (2, 0, 3), (1,) * 60]), np.float32)
    elif choice == 2:
        arrays[name] = _pick(rng, [array.T.copy(), array[:-1].copy(), array.astype(np.float64), array.astype(np.int8)])
    elif choice == 3:
        array.ravel()[int(rng.integers(array.size))] = _pick(rng, [np.nan, np.inf, -np.inf])
    elif choice == 4:
        array.ravel()[int(rng.integers(array.size))] = _pick(rng, [3e38, -3e38, 1e-45, 1e20, 0.0])
    else:
        array *= np.float32(_pick(rng, [1e30, -1e20, 1e10, 0.0]))
    made = to_bytes(arrays, metadata=header["__metadata__"])
    (size,) = struct.unpack("<Q", made[:8])
    table, body = json.loads(made[8 : 8 + size]), made[8 + size :]
    return joined(signed(table, body), body)


KINDS = [_some_bytes, _cut_and_spliced, _another_length, _table, _whole_header, _metadata, _metadata, _metadata]
KINDS += [_text_of_metadata, _arrays]
