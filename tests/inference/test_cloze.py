"""Filling gaps: every figure is the network's own for that place alone, with the place hidden."""

import math
import re
import unicodedata

import numpy as np
import pytest

from charlm.errors import ModelFileError
from charlm.inference.cloze import _PASSES, Filler, known_probs
from charlm.inference.scoring import Scorer
from charlm.nn.model import Model
from charlm.text import EOS_ID, UNK_ID
from tests.task_models import WORDS, choices_everywhere, given_the_others, ids_of, outputs, random_lines, task_model

GAP = "___"
LINES = [
    "the ___ sees it.",
    "___ cat",
    "the cat ___",
    "___",
    "___ ___ sees ___",
    "no gap, at all",
    "",
    "the ___, ___.",
    "zebra ___ zebra",
    "(___)",
    "___ ___ ___ ___ ___",
]


def fill(lm, lines, **options):
    return list(Filler(lm, **options).fill(lines))


def known(probs):
    """Leave `<EOS>` and `<UNK>` out of probabilities, and let the others make up for them."""
    probs = probs.copy()
    probs[[EOS_ID, UNK_ID]] = 0.0
    return probs / probs.sum()


def by_hand(lm, ids, gaps):
    """Fill the surest gap, then the surest of what is left ...; give each gap's probabilities when its turn came."""
    ids, found, order = [*ids], {}, []
    while len(found) < len(gaps):
        still = {gap: known(given_the_others(lm, ids, gap)) for gap in gaps if gap not in found}
        surest = max(still, key=lambda gap: still[gap].max())
        found[surest] = still[surest]
        ids[surest] = int(still[surest].argmax())
        order.append(surest)
    return [found[gap] for gap in gaps], order


def cut(lm, line):
    """Return the ids of a line of words, `<UNK>` for each gap, and where the gaps are."""
    tokens = re.findall(r"___|\w+|[.,()]", line)
    ids = [UNK_ID if token == GAP else ids_of(lm, token)[0] for token in tokens]
    return ids, [at for at, token in enumerate(tokens) if token == GAP]


# ---- gaps


@pytest.mark.parametrize("seed", range(3))
def test_gaps_are_filled_with_the_likeliest_given_both_sides_the_surest_first(seed):
    lm = task_model("cloze", seed=seed)
    names = lm.tokenizer.vocabulary.tokens
    for line, found in zip(LINES, fill(lm, LINES, candidates=3), strict=True):
        probs, _ = by_hand(lm, *cut(lm, line))
        assert len(found.gaps) == line.count(GAP) == len(probs)
        for gap, p in zip(found.gaps, probs, strict=True):
            best = np.argsort(-p)[:3]
            assert [one.token for one in gap] == [names[i] for i in best]
            np.testing.assert_allclose([one.prob for one in gap], p[best], rtol=1e-9)
        words = iter([gap[0].token for gap in found.gaps])
        assert found.filled == re.sub(GAP, lambda _, words=words: next(words), line)
        assert found.text == line


def test_the_surest_gap_is_not_always_the_first_and_what_fills_it_is_seen_by_the_others():
    orders, changed = set(), 0
    for seed in range(12):
        lm = task_model("cloze", seed=seed)
        for line in LINES:
            ids, gaps = cut(lm, line)
            probs, order = by_hand(lm, ids, gaps)
            orders.add(tuple(order) == tuple(gaps))
            at_once = [known(given_the_others(lm, ids, gap)).argmax() for gap in gaps]
            one_by_one = [p.argmax() for p in probs]
            changed += at_once != one_by_one
            if at_once != one_by_one:
                (found,) = fill(lm, [line])
                assert [gap[0].token for gap in found.gaps] == [lm.tokenizer.vocabulary.tokens[i] for i in one_by_one]
    assert orders == {True, False} and changed > 3


def few_at_a_time(lm, ids, gaps, passes):
    """Fill in each pass an equal share of the gaps, the surest ones first; give each gap's probabilities."""
    ids, found = [*ids], {}
    for left in range(passes, 0, -1):
        probs = choices_everywhere(lm, ids)
        still = {gap: known(probs[gap]) for gap in gaps if gap not in found}
        surest = sorted(still, key=lambda gap: -still[gap].max())[: math.ceil(len(still) / left)]
        found |= {gap: still[gap] for gap in surest}
        for gap in surest:
            ids[gap] = int(still[gap].argmax())
    return [found[gap] for gap in gaps]


