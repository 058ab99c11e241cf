"""ONNX files: a runtime finds what charlm finds, whatever the model, the batch and the signature."""

import json

import numpy as np
import pytest

import charlm
from charlm import checkpoint
from charlm.errors import ModelFileError, UsageError
from charlm.exchange import formats
from charlm.text import NOTHING
from tests import forms
from tests.exchange.cases import CASES, check, model_of, padded, sequences_of
from tests.task_models import task_model

onnx = pytest.importorskip("onnx")
LM = [case for case in CASES if CASES[case][0] in ("lm", "conditioned", "large")]


def session(path):
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx")


def exported(folder, case, signature="sequence", **network):
    language_model, path = model_of(case, **network), folder / "model.onnx"
    charlm.export(language_model, path, signature=signature)
    return language_model, path


def zeros(runtime, batch):
    """Return the states before the first step, by name."""
    states = [one for one in runtime.get_inputs() if one.name.startswith("state_")]
    return {one.name: np.zeros((one.shape[0], batch, one.shape[2]), np.float32) for one in states}


def whole(runtime, padding=NOTHING):
    """Return a function of inputs that reads them in one call."""

    def log_probs(inputs):
        ids, lengths = padded(inputs, padding)
        return runtime.run(["log_probs"], {"tokens": ids, "lengths": lengths, **zeros(runtime, len(ids))})[0]

    return log_probs


@forms.each("case", CASES, thinned=2)
def test_a_runtime_finds_what_score_finds(folder, times, case):
    language_model, path = exported(folder, case)
    runtime, sequences = session(path), sequences_of(language_model, times(17, 1000))
    for batch in (1, 8):
        check(sequences, whole(runtime, padding=2), batch=batch)


@forms.each("case", [*LM, "tag, causal"], thinned=4)
def test_step_by_step(folder, times, case):
    """The states that come out of a step go into the next one."""
    language_model, path = exported(folder, case, "step")
    runtime = session(path)
    outputs = [one.name for one in runtime.get_outputs()]

    def log_probs(inputs):
        ids, _ = padded(inputs, 2)
        states, found = zeros(runtime, len(ids)), []
        for column in ids.T:
            of_step, *after = runtime.run(outputs, {"token": column, **states})
            states = {name.removeprefix("next_"): one for name, one in zip(outputs[1:], after, strict=True)}
            found.append(of_step)
        return np.stack(found, axis=1)

    for batch in (1, 8):
        check(sequences_of(language_model, times(9, 1000)), log_probs, batch=batch)


def test_a_sequence_in_two_parts_is_that_sequence(folder):
    """Lanes of other lengths have the states after their own last token."""
    _, path = exported(folder, "lstm")
    runtime = session(path)
    ids = np.array([[4, 2, 3, 2], [2, 0, 0, 0]])
    states = zeros(runtime, 2)
    together, *after = runtime.run(None, {"tokens": ids, "lengths": np.array([4, 1]), **states})
    one, *between = runtime.run(None, {"tokens": ids[:, :1], "lengths": np.array([1, 1]), **states})
    names = [one.name.removeprefix("next_") for one in runtime.get_outputs()[1:]]
    first = {name: state[:, :1] for name, state in zip(names, between, strict=True)}
    other, *last = runtime.run(None, {"tokens": ids[:1, 1:], "lengths": np.array([3]), **first})
    assert np.allclose(np.concatenate([one[0], other[0]]), together[0], atol=1e-6)
    for state, middle, whole_state in zip(last, between, after, strict=True):
        assert np.allclose(state[:, 0], whole_state[:, 0], atol=1e-6)
        assert np.allclose(middle[:, 1], whole_state[:, 1], atol=1e-6)


def test_the_first_input_is_nothing_under_two_ids(folder):
    """The row of zeros is the last one, which a negative id also names."""
    _, path = exported(folder, "gru")
    facts = {one.key: one.value for one in onnx.load(path).metadata_props}
    tokens = json.loads(facts["vocabulary"])
    assert tokens[:3] == ["<EOS>", "<UNK>", "a"] and int(facts["first_id"]) == len(tokens)
    assert (facts["task"], facts["signature"]) == ("lm", "sequence")
    runtime = session(path)
    lengths = np.array([1])
    found = [
        runtime.run(["log_probs"], {"tokens": np.array([[i]]), "lengths": lengths, **zeros(runtime, 1)})[0]
        for i in (NOTHING, len(tokens), 2)
    ]
    assert np.array_equal(found[0], found[1]) and not np.allclose(found[0], found[2])


