"""The files: what goes in comes out bit for bit; what is damaged, foreign or of the future is refused in one line."""

import contextlib
import copy
import gzip
import io
import json
import pickle
import struct
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save as to_bytes

import charlm
from charlm.backends import NumpyBackend
from charlm.checkpoint import checkpoint_path, load, save, save_training
from charlm.config import ModelConfig, TextConfig, TrainConfig, cell_fields
from charlm.errors import ModelFileError
from charlm.language_model import LanguageModel, Outcome, RunRecord
from charlm.nn import build as build_module
from charlm.nn.build import build
from charlm.session import prepare, resume
from charlm.storage.container import checksum
from charlm.text import Tokenizer, Vocabulary, splitter_of
from charlm.text.tokens.codec import Codec
from charlm.training.state import LATER_NUMBERS
from tests.gradcheck import KINDS

OPS = NumpyBackend()
TOKENS = ("<EOS>", "<UNK>", "a", "é", "\U0001f600", '"', "\\", " ", "\x1b")
LINES = ["abab", "bbca", "ab", "cc"]
HISTORY = [{"step": 3, "epoch": 0.75, "train_nats": 1.5, "valid_nats": None, "learning_rate": 0.1}]


def language_model(text=None, train=None, tokens=TOKENS, history=(), **network):
    """Make a language model whose every weight is random, some of them odd numbers."""
    base = {"hidden_size": 3, "num_layers": 2, **network}
    model = build(ModelConfig(len(tokens), **base), OPS, seed=1)
    rng = np.random.default_rng(5)
    for view in model.parameters.named(model.parameters.values).values():
        view[...] = rng.normal(0, 0.8, view.shape)
    model.parameters.value("head.b_y")[:4, 0] = [-0.0, np.finfo(np.float32).tiny / 3, 3e38, 1 / 3]
    text = text or TextConfig()
    tokenizer = Tokenizer(splitter_of(text), Vocabulary(tokens))
    return LanguageModel(model, Codec(tokenizer), text, train or TrainConfig(), list(history))


def bits(arrays):
    """Return arrays as their bytes: -0.0 is another number than 0.0."""
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()}


def weights_of(lm):
    return bits(lm.model.parameters.named(lm.model.parameters.values))


def assert_same_model(one, other):
    """Compare two language models in everything."""
    assert one.model.config == other.model.config
    assert weights_of(one) == weights_of(other)
    assert one.tokenizer.vocabulary == other.tokenizer.vocabulary
    splitters = [lm.tokenizer.splitter.rule for lm in (one, other)]
    assert splitters[0] == splitters[1]
    assert (one.text, one.train, one.history, one.core) == (other.text, other.train, other.history, other.core)


def trained(unit="line", steps=4, **options):
    """Train a few steps; give the session."""
    config = TrainConfig(max_steps=8, seq_length=6, batch_size=2, valid_fraction=0.3, **options)
    network = {"hidden_size": 3, "num_layers": 2, "dropout": 0.1}
    session = prepare(LINES, TextConfig(unit=unit), network, config)
    for _, _ in zip(range(steps), session.trainer.run(), strict=False):
        pass
    return session


def save_checkpoint(path, session):
    save_training(path, session.language_model, session.trainer.state(), corpus="c0ffee")


# --- round trips -----------------------------------------------------------------------------------------------------

NETWORKS = [
    *(cell_fields(*kind) for kind in KINDS),
    {"num_layers": 3, "dense": (5, 4), "activation": "relu", "dropout": 0.25},
    {"embedding_size": 5},
    {"embedding_size": 3, "tie_weights": True},
    {"embedding_size": 4, "dense": (2, 4), "tie_weights": True, "cell": "gru"},
    {"softmax": "adaptive", "cutoffs": (2, 4)},
    {"softmax": "adaptive", "cutoffs": (2, 4, 6), "embedding_size": 3, "tie_weights": True},
    {"dtype": "float64"},
    {"dtype": "float64", "cell": "gru", "embedding_size": 3, "tie_weights": True},
]
each_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda n: "-".join(str(v) for v in n.values()))


@each_network
def test_a_model_comes_back_bit_for_bit(tmp_path, network):
    lm = language_model(history=HISTORY, **network)
    path = tmp_path / "m.safetensors"
    save(path, lm)
    stored = load(path, OPS)
    assert_same_model(stored.language_model, lm)
    assert (stored.training, stored.corpus) == (None, None)
    assert set(weights_of(lm)) == set(arrays_of(path))


