"""The search space: around the defaults, without what is given."""

import pytest

pytest.importorskip("optuna", reason="no optuna: pip install -e '.[tune]'")

from charlm.config import ModelConfig, TrainConfig
from charlm.tuning.space import search_space, settings_for

DEFAULTS = {**ModelConfig(50).to_dict(), **TrainConfig().to_dict(), "dropout": 0.15, "embedding_size": 100}


@pytest.mark.parametrize("size", [1, 2, 7, 8, 100, 128, 1000])
@pytest.mark.parametrize("dropout", [0.0, 0.12, 0.4, 0.9])
def test_the_default_lies_in_the_space_and_stays_as_it_is(size, dropout):
    defaults = {
        **DEFAULTS,
        "hidden_size": size,
        "num_layers": min(size, 8),
        "batch_size": size,
        "dropout": dropout,
        "learning_rate": 0.00123,
    }
    axes = search_space(defaults, {})
    drawn = {name: axis.default for name, axis in axes.items()}
    assert all(axis.distribution._contains(drawn[name]) for name, axis in axes.items())
    assert settings_for(axes, drawn) == {name: defaults[name] for name in axes}


@pytest.mark.parametrize("size", [1, 3, 100, 128])
def test_every_draw_is_a_setting_that_fits(size):
    axes = search_space({**DEFAULTS, "hidden_size": size, "batch_size": size}, {})
    for end in ("low", "high"):
        settings = settings_for(axes, {name: getattr(axis, end) for name, axis in axes.items()})
        network = {name: value for name, value in settings.items() if name not in ("batch_size", "learning_rate")}
        ModelConfig(50, **network)
        TrainConfig(batch_size=settings["batch_size"], learning_rate=settings["learning_rate"])


def test_draws_become_settings_that_a_person_would_type():
    axes = search_space(DEFAULTS, {})
    drawn = {
        "num_layers": 1,
        "hidden_size": 101,
        "embedding_size": 61,
        "dropout": 0.2113,
        "batch_size": 30,
        "learning_rate": 0.00123456,
    }
    assert settings_for(axes, drawn) == {
        "num_layers": 1,
        "hidden_size": 96,
        "embedding_size": 64,
        "dropout": 0.2,
        "batch_size": 32,
        "learning_rate": 0.0012,
    }


def test_what_is_given_is_not_searched():
    assert search_space(DEFAULTS, {"hidden_size": 64, "learning_rate": 1}).keys() == {
        "num_layers",
        "embedding_size",
        "dropout",
        "batch_size",
    }


def test_an_embedding_is_searched_only_where_there_is_one():
    assert "embedding_size" in search_space(DEFAULTS, {})
    assert "embedding_size" not in search_space({**DEFAULTS, "embedding_size": 0}, {})


def test_sizes_that_share_a_matrix_stay_as_they_are():
    tied = {**DEFAULTS, "tie_weights": True, "embedding_size": 128}
    assert search_space(tied, {}).keys() == {"num_layers", "dropout", "batch_size", "learning_rate"}
