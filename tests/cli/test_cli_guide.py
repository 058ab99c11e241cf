"""charlm guide: the pages of the guide, as they are in a pipe, rendered at a terminal."""

from __future__ import annotations

import re

import pytest

from charlm.cli import guide
from tests.readme import GUIDE


def test_in_a_pipe_a_page_is_its_markdown(charlm):
    assert charlm("guide").succeeded().text == (GUIDE / "README.md").read_text()
    assert charlm("guide", "Cells").succeeded().text == (GUIDE / "cells.md").read_text()


def test_an_unknown_topic_names_a_near_one(charlm):
    charlm("guide", "setings").failed(2, "no topic 'setings'", "did you mean charlm guide settings?")
    charlm("guide", "zzz").failed(2, "choose one of: settings, training")


def test_rendered_links_are_their_texts_and_code_is_as_it_was():
    source = "# Title\n\nSee [cells](cells.md), `a<t>` and https.\n\n![A curve](x.svg)\n\n```text\na  b\n```\n"
    page = guide._rendered(source)
    text = re.sub(r"\x1b\[[\d;]*m", "", page)
    assert "Title" in text and "See cells, a<t> and https." in text and "Picture: A curve" in text and "a  b" in text
    assert "](" not in text


@pytest.mark.parametrize("name", sorted(guide.topics()))
@pytest.mark.thinned(8)
def test_every_page_can_be_rendered(name):
    assert len(guide._rendered(guide._text(name))) > 500
