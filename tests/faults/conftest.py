"""What the tests of faults share with those of the command line."""

from tests.cli.conftest import charlm, trained, unchanged  # noqa: F401
