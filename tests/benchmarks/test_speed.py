"""`make bench` itself: clean turns, cases that charlm refuses, the table, and its picture."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

from tests.benchmarks import speed
from tests.benchmarks.speed_cases import CASES, DTYPES, Case, case_named, cases_in
from tests.benchmarks.speed_picture import PICTURE, drawn
from tests.benchmarks.speed_table import FILE, Row, notes, row_line, rows_head, rows_of
from tests.benchmarks.speed_worker import facts
from tests.benchmarks.windows import MOST_OTHERS, Clock

OTHERS = MOST_OTHERS + 0.01
ROW = Row(CASES[0], 1300.0, 1000.0, [1.1, 1.25, 1.3], 100.0, 400.0, {"adam": "fused", "threads": 2})


@pytest.fixture
def machine(tmp_path):
    """A folder like /proc in which counters can be set, in ticks: 100 a second as a rule."""

    class Machine:
        def clock(self, *, user=0, idle=0, stolen=0, own=0, child=0, ended=0):
            (tmp_path / "stat").write_text(f"cpu  {user} 0 0 {idle} 0 0 0 {stolen} 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
            for pid, ticks, before, children in ((7, own, ended, "8 "), (8, child, 0, "")):
                task = tmp_path / str(pid) / "task" / str(pid)
                task.mkdir(parents=True, exist_ok=True)
                (task / "children").write_text(children)
                # pid, (name), state, 10 numbers, utime, stime, cutime, cstime
                numbers = [*["0"] * 10, str(ticks), "0", str(before), "0", "20"]
                (tmp_path / str(pid) / "stat").write_text(f"{pid} (a) b (c) S {' '.join(numbers)}\n")
            return Clock.read(7, tmp_path)

    return Machine()


@pytest.mark.parametrize(
    ("after", "others"),
    [
        ({"user": 200, "own": 200}, 0.0),
        ({"user": 100, "idle": 100, "own": 100}, 0.0),
        ({"user": 200, "own": 80, "child": 80, "ended": 40}, 0.0),
        ({"user": 200, "own": 130, "child": 50}, 0.1),
        ({"user": 100, "idle": 100, "own": 50}, 0.25),
        ({"user": 180, "stolen": 20, "own": 180}, 0.1),
        ({"user": 200, "own": 203}, 0.0),
    ],
)
def test_the_time_of_other_processes_is_what_a_process_and_its_children_did_not_take(machine, after, others):
    before = machine.clock()
    assert machine.clock(**after).others_since(before) == pytest.approx(others)


class Answering(speed.Worker):
    """A worker of the answers that it is given."""

    def __init__(self, windows):
        self.windows, self.dropped, self.disturbed = list(windows), 0, 0

    def _window(self, seconds):
        return self.windows.pop(0)


def test_a_disturbed_turn_is_measured_again():
    worker = Answering([(0.0, 100.0), (OTHERS, 50.0), (OTHERS, 60.0), (0.01, 90.0), (0.0, 80.0)])
    assert [worker.speed(0.1) for _ in range(3)] == [100.0, 90.0, 80.0]
    assert (worker.dropped, worker.disturbed) == (2, 0)


def test_where_every_try_is_disturbed_the_least_disturbed_counts():
    shares = [0.4, 0.2, 0.3, 0.5, 0.6]
    assert len(shares) == speed.TRIES
    worker = Answering([(share, share * 100) for share in shares] + [(0.0, 7.0)])
    assert worker.speed(0.1) == 20.0
    assert (worker.dropped, worker.disturbed) == (speed.TRIES - 1, 1)
    assert worker.speed(0.1) == 7.0


def test_the_peak_is_the_best_of_all_tries(monkeypatch):
    answers = [{"gflops": 90.0, "others": OTHERS}, {"gflops": 70.0, "others": 0.0}, {"gflops": 99.0, "others": 0.0}]
    monkeypatch.setattr(speed, "asked", lambda *arguments: answers.pop(0))
    assert speed.peak_of.__wrapped__(2, "float32") == 90.0
    assert len(answers) == 1


def test_the_share_is_counted_on_the_threads_of_the_case(monkeypatch):
    monkeypatch.setattr(speed, "peak_of", lambda threads, dtype: {1: 100.0, 2: 200.0}[threads])
    one, both = Case("generate", "lstm", 8, threads=1), Case("generate", "lstm", 8)
    assert speed.share_of(one, 1e6, 5e4, 2) == pytest.approx(0.5)
    assert speed.share_of(both, 1e6, 5e4, 2) == pytest.approx(0.25)
    assert speed.share_of(both, 1e6, None, 2) is None


def test_a_case_that_charlm_refuses_is_left_out_with_its_message(monkeypatch, capsys):
    """Its name and the reason stand below the table; nothing of it is measured."""

    def asked(task, *arguments):
        assert task in ("machine", "facts"), "nothing is measured of it"
        return {"refusal": "no such products here", "core": "v4", "numpy": "2", "torch": "2", "blas": "some"}

    monkeypatch.setattr(speed, "asked", asked)
    monkeypatch.setattr("sys.argv", ["speed", "--only", "bfloat16"])
    speed.main()
    said = capsys.readouterr()
    (case,) = [case for case in CASES if case.dtype == "bfloat16"]
    assert f"left out: {case.name}: no such products here" in said.err
    assert f"Left out: {case.name}: no such products here." in said.out
    assert not rows_of(said.out)


def test_facts_are_operations_or_the_refusal():
    assert facts(Case("train", "rnn", 4, vocabulary=10)) == {"refusal": None, "operations": 6 * (3 * 16 + 40)}
    assert facts(Case("start", "rnn", 4)) == {"refusal": None, "operations": None}
    assert "float8" in facts(Case("train", "rnn", 4, dtype="float8"))["refusal"]


def test_every_case_has_a_name_of_its_own_and_is_found_by_it():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    for dtype in (None, *DTYPES):
        for case in cases_in(dtype):
            assert case_named(case.name).name == case.name and (dtype is None or case.dtype == dtype)
    assert {case.kind for case in cases_in("bfloat16")} == {"train", "generate"}


@pytest.mark.parametrize("quick", [("--only", "rnn"), ("--pairs", "4"), ("--dtype", "float32")])
def test_a_quick_look_is_not_written_down(monkeypatch, tmp_path, quick):
    files = {name: tmp_path / name for name in ("FILE", "PICTURE")}
    for name, path in files.items():
        path.write_text("as before\n")
        monkeypatch.setattr(speed, name, path)
    monkeypatch.setattr(speed, "asked", lambda *arguments: {"core": "v4", "numpy": "2", "torch": "2", "blas": "some"})
    monkeypatch.setattr(speed, "row_of", lambda case, options, anew: ROW)
    monkeypatch.setattr("sys.argv", ["speed", *quick])
    speed.main()
    assert {path.read_text() for path in files.values()} == {"as before\n"}
    monkeypatch.setattr("sys.argv", ["speed"])
    speed.main()
    table = files["FILE"].read_text()
    assert len(rows_of(table)) == len(CASES)
    assert files["PICTURE"].read_text() == drawn(table)


def test_forms_are_searched_once_and_kept_for_quick_looks(monkeypatch, tmp_path):
    """Both numbers of charlm's threads are compared with the same form of PyTorch's."""
    asked = []

    def answer(task, *arguments):
        asked.append(arguments)
        return {"form": {"number": len(asked)}, "tried": []}

    monkeypatch.setattr(speed, "asked", answer)
    monkeypatch.setattr(speed, "FORMS", tmp_path / "kept" / "forms.json")
    one, both = Case("generate", "lstm", 8, threads=1), Case("generate", "lstm", 8)
    speed.fastest_form.cache_clear()
    assert [speed.form_of(case, 2, 0.1, anew=True)["number"] for case in (one, both)] == [1, 1]
    assert [speed.form_of(both, 2, 0.1, "int8", anew=False)["number"] for _ in range(2)] == [2, 2]
    speed.fastest_form.cache_clear()  # another run
    assert speed.form_of(one, 2, 0.1, anew=False) == {"number": 1}
    assert speed.form_of(both, 2, 0.1, anew=True) == {"number": 3}
    assert asked == [(both.name, 2, 0.1, way) for way in ("", "int8", "")]
    assert len(json.loads(speed.FORMS.read_text())) == 2
    speed.fastest_form.cache_clear()


def test_a_row_shows_the_median_ratio_and_its_spread():
    (cells,) = rows_of("\n".join([*rows_head(), row_line(ROW)]))
    assert list(cells.values())[1:] == [
        "1,300", "1,000", "1.25 (1.10 to 1.30)", "", "100 / 400", "", "0", "adam fused",
    ]  # fmt: skip


def test_a_row_shows_share_other_ways_and_dropped_turns():
    row = Row(CASES[0], 1.0, 1.0, [1.0], 1.0, 1.0, {}, dropped=5, disturbed=1, share=0.716, beside={"int8": 4040.2})
    (cells,) = rows_of("\n".join([*rows_head(), row_line(row)]))
    assert cells["share of the peak"] == "0.72" and cells["PyTorch in other ways"] == "int8 4,040"
    assert cells["turns dropped"] == "5, 1 disturbed"


def test_the_notes_name_peaks_and_refusals():
    text = notes({(1, "float32"): 118.2, (2, "float32"): 236.0}, {"a case": "a reason"})
    assert "118 in float32 on 1 thread, 236 in float32 on 2 threads" in text
    assert text.endswith("Left out: a case: a reason.")


def test_the_picture_is_that_of_the_table():
    assert PICTURE.read_text() == drawn(FILE.read_text()), "run: python -m tests.benchmarks.speed_picture"


def test_the_bars_of_the_picture_are_as_long_as_the_ratios():
    """On a logarithmic scale twice the ratio adds as much each time; below 1 a bar ends where it otherwise begins."""
    head, line = rows_head()
    lines = [row_line(Row(CASES[0], 1.0, 1.0, [ratio], 1.0, 1.0, {})) for ratio in (2.0, 8.0, 0.5)]
    picture = drawn("\n".join([head, line, *lines]))
    root = ElementTree.fromstring(picture)
    bars = [one.attrib for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("class") == "bar"]
    two, eight, half = ((float(bar["x"]), float(bar["width"])) for bar in bars)
    assert two[0] == eight[0] == pytest.approx(half[0] + half[1], abs=0.2)
    assert eight[1] == pytest.approx(3 * two[1], abs=0.3) and half[1] == pytest.approx(two[1], abs=0.2)
    assert all(float(bar["x"]) + float(bar["width"]) <= float(root.get("width")) for bar in bars)
    words = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"2.00", "8.00", "0.50"} <= set(words)


def test_the_picture_has_its_own_paper_and_ink_in_the_dark():
    """So that it can be read on a page of either kind, whatever the page's own colours are."""
    light, _, dark = drawn(FILE.read_text()).partition("@media (prefers-color-scheme: dark)")
    ink, paper = (r"text {[^}]*fill: (#\w{6})", r"\.paper { fill: (#\w{6})")
    for part in (light, dark):
        levels = [int(re.search(which, part)[1][1:3], 16) for which in (ink, paper)]
        assert abs(levels[0] - levels[1]) > 128
