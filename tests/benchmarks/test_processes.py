"""What several hosts send each other: the bytes of a step, and the table of the guide."""

import re
import time

import pytest

from tests.benchmarks.processes import (
    CASES,
    LINKS,
    Case,
    SimulatedHost,
    bytes_a_step,
    row,
    trainer_of,
    transfer_seconds,
)
from tests.forms import each
from tests.readme import GUIDE

ROW = re.compile(r"^\| (2x[^|]*) \| ([\d,]+) \| [\d.]+ \| (\d+) \|.*$", re.MULTILINE)


def test_the_table_of_the_guide_is_computed():
    rows = list(ROW.finditer((GUIDE / "processes.md").read_text()))
    assert [found[1] for found in rows] == [case.name for case in CASES]
    for found in rows:
        assert found[0] == row(found[1], int(found[2].replace(",", "")), int(found[3]))


@each("hosts, name", [(4, "1 Gbit/s"), (16, "100 Gbit/s")])
def test_a_step_sends_and_waits_for_as_much_as_computed(monkeypatch, hosts, name):
    """A host has one shard, and so one node of the tree; losses are a few bytes."""
    sent, slept = [0], []
    monkeypatch.setattr(time, "sleep", slept.append)
    trainer = trainer_of(Case("small", 9, 16, lanes=2, steps=3), shards=hosts, hosts=hosts)

    class Counting(SimulatedHost):
        def _sleep(self):
            sent[0] += self.sent
            super()._sleep()

    trainer.share(Counting(hosts, LINKS[name]))
    next(trainer.run())
    parameters = trainer.model.parameters.count
    assert sent[0] == pytest.approx(bytes_a_step(parameters, hosts), rel=0.01)
    assert sum(slept) == pytest.approx(transfer_seconds(parameters, hosts, LINKS[name]), rel=0.01)