@each_network
def test_a_model_that_came_back_computes_the_same(tmp_path, network):
    lm = language_model(**network)
    lm.model.parameters.value("head.b_y")[...] /= 1e38
    save(tmp_path / "m", lm)
    inputs = np.array([[-1, 2], [3, 4], [5, 1]], np.int32)
    results = []
    for each in (lm, load(tmp_path / "m", OPS).language_model):
        results.append(each.model.next_log_probs(inputs, each.model.zero_state(2), each.model.workspace())[0])
    assert np.array_equal(*results)
    assert np.isfinite(results[0]).all()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (TextConfig(), TOKENS),
        (TextConfig("word", "line", "punct", lowercase=True), ("<EOS>", "<UNK>", "the", "don't", "\u2019")),
        (TextConfig("word", "stream", "whitespace"), ("<EOS>", "<UNK>", "<unk>x", "a\u00a0b")),
        (TextConfig("char", "stream", "punct", lowercase=True, normalize="nfkc"), TOKENS),
    ],
)
def test_text_and_training_come_back(tmp_path, text, tokens):
    train = TrainConfig(8, 4, 3, 100, 1.5, "sgd", 1 / 3, "plateau", 1, 0.2, "held.txt", 50, 2, 7, (1 << 63) - 1)
    lm = language_model(text, train, tokens, HISTORY)
    save(tmp_path / "m", lm)
    assert_same_model(load(tmp_path / "m", OPS).language_model, lm)


def test_a_large_vocabulary_comes_back(tmp_path, monkeypatch):
    """Above a size, one-hot tokens are looked up and the file has an array `input.E`."""
    monkeypatch.setattr(build_module, "LARGEST_ONE_HOT", 4)
    lm = language_model()
    save(tmp_path / "m", lm)
    assert "input.E" in arrays_of(tmp_path / "m")
    assert_same_model(load(tmp_path / "m", OPS).language_model, lm)


def test_other_weights_in_place_of_the_models_own(tmp_path):
    session = trained(steps=8, learning_rate=3.0, seed=3)
    trainer, lm = session.trainer, session.language_model
    best = bits(trainer.best_weights())
    assert best != weights_of(lm)
    save(tmp_path / "m", lm, weights=trainer.best_weights())
    stored = load(tmp_path / "m", OPS).language_model
    assert weights_of(stored) == best
    assert stored.history == trainer.numbers.history


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
@pytest.mark.parametrize("unit", ["line", "stream"])
def test_a_checkpoint_comes_back_bit_for_bit(tmp_path, unit, optimizer):
    session = trained(unit, optimizer=optimizer)
    path = tmp_path / "m.ckpt.safetensors"
    state = session.trainer.state()
    save_checkpoint(path, session)
    stored = load(path, OPS)
    assert_same_model(stored.language_model, session.language_model)
    assert stored.corpus == "c0ffee"
    assert stored.training.numbers == state.numbers
    assert bits(stored.training.arrays) == bits(state.arrays)
    kinds = {"weights", "best", "state", *{"adam": "mv", "rmsprop": "v", "sgd": ""}[optimizer]}
    assert {name.split("/")[0] for name in stored.training.arrays} == kinds


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_the_same_is_written_in_the_same_bytes(tmp_path, kind):
    paths = [tmp_path / name for name in ("one", "other", "again")]
    for path in paths[:2]:
        session = trained()
        if kind == "model":
            save(path, session.language_model)
        else:
            save_checkpoint(path, session)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    stored = load(paths[0], OPS)
    if kind == "model":
        save(paths[2], stored.language_model)
    else:
        save_training(paths[2], stored.language_model, stored.training, corpus=stored.corpus)
    assert paths[2].read_bytes() == paths[0].read_bytes()


def test_arrays_that_are_not_contiguous_are_written_as_they_read(tmp_path):
    """The safetensors package writes the bytes of a transposed array in the wrong order."""
    lm = language_model()
    straight = {name: array.copy() for name, array in lm.model.parameters.named(lm.model.parameters.values).items()}
    for name, form in {"transposed": lambda a: a.T.copy().T, "strided": lambda a: np.repeat(a, 2, 0)[::2]}.items():
        weights = {key: form(array) for key, array in straight.items()}
        assert not weights["layer0.W"].flags.c_contiguous
        save(tmp_path / name, lm, weights=weights)
        assert weights_of(load(tmp_path / name, OPS).language_model) == bits(straight)


