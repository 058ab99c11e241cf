"""The values of units and gates: as the plain version of the equations, PyTorch's lstm, and every backend's scan."""

import numpy as np
import pytest

from charlm.nn.layer import Stack
from charlm.nn.recording import GATES, QUANTITIES, quantities_of, recorded
from charlm.text import NOTHING
from tests import forms, gradcheck, naive
from tests.compiled import BEST_CORE, compiled_backend
from tests.gradcheck import config_of, each_kind, make_model, one_hot_columns
from tests.task_batches import BODIES

IDS = np.array([NOTHING, 3, 1, 4, 1, 5, 0], np.int32)
V = 6


def run(model, ids=IDS):
    return recorded(model.encoder or model.body, ids, (model.encoder or model.body).zero_state(1), model.workspace())


def plain_gates(cell, variant, p, x, a, c):
    """Return the values of the gates at each step from the states before it, all [T, n]; without the candidate."""
    gates = naive.cut(p["W"], naive.GATES[cell, variant])
    peepholes = dict(zip("ufo", np.split(p["P"][:, 0], 3), strict=True)) if "P" in p else {}
    return {
        GATES[gate]: np.stack(
            [
                naive.sigma(naive.linear(W, a[t], x[t]) + peepholes.get(gate, 0.0) * (c[t] if gate in peepholes else 0))
                for t in range(len(x))
            ]
        )
        for gate, W in gates.items()
        if gate in "ufor"
    }


def before(states):
    return np.concatenate([np.zeros_like(states[:1]), states[:-1]])


@each_kind
def test_as_the_plain_version(cell, variant):
    """Both layers of a model: a, c and all gates; the candidate is what the new state needs it to be."""
    model = make_model(config_of(cell, variant, vocabulary_size=V), seed=4)
    p, (values, _) = model.parameters.named(model.parameters.values), run(model)
    assert set(values) == {(at, name) for at in (0, 1) for name in quantities_of(model.body.layers["layer0"].cell)}
    x = one_hot_columns(IDS[:, None], V)
    for layer in (0, 1):
        own = {name[7:]: value for name, value in p.items() if name.startswith(f"layer{layer}.")}
        zero = model.body.layers[f"layer{layer}"].zero_state(1)
        states = [naive.run(cell, variant, own, x[:t], zero)[1] for t in range(1, len(x) + 1)]
        a = np.stack([of_t[0][:, 0] for of_t in states])
        c = np.stack([of_t[-1][:, 0] for of_t in states])
        found = {name: values[layer, name] for at, name in values if at == layer}
        np.testing.assert_allclose(found["a"], a, rtol=0, atol=1e-12)
        if "c" in found:
            np.testing.assert_allclose(found["c"], c, rtol=0, atol=1e-12)
        gates = plain_gates(cell, variant, own, x[:, :, 0], before(a), before(c))
        assert set(gates) == set(found) - {"a", "c", "candidate"}
        for name, expected in gates.items():
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-12)
        if "candidate" in found:
            kept = found["forget"] if "forget" in found else 1 - found["update"]
            np.testing.assert_allclose(found["update"] * found["candidate"] + kept * before(c), c, rtol=0, atol=1e-12)
        x = found["a"][:, :, None]


def test_every_gate_has_a_name():
    assert {gate for gates in naive.GATES.values() for gate in gates} - {"a"} == set(GATES)
    assert set(QUANTITIES) == {"a", "c", *GATES.values()}


def test_states_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    model = make_model(config_of("lstm", "", vocabulary_size=V, hidden_size=9, dtype="float32"), seed=4)
    p, H = model.parameters.named(model.parameters.values), 9
    module = torch.nn.LSTM(V, H, num_layers=2)
    order = np.concatenate([np.arange(H) + "ufoc".index(gate) * H for gate in "ufco"])  # PyTorch's i, f, g, o
    with torch.no_grad():
        for layer in (0, 1):
            W = p[f"layer{layer}.W"][order]
            pieces = {"weight_ih": W[:, H:-1], "weight_hh": W[:, :H], "bias_ih": W[:, -1], "bias_hh": np.zeros(4 * H)}
            for name, ours in pieces.items():
                getattr(module, f"{name}_l{layer}").copy_(torch.tensor(ours))
        x = torch.tensor(one_hot_columns(IDS[:, None], V)[:, :, 0], dtype=torch.float32)
        values, _ = run(model)
        for t in range(1, len(x) + 1):
            _, (a, c) = module(x[:t])
            for layer in (0, 1):
                np.testing.assert_allclose(values[layer, "a"][t - 1], a[layer], rtol=0, atol=1e-5)
                np.testing.assert_allclose(values[layer, "c"][t - 1], c[layer], rtol=0, atol=1e-5)


@pytest.mark.parametrize("core", BEST_CORE)
@forms.each("body", ["lm", *(name for name in BODIES if name not in ("music", "genre", "spelled"))])
def test_as_the_scans_of_a_core(body, core, monkeypatch):
    """On the compiled core, whose own scan keeps no gates, the values are the same; the output is what it computes."""
    config = config_of("lstm", "", vocabulary_size=V, hidden_size=5, **BODIES.get(body, {}))
    plain = make_model(config, seed=4)
    with monkeypatch.context() as patch:
        patch.setattr(gradcheck, "OPS", compiled_backend(core))
        model = make_model(config, seed=4)
    ids = IDS[1:]
    (values, _), (expected, _) = run(model, ids), run(plain, ids)
    assert set(values) == set(expected)
    for key, array in values.items():
        np.testing.assert_allclose(array, expected[key], rtol=0, atol=1e-12)
    if isinstance(model.body, Stack) and "layer1" in model.body.layers and model.encoder is None:
        y, zero = ids[:, None], model.zero_state(1)
        for (name, layer), before_it in zip(model.body.layers.items(), zero, strict=True):
            y, _ = layer.forward(y, before_it, model.workspace().scope(name))
            if name == "layer1":
                break
        np.testing.assert_allclose(values[1, "a"], model.ops.numpy(y)[:, :, 0], rtol=0, atol=1e-12)


def test_towers_have_read_the_token_from_both_sides():
    """After the last token, the left half is the state that its tower ends in; so is the right half after the first."""
    model = make_model(config_of("gru", "after", vocabulary_size=V, **BODIES["cloze"]), seed=4)
    (values, _), H, towers = run(model, IDS[1:]), 3, model.body.layers["towers"]
    turned = np.append(IDS[1:], NOTHING).astype(np.int32)
    for side, ids, at, half in (("from_left", IDS, -1, slice(H)), ("from_right", turned, 0, slice(H, None))):
        layer = towers.parts[side]
        _, last = layer.forward(ids[:, None], layer.zero_state(1), model.workspace())
        tops = [of_layer[0][:, 0] for of_layer in last if of_layer]
        for number, top in enumerate(tops):
            np.testing.assert_allclose(values[number, "a"][at, half], top, rtol=0, atol=1e-12)
