"""Files for PyTorch: the lines that charlm prints load them, and find what charlm finds; other files are read."""

import json
import pickle

import numpy as np
import pytest

import charlm
from charlm import checkpoint
from charlm.errors import ModelFileError, UsageError
from charlm.exchange import formats
from charlm.exchange.options import SUFFIXES
from charlm.exchange.state_dict import Reading, read_vocabulary
from tests import forms
from tests.exchange.cases import CASES, check, model_of, padded, sequences_of
from tests.task_models import task_model

ABLE = [case for case in CASES if case != "before"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("torch")


def loaded(folder, monkeypatch, language_model):
    """Export a model, and return what the printed lines make of the file."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    path = folder / "model.safetensors"
    charlm.export(language_model, path)
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(formats.loading_code(language_model, path), names)
    return names["model"]


def whole(module, language_model):
    """Return a function of inputs that reads them in one call."""
    import torch

    nothing = module.embedding.num_embeddings - 1
    has_state = language_model.facts.body == "stack" and not language_model.model.config.bidirectional

    def log_probs(inputs):
        ids, lengths = (torch.from_numpy(one) for one in padded(inputs, nothing))
        with torch.no_grad():
            ids = torch.where(ids < 0, nothing, ids)
            return (module(ids)[0] if has_state else module(ids, lengths)).numpy()

    return log_probs


@forms.each("case", [case for case in ABLE if case != "classify, causal"], thinned=2)
def test_torch_finds_what_score_finds(folder, monkeypatch, times, case):
    language_model = model_of(case)
    module = loaded(folder, monkeypatch, language_model)
    for batch in (1, 8):
        check(sequences_of(language_model, times(17, 1000)), whole(module, language_model), batch=batch)


@forms.each("case", ["gru", "dense", "cloze", "classify", "classify, causal"])
def test_in_float64_they_agree_to_rounding(folder, monkeypatch, times, case):
    language_model = model_of(case, dtype="float64")
    module = loaded(folder, monkeypatch, language_model)
    check(sequences_of(language_model, times(9, 100)), whole(module, language_model), batch=4, within=1e-12)


def test_step_by_step(folder, monkeypatch, times):
    torch = pytest.importorskip("torch")
    for case in ("lstm", "gru", "rnn"):
        language_model = model_of(case)
        module = loaded(folder, monkeypatch, language_model)

        def log_probs(inputs, module=module):
            state, found = None, []
            for column in padded(inputs, 2)[0].T:
                ids = torch.from_numpy(column)[:, None] % module.embedding.num_embeddings
                of_step, state = module(ids, state)
                found.append(of_step[:, 0].detach().numpy())
            return np.stack(found, axis=1)

        check(sequences_of(language_model, times(9, 1000)), log_probs, batch=8)


@forms.each("case", ABLE, thinned=3)
def test_a_file_comes_back_as_the_same_bytes(folder, case):
    for dtype in ("float32", "float64"):
        language_model = model_of(case, dtype=dtype)
        charlm.export(language_model, folder / "torch.safetensors")
        checkpoint.save(folder / "before.safetensors", language_model)
        checkpoint.save(folder / "after.safetensors", charlm.import_model(folder / "torch.safetensors"))
        assert (folder / "after.safetensors").read_bytes() == (folder / "before.safetensors").read_bytes()


def test_what_another_program_trained_further_comes_back(folder):
    """Weights that are tied or one-hot in charlm, and are not any more there."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    rng = np.random.default_rng(3)
    for case in ("lstm", "deep, tied", "large"):
        language_model, path = model_of(case), folder / "further.safetensors"
        charlm.export(language_model, path)
        with safe_open(path, framework="np") as file:
            metadata, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for name, array in arrays.items():
            array += rng.normal(0, 0.1, array.shape).astype(np.float32)
            if name == "embedding.weight":
                array[-1] = 0
        save_file(arrays, path, metadata)
        back = charlm.import_model(path)
        W_ih, table = arrays["rnn.weight_ih_l0"], arrays["embedding.weight"][:-1]
        named = back.model.parameters.named(back.model.parameters.values)
        if case == "deep, tied":
            assert not back.model.config.tie_weights
            assert np.array_equal(named["input.E"], table) and np.array_equal(
                named["head.W_y"], arrays["output.weight"]
            )
            continue
        # Blocks u, f, o, c here, i, f, g, o there.
        rows = np.concatenate([np.arange(5) + 5 * block for block in (0, 1, 3, 2)])
        W_x = named["input.E"].T if case == "large" else named["layer0.W"][:, 5:-1]
        assert np.allclose(W_x, (W_ih @ table.T)[rows], atol=1e-6)


def state_dict(cell="LSTM", *, tokens=9, size=6, hidden=6, layers=2, dtype=np.float32, nonlinearity=None, seed=1):
    """Return the arrays of a language model as a training script of PyTorch has them, and the module's options."""
    rng, blocks = np.random.default_rng(seed), {"LSTM": 4, "GRU": 3, "RNN": 1}[cell]
    shapes = {"encoder.weight": (tokens, size), "decoder.weight": (tokens, hidden), "decoder.bias": (tokens,)}
    for layer in range(layers):
        shapes |= {
            f"rnn.weight_ih_l{layer}": (blocks * hidden, hidden if layer else size),
            f"rnn.weight_hh_l{layer}": (blocks * hidden, hidden),
            f"rnn.bias_ih_l{layer}": (blocks * hidden,),
            f"rnn.bias_hh_l{layer}": (blocks * hidden,),
        }
    return {name: rng.uniform(-1, 1, shape).astype(dtype) for name, shape in shapes.items()}


TOKENS = ["the", "cat", "<unk>", "sees", "it", "<eos>", ".", "dog", "a"]


def saved(path, arrays):
    from safetensors.numpy import save_file

    save_file(arrays, path)
    return path


class TestStateDict:
    @pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN", "relu"])
    def test_a_model_of_pytorch_scores_as_it_does_there(self, tmp_path, cell):
        """Each sentence follows an end of a sentence, as in a stream of text."""
        torch = pytest.importorskip("torch")
        kind, options = ("RNN", {"nonlinearity": "relu"}) if cell == "relu" else (cell, {})
        arrays = state_dict(kind, dtype=np.float64)
        path = saved(tmp_path / "m.safetensors", arrays)
        model = charlm.import_model(path, TOKENS, activation="relu" if cell == "relu" else "tanh")
        assert model.is_stream and model.text.level == "word" and model.text.split == "whitespace"
        there = {name: torch.from_numpy(array) for name, array in arrays.items()}
        rnn = getattr(torch.nn, kind)(6, 6, 2, **options).double()
        rnn.load_state_dict({name.removeprefix("rnn."): one for name, one in there.items() if name.startswith("rnn.")})
        lines = ["the cat sees it .", "a zebra", ""]
        for line, score in zip(lines, charlm.score(model, lines), strict=True):
            ids = [TOKENS.index(word) if word in TOKENS else 2 for word in line.split()] + [5]
            y, _ = rnn(there["encoder.weight"][[5, *ids[:-1]]][:, None])
            logits = y[:, 0] @ there["decoder.weight"].T + there["decoder.bias"]
            nats = torch.nn.functional.cross_entropy(logits, torch.tensor(ids), reduction="sum").item()
            assert score.nats == pytest.approx(nats, abs=1e-10)

    def test_tied_weights_need_one_array(self, tmp_path):
        arrays = state_dict()
        del arrays["decoder.weight"]
        tied = charlm.import_model(saved(tmp_path / "m.safetensors", arrays), TOKENS)
        assert tied.model.config.tie_weights
        arrays["decoder.weight"] = arrays["encoder.weight"].copy()
        twice = charlm.import_model(saved(tmp_path / "n.safetensors", arrays), TOKENS)
        assert np.array_equal(tied.model.parameters.values, twice.model.parameters.values)
        del arrays["encoder.weight"]
        other = charlm.import_model(saved(tmp_path / "o.safetensors", arrays), TOKENS)
        assert np.array_equal(tied.model.parameters.values, other.model.parameters.values)

    def test_what_pytorch_saves_of_tied_weights(self, tmp_path):
        torch = pytest.importorskip("torch")
        from safetensors.torch import save_model

        module = torch.nn.ModuleDict(
            {"encoder": torch.nn.Embedding(9, 6), "rnn": torch.nn.LSTM(6, 6), "decoder": torch.nn.Linear(6, 9)}
        )
        module["decoder"].weight = module["encoder"].weight
        save_model(module, tmp_path / "m.safetensors")
        model = charlm.import_model(tmp_path / "m.safetensors", TOKENS)
        assert model.model.config.tie_weights
        row = model.model.parameters.value("input.E")[model.tokenizer.vocabulary.id_of("cat")]
        assert np.array_equal(row, module["encoder"].weight[1].detach().numpy())

    def test_missing_biases_are_zero_and_linear_layers_come_in_their_order(self, tmp_path):
        arrays = state_dict("GRU", hidden=5, size=3)
        arrays = {name: array for name, array in arrays.items() if "rnn.bias" not in name}
        arrays |= {"a.weight": np.ones((7, 4), "f"), "a.bias": np.ones(7, "f")}
        arrays |= {"b.weight": np.ones((4, 5), "f"), "b.bias": np.ones(4, "f")}
        arrays["decoder.weight"] = np.ones((9, 7), np.float32)
        model = charlm.import_model(saved(tmp_path / "m.safetensors", arrays), TOKENS, activation="relu")
        assert (model.model.config.dense, model.model.config.activation) == ((4, 7), "relu")

    def test_a_model_that_knows_no_unknown_token_never_expects_one(self, tmp_path):
        path = saved(tmp_path / "m.safetensors", state_dict())
        model = charlm.import_model(path, [*"abcdefgh", "\n"])
        assert model.text.level == "char" and model.tokenizer.vocabulary.tokens[2:] == tuple("abcdefgh")
        known, unknown = charlm.score(model, ["abba", "abbz"])
        assert known.oov == 0 and unknown.oov == 1 and unknown.nats > known.nats + 1000
        named = charlm.import_model(path, [*"abcdefghi"], eos="i", unk="a")
        assert named.tokenizer.vocabulary.tokens == ("<EOS>", "<UNK>", *"bcdefgh")

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"encoder.weight": None, "decoder.weight": None}, "0 embeddings with 6 columns"),
            ({"decoder.bias": None}, "2 embeddings with 6 columns"),
            ({"encoder.weight": None, "x.weight": np.zeros((9, 6), "f"), "x.bias": np.zeros(9, "f")}, "2 embeddings"),
            ({"rnn.weight_hh_l1": None}, "'rnn.weight_hh_l1' is missing"),
            ({"rnn.weight_ih_l0_reverse": np.zeros((24, 6), "f")}, "of a second direction"),
            ({"rnn.weight_hr_l0": np.zeros((6, 6), "f")}, "unexpected array rnn.weight_hr_l0"),
            ({"other.weight_hh_l0": np.zeros((6, 6), "f")}, "2 recurrent modules"),
            ({"decoder.bias": np.zeros(9, "i4")}, "decoder.bias is int32"),
            ({"norm.scale": np.zeros(9, "f")}, "unexpected array norm.scale"),
            ({"encoder.weight": np.full((9, 6), np.nan, "f")}, "NaN or infinity"),
        ],
    )
    def test_other_layers_are_refused_by_name(self, tmp_path, change, named):
        arrays = {name: array for name, array in (state_dict() | change).items() if array is not None}
        with pytest.raises(ModelFileError, match=named) as error:
            charlm.import_model(saved(tmp_path / "m.safetensors", arrays), TOKENS)
        assert error.value.hint

    @pytest.mark.parametrize(
        ("tokens", "options", "named"),
        [
            (TOKENS[:-1], {}, "the vocabulary has 8 tokens, .* has 9"),
            ([*TOKENS[:-1], "the"], {}, "the token 'the' 2 times"),
            ([*TOKENS[:-1], ""], {}, "empty token"),
            ([*"abcdefghi"], {}, "no token for the end of a sentence"),
            (TOKENS, {"unk": "<UNK"}, "--unk '<UNK' is not in the vocabulary"),
            (TOKENS, {"level": "char"}, "--level char, but 'the' is a token"),
        ],
    )
    def test_a_vocabulary_that_does_not_fit_is_refused(self, tmp_path, tokens, options, named):
        with pytest.raises(UsageError, match=named) as error:
            charlm.import_model(saved(tmp_path / "m.safetensors", state_dict()), tokens, **options)
        assert error.value.hint

    def test_what_needs_no_vocabulary_or_lacks_one(self, tmp_path, folder):
        path = saved(tmp_path / "m.safetensors", state_dict())
        with pytest.raises(UsageError, match="no vocabulary in"):
            charlm.import_model(path)
        checkpoint.save(path, task_model("lm"))
        with pytest.raises(UsageError, match="is a model of charlm"):
            charlm.import_model(path)
        charlm.export(task_model("lm"), path)
        with pytest.raises(UsageError, match="a vocabulary for"):
            charlm.import_model(path, TOKENS)
        for start in (pickle.dumps({}), b"PK\x03\x04 and more of a zip"):
            path.write_bytes(start)
            with pytest.raises(ModelFileError, match="format of pickle") as error:
                charlm.import_model(path)
            assert "save_model" in error.value.hint
        path.write_bytes(b"something else")
        with pytest.raises(ModelFileError, match="neither an ONNX nor a safetensors file"):
            charlm.import_model(path)
        with pytest.raises(ModelFileError, match="No such file"):
            charlm.import_model(tmp_path / "missing")


