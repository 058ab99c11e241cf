"""What the fuzzers share with the tests of the command line, and what they say at the end."""

from tests.cli.conftest import charlm  # noqa: F401


def pytest_terminal_summary(terminalreporter):
    """Print how many cases were tried, and how many of them failed in a way that is known."""
    sums: dict[tuple[str, str], int] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, count in getattr(report, "user_properties", ()):
                key = (report.nodeid.split("::")[-1].split("[")[0], name)
                sums[key] = sums.get(key, 0) + count
    for (test, name), count in sums.items():
        terminalreporter.write_line(f"{test}: {count:,} {name}")
