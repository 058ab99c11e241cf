"""A made log of a server: lines to learn from, and lines of the next day, among which three are odd."""

from __future__ import annotations

from pathlib import Path
from random import Random

LINES, NEXT_DAY = 6_000, 1_000
PATHS = ("/", "/login", "/index.html", "/api/items", "/api/users", "/static/app.js", "/static/site.css")
ODD = {
    211: "sshd: Accepted password for root from 185.220.101.4",
    548: "nginx: 10.0.1.77 GET /static/../../etc/passwd 200 1842",
    803: "kernel: Out of memory: killed process 2291 (mysqld)",
}


def write(folder: Path) -> None:
    """Write the log in two files, the same bytes each time."""
    rng = Random(1)
    lines = [_line(rng) for _ in range(LINES + NEXT_DAY)]
    for place, line in ODD.items():
        lines[LINES + place] = line
    for name, part in (("monday.log", lines[:LINES]), ("tuesday.log", lines[LINES:])):
        (folder / name).write_text("".join(f"{line}\n" for line in part))


def _line(rng: Random) -> str:
    user, address = rng.choice(("anna", "bob", "carla", "deploy")), f"10.0.{rng.randrange(4)}.{rng.randrange(2, 250)}"
    job = rng.choice(("hourly", "daily", "backup"))
    request = f"{rng.choice(('GET', 'GET', 'POST'))} {rng.choice(PATHS)} {rng.choice((200, 200, 304, 404))}"
    return rng.choice(
        (
            f"nginx: {address} {request} {rng.randrange(100, 9999)}",
            f"nginx: {address} {request} {rng.randrange(100, 9999)}",
            f"sshd: Accepted publickey for {user} from {address}",
            f"sshd: session closed for user {user}",
            f"cron: (root) CMD (run-parts /etc/cron.{job})",
            f"systemd: Started Session {rng.randrange(1, 999)} of user {user}",
        )
    )