class TestVocabulary:
    def test_a_file_of_lines_or_of_json(self, tmp_path):
        lines, listed, ids = tmp_path / "v.txt", tmp_path / "v.json", tmp_path / "ids.json"
        lines.write_bytes(b"the\r\n\\n\n\\\\\n\xc3\xa9\n")
        assert read_vocabulary(lines) == ["the", "\n", "\\", "é"]
        listed.write_text(json.dumps(["the", "\n"]))
        ids.write_text(json.dumps({"\n": 1, "the": 0}))
        assert read_vocabulary(listed) == read_vocabulary(ids) == ["the", "\n"]

    @pytest.mark.parametrize("text", ["{", "3", "[1]", '{"a": 1}', '{"a": "b"}', "[" * 100_000])
    def test_json_of_another_kind_is_refused(self, tmp_path, text):
        path = tmp_path / "v.json"
        path.write_text(text)
        with pytest.raises(UsageError, match="not a vocabulary"):
            read_vocabulary(path)
        with pytest.raises(UsageError, match="cannot read"):
            read_vocabulary(tmp_path / "missing")


def test_what_torch_has_no_module_for_is_refused_by_name(tmp_path):
    for network, named in (
        ({"cell": "gru", "reset": "before"}, "torch.nn has no operator for --cell gru --reset before"),
        ({"cell": "lstm-peephole"}, "torch.nn has no operator for --cell lstm-peephole"),
    ):
        with pytest.raises(UsageError, match=named):
            charlm.export(task_model("lm", **network), tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match="--signature step with --to torch"):
        charlm.export(task_model("lm"), tmp_path / "m", to="torch", signature="step")
    with pytest.raises(UsageError, match="unknown format"):
        charlm.export(task_model("lm"), tmp_path / "m.bin")
    with pytest.raises(UsageError, match="--show with --to onnx"):
        formats.loading_code(task_model("lm"), tmp_path / "m.onnx")


def test_the_defaults_of_a_reading_are_those_of_the_command():
    assert Reading(()) == Reading((), None, "stream", "tanh", None, None)


@forms.each("number", range(0x70, 0x90), thinned=8)
def test_a_header_of_any_length_is_no_pickle(tmp_path, number):
    """The first byte of a safetensors file is the length of its header, and that of a pickle is 0x80."""
    path = tmp_path / "m.safetensors"
    language_model = task_model("lm")
    charlm.export(language_model, path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    wanted = length + (number - length) % 256
    path.write_bytes(
        wanted.to_bytes(8, "little") + data[8 : 8 + length] + b" " * (wanted - length) + data[8 + length :]
    )
    back = charlm.import_model(path)
    assert np.array_equal(back.model.parameters.value("head.b_y"), language_model.model.parameters.value("head.b_y"))


def test_every_format_has_a_suffix():
    assert list(formats.FORMATS) == list(SUFFIXES)
    assert len(set(SUFFIXES.values())) == len(SUFFIXES)
