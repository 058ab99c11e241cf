"""The tasks' records: all that they name is there, and no other place of the product knows a task by its name."""

import ast
from pathlib import Path

import pytest

from charlm.config import LEVELS, SPLITS, UNITS, ModelConfig, TextConfig, check_text
from charlm.errors import UsageError
from charlm.inference.figures import FIGURES
from charlm.inference.prediction import PREDICTORS
from charlm.nn.heads import HEADS
from charlm.session import text_defaults
from charlm.task import TASK_NAMES, TASKS, task_named, task_of
from charlm.text.tasks import READERS, corpus_reader
from tests import forms

PACKAGE = Path(__file__).parents[1] / "charlm"
MAY_NAME_TASKS = ("task.py", "text/tasks.py", "nn/build.py")
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
each_task = pytest.mark.parametrize("name", TASKS)


@each_task
def test_what_a_record_names_is_there(name):
    facts = task_of(name)
    assert facts.name == name
    assert facts.reader in READERS and facts.conditioned_reader in (*READERS, "")
    assert facts.head in HEADS and {facts.binary_head, facts.chain_head} <= {*HEADS, ""}
    assert facts.answers == "text" or facts.answers in FIGURES
    assert ("predict" in facts.commands) == (facts.answers in PREDICTORS)
    assert set(facts.levels) <= set(LEVELS) and set(facts.units) <= set(UNITS) and facts.split in SPLITS
    assert facts.bidirectional_task in (*TASKS, "")


def test_what_is_registered_is_used():
    """A reader, a head or figures that no task names cannot be reached; the adaptive softmax is in place of another."""
    facts = TASKS.values()
    assert set(READERS) == {reader for one in facts for reader in (one.reader, one.conditioned_reader) if reader}
    assert set(HEADS) == {head for one in facts for head in (one.head, one.binary_head, one.chain_head) if head} | {
        "adaptive"
    }
    assert set(FIGURES) == {one.answers for one in facts} - {"text"}


@each_task
def test_the_defaults_are_allowed(name):
    text = TextConfig(**text_defaults(name))
    facts = task_of(name)
    for conditioned in {False, facts.can_be_conditioned}:
        check_text(name, text, conditioned=conditioned)
        corpus_reader(name, text, conditioned=conditioned)
    ModelConfig(9, task=name, bidirectional=facts.bidirectional[0], labels=1, target_size=3)


@each_task
def test_what_is_not_allowed_is_refused(name):
    facts = task_of(name)
    text = text_defaults(name)
    for field, allowed, values in (("level", facts.levels, LEVELS), ("unit", facts.units, UNITS)):
        for value in set(values) - set(allowed):
            with pytest.raises(UsageError, match=f"--task {name} with --{field} {value}"):
                check_text(name, TextConfig(**{**text, field: value}))
    for value in {True, False} - set(facts.bidirectional):
        with pytest.raises(UsageError, match=f"--task {name} with --{'bidirectional' if value else 'causal'}"):
            ModelConfig(9, task=name, bidirectional=value, labels=1, target_size=3)


def test_both_sides_of_a_language_model_are_a_cloze():
    assert task_named("lm", bidirectional=True) == "cloze"
    for name in TASK_NAMES:
        assert task_named(name, bidirectional=None) == task_named(name, bidirectional=False) == name
        assert name == "lm" or task_named(name, bidirectional=True) == name


@pytest.mark.parametrize("name", ["zebra", "", None, 3, ["lm"], {"lm": 1}])
def test_an_unknown_task_is_refused(name):
    with pytest.raises(UsageError, match="--task is") as refusal:
        task_of(name)
    assert refusal.value.hint == "choose one of: lm, cloze, tag, classify, translate, music"


# ---- no other place


def named(source):
    """Yield the line of each comparison with a task's name, and of each table whose keys are such names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            places = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            places = [key for key in node.keys if key is not None]
        else:
            continue
        for place in places:
            found = {one.value for one in ast.walk(place) if isinstance(one, ast.Constant)}
            if found & set(TASKS):
                yield node.lineno


@forms.each("path", sorted(FILES.keys() - set(MAY_NAME_TASKS)))
def test_no_other_file_compares_or_lists_tasks(path):
    assert list(named(FILES[path].read_text(encoding="utf-8"))) == []


def test_it_would_be_seen():
    for source in ('task == "lm"', 'kind in ("tag", "x")', '"music" != name', 'd = {"translate": 1}'):
        assert list(named(source)) == [1]
    assert list(named('task = "lm"; f("tag"); d = {"lmx": 1}; x == "classes"')) == []
