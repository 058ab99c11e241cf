"""Both sides of `make bench` compute the same: with the same weights, the same losses, gradients and probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from charlm import benchmark
from charlm.config import TrainConfig
from charlm.inference.scoring import Scorer
from charlm.text.batches.lanes import Batch
from tests.benchmarks.speed_cases import Case, lines_of

torch = pytest.importorskip("torch", reason="the speed is measured beside PyTorch: pip install '.[bench]'")

from tests.benchmarks.torch_forms import forms  # noqa: E402
from tests.benchmarks.torch_sampling import Sampling, network_of  # noqa: E402
from tests.benchmarks.torch_scoring import Scoring  # noqa: E402
from tests.benchmarks.torch_switches import switch  # noqa: E402
from tests.benchmarks.torch_training import Training  # noqa: E402

H, V, B, T = 8, 12, 4, 6
# Our blocks of rows in PyTorch's order, and -1 for its z, which is 1 - our u: sigma(-z) = 1 - sigma(z).
ORDER = {"lstm": (0, 1, 3, 2), "gru": (1, 0, 2), "rnn": (0,)}
SIGNS = {"lstm": (1, 1, 1, 1), "gru": (1, -1, 1), "rnn": (1,)}


@pytest.fixture(autouse=True)
def as_it_was():
    """PyTorch's switches are the process', and other tests run in it."""
    threads, onednn = torch.get_num_threads(), torch.backends.mkldnn.enabled
    yield
    torch.set_num_threads(threads)
    torch.backends.mkldnn.set_flags(_enabled=onednn)


def workload(case):
    network = {"cell": case.cell, "hidden_size": case.hidden, "embedding_size": case.embedding}
    config = TrainConfig(batch_size=case.batch, seq_length=case.steps)
    level = "word" if case.embedding else "char"
    return benchmark.synthetic_workload(network, level, config, vocabulary_size=case.vocabulary)


def in_their_order(W, case):
    """Return the rows of W in PyTorch's order, with its signs."""
    blocks = W.reshape(-1, case.hidden, W.shape[1])
    return np.concatenate([sign * blocks[at] for at, sign in zip(ORDER[case.cell], SIGNS[case.cell], strict=True)])


def as_theirs(arrays, case):
    """Return our arrays, values or gradients, under PyTorch's names; of its two biases, the first is ours."""
    theirs = {"output.weight": arrays["head.W_y"], "output.bias": arrays["head.b_y"][:, 0]}
    for number in range(2):
        W = in_their_order(arrays[f"layer{number}.W"], case)
        second = np.zeros(len(W), W.dtype)
        if f"layer{number}.b_ca" in arrays:
            second[-case.hidden :] = arrays[f"layer{number}.b_ca"][:, 0]
        own = {"weight_ih": W[:, case.hidden : -1], "weight_hh": W[:, : case.hidden], "bias_ih": W[:, -1]}
        theirs |= {f"layers.{name}_l{number}": array for name, array in (own | {"bias_hh": second}).items()}
    if case.embedding:
        theirs["embedding.weight"] = arrays["input.E"]
    return theirs


def modules_of(net):
    return torch.nn.ModuleDict({"embedding": net.embedding, "layers": net.layers, "output": net.output})


def copy_weights(model, net, case):
    parameters = model.parameters
    ours = as_theirs(parameters.named(parameters.values), case)
    with torch.no_grad():
        for name, parameter in modules_of(net).named_parameters():
            if name in ours:
                parameter.copy_(torch.tensor(np.ascontiguousarray(ours[name])))


