"""From a configuration to a network: its layers, its first weights, and the two ways to feed one-hot tokens."""

import numpy as np
import pytest

from charlm.config import CELL_VARIANTS, ModelConfig
from charlm.nn import build as build_module
from charlm.nn.build import build, parameter_shapes
from charlm.nn.cells import CELLS, cell_class
from charlm.nn.dropout import Dropout
from charlm.nn.embedding import Embedding
from charlm.nn.recurrent import Recurrent
from tests.gradcheck import OPS, config_of, each_kind, leaves, make_model, random_batch, random_state


def values(model):
    return model.parameters.named(model.parameters.values)


def test_every_cell_of_the_configuration_is_there():
    assert {cell: list(variants) for cell, variants in CELLS.items()} == {
        cell: list(variants) for cell, variants in CELL_VARIANTS.items()
    }
    assert len({kind for variants in CELLS.values() for kind in variants.values()}) == 9


@each_kind
def test_the_configuration_chooses_the_cell(cell, variant):
    config = config_of(cell, variant)
    assert cell_class(config) is CELLS[cell][variant]
    model = build(config, OPS)
    recurrent = [layer for layer in model.body.layers.values() if isinstance(layer, Recurrent)]
    assert len(recurrent) == 2
    assert all(type(layer.cell) is CELLS[cell][variant] for layer in recurrent)


@pytest.mark.parametrize("cell", CELLS)
def test_the_first_variant_is_the_default(cell):
    assert cell_class(ModelConfig(5, cell=cell)) is next(iter(CELLS[cell].values()))


def test_layers_from_the_bottom_to_the_top():
    config = ModelConfig(9, num_layers=2, hidden_size=4, embedding_size=5, dense=(6, 3), dropout=0.2, activation="relu")
    model = build(config, OPS)
    expected = ["input", "input.dropout", "layer0", "layer0.dropout", "layer1", "layer1.dropout", "dense0", "dense1"]
    assert list(model.body.layers) == expected
    sizes = [(layer.n_in, layer.n_out) for layer in model.body.layers.values()]
    assert sizes == [(9, 5), (5, 5), (5, 4), (4, 4), (4, 4), (4, 4), (4, 6), (6, 3)]
    assert (model.body.n_in, model.body.n_out) == (9, 3)
    assert model.head.W_y.shape == (9, 3)
    assert [model.body.layers[name].activation for name in ("dense0", "dense1")] == ["relu", "relu"]
    places = [layer.place for layer in model.body.layers.values() if isinstance(layer, Dropout)]
    assert len(set(places)) == 3


def test_one_hot_tokens_are_not_dropped():
    """Dropout acts on the way up from each layer but the one-hot."""
    for largest in (4, 512):
        model = make_model(config_of("lstm", "", dropout=0.2), largest_one_hot=largest)
        layers = ["layer0", "layer0.dropout", "layer1", "layer1.dropout"]
        assert list(model.body.layers) == (["input", *layers] if largest == 4 else layers)
        places = [layer.place for layer in model.body.layers.values() if isinstance(layer, Dropout)]
        assert places == [2, 4]  # what the masks of a seed depend on
    assert not any(isinstance(x, Dropout) for x in build(config_of("lstm", ""), OPS).body.layers.values())


@pytest.mark.parametrize(("size", "one_hot"), [(512, True), (513, False)])
def test_the_largest_one_hot(size, one_hot):
    """The border is part of the file format: moving it makes old files unreadable."""
    assert build_module.LARGEST_ONE_HOT == 512
    model = build(config_of("gru", "after", vocabulary_size=size, num_layers=1), OPS)
    assert ("input" not in model.body.layers) == model.body.layers["layer0"].one_hot == one_hot
    names = ["layer0.W", "layer0.b_ca", "head.W_y", "head.b_y"]
    assert list(model.parameters.shapes) == (names if one_hot else ["input.E", *names])


@each_kind
def test_shapes_without_building(cell, variant):
    config = config_of(cell, variant, embedding_size=4, dense=(5, 4), tie_weights=True)
    model = build(config, OPS)
    assert parameter_shapes(config, OPS) == model.parameters.shapes
    assert {name: view.shape for name, view in values(model).items()} == model.parameters.shapes
    assert not model.parameters.values.any()  # no seed: zeros, to be read from a file