def test_saving_replaces_a_file_whole(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"x" * 1_000_000)
    lm = language_model()
    save(path, lm)
    assert_same_model(load(path, OPS).language_model, lm)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_the_checkpoint_lies_beside_the_model():
    assert checkpoint_path(Path("a/names.safetensors")) == Path("a/names.ckpt.safetensors")
    assert checkpoint_path(Path("a.b/n.v2.safetensors")) == Path("a.b/n.v2.ckpt.safetensors")


# --- what is in the file ---------------------------------------------------------------------------------------------


def parts_of(path):
    """Return the header of a safetensors file, read by hand, and the bytes after it."""
    raw = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


def arrays_of(path):
    return {name for name in parts_of(path)[0] if name != "__metadata__"}


def signed(header, data):
    """Write the checksum anew: it would refuse every damage before the check that is tested can."""
    with contextlib.suppress(Exception):
        ours = json.loads(header["__metadata__"]["charlm"])
        arrays = {
            name: np.frombuffer(data[slice(*entry["data_offsets"])], {"F32": "<f4", "F64": "<f8"}[entry["dtype"]])
            for name, entry in header.items()
            if name != "__metadata__"
        }
        arrays = {name: array.reshape(header[name]["shape"]) for name, array in arrays.items()}
        ours["sha256"] = checksum(ours, arrays)
        return {**header, "__metadata__": {**header["__metadata__"], "charlm": json.dumps(ours)}}
    return header


def write_parts(path, header, data):
    text = json.dumps(signed(header, data)).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def rewrite(path, change):
    """Rewrite the metadata of a file by `change`, which edits the dictionary or returns other text."""
    header, data = parts_of(path)
    ours = json.loads(header["__metadata__"]["charlm"])
    replaced = change(ours)
    header["__metadata__"]["charlm"] = replaced if isinstance(replaced, str) else json.dumps(ours)
    write_parts(path, header, data)


def test_the_metadata_are_as_documented(tmp_path):
    lm = language_model(history=HISTORY)
    save(tmp_path / "m", lm)
    header, data = parts_of(tmp_path / "m")
    assert set(header["__metadata__"]) == {"charlm"}
    found = json.loads(header["__metadata__"]["charlm"])
    expected = {
        "format": "charlm",
        "version": 3,
        "charlm": charlm.__version__,
        "kind": "model",
        "task": "lm",
        "text": json.loads(json.dumps(lm.text.stored())),
        "model": json.loads(json.dumps(lm.model.config.stored())),
        "train": json.loads(json.dumps(lm.train.stored())),
        "vocabulary": list(TOKENS),
        "history": HISTORY,
    }
    assert {key: found.get(key) for key in expected} == expected
    begin, end = header["layer0.W"]["data_offsets"]
    assert data[begin:end] == lm.model.parameters.value("layer0.W").tobytes()
    assert (header["layer0.W"]["dtype"], header["layer0.W"]["shape"]) == ("F32", [12, 3 + len(TOKENS) + 1])


def test_the_metadata_of_a_checkpoint_have_what_a_resumption_needs(tmp_path):
    session = trained()
    save_checkpoint(tmp_path / "c", session)
    save(tmp_path / "m", session.language_model)
    of_model, of_checkpoint = (
        json.loads(parts_of(tmp_path / name)[0]["__metadata__"]["charlm"]) for name in ("m", "c")
    )
    shared = ("format", "version", "charlm", "task", "text", "model", "train", "vocabulary", "history", "core")
    assert [of_checkpoint[key] for key in shared] == [of_model[key] for key in shared]
    assert of_model["core"] == session.language_model.model.ops.core
    assert (of_model["kind"], of_checkpoint["kind"]) == ("model", "checkpoint")
    assert of_checkpoint["training"] == vars(session.trainer.state().numbers)
    assert of_checkpoint["corpus"] == "c0ffee"


