"""A cell that is added in one file: its facts, two methods, and its entries in the two registries."""

import numpy as np
import pytest

import charlm as library
from charlm.config import CELL_VARIANTS, ModelConfig
from charlm.nn.cells import CELLS
from charlm.nn.cells.base import Cell
from charlm.nn.grads import Grads
from charlm.nn.recurrent import Recurrent
from charlm.nn.workspace import Workspace
from tests.cuda import cupy_backend
from tests.gradcheck import OPS, check_alone, check_starts, holds, make_model, model_errors, random_batch, random_starts

# ---- the toy


class Leaky(Cell):
    """a' = (a + tanh(Gamma_u W_c [a, x])) / 2, with a memory of how often the gate was open: s' = s + Gamma_u."""

    name = "leaky"
    gates = ("u", "c")
    states = ("a", "s")
    kept = ("inner",)  # the product that the gate multiplies

    def step(self, W_a, z, zx, old, new, kept, tmp):
        z += zx
        self.ops.sigmoid(z[:1])
        kept[0][...] = z[1]
        z[1] *= z[0]
        np.tanh(z[1], out=z[1])
        np.add(old[0], z[1], out=new[0])
        np.multiply(new[0], 0.5, out=new[0])
        np.add(old[1], z[0], out=new[1])

    def step_back(self, W_a, z, old, kept, d, dz, tmp):
        da, ds = d
        np.multiply(da, 0.5, out=tmp)
        np.multiply(z[1], z[1], out=dz[1])  # of the argument of tanh: tmp (1 - tanh^2)
        np.subtract(1.0, dz[1], out=dz[1])
        dz[1] *= tmp
        np.multiply(dz[1], kept[0], out=dz[0])
        dz[0] += ds
        dz[0] *= z[0]
        np.subtract(1.0, z[0], out=da)
        dz[0] *= da
        dz[1] *= z[0]
        return tmp


# ---- what is asked of it


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(CELLS, "leaky", {"": Leaky})
    monkeypatch.setitem(CELL_VARIANTS, "leaky", {"": {}})


@pytest.mark.parametrize("check", [check_alone, check_starts])
def test_its_gradients_are_those_of_central_differences(check):
    holds(check("leaky", ""))


@pytest.mark.parametrize("options", [{}, {"embedding_size": 2}, {"task": "cloze", "bidirectional": True}], ids=str)
def test_so_are_those_of_a_model(options):
    config = ModelConfig(5, cell="leaky", hidden_size=3, num_layers=2, dtype="float64", **options)
    batch = random_batch(5, 4, 2, np.random.default_rng(4), starts=True)
    holds(model_errors(make_model(config), batch))


@pytest.mark.parametrize("make", [pytest.param(cupy_backend, marks=pytest.mark.cupy), lambda: OPS], ids=["cuda", "cpu"])
def test_it_runs_on_every_backend(make):
    ops, rng, found = make(), np.random.default_rng(5), []
    x, dy, starts = rng.normal(size=(5, 3, 2)), rng.normal(size=(5, 4, 2)), random_starts(5, 2, rng)
    for device in (OPS, ops):
        layer = Recurrent(Leaky(device, 3, 4))
        values = {"W": device.array(np.random.default_rng(6).normal(0, 0.5, layer.shapes()["W"]))}
        layer.bind(values, Grads({"W": device.zeros(values["W"].shape, "float64")}, device))
        ws = Workspace(device, "float64")
        y, _ = layer.forward(device.array(x), layer.zero_state(2), ws, starts=starts)
        y = device.numpy(y)
        dx, _ = layer.backward(device.array(dy), (), ws)
        found.append([y, device.numpy(dx), device.numpy(layer.cell.g["W"])])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-13)


def test_it_learns_is_saved_and_draws(tmp_path):
    lines = ["abab", "ababab", "ab"] * 30
    options = {"cell": "leaky", "hidden_size": 8, "num_layers": 1, "batch_size": 4, "seed": 1, "learning_rate": 0.03}
    model = library.train(lines, max_steps=80, **options)
    path = tmp_path / "leaky.safetensors"
    library.save(model, path)
    loaded = library.load(path)
    assert loaded.model.config.cell == "leaky"
    assert {library.generate(loaded, seed=seed) for seed in range(9)} & {"ab", "abab", "ababab"}
    likely, odd = (sum(one.nats for one in library.score(loaded, lines)) for lines in (["abab", "ab"], ["aabb", "ba"]))
    assert likely < odd / 2
