"""The likeliest next tokens: the probabilities that scoring has."""

import math

import numpy as np
import pytest

from charlm.errors import UsageError
from charlm.inference.next_tokens import next_tokens
from charlm.inference.scoring import Scorer
from tests.fakes import language_model, table
from tests.task_models import task_model


@pytest.mark.parametrize(("kind", "text"), [("lm", {}), ("conditioned", {}), ("lm", {"unit": "stream"})])
def test_each_token_has_the_probability_that_scoring_has(kind, text):
    lm = task_model(kind, text=text)
    label = "zz" if lm.is_conditioned else None
    # A line of a label alone is not scored.
    for prompt in ("a", "ab", "a?c", *([] if label else [""])):
        found = next_tokens(lm, prompt, candidates=99, label=label)
        assert {one.token for one in found} == {"<EOS>", "<UNK>", "a", "b", "c"}
        assert sum(one.prob for one in found) == pytest.approx(1.0, abs=1e-6)
        assert [one.nats for one in found] == sorted(one.nats for one in found)
        assert found[:2] == next_tokens(lm, prompt, candidates=2, label=label)
        for one in found:
            assert one.log10p == pytest.approx(math.log10(one.prob))
            line = prompt + {"<EOS>": "", "<UNK>": "?"}.get(one.token, one.token)
            (score,) = Scorer(lm, per_token=True).score([f"zz\t{line}" if label else line])
            assert score.token_scores[len(prompt)].nats == pytest.approx(one.nats, abs=1e-5)


def test_equally_likely_tokens_come_in_the_order_of_the_vocabulary():
    lm = language_model(table([np.full(5, 0.2)] * 6), "abc")
    assert [one.token for one in next_tokens(lm, "b", candidates=4)] == ["<EOS>", "<UNK>", "a", "b"]


def test_a_prompt_of_several_lines_is_for_streams():
    with pytest.raises(UsageError, match="newline"):
        next_tokens(task_model("lm"), "a\nb")
    stream = task_model("lm", text={"unit": "stream"})
    assert next_tokens(stream, "a\nb") != next_tokens(stream, "b")
    with pytest.raises(UsageError, match="class"):
        next_tokens(task_model("conditioned"), "a")
