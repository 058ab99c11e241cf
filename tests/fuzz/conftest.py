"""What the fuzzers share with the tests of the command line."""

from tests.cli.conftest import charlm  # noqa: F401