@forms.each("case", CASES, thinned=3)
def test_a_file_is_valid_and_comes_back_as_the_same_bytes(folder, case):
    for signature in ("sequence", "step", "sherpa") if case == "lstm" else ("sequence",):
        dtype = "bfloat16" if signature == "step" else "float32"
        language_model, path = exported(folder, case, signature, dtype=dtype)
        onnx.checker.check_model(onnx.load(path), full_check=True)
        checkpoint.save(folder / "before.safetensors", language_model)
        checkpoint.save(folder / "after.safetensors", charlm.import_model(path))
        assert (folder / "after.safetensors").read_bytes() == (folder / "before.safetensors").read_bytes()
        before = path.read_bytes()
        charlm.export(language_model, path, signature=signature)
        assert path.read_bytes() == before


def test_weights_of_float64_are_rounded(folder):
    language_model, path = exported(folder, "gru", dtype="float64")
    check(sequences_of(language_model, 9), whole(session(path)), batch=8)
    back = charlm.import_model(path)
    assert back.model.config.dtype == "float32"
    before, after = (one.model.parameters for one in (language_model, back))
    for name in before.shapes:
        assert np.array_equal(after.value(name), before.value(name).astype(np.float32))


@pytest.mark.parametrize("case", ["lstm", "gru"])
def test_sherpa_onnx_finds_its_signature(folder, case):
    """Its C++ source reads inputs and outputs by place, the two states by `num_layers` and `hidden_size`."""
    language_model, path = exported(folder, case, "sherpa")
    runtime = session(path)
    shape = [2, "N", 5]
    assert [(one.name, one.type, one.shape) for one in runtime.get_inputs()] == [
        ("x", "tensor(int64)", ["N", "L"]),
        ("h0", "tensor(float)", shape),
        ("c0", "tensor(float)", shape),
    ]
    assert [(one.name, one.type, one.shape) for one in runtime.get_outputs()] == [
        ("log_softmax", "tensor(float)", ["N", "L", 5]),
        ("next_h0", "tensor(float)", shape),
        ("next_c0", "tensor(float)", shape),
    ]
    facts = runtime.get_modelmeta().custom_metadata_map
    numbers = {key: int(facts[key]) for key in ("num_layers", "hidden_size", "sos_id", "eos_id", "vocab_size")}
    assert numbers == {"num_layers": 2, "hidden_size": 5, "sos_id": 5, "eos_id": 0, "vocab_size": 5}
    assert facts["model_type"] == "rnnlm"

    def log_probs(inputs):
        # As sherpa-onnx does: sos first, then each token in a call of its own.
        state = [np.zeros((2, 1, 5), np.float32)] * 2
        found = []
        for token in [numbers["sos_id"], *inputs[0][1:]]:
            of_token, *state = runtime.run(
                None, dict(zip(("x", "h0", "c0"), (np.array([[token]]), *state), strict=True))
            )
            found.append(of_token[0, 0])
        return np.stack(found)[None]

    check(sequences_of(language_model, 5), log_probs, batch=1)


@pytest.mark.parametrize(
    ("kind", "network", "named"),
    [
        ("lm", {"cell": "lstm-peephole"}, "ONNX has no operator for --cell lstm-peephole"),
        ("lm", {"relevance_gate": True}, "ONNX has no operator for --cell lstm --relevance-gate"),
        ("lm", {"cell": "gru", "reset": "both"}, "ONNX has no operator for --cell gru --reset both"),
        ("lm", {"softmax": "adaptive"}, "charlm export does not work with --softmax adaptive"),
        ("translate", {}, "charlm export does not work with a --task translate model"),
        ("music", {}, "charlm export does not work with a --task music model"),
    ],
)
def test_what_has_no_operator_is_refused_by_name(tmp_path, kind, network, named):
    with pytest.raises(UsageError, match=named) as refused:
        charlm.export(task_model(kind, **network), tmp_path / "m.onnx")
    assert refused.value.hint and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "signature"),
    [("cloze", "step"), ("tag", "step"), ("classify", "step"), ("conditioned", "sherpa"), ("tag", "sherpa")],
)
def test_a_signature_that_does_not_fit_is_refused(tmp_path, kind, signature):
    network = {"bidirectional": False} if kind == "tag" and signature == "sherpa" else {}
    with pytest.raises(UsageError, match=f"--signature {signature} with a"):
        charlm.export(task_model(kind, **network), tmp_path / "m.onnx", signature=signature)


