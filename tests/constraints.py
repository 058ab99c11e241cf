"""The releases that `make` installs: those that charlm and its tests were last tried with.

python -m tests.constraints        writes constraints.txt anew, from what is installed
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FILE = Path(__file__).resolve().parents[1] / "constraints.txt"


def needed(name: str, *extras: str) -> set[str]:
    """Return the names of the distributions that one needs on this machine with some of its extras, theirs too."""
    found: set[str] = set()
    asked = [(name, extras)]
    while asked:
        name, extras = asked.pop()
        for line in distribution(name).requires or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                continue
            other = canonicalize_name(requirement.name)
            if other not in found or requirement.extras:
                try:
                    distribution(other)
                except PackageNotFoundError:
                    continue
                found.add(other)
                asked.append((other, tuple(requirement.extras)))
    return found - {"charlm-rnn"}


def pinned() -> dict[str, str]:
    """Return the release of each distribution in the file."""
    lines = [line for line in FILE.read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): release for name, release in (line.split("==") for line in lines)}


def main() -> None:
    """Write the file."""
    head = [line for line in FILE.read_text().splitlines() if line.startswith("#")]
    releases = [f"{name}=={distribution(name).version}" for name in sorted(needed("charlm-rnn", "dev"))]
    FILE.write_text("\n".join([*head, *releases]) + "\n")


if __name__ == "__main__":
    main()