def test_nothing_is_pickled(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("pickle")

    for name in ("load", "loads", "dump", "dumps", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)
    session = trained()
    save(tmp_path / "m", session.language_model)
    save_checkpoint(tmp_path / "c", session)
    assert_same_model(load(tmp_path / "m", OPS).language_model, session.language_model)
    assert load(tmp_path / "c", OPS).training is not None


# --- what is refused -------------------------------------------------------------------------------------------------


def load_and_go_on(path):
    """Open a checkpoint and put its training together again."""
    resume(load(path, OPS), LINES, None, {})


def refusal_of(path, use=lambda path: load(path, OPS)):
    """Open a file, which has to be refused as every mistake of a user is: in one line and a hint."""
    with pytest.raises(ModelFileError) as refusal:
        use(path)
    assert refusal.value.exit_code == 4
    assert refusal.value.hint
    for line in (refusal.value.message, refusal.value.hint):
        assert len(line.splitlines()) == 1 and line.isprintable()
    return refusal.value.message


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "m.safetensors"
    save(path, language_model())
    return path


@pytest.fixture
def checkpoint_file(tmp_path):
    path = tmp_path / "m.ckpt.safetensors"
    save_checkpoint(path, trained())
    return path


class Evil:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return Path.mkdir, (self.folder,)


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", "x" * 50)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "not a model"),
        (b"\0", "not a model"),
        (b"short", "not a model"),
        (b"\0" * 100, "not a model"),
        (b"Call me Ishmael. Some years ago, never mind how long precisely", "not a model"),
        (b"{" * 100, "m.safetensors"),
        (zipped(), "zip"),
        (pickle.dumps({"weights": [1, 2, 3]}), "pickle"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "HDF5"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (gzip.compress(b"x" * 100, mtime=0), "gzip"),
        (struct.pack("<Q", 1 << 62) + b"{}" + b" " * 50, "m.safetensors"),
        (struct.pack("<Q", 2) + b"{}", "not a charlm model"),
        (struct.pack("<Q", 2) + b"{x", "m.safetensors"),
    ],
)
def test_what_is_no_model_is_told_by_its_kind(tmp_path, content, what):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert what in refusal_of(path)


def test_a_pickle_is_not_executed(tmp_path):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"{protocol}.safetensors"
        path.write_bytes(pickle.dumps(Evil(tmp_path / "executed"), protocol))
        refusal_of(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("missing.safetensors", "no such file"),
        ("", "directory"),
        ("file/m.safetensors", "cannot read"),
        ("m" * 300, "cannot read"),
        ("loop", "cannot read"),
        ("line\nbreak", "no such file"),
    ],
)
def test_where_there_is_no_file(tmp_path, where, what):
    (tmp_path / "file").write_bytes(b"a file")
    (tmp_path / "loop").symlink_to("loop")
    assert what in refusal_of(tmp_path / where)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"format": "pt"},
        {"charlm": ""},
        {"charlm": "{"},
        {"charlm": "null"},
        {"charlm": "[]"},
        {"charlm": "{}"},
        {"charlm": '{"format": "other", "version": 1}'},
        {"charlm": '{"format": "charlm"}'},
        {"charlm": '{"format": "charlm", "version": "1"}'},
        {"charlm": '{"format": "charlm", "version": null}'},
        {"charlm": "[" * 100_000},
        {"charlm": '{"a":' * 100_000},
        {"charlm": '{"format": "charlm", "version": ' + "9" * 5000 + "}"},
    ],
    ids=lambda metadata: str(metadata)[:40],
)
def test_another_programs_safetensors_file_is_refused(tmp_path, metadata):
    path = tmp_path / "m.safetensors"
    path.write_bytes(to_bytes({"layer0.W": np.zeros((3, 4), np.float32)}, metadata=metadata))
    assert str(path) in refusal_of(path)


@pytest.mark.parametrize("version", [4, 99, 10**30])
def test_a_newer_version_asks_for_an_upgrade(model_file, version):
    rewrite(model_file, lambda ours: ours.update(version=version))
    assert f"version {version} is newer" in refusal_of(model_file)


@pytest.mark.parametrize("version", [0, -1, False, 1.5])
def test_a_version_that_there_never_was_is_refused(model_file, version):
    rewrite(model_file, lambda ours: ours.update(version=version))
    refusal_of(model_file)


