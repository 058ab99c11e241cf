"""Starting from another model: each token keeps its weights, whatever its id is and however tokens are fed."""

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.config import CELL_NAMES, ModelConfig
from charlm.errors import UsageError
from charlm.nn import build as build_module
from charlm.nn.build import build
from charlm.nn.transfer import Names
from charlm.nn.transfer import transfer as transfer_names
from tests.gradcheck import config_of, each_kind, make_model

OPS = NumpyBackend()
OLD = ("<EOS>", "<UNK>", "a", "b", "c", "d")
NEW = ("<EOS>", "<UNK>", "x", "c", "a", "y", "b", "z")
SHARED = [token for token in NEW if token in OLD]
LETTERS, OTHER_LETTERS = list("abcdef"), list("xfbyaz")  # f, b and a are in both
COMMON = [(5, 1), (1, 2), (0, 4)]
OWN = [0, 3, 5]
FORMS = {
    "one-hot": {},
    "embedding": {"embedding_size": 5},
    "tied": {"embedding_size": 4, "tie_weights": True},
    "dense": {"dense": (6, 3), "activation": "relu", "dropout": 0.2},
    "tied dense": {"embedding_size": 3, "dense": (6, 3), "tie_weights": True},
}


def transfer(source, old, target, new):
    """Transfer between plain language models; return the number of tokens that both have."""
    transfer_names(source, Names(old, old), target, Names(new, new))
    return len(set(old) & set(new))


def make(tokens, *, seed, looked_up=False, **options):
    """Build a model whose every weight is random; `looked_up`: as if the vocabulary were too large for one-hot."""
    base = {"cell": "lstm", "hidden_size": 4, "num_layers": 2, "dtype": "float64"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "LARGEST_ONE_HOT", 0 if looked_up else 512)
        model = build(ModelConfig(len(tokens), **{**base, **options}), OPS)
    rng = np.random.default_rng(seed)
    for view in model.parameters.named(model.parameters.values).values():
        view[...] = rng.normal(0, 0.7, view.shape)
    return model


def ids_of(tokens, text):
    return np.array([[-1], *([tokens.index(token)] for token in text)], np.int32)


def read(model, tokens, text):
    """Read a text; give the output of the body at each step, the state after, and the logits of the shared tokens."""
    y, state = model.body.forward(ids_of(tokens, text), model.zero_state(1), model.workspace())
    rows = [tokens.index(token) for token in SHARED]
    head = model.head
    logits = np.array([(head.W_y @ step + head.b_y)[rows, 0] for step in y])
    return y[:, :, 0].copy(), [leaf for layer in state for leaf in layer], logits


TEXT = ["b", "a", "<UNK>", "c", "c", "<EOS>", "a", "b"]