@each_kind
def test_layers_hold_views_of_the_vector(cell, variant):
    """A change of the flat vector is a change of what the layers compute with."""
    model = build(config_of(cell, variant, embedding_size=4, dense=(5,)), OPS, seed=1)
    p, layers = model.parameters, model.body.layers
    bound = {"input.E": layers["input"].table, "dense0.W": layers["dense0"].p["W"], "head.W_y": model.head.W_y}
    bound |= {f"layer{n}.{key}": view for n in (0, 1) for key, view in layers[f"layer{n}"].cell.p.items()}
    bound |= {"head.b_y": model.head.b_y, "dense0.b": layers["dense0"].p["b"]}
    assert set(bound) == set(p.shapes)
    p.values[...] = np.arange(p.values.size)
    for name, view in bound.items():
        assert np.shares_memory(view, p.values) and np.array_equal(view, p.value(name)), name


def test_tied_weights_are_one_view():
    model = build(config_of("lstm", "", embedding_size=3, tie_weights=True), OPS, seed=1)
    assert "head.W_y" not in model.parameters.shapes
    embedding = model.body.layers["input"]
    assert np.shares_memory(model.head.W_y, embedding.table) and model.head.W_y.shape == embedding.table.shape
    assert np.shares_memory(model.head.g["W_y"], embedding.g["E"])
    assert embedding.table.any()
    embedding.table[2, 1] = 42
    assert model.head.W_y[2, 1] == 42 == model.parameters.value("input.E")[2, 1]