@pytest.mark.parametrize("core", ["v4", "numpy", "cuda", "sve2"])
def test_the_core_of_a_training_stays_with_its_model(tmp_path, core):
    """Also that of a newer charlm, and although another core, which only read the model, writes it again."""
    save(tmp_path / "m", replace(language_model(), core=core))
    again = load(tmp_path / "m", OPS).language_model
    save(tmp_path / "again", again)
    assert again.core == core and (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


def test_a_model_that_names_no_core_stays_so(tmp_path):
    """Those of older releases."""
    save(tmp_path / "m", language_model())
    assert "core" not in json.loads(parts_of(tmp_path / "m")[0]["__metadata__"]["charlm"])
    assert load(tmp_path / "m", OPS).language_model.core is None


@pytest.mark.parametrize("core", ["", 4, True, ["v4"], {}, "v 4", "\x1b[2J", "v4\n", "v" * 1000])
@pytest.mark.parametrize("file", ["model_file", "checkpoint_file"])
def test_a_core_that_is_not_a_name_is_refused(request, file, core):
    path = request.getfixturevalue(file)
    rewrite(path, lambda ours: ours.update(core=core))
    assert "the core is not a name" in refusal_of(path)


RUN = RunRecord(["a.txt"], "b", 9, 2, "the", [{"step": 2, "text": "the cat"}], "c", {"accuracy": 0.5, "tokens": 3})


def test_what_is_known_of_a_training_stays_with_its_model(tmp_path):
    save(tmp_path / "m", replace(language_model(), run=RUN))
    assert load(tmp_path / "m", OPS).language_model.run == RUN
    rewrite(tmp_path / "m", lambda ours: ours["run"].update(of_a_newer_charlm=[1]))
    assert load(tmp_path / "m", OPS).language_model.run == RUN


def test_a_model_without_a_record_of_its_training_stays_so(tmp_path):
    save(tmp_path / "m", language_model())
    assert "run" not in json.loads(parts_of(tmp_path / "m")[0]["__metadata__"]["charlm"])
    assert load(tmp_path / "m", OPS).language_model.run == RunRecord()


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    "run",
    [
        [],
        "x",
        {"corpus": "a.txt"},
        {"corpus": [1]},
        {"planned_steps": True},
        {"planned_steps": 1.5},
        {"sample_prompt": None},
        {"samples": [{"step": 1}]},
        {"samples": [{"step": "1", "text": "a"}]},
        {"samples": [{"step": 1, "text": 2}]},
        {"samples": ["a"]},
        {"test": {"accuracy": [1]}},
        {"test": []},
    ],
)
@pytest.mark.parametrize("file", ["model_file", "checkpoint_file"])
def test_a_malformed_record_of_a_training_is_refused(request, file, run):
    path = request.getfixturevalue(file)
    rewrite(path, lambda ours: ours.update(run=run))
    assert "the record of the run" in refusal_of(path)


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_without_a_unicode_form_holds_a_model_that_reads_text_as_it_is(model_file, version):
    rewrite(model_file, lambda ours: ours.update(version=version, text={**ours["text"], "normalize": "nfkc"}))
    assert load(model_file, OPS).language_model.tokenizer.split("e\u0301\ufb01") == ["\u00e9", "f", "i"]
    rewrite(model_file, lambda ours: ours.update(text={k: v for k, v in ours["text"].items() if k != "normalize"}))
    loaded = load(model_file, OPS).language_model
    assert loaded.text.normalize == loaded.tokenizer.splitter.normalize == "none"
    assert loaded.tokenizer.split("e\u0301\ufb01") == ["e", "\u0301", "\ufb01"]


@pytest.mark.parametrize("form", ["nfd", "NFC", "", None, 1, True, ["nfc"], {}])
def test_a_unicode_form_that_there_is_not_is_refused(model_file, form):
    rewrite(model_file, lambda ours: ours["text"].update(normalize=form))
    assert "--normalize" in refusal_of(model_file)


def set_key(key, value):
    return lambda ours: ours.update({key: value})


def set_field(part, key, value):
    return lambda ours: ours[part].update({key: value})


def not_refused(path, changes, use=lambda path: load(path, OPS)):
    """Damage a file in each of several ways, by name; give those that are not refused as they should be."""
    raw, wrong = path.read_bytes(), {}
    for name, change in changes.items():
        path.write_bytes(raw)
        rewrite(path, change)
        try:
            use(path)
            wrong[name] = "opens"
        except ModelFileError:
            refusal_of(path, use)
        except Exception as error:
            wrong[name] = repr(error)[:80]
    return wrong


ODD_VALUES = [None, 5, [], "", "x", [1], [[]], {"a": 1}]


@pytest.mark.parametrize("file", ["model_file", "checkpoint_file"])
@pytest.mark.parametrize("key", ["text", "model", "train", "vocabulary", "kind"])
def test_metadata_of_another_form_are_refused(request, file, key):
    changes = {f"{key} = {value!r}": set_key(key, value) for value in ODD_VALUES}
    assert not not_refused(request.getfixturevalue(file), changes)


@pytest.mark.parametrize("file", ["model_file", "checkpoint_file"])
def test_a_history_of_another_form_is_refused(request, file):
    """`inspect` draws it, and a resumed training adds to it."""
    values = [value for value in ODD_VALUES if value != []]
    changes = {f"history = {value!r}": set_key("history", value) for value in values}
    assert not not_refused(request.getfixturevalue(file), changes)


