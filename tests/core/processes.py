"""Looking at processes from outside, through /proc."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def eventually(ask: Callable[[], T], within: float = 10.0) -> T:
    """The first true answer; an error counts as "not yet". Fails with the last answer or error."""
    end = time.monotonic() + within
    while True:
        last: object
        try:
            answer = ask()
            if answer:
                return answer
            last = answer
        except Exception as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s; last: {last!r}")
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Running; a zombie is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def children(pid: int) -> dict[int, str]:
    """All descendants: pid -> command line."""
    parents: dict[int, int] = {}
    lines: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            lines[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ").strip()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(entry.name)] = int(fields[1])
    found: dict[int, str] = {}
    queue = [pid]
    while queue:
        parent = queue.pop()
        for child, its_parent in parents.items():
            if its_parent == parent and child not in found:
                found[child] = lines[child]
                queue.append(child)
    return found


def listeners(pid: int) -> set[tuple[str, int]]:
    """(address, port) of every TCP socket on which a process listens."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                octets = bytes.fromhex(address)[::-1] if len(address) == 8 else bytes.fromhex(address)
                host = ".".join(map(str, octets)) if len(octets) == 4 else octets.hex(":")
                found.add((host, int(port, 16)))
    return found
