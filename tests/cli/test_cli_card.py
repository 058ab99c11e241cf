"""`charlm inspect --format markdown`: a model card."""

import re

import pytest

from charlm.checkpoint import save
from tests.task_models import KINDS, task_model


def test_a_card_says_what_the_model_is_and_how_it_is_used(charlm, trained, monkeypatch):
    monkeypatch.chdir(trained.folder)
    result = charlm("inspect", "char", "--format", "markdown").succeeded()
    lines = result.lines
    assert lines[:5] == [
        "---",
        "library_name: charlm",
        "pipeline_tag: text-generation",
        "tags: [charlm, lstm, char]",
        "---",
    ]
    assert "# char" in lines and "charlm generate char --help" in lines
    assert any(line.startswith("| network | lstm, 1 layer of 8") for line in lines)
    assert any(line.startswith("charlm train ") and "--seed 1" in line for line in lines)
    text = "\n".join(lines)
    assert re.search(r"\| validation, \d+ held-out chars \| \d\.\d{4} nats/char \|", text)
    assert f"Corpus: `{trained.names}`." in lines
    assert charlm("inspect", "char", "word", "--format", "markdown").succeeded().lines.count("## Use") == 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_task_has_one(charlm, tmp_path, kind):
    """Also a model that no training is known of; each table has as many bars in a row as in its header."""
    save(tmp_path / "m.safetensors", task_model(kind))
    lines = charlm("inspect", tmp_path / "m", "--format", "markdown").succeeded().lines
    rows = [re.sub(r"\\.", "", line) for line in lines if line.startswith("|")]
    assert rows and {row.count("|") for row in rows} == {3}


def test_names_of_any_kind_do_not_break_it(charlm, tmp_path):
    odd = ("`", "``a", "|", "\\", "\n", "<b>", "\x1b", "ß")
    model = task_model("conditioned")
    object.__setattr__(model.codec, "labels", odd[:3])
    model.run.corpus.append("a|b`c\n.txt")
    model.run.samples.append({"step": 7, "text": "# no title\n```\n\x1b[31m"})
    save(tmp_path / "m|*.safetensors", model)
    text = charlm("inspect", tmp_path / "m|*.safetensors", "--format", "markdown").succeeded().out.decode()
    assert "# m\\|\\*\n" in text and "\x1b" not in text
    assert "| labels | 3: `` ` `` ``` ``a ``` `\\|` |" in text
    assert "    # no title\n    ```\n" in text


def test_it_stands_alone(charlm, trained):
    for flags in (["--samples"], ["--command"], ["--plot"], ["--vocabulary"], ["--gradients", "-"]):
        charlm("inspect", trained.char, *flags, "--format", "markdown").failed(2, f"{flags[0]} with --format markdown")