OUTCOME = Outcome(3.1, 40, 30, 2.5, "accuracy", 0.75, 100, 1000)


def test_the_outcome_and_the_figures_come_back(tmp_path):
    history = [{**HISTORY[0], "accuracy": 0.75}]
    lm = replace(language_model(history=history), outcome=OUTCOME)
    save(tmp_path / "m", lm)
    stored = load(tmp_path / "m", OPS).language_model
    assert (stored.outcome, stored.history) == (OUTCOME, history)


def test_an_outcome_of_another_form_is_refused(tmp_path):
    path = tmp_path / "m"
    save(path, replace(language_model(history=HISTORY), outcome=OUTCOME))
    wrong = [1, [], "good", {}, {**OUTCOME.to_dict(), "zebra": 1}]
    wrong += [{**OUTCOME.to_dict(), name: value} for name in ("baseline_nats", "steps") for value in (None, "1", True)]
    wrong += [{**OUTCOME.to_dict(), "figure_name": "zebra"}, {**OUTCOME.to_dict(), "valid_nats": 10**400}]
    assert not not_refused(path, {f"outcome = {value!r:.60}": set_key("outcome", value) for value in wrong})
    rows = [{**HISTORY[0], "accuracy": None}, {**HISTORY[0], "zebra": 1.0}]
    assert not not_refused(path, {f"{row}": set_key("history", [row]) for row in rows})


@pytest.mark.parametrize("file", ["model_file", "checkpoint_file"])
@pytest.mark.parametrize("key", ["text", "model", "train", "vocabulary", "history", "kind"])
def test_metadata_that_are_missing_are_refused(request, file, key):
    path = request.getfixturevalue(file)
    rewrite(path, lambda ours: ours.pop(key) and None)
    assert key in refusal_of(path)


@pytest.mark.parametrize("key", ["training", "corpus"])
def test_a_checkpoint_without_its_training_is_refused(checkpoint_file, key):
    rewrite(checkpoint_file, lambda ours: ours.pop(key) and None)
    refusal_of(checkpoint_file)


def test_a_checkpoint_with_another_training_is_refused(checkpoint_file):
    changes = {f"training = {value!r}": set_key("training", value) for value in [*ODD_VALUES, {}, {"step": 1}]}
    assert not not_refused(checkpoint_file, changes, load_and_go_on)


def without(name):
    return lambda ours: ours["training"].pop(name) and None


def test_a_checkpoint_whose_numbers_are_missing_or_none_is_refused(checkpoint_file):
    """Not by a KeyError when the training is to go on."""
    names = json.loads(parts_of(checkpoint_file)[0]["__metadata__"]["charlm"])["training"]
    assert {"step", "epoch", "index", "total_steps", "history", "sum_nats", "best_nats"} <= set(names)
    changes = {f"no {name}": without(name) for name in set(names) - set(LATER_NUMBERS)}
    changes |= {f"{name} = 'x'": set_field("training", name, "x") for name in names}
    changes |= {f"{name} = -1": set_field("training", name, -1) for name in ("step", "epoch", "index")}
    assert not not_refused(checkpoint_file, changes, load_and_go_on)


@pytest.mark.parametrize(
    "change",
    [
        set_field("model", "hidden_size", 4),
        set_field("model", "hidden_size", 1 << 20),
        set_field("model", "hidden_size", 10**400),
        set_field("model", "num_layers", 3),
        set_field("model", "num_layers", 1),
        set_field("model", "num_layers", 10**9),
        set_field("model", "cell", "gru"),
        set_field("model", "cell", "transformer"),
        set_field("model", "embedding_size", 3),
        set_field("model", "dense", [3]),
        set_field("model", "dense", 3),
        set_field("model", "dropout", 2),
        set_field("model", "dropout", 10**400),
        set_field("model", "dtype", "float64"),
        set_field("model", "dtype", "float16"),
        set_field("model", "zebra", 1),
        set_field("model", "vocabulary_size", len(TOKENS) + 1),
        set_field("text", "level", "byte"),
        set_field("train", "learning_rate", 10**400),
        lambda ours: ours["vocabulary"].append("zebra"),
        lambda ours: ours["vocabulary"].pop() and None,
        lambda ours: ours["vocabulary"].reverse(),
        lambda ours: ours["vocabulary"].__setitem__(3, "a"),
        lambda ours: ours["vocabulary"].__setitem__(3, ""),
        lambda ours: ours["vocabulary"].__setitem__(3, None),
        lambda ours: ours["vocabulary"].__setitem__(3, ["a"]),
    ],
)
def test_a_configuration_that_does_not_fit_its_arrays_is_refused(model_file, change):
    rewrite(model_file, change)
    assert str(model_file) in refusal_of(model_file)