def passes_of(lm, monkeypatch):
    """Count the passes of the network: a list with the number of sequences of each."""
    passes, forward = [], lm.model.body.forward
    monkeypatch.setattr(
        lm.model.body, "forward", lambda x, *args, **more: passes.append(x) or forward(x, *args, **more)
    )
    return passes


@pytest.mark.parametrize("kind", ["cloze", "cloze-char"])
@pytest.mark.parametrize("gaps", [0, 1, 2, 15, 16])
def test_up_to_sixteen_gaps_are_filled_one_by_one(monkeypatch, kind, gaps):
    lm = task_model(kind)
    known_token = " the " if kind == "cloze" else "a"
    line = known_token + known_token.join([GAP] * gaps) + known_token
    ids = [UNK_ID if token == GAP else ids_of(lm, token)[0] for token in re.findall(r"___|\w+?(?=_|\b)", line)]
    places = [at for at, token in enumerate(ids) if token == UNK_ID]
    expected = few_at_a_time(lm, ids, places, gaps)
    passes = passes_of(lm, monkeypatch)
    (found,) = fill(lm, [line], candidates=2)
    assert len(found.gaps) == len(passes) == gaps
    for gap, p in zip(found.gaps, expected, strict=True):
        np.testing.assert_allclose([one.prob for one in gap], np.sort(p)[:-3:-1], rtol=1e-9)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("gaps", [17, 32, 60])
def test_many_gaps_are_filled_several_at_a_time_in_a_bounded_number_of_passes(monkeypatch, gaps):
    lm = task_model("cloze")
    line = "the ___ and cat " * gaps
    passes = passes_of(lm, monkeypatch)
    (found,) = fill(lm, [line])
    assert len(found.gaps) == gaps and GAP not in found.filled
    assert len(passes) == _PASSES == 16
    assert sum(x.size for x in passes) == 16 * 4 * gaps  # as many steps as the text is long, and no more of them
    expected = few_at_a_time(lm, *cut(lm, line), 16)
    np.testing.assert_allclose([gap[0].prob for gap in found.gaps], [p.max() for p in expected], rtol=1e-9)


def test_lines_of_few_gaps_are_filled_beside_those_of_many_as_they_are_alone(monkeypatch):
    lm = task_model("cloze")
    lines = [*LINES, "the ___ " * 50, *LINES[::-1]]
    alone = [fill(lm, [line])[0] for line in lines]
    passes = passes_of(lm, monkeypatch)
    together = fill(lm, lines)
    assert len(passes) == 16
    assert [one.filled for one in together] == [one.filled for one in alone]


@pytest.mark.parametrize("most", [1, 9, 20, 1 << 22])
def test_how_many_probabilities_are_looked_at_together_does_not_matter(monkeypatch, most):
    lm = task_model("cloze")
    whole = fill(lm, LINES, candidates=3)
    monkeypatch.setattr("charlm.inference.cloze._PROBABILITIES", most)
    seen, choices = [], Model._choices
    monkeypatch.setattr(
        Model, "_choices", lambda self, y, ws, *places: seen.append(len(places[0])) or choices(self, y, ws, *places)
    )
    for one, other in zip(whole, fill(lm, LINES, candidates=3), strict=True):
        assert one.filled == other.filled
        assert [[c.token for c in gap] for gap in one.gaps] == [[c.token for c in gap] for gap in other.gaps]
    assert max(seen) * 9 <= max(most, 9) or most > 1000


def test_candidates_as_likely_as_each_other_stand_in_the_order_of_the_vocabulary():
    lm = task_model("cloze")
    outputs(lm, [0.0, 0.0, 1.0, 2.0, 1.0, 1.0, 1.0, 0.0, 1.0])
    for count in (1, 2, 3, 5, 7):
        (found,) = fill(lm, ["the ___"], candidates=count)
        expected = [WORDS[1], WORDS[0], *WORDS[2:5], WORDS[6], WORDS[5]][:count]
        assert [one.token for one in found.gaps[0]] == expected


@pytest.mark.parametrize("candidates", [1, 3])
@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_model_whose_outputs_are_not_finite_fills_nothing(odd, candidates):
    lm = task_model("cloze")
    outputs(lm, [odd] * 9)
    with pytest.raises(ModelFileError):
        fill(lm, ["the ___"], candidates=candidates)