def assert_same_for_shared_tokens(source, target):
    (y, state, logits), (new_y, new_state, new_logits) = read(source, OLD, TEXT), read(target, NEW, TEXT)
    np.testing.assert_allclose(new_y, y, rtol=0, atol=1e-14)
    assert len(state) == len(new_state) > 1
    for one, other in zip(state, new_state, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-14)
    np.testing.assert_allclose(new_logits, logits, rtol=0, atol=1e-13)
    # as probabilities: the same up to a factor for each step
    workspaces = source.workspace(), target.workspace()
    old = source.next_log_probs(ids_of(OLD, TEXT), source.zero_state(1), workspaces[0])[0][:, 0]
    new = target.next_log_probs(ids_of(NEW, TEXT), target.zero_state(1), workspaces[1])[0][:, 0]
    ratio = [new[NEW.index(token)] - old[OLD.index(token)] for token in SHARED]
    np.testing.assert_allclose(ratio, ratio[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("form", FORMS)
def test_shared_tokens_are_read_and_predicted_as_before(cell, form):
    source, target = make(OLD, seed=1, cell=cell, **FORMS[form]), make(NEW, seed=2, cell=cell, **FORMS[form])
    assert transfer(source, OLD, target, NEW) == len(SHARED) == 5
    assert_same_for_shared_tokens(source, target)


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("looked_up", [(True, True), (True, False), (False, True)])
def test_one_hot_tokens_may_be_looked_up_on_either_side(cell, looked_up):
    """A small vocabulary is fed by a product, a large one by a look-up; a model may grow from one to the other."""
    source = make(OLD, seed=1, cell=cell, looked_up=looked_up[0])
    target = make(NEW, seed=2, cell=cell, looked_up=looked_up[1])
    assert ["input.E" in model.parameters.shapes for model in (source, target)] == list(looked_up)
    assert transfer(source, OLD, target, NEW) == 5
    assert_same_for_shared_tokens(source, target)


@pytest.mark.parametrize(
    "options",
    [{"cell": "gru", "reset": "before"}, {"cell": "gru", "reset": "both"}, {"relevance_gate": True}, {"num_layers": 3}],
)
def test_every_variant(options):
    source, target = make(OLD, seed=1, **options), make(NEW, seed=2, **options)
    transfer(source, OLD, target, NEW)
    assert_same_for_shared_tokens(source, target)


@pytest.mark.parametrize("looked_up", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_tokens_of_its_own_keep_their_weights(form, looked_up):
    if looked_up and "embedding_size" in FORMS[form]:
        pytest.skip("an embedding is always looked up")
    source = make(OLD, seed=1, looked_up=looked_up, **FORMS[form])
    target, before = (make(NEW, seed=2, looked_up=looked_up, **FORMS[form]) for _ in range(2))
    transfer(source, OLD, target, NEW)
    own = [i for i, token in enumerate(NEW) if token not in OLD]
    assert len(own) == 3
    for name in {"input.E", "head.W_y", "head.b_y"} & target.parameters.shapes.keys():
        rows, old_rows = target.parameters.value(name), before.parameters.value(name)
        assert np.array_equal(rows[own], old_rows[own])
        assert not (rows == old_rows)[[i for i in range(len(NEW)) if i not in own]].any()
    if "input.E" not in target.parameters.shapes:
        W, old_W = (model.parameters.value("layer0.W") for model in (target, before))
        columns = [4 + i for i in own]  # after those for a<t-1>
        assert np.array_equal(W[:, columns], old_W[:, columns])
        assert not (np.delete(W, columns, axis=1) == np.delete(old_W, columns, axis=1)).any()


def test_clusters_of_an_adaptive_softmax():
    """A token of the same cluster keeps its weights, one of another cluster learns them anew; so do the clusters."""
    source = make(OLD, seed=1, softmax="adaptive", cutoffs=(3, 5))
    target, before = (make(NEW, seed=2, softmax="adaptive", cutoffs=(2, 4, 6)) for _ in range(2))
    transfer(source, OLD, target, NEW)
    (theirs, ours, old) = (
        {key.removeprefix("head."): view for key, view in model.parameters.named(model.parameters.values).items()}
        for model in (source, target, before)
    )
    kept = {("", 0): 0, ("", 1): 1, ("", 2): 3, ("", 3): 4, ("cluster1.", 1): 1}  # row in NEW -> row in OLD
    for prefix in ("", "cluster1.", "cluster2.", "cluster3."):
        for name in (f"{prefix}W_y", f"{prefix}b_y"):
            for row, found in enumerate(ours[name]):
                expected = theirs[name][kept[prefix, row]] if (prefix, row) in kept else old[name][row]
                np.testing.assert_array_equal(found, expected)
    for number in (1, 2):
        np.testing.assert_array_equal(ours[f"cluster{number}.P"], theirs[f"cluster{number}.P"])
    np.testing.assert_array_equal(ours["cluster3.P"], old["cluster3.P"])


def test_clusters_whose_weights_are_the_embeddings():
    """Their weights go wherever the embedding's go; a bias goes with them if its token stays in its cluster."""
    tied = {"softmax": "adaptive", "embedding_size": 3, "dense": (3,), "tie_weights": True}
    source = make(OLD, seed=1, cutoffs=(3, 5), **tied)
    target, before = (make(NEW, seed=2, cutoffs=(2, 4, 6), **tied) for _ in range(2))
    transfer(source, OLD, target, NEW)
    theirs, ours, old = (model.parameters.named(model.parameters.values) for model in (source, target, before))
    for row, name in enumerate(NEW):
        expected = theirs["input.E"][OLD.index(name)] if name in OLD else old["input.E"][row]
        np.testing.assert_array_equal(ours["input.E"][row], expected)
    clusters = [ours["head.W_y"], ours["head.b_y"]]
    for found, name in zip(clusters, ("head.W_y", "head.b_y"), strict=True):
        np.testing.assert_array_equal(found[:3], theirs[name])
        np.testing.assert_array_equal(found[3:], old[name][3:])
    kept = {(1, 0): 0, (1, 1): 1, (2, 1): 1}
    for number in range(1, 5):
        for row, found in enumerate(ours[name := f"head.cluster{number}.b_y"]):
            expected = theirs[name][kept[number, row]] if (number, row) in kept else old[name][row]
            np.testing.assert_array_equal(found, expected)


def test_every_other_weight_is_copied():
    source, target = (make(tokens, seed=len(tokens), **FORMS["dense"]) for tokens in (OLD, NEW))
    transfer(source, OLD, target, NEW)
    of_tokens = {"layer0.W", "head.W_y", "head.b_y"}
    others = source.parameters.shapes.keys() - of_tokens
    assert others == {"layer1.W", "dense0.W", "dense0.b", "dense1.W", "dense1.b"}
    assert all(np.array_equal(source.parameters.value(name), target.parameters.value(name)) for name in others)


def test_the_source_is_not_changed_and_shares_nothing():
    source, twin = (make(OLD, seed=1) for _ in range(2))
    target = make(NEW, seed=2)
    transfer(source, OLD, target, NEW)
    target.parameters.values[...] = 9.0
    assert np.array_equal(source.parameters.values, twin.parameters.values)


def test_the_same_vocabulary_makes_the_same_model():
    source, target = make(OLD, seed=1), make(OLD, seed=2)
    assert transfer(source, OLD, target, OLD) == len(OLD)
    assert np.array_equal(source.parameters.values, target.parameters.values)


def test_vocabularies_that_share_nothing_but_the_special_tokens():
    tokens = ("<EOS>", "<UNK>", "p", "q")
    source, target = make(OLD, seed=1), make(tokens, seed=2)
    assert transfer(source, OLD, target, tokens) == 2


def test_dropout_and_precision_may_differ():
    source, target = make(OLD, seed=1), make(NEW, seed=2, dropout=0.5, dtype="float32")
    transfer(source, OLD, target, NEW)
    assert target.parameters.values.dtype == np.float32
    np.testing.assert_allclose(read(target, NEW, TEXT)[2], read(source, OLD, TEXT)[2], rtol=0, atol=1e-5)


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
    assert transfer(source, LETTERS, target, OTHER_LETTERS) == 3
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
    assert transfer(source, LETTERS, target, ["b", "?", "!", "c"]) == 2
    for name, ours, theirs in (("head.b_y", [0, 3], [1, 2]), ("layer1.W", slice(None), slice(None))):
        copied = source.parameters.value(name)[theirs].astype(np.float32)
        np.testing.assert_array_equal(target.parameters.value(name)[ours], copied)


@pytest.mark.parametrize(
    ("of_source", "of_target", "said"),
    [
        ({"hidden_size": 5}, {}, "hidden size is 5, not 4"),
        ({}, {"num_layers": 1}, "num layers is 2, not 1"),
        ({"cell": "gru"}, {}, "its cell is gru, not lstm"),
        ({}, {"embedding_size": 3}, "embedding size is 0, not 3"),
        ({"dense": (3,)}, {"dense": (3, 3)}, "dense"),
        ({}, {"dense": (3,)}, "dense"),
        ({"cell": "rnn"}, {"cell": "rnn", "activation": "relu"}, "activation is tanh, not relu"),
        ({"cell": "gru", "reset": "both"}, {"cell": "gru"}, "reset is both, not after"),
        ({"relevance_gate": True}, {}, "relevance gate"),
        ({"embedding_size": 4}, {"embedding_size": 4, "tie_weights": True}, "tie weights"),
        ({"softmax": "adaptive", "cutoffs": (2,)}, {}, "its softmax is adaptive, not full"),
    ],
)
def test_another_network_is_refused_by_what_differs(of_source, of_target, said):
    source = make(OLD, seed=1, **of_source)
    target, before = (make(NEW, seed=2, **of_target) for _ in range(2))
    with pytest.raises(UsageError) as refusal:
        transfer(source, OLD, target, NEW)
    assert said in refusal.value.message and refusal.value.hint
    assert np.array_equal(target.parameters.values, before.parameters.values)