def test_both_sizes_of_a_vocabulary_that_does_not_fit_are_named(model_file):
    rewrite(model_file, lambda ours: ours["vocabulary"].extend("xyz"))
    message = refusal_of(model_file)
    assert "12 names for a vocabulary_size of 9" in message


def rewrite_arrays(path, change):
    """Rewrite the arrays of a file by `change`, which edits the dictionary."""
    header, _ = parts_of(path)
    with safe_open(path, framework="np") as file:
        arrays = {name: file.get_tensor(name).copy() for name in file.keys()}  # noqa: SIM118
    change(arrays)
    path.write_bytes(to_bytes(arrays, metadata=header["__metadata__"]))
    write_parts(path, *parts_of(path))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda a: a.pop("layer1.W"), "layer1.W"),
        (lambda a: a.update(zebra=np.zeros(3, np.float32)), "zebra"),
        (lambda a: a.update({"head.b_y": a["head.b_y"][:, 0].copy()}), "head.b_y"),
        (lambda a: a.update({"layer1.W": np.ascontiguousarray(a["layer1.W"].T)}), "layer1.W"),
        (lambda a: a.update({"head.W_y": np.zeros((0, 3), np.float32)}), "head.W_y"),
        (lambda a: a.update({"head.W_y": a["head.W_y"].astype(np.float64)}), "head.W_y"),
        (lambda a: a.update({"head.W_y": a["head.W_y"].astype(np.float16)}), "head.W_y"),
        (lambda a: a.update({"head.W_y": a["head.W_y"].astype(np.int32)}), "head.W_y"),
        (lambda a: a["layer0.W"].__setitem__((1, 2), np.nan), "layer0.W"),
        (lambda a: a["layer0.W"].__setitem__((1, 2), np.inf), "layer0.W"),
        (lambda a: a["head.b_y"].__setitem__((8, 0), -np.inf), "head.b_y"),
    ],
)
def test_arrays_that_do_not_fit_are_named(model_file, change, what):
    rewrite_arrays(model_file, change)
    assert what in refusal_of(model_file)


ARRAY_DAMAGE = {
    "weights missing": lambda a: a.pop("weights/layer1.W"),
    "m missing": lambda a: a.pop("m/layer1.W"),
    "v missing": lambda a: a.pop("v/head.b_y"),
    "best missing": lambda a: a.pop("best/head.W_y"),
    "state missing": lambda a: a.pop("state/0"),
    "state misshapen": lambda a: a.update({"state/1": np.zeros((9, 9), np.float32)}),
    "m misshapen": lambda a: a.update({"m/head.b_y": np.zeros((2, 2), np.float32)}),
    "weights no numbers": lambda a: a["weights/layer0.W"].__setitem__((1, 2), np.nan),
    "best no numbers": lambda a: a["best/layer0.W"].__setitem__((1, 2), np.nan),
    "state no numbers": lambda a: a["state/0"].__setitem__((1, 1), np.nan),
    "one too many": lambda a: a.update(zebra=np.zeros(3, np.float32)),
}


@pytest.mark.parametrize("damage", ARRAY_DAMAGE)
def test_a_checkpoint_whose_arrays_do_not_fit_is_refused(checkpoint_file, damage):
    """All of a file is checked before it is used: not by a KeyError when the training is to go on."""
    rewrite_arrays(checkpoint_file, ARRAY_DAMAGE[damage])
    refusal_of(checkpoint_file, load_and_go_on)


def test_arrays_of_a_type_that_numpy_lacks_are_refused(model_file):
    """The same shapes in half of the bytes."""
    header, _ = parts_of(model_file)
    end = 0
    for name, entry in header.items():
        if name != "__metadata__":
            size = 2 * int(np.prod(entry["shape"]))
            entry.update(dtype="BF16", data_offsets=[end, end + size])
            end += size
    write_parts(model_file, header, b"\0" * end)
    refusal_of(model_file)