@pytest.mark.parametrize("embedding", [0, 5])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_training_has_the_same_loss_and_gradients(cell, embedding):
    case = Case("train", cell, H, V, embedding, B, T)
    model = workload(case).language_model.model
    ids = np.random.default_rng(3).integers(0, V, (T + 1, B)).astype(np.int32)
    loss, _ = model.loss_and_grads(Batch(ids[:-1], ids[1:]), model.zero_state(B), model.workspace())
    wanted = as_theirs(model.parameters.named(model.parameters.grads), case)
    inputs, targets = torch.tensor(ids[:-1].astype(np.int64)), torch.tensor(ids[1:].astype(np.int64))
    for form in forms(case, 1):
        switch(form)
        net = Training(case, form)
        copy_weights(model, net, case)
        theirs = net.loss(inputs, targets)
        theirs.backward()
        assert theirs.item() == pytest.approx(loss / (B * T), rel=1e-5)
        learned = [(name, p) for name, p in modules_of(net).named_parameters() if p.grad is not None]
        got = {name: parameter.grad.numpy() for name, parameter in learned}
        for number in range(2):  # where the second bias is added to the first, its gradient is the same once more
            got[f"layers.bias_hh_l{number}"][: -H if cell == "gru" else None] = 0
        for name, gradient in got.items():
            np.testing.assert_allclose(gradient, wanted[name], rtol=1e-4, atol=1e-6, err_msg=f"{name}, {form}")
        norm = np.sqrt(sum(float((gradient.astype(np.float64) ** 2).sum()) for gradient in got.values()))
        assert norm == pytest.approx(model.ops.norm(model.parameters.grads), rel=1e-4)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_autocast_trains_nearly_alike_in_bfloat16(cell):
    """The loss is float32's to three digits, and not to six: products do run in bfloat16."""
    case = Case("train", cell, H, V, 5, B, T)
    inputs, targets = torch.randint(0, V, (2, T, B), generator=torch.Generator().manual_seed(3))
    losses = []
    for form in (forms(case, 1)[0], *forms(case, 1, "bfloat16"), *forms(replace(case, dtype="bfloat16"), 1)):
        switch(form)
        torch.manual_seed(1)
        net = Training(case, form)
        loss = net.loss(inputs, targets)
        loss.backward()
        assert all(p.grad is not None and p.grad.dtype == p.dtype == torch.float32 for p in net.parameters)
        losses.append(loss.item())
    assert losses[1:] == pytest.approx([losses[0]] * len(losses[1:]), rel=5e-3)
    assert all(abs(loss / losses[0] - 1) > 1e-7 for loss in losses[1:])


def test_scoring_has_the_same_log_probabilities():
    case = Case("score", "lstm", H, 30, 5, batch=16)
    work = replace(workload(case), lines=lines_of(case)[:50])
    ours = [score.nats for score in Scorer(work.language_model, batch_size=16).score(work.lines)]
    for form in forms(case, 1):
        switch(form)
        net = Scoring(case, form)
        copy_weights(work.language_model.model, net, case)
        np.testing.assert_allclose(net.score(work.lines), -np.array(ours), rtol=1e-5, err_msg=str(form))


def test_drawing_gives_the_same_tokens_in_every_form():
    case = Case("generate", "lstm", H, V)
    drawn = {}
    weights = Sampling(case, {}).state_dict()
    for form in forms(case, 1) + forms(case, 1, "TorchScript"):
        switch(form)
        net = Sampling(case, form)
        net.load_state_dict(weights)
        torch.manual_seed(5)
        drawn.setdefault(form["draw"], []).append(net.draw(60))
    for of_a_kind in drawn.values():
        assert all(ids == of_a_kind[0] for ids in of_a_kind)
        assert len(of_a_kind[0]) == 60 and len(set(of_a_kind[0])) > 5


@torch.inference_mode()
def logits_of(net):
    """Return the logits [1, V] after a token, from state 0."""
    zero = torch.zeros(2, 1, H, dtype=net.embedding.weight.dtype)
    state = (zero, zero) if net.form["net"] == "LSTM" else [(zero[0], zero[0])] * 2
    read = net._layers if net.form["net"] == "LSTM" else net._cells
    return net.output(read(net.embedding(torch.tensor([3])), state)[0])


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_rounded_weights_have_nearly_the_same_logits(precision):
    """The logits are those of float32 to a few hundredths, in every form; float32 is not rounded."""
    case = Case("generate", "lstm", H, V)
    chosen = forms(case, 1, "int8") if precision == "int8" else forms(replace(case, dtype=precision), 1)
    assert {form["precision"] for form in chosen} == {precision}
    for form in chosen:
        switch(form)
        exact, coarse = network_of(case, form | {"precision": "float32"}), network_of(case, form)
        assert 0 < float((logits_of(coarse) - logits_of(exact)).abs().max()) < 0.05
        assert len(coarse.draw(20)) == 20