@pytest.mark.parametrize("count", [1, 2, 5, 7, 8, 1000])
def test_candidates_are_sorted_and_never_the_unknown_token_or_the_end(count):
    lm = task_model("cloze")
    for found in fill(lm, LINES, candidates=count):
        for gap in found.gaps:
            assert len(gap) == min(count, len(WORDS))
            probs = [one.prob for one in gap]
            assert probs == sorted(probs, reverse=True) and all(p > 0 for p in probs)
            assert len({one.token for one in gap} - {"<UNK>", "<EOS>"}) == len(gap)
            if count >= len(WORDS):
                assert math.fsum(probs) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("nats", [5.0, 30.0, 2000.0])
@pytest.mark.parametrize("loved", [UNK_ID, EOS_ID])
def test_the_unknown_token_is_not_filled_in_however_likely_it_is(loved, nats):
    lm = task_model("cloze")
    logits = np.log(np.linspace(1.0, 2.0, 9))
    logits[loved] += nats
    outputs(lm, logits)
    (found,) = fill(lm, ["the ___ sees ___"], candidates=2)
    expected = np.linspace(1.0, 2.0, 9)[2:]
    for gap in found.gaps:
        assert [one.token for one in gap] == [WORDS[-1], WORDS[-2]]
        np.testing.assert_allclose([one.prob for one in gap], expected[[-1, -2]] / expected.sum(), rtol=1e-9)


def test_known_probabilities():
    probs = known_probs(np.log(np.array([[0.1, 0.5], [0.4, 0.3], [0.3, 0.15], [0.2, 0.05]])))
    np.testing.assert_allclose(probs, [[0, 0], [0, 0], [0.6, 0.75], [0.4, 0.25]], rtol=1e-12)


def test_lines_without_a_gap_come_back_as_they_are():
    lines = [
        "",
        " ",
        "the  cat\t",
        "__ ",
        "[MASK] ...",
        "_ _ _",
        "a___",
        "___b",
        "_",
        "__",
        "<unk> <EOS>",
        "\udcff \N{SNOWMAN}",
        "1___2",
    ]
    for found, line in zip(fill(task_model("cloze"), lines), lines, strict=True):
        assert (found.text, found.filled, found.gaps) == (line, line, [])


@pytest.mark.parametrize(
    ("line", "before", "after"),
    [
        ("___.", "", "."),
        (",___", ",", ""),
        ("the  ___\t, it", "the  ", "\t, it"),
        ("the,___!", "the,", "!"),
        ('"___"', '"', '"'),
        ("\udcff ___ \udc80", "\udcff ", " \udc80"),
        ("-___", "-", ""),
        ("___ \N{SNOWMAN}", "", " \N{SNOWMAN}"),
    ],
)
def test_what_stands_around_a_gap_stays(line, before, after):
    lm = task_model("cloze")
    (found,) = fill(lm, [line])
    assert found.filled == before + found.gaps[0][0].token + after
    assert found.gaps[0][0].token in WORDS


@pytest.mark.parametrize("line", ["___", "ab___c", "___a", "a___", "______", "a___b___", "______ab______", "ab"])
def test_of_characters_each_gap_is_one(line):
    lm = task_model("cloze-char")
    (found,) = fill(lm, [line])
    hidden = line.replace(GAP, "\0")
    assert len(found.filled) == len(hidden)
    for one, filled in zip(hidden, found.filled, strict=True):
        assert filled in "abc " if one == "\0" else filled == one
    ids = [UNK_ID if one == "\0" else lm.tokenizer.vocabulary.id_of(one) for one in hidden]
    probs, _ = by_hand(lm, ids, [at for at, one in enumerate(hidden) if one == "\0"])
    np.testing.assert_allclose([gap[0].prob for gap in found.gaps], [p.max() for p in probs], rtol=1e-9)


@pytest.mark.parametrize("length", [3, 4, 5, 6, 7, 80, 1000])
@pytest.mark.parametrize("around", ["the {} sees", "{}", "({}).", "\udcff {}\t"])
def test_of_words_three_underscores_or_more_are_one_gap(length, around):
    lm = task_model("cloze")
    one, (plain,) = fill(lm, [around.format("_" * length)])[0], fill(lm, [around.format(GAP)])
    assert one.gaps == plain.gaps and len(one.gaps) == 1
    assert one.filled == plain.filled


