"""A head that is added in one file: its class, its entry in the registry, and the record of a task that has it."""

from dataclasses import replace

import numpy as np
import pytest

import charlm as library
from charlm.config import ModelConfig
from charlm.nn.heads import HEADS, Head
from charlm.nn.workspace import columns_of, steps_of
from charlm.task import TASKS
from charlm.text.batches.lanes import Batch
from tests.gradcheck import BAR, make_model, model_errors

# ---- the toy


class Ordinal(Head):
    """P(y = k) = sigma(z_k) * prod of (1 - sigma(z_j)) for j < k; the last class takes what is left.

    The continuation-ratio model of ordered classes, with L = -ln P(target).
    """

    @property
    def blind_nats(self):
        return float(np.log(2.0)) * (self.outputs - 1)

    def loss_and_grad(self, y, targets, scale, ws):
        a, flat = columns_of(y, ws, "a"), targets.ravel()
        log_p, sigma = self._of(a, ws)
        at = np.flatnonzero(flat >= 0)
        loss = -log_p[flat[at], at].sum()
        # dL/dz_k is sigma(z_k) below the target, sigma(z_k) - 1 at the target, and 0 above it.
        k = np.arange(self.outputs)[:, None]
        d = np.where(k < flat, sigma, np.where(k == flat, sigma - 1.0, 0.0)) * scale
        d[-1] = 0.0
        self.g.add_product("W_y", d, a.T)
        self.g.add("b_y", d.sum(axis=1, keepdims=True))
        da = ws.columns("da", *a.shape)
        self.ops.matmul(self.W_y.T, d, out=da)
        return loss, steps_of(da, targets.shape[0])

    def nats(self, y, targets, ws, *, best=None):
        log_p, flat = self.log_probs(y, ws), targets.ravel()
        if best is not None:
            best[...] = log_p.argmax(axis=0).reshape(best.shape)
        found = -log_p[flat, np.arange(flat.size)].astype(np.float64)
        return np.where(flat >= 0, found, 0.0).reshape(targets.shape)

    def log_probs(self, y, ws):
        return self._of(columns_of(y, ws, "a"), ws)[0]

    def _of(self, a, ws):
        z = self.W_y @ a + self.b_y
        stops, goes_on = -np.logaddexp(0.0, -z), -np.logaddexp(0.0, z)
        stops[-1] = 0.0
        before = np.cumsum(goes_on, axis=0) - goes_on
        return stops + before, np.exp(-np.logaddexp(0.0, -z))


# ---- what is asked of it


@pytest.fixture(autouse=True)
def added(monkeypatch):
    monkeypatch.setitem(HEADS, "ordinal", Ordinal)
    monkeypatch.setitem(TASKS, "rate", replace(TASKS["classify"], name="rate", head="ordinal"))


def test_its_gradients_are_those_of_central_differences():
    config = ModelConfig(5, task="rate", labels=4, hidden_size=3, num_layers=1, dtype="float64")
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 4, (4, 3))
    targets[1, 0] = -1
    batch = Batch(rng.integers(0, 5, (4, 3), dtype=np.int32), targets.astype(np.int32))
    errors = model_errors(make_model(config), batch)
    assert max(errors.values()) < BAR, errors


def test_it_learns_is_saved_and_answers(tmp_path):
    """The class of a line is how often it has a b."""
    rng = np.random.default_rng(3)
    texts = ["".join(rng.permutation(list("b" * count + "a" * 3))) for count in rng.integers(0, 4, 300)]
    corpus = [f"{text.count('b')}\t{text}" for text in texts]
    model = library.train(corpus, task="rate", hidden_size=16, num_layers=1, max_steps=80, learning_rate=0.03)
    path = tmp_path / "rate.safetensors"
    library.save(model, path)
    again = library.load(path)
    assert type(again.model.head) is Ordinal
    found = list(library.predict(again, texts))
    assert sum(one.prediction == str(text.count("b")) for one, text in zip(found, texts, strict=True)) > 0.9 * len(
        texts
    )
    for one in found:
        assert sum(one.others["probs"].values()) == pytest.approx(1.0, abs=1e-5)