class TestDamage:
    @pytest.fixture
    def file(self, folder):
        _, path = exported(folder, "gru-simple")
        return onnx.load(path)

    def refused(self, file, tmp_path, named):
        path = tmp_path / "damaged.onnx"
        path.write_bytes(file if isinstance(file, bytes) else file.SerializeToString())
        with pytest.raises(ModelFileError, match=named) as error:
            formats.import_from(path)
        assert error.value.hint

    def test_a_foreign_file(self, file, tmp_path):
        del file.metadata_props[:]
        self.refused(file, tmp_path, "was not written by charlm export")
        self.refused(b"no protobuf", tmp_path, "not in the ONNX format")
        with pytest.raises(ModelFileError, match="No such file"):
            formats.import_from(tmp_path / "missing.onnx")

    def test_a_constant_that_is_missing_or_another(self, file, tmp_path):
        constants = {one.name: one for one in file.graph.initializer}
        array = onnx.numpy_helper.to_array(constants["rnn.layer0.B"]).copy()
        array[0, 5] = 0.0
        constants["rnn.layer0.B"].CopyFrom(onnx.numpy_helper.from_array(array, "rnn.layer0.B"))
        self.refused(file, tmp_path, "its reset gate is in use")
        array = onnx.numpy_helper.to_array(constants["embedding"]).copy()
        array[-1, 0] = 1.0
        constants["embedding"].CopyFrom(onnx.numpy_helper.from_array(array, "embedding"))
        self.refused(file, tmp_path, "the last row of the embedding is not zero")
        constants["output.b"].name = "other"
        self.refused(file, tmp_path, r"'output\.b' is missing")

    def test_facts_that_are_none(self, file, tmp_path):
        (facts,) = (one for one in file.metadata_props if one.key == "charlm_header")
        header = json.loads(facts.value)
        for value, named in (
            ("[]", "not a header"),
            ("{", "damaged file"),
            (json.dumps({**header, "version": 99}), "version 99 is newer"),
            (json.dumps({**header, "model": {**header["model"], "hidden_size": 6}}), "damaged file"),
            (json.dumps({**header, "model": {**header["model"], "cell": "lstm-peephole"}}), "no operator"),
            (json.dumps({**header, "task": "tag"}), "two tasks"),
        ):
            facts.value = value
            self.refused(file, tmp_path, named)

    def test_weights_that_are_not_finite(self, file, tmp_path):
        (bias,) = (one for one in file.graph.initializer if one.name == "output.b")
        bias.CopyFrom(onnx.numpy_helper.from_array(np.full(5, np.nan, np.float32), "output.b"))
        self.refused(file, tmp_path, "contains NaN or infinity")


class TestTokens:
    """The ids of an acoustic model, for sherpa-onnx."""

    def test_a_file_in_other_ids_finds_the_same(self, folder):
        tokens = folder / "tokens.txt"
        tokens.write_text("<blk> 0\n<sos/eos> 1\nc 2\n 3\nzebra 4\na 5\nb 6\n")
        ours = np.array([1, 0, 4, 1, 1, 2, 3])
        for case in ("lstm", "stream"):
            language_model, plain = model_of(case), folder / "plain.onnx"
            charlm.export(language_model, plain, signature="sherpa")
            charlm.export(language_model, folder / "model.onnx", signature="sherpa", tokens=tokens)
            theirs = session(folder / "model.onnx")
            facts = theirs.get_modelmeta().custom_metadata_map
            assert (facts["vocab_size"], facts["eos_id"]) == ("7", "1")
            assert facts["sos_id"] == ("1" if case == "stream" else "7")
            zero = np.zeros((2, 1, 5), np.float32)
            x = np.array([[int(facts["sos_id"]), 5, 4, 2]])
            first = 0 if case == "stream" else 5
            found = theirs.run(None, {"x": x, "h0": zero, "c0": zero})
            wanted = session(plain).run(None, {"x": np.array([[first, 2, 1, 4]]), "h0": zero, "c0": zero})
            assert np.array_equal(found[0], wanted[0][..., ours]) and np.array_equal(found[1], wanted[1])
            onnx.checker.check_model(onnx.load(folder / "model.onnx"), full_check=True)
            back = charlm.import_model(folder / "model.onnx").model.parameters
            for name in back.shapes:
                assert np.array_equal(back.value(name), language_model.model.parameters.value(name))

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("a 0\nb\n", "no token and id, .*, line 2"),
            ("a 0\nb 2\n", "the ids are not 0, 1, 2"),
            ("", "the ids are not"),
            ("x 0\ny 1\n", "knows none of the tokens"),
            ("a 0\nb 1\n", "no token ends a sentence"),
        ],
    )
    def test_a_file_of_another_kind_is_refused(self, tmp_path, text, named):
        tokens = tmp_path / "tokens.txt"
        tokens.write_text(text)
        language_model = model_of("stream")
        with pytest.raises(UsageError, match=named) as refused:
            charlm.export(language_model, tmp_path / "m.onnx", signature="sherpa", tokens=tokens)
        assert refused.value.hint
        with pytest.raises(UsageError, match="--tokens with --signature step"):
            charlm.export(language_model, tmp_path / "m.onnx", signature="step", tokens=tokens)
        with pytest.raises(UsageError, match="--tokens with --to torch"):
            charlm.export(language_model, tmp_path / "m.safetensors", tokens=tokens)
        with pytest.raises(UsageError, match="cannot read"):
            charlm.export(language_model, tmp_path / "m.onnx", signature="sherpa", tokens=tmp_path / "missing")
