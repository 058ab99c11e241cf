"""Which texts are read as one: those whose lines belong together."""

import random

import pytest

from charlm.config import TextConfig
from charlm.session import prepare_from
from charlm.text.learning import gather
from charlm.text.running_text import is_running_text
from charlm.text.tokens.levels import splitter_of

WORDS = ["the", "cat", "old", "house", "near", "river", "was", "seen", "by", "nobody", "at", "night"]


def prose(count=400, seed=1):
    """Return sentences wrapped at 60 characters, without blank lines."""
    rng, lines, line = random.Random(seed), [], ""
    for _ in range(count):
        sentence = " ".join(rng.choices(WORDS, k=rng.randrange(4, 20))).capitalize() + "."
        for word in sentence.split():
            if len(line) + len(word) > 60:
                lines.append(line.strip())
                line = ""
            line += word + " "
    return [*lines, line.strip()]


RUNNING = {
    "prose": prose(),
    "play": ["ROMEO:", "But soft.", "", "JULIET:", "Ay me!", ""] * 20,
    "program": ["import os", "", "def f(x):", "    return x", ""] * 20,
    "lines of spaces": ["= Title =", " ", " A long paragraph .", " "] * 20,
    "one line": ["to be or not to be"],
    "long lines": ["word " * 300] * 9,
}
LISTS = {
    "names": ["emma", "olivia", "ava", "jo"] * 30,
    "names and a blank line": ["Emma", "Olivia", "Ava", "Jo", ""],
    "sentences": ["The cat was seen.", "Was it?", "Nobody was near the old house at night."] * 30,
    "reviews": ["a house of wonders .", "the cat steals the night , by far ."] * 30,
    "queries": ["how old is the cat?", "river house", "Old house", "the house near the river at night", "cat"] * 30,
    "log": ["Oct 07 10:00:01 web1 sshd[12]: closed by 10.0.0.1", "Oct 07 10:00:02 db1 cron: run"] * 30,
    "recognised speech": ["so the cat was seen", "by nobody at night", "near the old house"] * 30,
}


@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize("kind", [*RUNNING, *LISTS])
def test_lines_that_belong_together_are_told_from_lists(kind, level):
    lines = {**RUNNING, **LISTS}[kind]
    if (kind, level) == ("long lines", "word"):
        lines = ["word " * 1200] * 9
    corpus = gather(iter(lines), splitter_of(TextConfig(level=level)))
    assert is_running_text(corpus) == (kind in RUNNING)


def test_running_text_is_learned_as_a_stream_unless_the_unit_is_given():
    for given, unit in (({}, "stream"), ({"unit": "line"}, "line")):
        session = prepare_from(prose(40), {"max_steps": 1, "hidden_size": 2, **given})
        assert session.language_model.text.unit == unit
        assert session.chosen.get("unit") == (None if given else "stream")


def test_only_a_plain_language_model_reads_a_stream():
    labelled = [f"{'xy'[i % 2]}\t{line}" for i, line in enumerate(prose(40))]
    assert prepare_from(labelled, {"max_steps": 1}, conditioned=True).language_model.text.unit == "line"
    assert prepare_from(prose(40), {"max_steps": 1, "task": "cloze"}).language_model.text.unit == "line"


def test_an_empty_text_is_refused_and_blank_lines_alone_are_too():
    from charlm.errors import CorpusError

    for lines in ([], [""], ["", "", "", ""]):
        with pytest.raises(CorpusError):
            prepare_from(lines, {})
