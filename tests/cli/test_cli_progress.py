"""--progress bar: a bar at a terminal, the last line everywhere, and warnings."""

import pytest

from tests.cli.shell import on_terminal


@pytest.fixture
def train(charlm, trained, tmp_path):
    def call(*arguments):
        corpus = ("train", trained.names, "-o", tmp_path / "m", "--seed", 1, "--max-steps", 4, "--force")
        return charlm(*corpus, "--hidden-size", 4, "--num-layers", 1, *arguments)

    return call


def test_only_the_last_line_is_left(train):
    whole = train().succeeded().err.splitlines()
    (last,) = [line for line in train("--progress", "bar").succeeded().err.splitlines() if "warning" not in line]
    assert last.startswith("best ") and "; letters alone " in last and ". Now: charlm generate" in last
    assert whole[-1].startswith("best ") and len(whole) > 4
    assert train("--progress", "bar", "-q").succeeded().err == train("-q").succeeded().err


def test_at_a_terminal_the_bar_is_shown(trained, tmp_path):
    sizes = ("--hidden-size", 4, "--num-layers", 1, "--max-steps", 30, "--seed", 1, "--progress", "bar")
    code, screen = on_terminal("train", trained.names, "-o", tmp_path / "m", *sizes)
    assert code == 0
    shown = screen.decode()
    assert "/30 [" in shown and "nats" in shown and "step 30/30" not in shown