@pytest.mark.parametrize(
    "line", ["é___", "___e\u0301", "___1", "\u0915\u094d___", "____s", "a____b", "语___", "___\u0301"]
)
def test_of_words_what_touches_a_letter_or_a_mark_is_no_gap(line):
    """However the letter is spelled: a decomposed one ends in a mark."""
    lm = task_model("cloze")
    for spelled in (line, *(unicodedata.normalize(form, line) for form in ("NFC", "NFD"))):
        (found,) = fill(lm, [spelled])
        assert (found.filled, found.gaps) == (spelled, [])


@pytest.mark.parametrize(
    ("length", "gaps"), [(2, 0), (3, 1), (4, 0), (6, 2), (8, 0), (9, 3), (24, 8), (27, 0), (81, 0)]
)
@pytest.mark.parametrize("around", ["{}", "ab{}c", "{}a___"])
def test_of_characters_a_rule_across_the_page_is_text(length, gaps, around):
    lm = task_model("cloze-char")
    (found,) = fill(lm, [around.format("_" * length)])
    assert len(found.gaps) == gaps + around.count(GAP)
    assert ("_" * length in found.filled) == (gaps == 0)
    assert "_" not in found.filled.replace("_" * length, "")


def test_words_are_read_in_lower_case_where_the_model_does():
    lm = task_model("cloze", text={"lowercase": True})
    (upper,), (lower,) = fill(lm, ["The CAT ___"]), fill(lm, ["the cat ___"])
    assert upper.gaps == lower.gaps and upper.filled == "The CAT " + upper.gaps[0][0].token


@pytest.mark.parametrize(("batch_size", "window"), [(1, None), (3, None), (64, 1), (64, 5)])
def test_neighbours_do_not_matter_and_the_order_is_kept(batch_size, window):
    lm = task_model("cloze")
    lines = [line.replace("dog", GAP) for line in random_lines(WORDS, 60, 9)]
    assert sum(line.count(GAP) > 1 for line in lines) > 5 and "" in lines
    together = fill(lm, lines, batch_size=batch_size, window=window)
    assert [one.text for one in together] == lines
    for one, line in zip(together, lines, strict=True):
        (alone,) = fill(lm, [line])
        assert one.filled == alone.filled
        of_each = [[gap[0].prob for gap in found.gaps] for found in (one, alone)]
        np.testing.assert_allclose(of_each[0], of_each[1], rtol=1e-9)


def test_no_lines_and_no_more_than_the_window_has():
    assert fill(task_model("cloze"), []) == []
    lines = iter(LINES)
    next(Filler(task_model("cloze"), window=2).fill(lines))
    assert list(lines) == LINES[2:]


# ---- pseudo-log-probability


@pytest.mark.thinned(2)
@pytest.mark.parametrize(("kind", "between"), [("cloze", " "), ("cloze-char", "")])
@pytest.mark.parametrize(("batch_size", "window"), [(64, None), (1, None), (5, 3)])
def test_a_tokens_figure_is_ln_p_given_all_others(times, kind, between, batch_size, window):
    lm = task_model(kind)
    lines = random_lines([*WORDS, "what"] if between else "abc d", times(20, 40), 12, between=between)
    assert "" in lines
    found = list(Scorer(lm, per_token=True, batch_size=batch_size, window=window).score(lines))
    assert [score.text for score in found] == lines
    for score, line in zip(found, lines, strict=True):
        ids = ids_of(lm, line)
        expected = [-math.log(given_the_others(lm, ids, place)[token]) for place, token in enumerate(ids)]
        np.testing.assert_allclose([token.nats for token in score.token_scores], expected, rtol=1e-8)
        assert score.nats == pytest.approx(sum(expected), rel=1e-8)
        assert (score.tokens, score.oov) == (len(ids), ids.count(UNK_ID))
        assert [token.token for token in score.token_scores] == (line.split() if between else list(line))


def test_an_empty_line_has_nothing_to_be_doubted():
    (score,) = Scorer(task_model("cloze"), per_token=True).score([""])
    assert (score.nats, score.tokens, score.oov, score.prob, score.token_scores) == (0.0, 0, 0, 1.0, [])
    assert math.isnan(score.perplexity) and math.isnan(score.bits_per_char)


def test_bits_per_character_do_not_count_an_end():
    (score,) = Scorer(task_model("cloze")).score(["the cat"])
    assert score.bits_per_char == pytest.approx(score.nats / math.log(2) / len("the cat"))
