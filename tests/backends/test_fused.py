"""Kernels that a device has of its own: a cell takes them if it has all that a step needs, and then nothing else."""

from collections import Counter

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.nn.build import build
from tests.gradcheck import config_of, make_model, random_batch
from tests.naive import sigma

BAR = 1e-13
CALLS: Counter[str] = Counter()


def lstm_step(s):
    """The equations as they stand, with what a device leaves where sequences may start."""
    CALLS["step"] += 1
    s.z += s.zx
    s.gates[...] = sigma(s.gates)
    s.z_c[...] = np.tanh(s.z_c)
    s.c_new[...] = s.z_u * s.z_c + s.z_f * s.c_old
    s.tanh_c[...] = np.tanh(s.c_new)
    s.a_new[...] = s.z_o * s.tanh_c
    if s.keep is not None:
        s.a_next[...] = s.a_new * s.keep
        s.c_new *= s.keep


def lstm_step_back(s):
    CALLS["step_back"] += 1
    keep = 1 if s.keep is None else s.keep
    da = s.back * keep + s.above
    dc = s.dc * keep + da * s.z_o * (1 - s.tanh_c**2)
    s.dz_o[...] = da * s.tanh_c * s.z_o * (1 - s.z_o)
    s.dz_u[...] = dc * s.z_c * s.z_u * (1 - s.z_u)
    s.dz_f[...] = dc * s.c_old * s.z_f * (1 - s.z_f)
    s.dz_c[...] = dc * s.z_u * (1 - s.z_c**2)
    s.dc[...] = dc * s.z_f


class WithKernels(NumpyBackend):
    """The processor, which plays a device with kernels for the lstm, and with some of those of a gru."""

    def __init__(self):
        super().__init__()
        gru = {f"gru_before_{name}": self.refuse for name in ("gates_step", "step", "step_back")}
        self.fused = {"lstm_step": lstm_step, "lstm_step_back": lstm_step_back, **gru}
        self.works = 0

    def refuse(self, *_):
        pytest.fail("a cell took a kernel, and one that it needs beside is missing")

    def recorded(self, work):
        def again():
            self.works += 1
            work()

        return again


def both(config, batch, passes=3):
    """Give the losses and gradients of some passes on the processor, and on one with kernels; and that device."""
    host = make_model(config, seed=4, scale=0.6)
    ops = WithKernels()
    device = build(config, ops)
    device.parameters.values[...] = host.parameters.values
    results = []
    for model in (host, device):
        ws, state, found = model.workspace(), model.zero_state(batch.lanes), []
        for _ in range(passes):
            loss, state = model.loss_and_grads(batch, state, ws)
            found += [np.array(loss), model.parameters.grads.copy(), *(leaf for layer in state for leaf in layer)]
        found.append(model.nats(batch, state, ws)[0])
        results.append(found)
    return (*results, ops)


@pytest.mark.parametrize("starts", [False, True])
def test_a_device_with_kernels_gives_the_same(starts):
    config = config_of("lstm", "", num_layers=2, hidden_size=4)
    batch = random_batch(config.vocabulary_size, 7, 3, np.random.default_rng(70), starts=starts)
    CALLS.clear()
    host, device, ops = both(config, batch)
    for one, other in zip(host, device, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=BAR)
    assert CALLS == {"step": 2 * 7 * 4, "step_back": 2 * 7 * 3}, "of two layers, four times and three times back"
    assert ops.works == 2 * (4 + 3), "all steps of a layer are one piece of work"


def test_a_device_that_lacks_one_is_asked_for_none():
    config = config_of("gru", "before", hidden_size=4)
    batch = random_batch(config.vocabulary_size, 5, 3, np.random.default_rng(71), starts=True)
    host, device, ops = both(config, batch)
    for one, other in zip(host, device, strict=True):
        np.testing.assert_array_equal(other, one)
    assert not ops.works
