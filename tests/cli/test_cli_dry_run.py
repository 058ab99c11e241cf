"""`charlm train --dry-run`: what a training would take, and not a trace of it."""

import pytest

from tests.cli.shell import files_of
from tests.task_models import CORPORA  # noqa: F401
