"""Starting from another model's weights: what belongs to a token goes with its name, all else as it is."""

import numpy as np
import pytest

from charlm.errors import UsageError
from charlm.nn.transfer import transfer
from tests.gradcheck import config_of, each_kind, make_model

OLD, NEW = list("abcdef"), list("xfbyaz")  # f, b and a are in both
COMMON = [(5, 1), (1, 2), (0, 4)]
OWN = [0, 3, 5]


@pytest.mark.parametrize("largest", [(512, 512), (3, 3), (3, 512), (512, 3)], ids=str)
@pytest.mark.parametrize("embedding_size", [0, 3])
@each_kind
def test_common_tokens_behave_as_before(cell, variant, embedding_size, largest):
    """The function of the common tokens is the old one, and the others' weights are untouched."""
    options = {"embedding_size": embedding_size, "tie_weights": bool(embedding_size), "dense": (3,)}
    config = config_of(cell, variant, vocabulary_size=6, **options)
    source = make_model(config, seed=1, largest_one_hot=largest[0])
    target = make_model(config, seed=2, largest_one_hot=largest[1])
    before = {name: view.copy() for name, view in target.parameters.named(target.parameters.values).items()}
    source_before = source.parameters.values.copy()
    assert transfer(source, OLD, target, NEW) == 3
    np.testing.assert_array_equal(source.parameters.values, source_before)

    old, new = (np.array(ids, np.int32) for ids in zip(*COMMON, strict=True))
    texts = np.random.default_rng(3).integers(0, 3, (5, 4))
    outputs = []
    for model, ids in ((source, old), (target, new)):
        y, _ = model.body.forward(ids[texts], model.zero_state(4), model.workspace())
        outputs.append((y.copy(), model.head.W_y[ids] @ y + model.head.b_y[ids]))
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)

    after = target.parameters.named(target.parameters.values)
    for name in {"input.E", "head.W_y", "head.b_y"} & set(after):
        np.testing.assert_array_equal(after[name][OWN], before[name][OWN])
    if not embedding_size and "input.E" not in after:
        columns = 3 + np.array(OWN)
        np.testing.assert_array_equal(after["layer0.W"][:, columns], before["layer0.W"][:, columns])


def test_vocabularies_of_other_sizes_dropout_and_precision():
    source = make_model(config_of("lstm", "", vocabulary_size=6), seed=1)
    config = config_of("lstm", "", vocabulary_size=4, dropout=0.5, dtype="float32")
    target = make_model(config, seed=2)
    assert transfer(source, OLD, target, ["b", "?", "!", "c"]) == 2
    for name, ours, theirs in (("head.b_y", [0, 3], [1, 2]), ("layer1.W", slice(None), slice(None))):
        copied = source.parameters.value(name)[theirs].astype(np.float32)
        np.testing.assert_array_equal(target.parameters.value(name)[ours], copied)


@pytest.mark.parametrize("options", [{"hidden_size": 4}, {"num_layers": 1}, {"dense": (3,)}, {"embedding_size": 2}])
def test_networks_that_differ_are_refused(options):
    source, target = make_model(config_of("lstm", "")), make_model(config_of("lstm", "", **options))
    before = target.parameters.values.copy()
    with pytest.raises(UsageError) as caught:
        transfer(source, OLD, target, OLD)
    assert next(iter(options)).replace("_", " ") in caught.value.message and caught.value.hint
    np.testing.assert_array_equal(target.parameters.values, before)


def test_cells_that_differ_are_refused():
    with pytest.raises(UsageError, match="its cell is lstm, not gru"):
        transfer(make_model(config_of("lstm", "")), OLD, make_model(config_of("gru", "after")), OLD)