def test_what_is_not_damaged_goes_on(checkpoint_file):
    """The tests above refuse for the damage's sake."""
    load_and_go_on(checkpoint_file)
    rewrite(checkpoint_file, lambda ours: None)
    rewrite_arrays(checkpoint_file, lambda arrays: None)
    load_and_go_on(checkpoint_file)


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["model_file", "checkpoint_file"])
def test_a_file_that_is_cut_off_is_refused_wherever_it_is(request, file):
    path = request.getfixturevalue(file)
    raw = path.read_bytes()
    for size in [*range(0, len(raw), len(raw) // 40), len(raw) - 1]:
        path.write_bytes(raw[:size])
        refusal_of(path)
    path.write_bytes(raw + b"\0")
    refusal_of(path)


@pytest.mark.parametrize("at", [0, 3, 7, 8, 9, 10])
def test_the_first_bytes_matter(model_file, at):
    raw = bytearray(model_file.read_bytes())
    raw[at] ^= 0x40
    model_file.write_bytes(raw)
    refusal_of(model_file)


def mutants(raw, count, seed):
    """Damage a file in one place: bits flipped, bytes replaced, cut out, put in, doubled, or zeroed."""
    rng = np.random.default_rng(seed)
    (header,) = struct.unpack("<Q", raw[:8])
    for number in range(count):
        # most of the damage to the header, where there is most to go wrong
        at = int(rng.integers(0, len(raw) if number % 4 == 0 else 8 + header))
        length = int(rng.integers(1, 9))
        kind = number % 7
        if kind in (0, 1):
            flipped = bytes([raw[at] ^ (1 << int(rng.integers(8)))])
            yield raw[:at] + flipped + raw[at + 1 :]
        elif kind == 2:
            yield raw[:at] + rng.choice(list(b'0123456789-.eE"[]{},:antfu')).astype(np.uint8).tobytes() + raw[at + 1 :]
        elif kind == 3:
            yield raw[:at] + raw[at + length :]
        elif kind == 4:
            yield raw[:at] + raw[at : at + length] + raw[at:]
        elif kind == 5:
            yield raw[:at] + b"\0" * len(raw[at : at + length]) + raw[at + length :]
        else:
            yield raw[:at] + rng.bytes(length) + raw[at:]


def metadata_mutants(path, count, seed):
    """Damage the metadata alone and put the file together again around them, so that they are always reached."""
    rng = np.random.default_rng(seed)
    header, data = parts_of(path)
    text = header["__metadata__"]["charlm"]
    for number in range(count):
        at, length = int(rng.integers(0, len(text))), int(rng.integers(1, 6))
        put_in = ["", str(rng.choice(list('0123456789-.eE"[]{},:anul'))), text[at : at + length] * 2][number % 3]
        header["__metadata__"]["charlm"] = text[:at] + put_in + text[at + (1 if number % 3 == 1 else length) :]
        yield copy.deepcopy(header), data


def opened(path):
    """Open a file that may be damaged; give what it holds as comparable values, or None where it is refused."""
    try:
        stored = load(path, OPS)
    except ModelFileError as error:
        assert len(error.message.splitlines()) == 1 and error.message.isprintable() and error.hint
        return None
    lm = stored.language_model
    state = stored.training
    return (
        lm.model.config,
        weights_of(lm),
        lm.tokenizer.vocabulary.tokens,
        (lm.text, lm.train, lm.history),
        None if state is None else (state.numbers, bits(state.arrays), stored.corpus),
    )


@pytest.mark.parametrize("file", ["model_file", "checkpoint_file"])
def test_damage_is_refused_and_never_an_internal_error(request, file):
    path = request.getfixturevalue(file)
    raw, leaked, refused = path.read_bytes(), {}, 0
    damaged = path.with_name(f"damaged.{path.name}")
    writes = [partial(damaged.write_bytes, mutant) for mutant in mutants(raw, 220, seed=1)]
    writes += [partial(write_parts, damaged, *parts) for parts in metadata_mutants(path, 180, seed=2)]
    for number, write in enumerate(writes):
        write()
        try:
            refused += opened(damaged) is None
        except Exception as error:
            leaked.setdefault(repr(error)[:100], number)
    assert not leaked
    assert refused > 200


@pytest.mark.parametrize("file", ["model_file", "checkpoint_file"])
def test_damage_never_goes_unnoticed(request, file):
    """A file that opens holds what was saved: not another weight, token or setting."""
    path = request.getfixturevalue(file)
    raw, expected = path.read_bytes(), opened(path)
    assert expected is not None
    changed = []
    for number, mutant in enumerate(mutants(raw, 100, seed=3)):
        path.write_bytes(mutant)
        with contextlib.suppress(Exception):  # the test above is about those
            found = opened(path)
            if found is not None and found != expected:
                changed.append(number)
    assert changed == []
