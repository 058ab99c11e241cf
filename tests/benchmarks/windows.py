"""Whether other processes took processor time while one process was measured, from the kernel's counters."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.memory import children

MOST_OTHERS = 0.05  # of the cores' time in a clean window
_TICKS = os.sysconf("SC_CLK_TCK")  # a second
_PROC = Path("/proc")


@dataclass(frozen=True)
class Clock:
    """Processor time since the start of the machine, in seconds.

    all: of all cores: idle time too
    busy: of all cores: work of any process and of the kernel, and what a hypervisor gave to other machines
    own: of one process and its children
    """

    all: float
    busy: float
    own: float

    @classmethod
    def read(cls, pid: int, proc: Path = _PROC) -> Clock:
        """Read the counters of /proc/stat, and those of a process."""
        # user, nice, system, idle, iowait, irq, softirq, steal: guests count as user already.
        ticks = [int(field) for field in (proc / "stat").read_text().split("\n")[0].split()[1:9]]
        waiting = ticks[3] + ticks[4]
        return cls(sum(ticks) / _TICKS, (sum(ticks) - waiting) / _TICKS, _own_ticks(pid, proc) / _TICKS)

    def others_since(self, before: Clock) -> float:
        """Return the share of the cores' time that others took between two readings."""
        others = (self.busy - before.busy) - (self.own - before.own)
        return max(0.0, others) / max(self.all - before.all, 1 / _TICKS)


def _own_ticks(pid: int, proc: Path) -> int:
    """Return the processor time of a process, of its children that ended, and of those that still run."""
    # A process may have any name, parentheses and blanks included; after it come state, ppid, ... utime is the 14th.
    fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) + sum(_own_ticks(child, proc) for child in children(pid, proc))