class TestFirstWeights:
    @each_kind
    def test_the_seed_decides(self, cell, variant):
        config = config_of(cell, variant, embedding_size=4, dense=(5,), dtype="float32")
        one, same, other = (build(config, OPS, seed=seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one.parameters.values, same.parameters.values)
        for name in one.parameters.shapes:
            constant = name.endswith((".b", ".b_y", ".b_ca"))
            assert np.array_equal(one.parameters.value(name), other.parameters.value(name)) == constant, name
        assert one.parameters.values.dtype == np.float32 and np.isfinite(one.parameters.values).all()

    def test_both_dtypes_draw_the_same_numbers(self):
        single, double = (build(config_of("lstm", "", dtype=dtype), OPS, seed=3) for dtype in ("float32", "float64"))
        np.testing.assert_array_equal(single.parameters.values, double.parameters.values.astype(np.float32))

    @pytest.mark.parametrize("largest", [3, 512], ids=["look-up", "one-hot"])
    @each_kind
    def test_each_gates_recurrent_weights_are_orthogonal(self, cell, variant, largest, monkeypatch):
        """And no two of them the same."""
        monkeypatch.setattr(build_module, "LARGEST_ONE_HOT", largest)
        model = build(config_of(cell, variant, hidden_size=8), OPS, seed=4)
        blocks = [
            block
            for name in ("layer0.W", "layer1.W")
            for block in model.parameters.value(name)[:, :8].reshape(-1, 8, 8)
        ]
        assert len(blocks) == 2 * len(CELLS[cell][variant].gates)
        for block in blocks:
            np.testing.assert_allclose(block @ block.T, np.eye(8), rtol=0, atol=1e-13)
        assert len({block.tobytes() for block in blocks}) == len(blocks)

    @each_kind
    def test_biases_are_zero_but_the_candidates_and_forget_gates_open(self, cell, variant):
        model = build(config_of(cell, variant, hidden_size=4, dense=(3,)), OPS, seed=5)
        gates = CELLS[cell][variant].gates
        for name in ("layer0.W", "layer1.W"):
            for gate, bias in zip(gates, model.parameters.value(name)[:, -1].reshape(-1, 4), strict=True):
                if gate == gates[-1]:  # the candidate's: at random, so that a<1> is not zero
                    assert 0.0 < np.abs(bias).max() < 2.5
                else:
                    np.testing.assert_array_equal(bias, 1.0 if gate == "f" else 0.0)
        assert ("f" in gates) == cell.startswith("lstm")
        for name in {"layer0.b_ca", "layer1.b_ca", "dense0.b", "head.b_y"} & set(model.parameters.shapes):
            assert not model.parameters.value(name).any()

    def test_sizes_of_the_others(self):
        """Glorot's reach."""
        model = build(ModelConfig(40, hidden_size=30, num_layers=1, embedding_size=50, dense=(60,)), OPS, seed=6)
        reaches = {"head.W_y": 6 / (40 + 60), "dense0.W": 6 / (60 + 30)}
        views = {name: model.parameters.value(name) for name in reaches}
        for name, squared in reaches.items():
            reach, view = np.sqrt(squared), views[name]
            assert 0.95 * reach < np.abs(view).max() <= reach * (1 + 1e-6), name
            assert abs(view.mean()) < 0.1 * reach, name

    @pytest.mark.parametrize(
        ("network", "largest", "table", "first", "second"),
        [
            ({}, 512, None, 1.0, 3 / 30**0.5),
            ({}, 5, 1.0, None, 3 / 30**0.5),
            ({"embedding_size": 50}, 512, 0.1, 10 / 50**0.5, 3 / 30**0.5),
            ({"embedding_size": 30, "tie_weights": True}, 512, 0.1, 10 / 30**0.5, 3 / 30**0.5),
        ],
    )
    def test_the_inputs_of_the_gates_have_unit_variance(self, monkeypatch, network, largest, table, first, second):
        """Standard deviations of what begins as one-hot columns, an embedding, a tied one, and a layer's output."""
        monkeypatch.setattr("charlm.nn.build.LARGEST_ONE_HOT", largest)
        model = build(ModelConfig(60, hidden_size=30, **network), OPS, seed=6)
        if table is not None:
            assert model.parameters.value("input.E").std() == pytest.approx(table, rel=0.05)
        if first is not None:
            assert model.parameters.value("layer0.W")[:, 30:-1].std() == pytest.approx(first, rel=0.05)
        assert model.parameters.value("layer1.W")[:, 30:-1].std() == pytest.approx(second, rel=0.05)

    def test_a_new_model_knows_nothing(self):
        """Its loss is about that of a uniform guess."""
        for cell in CELLS:
            model = build(ModelConfig(50, cell=cell, hidden_size=32, dtype="float64"), OPS, seed=7)
            batch = random_batch(50, 20, 8, np.random.default_rng(80))
            nats, _ = model.nats(batch, model.zero_state(8), model.workspace())
            assert nats.sum() / batch.count == pytest.approx(np.log(50), abs=0.25)


@each_kind
def test_look_up_and_one_hot_are_one_function(cell, variant):
    """The same weights, fed in the two ways: the same losses, states and gradients."""
    V, H = 6, 3
    one_hot = make_model(config_of(cell, variant, vocabulary_size=V, hidden_size=H), seed=8)
    look_up = make_model(config_of(cell, variant, vocabulary_size=V, hidden_size=H), seed=9, largest_one_hot=V - 1)
    assert one_hot.body.layers["layer0"].one_hot
    assert isinstance(look_up.body.layers["input"], Embedding)
    assert set(look_up.parameters.shapes) == {"input.E", *one_hot.parameters.shapes}
    x_columns = slice(H, H + V)
    ours, theirs = values(one_hot), values(look_up)
    for name in ours:
        theirs[name][...] = np.delete(ours[name], x_columns, axis=1) if name == "layer0.W" else ours[name]
    theirs["input.E"][...] = ours["layer0.W"][:, x_columns].T

    batch, state = (
        random_batch(V, 5, 3, np.random.default_rng(81)),
        random_state(one_hot.body, 3, np.random.default_rng(82)),
    )
    results = []
    for model in (one_hot, look_up):
        given = state if model is one_hot else ((), *state)
        nats, after = model.nats(batch, given, model.workspace())
        log_probs, _ = model.next_log_probs(batch.inputs, given, model.workspace())
        loss, _ = model.loss_and_grads(batch, given, model.workspace())
        results.append([nats, log_probs, loss, *leaves(after)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)
    ours, theirs = (model.parameters.named(model.parameters.grads) for model in (one_hot, look_up))
    np.testing.assert_allclose(theirs["input.E"], ours["layer0.W"][:, x_columns].T, rtol=0, atol=1e-14)
    for name in ours:
        kept = np.delete(ours[name], x_columns, axis=1) if name == "layer0.W" else ours[name]
        np.testing.assert_allclose(theirs[name], kept, rtol=0, atol=1e-14)
