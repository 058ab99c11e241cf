"""What charlm is made from: bounded, fixed to the release, and built to the same bytes again."""

import hashlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.constraints import needed, pinned

PROJECT = Path(__file__).parents[1]
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())
EXTRAS = DECLARED["project"]["optional-dependencies"]
REQUIREMENTS = [
    Requirement(line)
    for lines in (DECLARED["project"]["dependencies"], DECLARED["build-system"]["requires"], *EXTRAS.values())
    for line in lines
    if not line.startswith("charlm-rnn")
]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_every_dependency_is_bounded_below_and_above(requirement):
    operators = {specifier.operator for specifier in requirement.specifier}
    assert operators >= {">=", "<"}, str(requirement)


def test_every_distribution_that_is_installed_is_pinned():
    assert needed("charlm-rnn", "dev") <= set(pinned())


def test_the_pinned_releases_lie_within_the_bounds():
    releases = pinned()
    for requirement in REQUIREMENTS:
        name = canonicalize_name(requirement.name)
        assert name not in releases or releases[name] in requirement.specifier, str(requirement)


@pytest.mark.slow
def test_two_builds_are_the_same_bytes(tmp_path):
    """From two clones of a commit, made at different times and under another umask."""
    if not (PROJECT / ".git").exists():
        pytest.skip("not a git checkout")
    digests = []
    for name, umask in (("one", 0o022), ("another", 0o077)):
        folder = tmp_path / name
        environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
        previous = os.umask(umask)
        try:
            subprocess.run(["git", "clone", "--quiet", PROJECT, folder], check=True)
            build = ["make", "wheel", f"PYTHON={sys.executable}"]
            done = subprocess.run(build, cwd=folder, env=environment, capture_output=True, text=True)
        finally:
            os.umask(previous)
        assert done.returncode == 0, done.stderr
        (wheel,) = (folder / "dist").glob("charlm_rnn-*.whl")
        digests.append((wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest()))
    assert digests[0] == digests[1]
