"""`chophien bench viewers`: how many can watch at once on this machine, and what each costs.

A run: the floor (a loop of raw write() calls to plain sockets), then the gateways, then the crowd comes,
watches for `seconds`, and leaves; then the floor again. The crowd (`streaming.crowd`) is several processes
that share the machine with what they measure. The result is one dict for one JSON line; what is going on
goes to `say`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import platform
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from streaming import protocol
from streaming.bus import Bus, BusAway
from streaming.crowd import Orders, Tally, Watch
from streaming.door import file_limit
from streaming.gateway import RESERVED_FILES, GatewayConfig
from streaming.metrics import cpu_seconds
from streaming.protocol import Snapshot, State, Tick

MAX_VIEWERS = 400_000
MAX_SECONDS = 600
CROWD_SOCKETS = 12_500  # one process of the crowd reads as many at most
FLOOR_SOCKETS = 10_000
FLOOR_ROUNDS = 8
KB_A_VIEWER = 40  # gateway, crowd and kernel together, for the check of memory before we start
SETTLE_S = 6.0
ROOM = "BENCH"

Say = Callable[[str], None]
Numbers = dict[str, dict[str, float]]
"""By gateway: each number of `streaming.metrics`."""


class BenchError(Exception):
    """The bench cannot be run as asked; the message says why and what to do."""


class Target(msgspec.Struct):
    """A running market: where its gateways listen and what opens their doors."""

    live_url: str
    room: str
    secret: str

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.live_url)
        if parts.scheme != "ws" or not parts.hostname:
            raise BenchError(f"a live address like ws://127.0.0.1:8001 is needed, not {self.live_url!r}")
        return socket.gethostbyname(parts.hostname), parts.port or 80


def main(
    viewers: int,
    seconds: float,
    *,
    start_valkey: Callable[[], AbstractContextManager[str]] | None = None,
    target: Target | None = None,
    rate: float = 0.0,
    say: Say = lambda text: print(text, file=sys.stderr, flush=True),  # noqa: T201
) -> dict[str, Any]:
    """Run the bench: against `target`, else on gateways of its own around the Valkey that `start_valkey`
    starts (a context manager that gives its URL). `rate`: viewers that come in a second at most, 0 for as
    many as are taken. Raises `BenchError`."""
    check_machine(viewers, seconds)
    floors = [measure_floor(min(viewers, FLOOR_SOCKETS), say)]
    with contextlib.ExitStack() as stack:
        if target is None:
            if start_valkey is None:
                raise BenchError("neither a running market nor a Valkey to start was given")
            url = stack.enter_context(start_valkey())
            target = stack.enter_context(own_gateways(url, viewers, say))
        measured = measure(target, viewers, seconds, rate, say)
    # Before and after: what else the machine does changes from one half minute to the next.
    floors.append(measure_floor(min(viewers, FLOOR_SOCKETS), say))
    return measured | {"floor_us_per_frame": round(sum(floors) / len(floors), 2)}


def check_machine(viewers: int, seconds: float) -> None:
    if not 1 <= viewers <= MAX_VIEWERS:
        raise BenchError(f"viewers must be from 1 to {MAX_VIEWERS}, not {viewers}")
    if not 1 <= seconds <= MAX_SECONDS:
        raise BenchError(f"seconds must be from 1 to {MAX_SECONDS}, not {seconds}")
    available = available_kb()
    if viewers * KB_A_VIEWER > available:
        most = available // KB_A_VIEWER
        raise BenchError(
            f"{viewers} viewers need about {viewers * KB_A_VIEWER >> 20} GB of free memory and there are "
            f"{available >> 20} GB: ask for at most {most} viewers"
        )


def available_kb() -> int:
    """Memory that can be had without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    raise BenchError("/proc/meminfo does not say how much memory is available: the bench needs Linux")


# The floor


def measure_floor(count: int, say: Say) -> float:
    """Microseconds of CPU a frame takes by the plainest loop of write() calls, to `count` sockets."""
    say(f"floor: write() to {count} plain sockets, {FLOOR_ROUNDS} rounds")
    now = protocol.now_ms()
    tick = Tick(seq=now, sent_ms=now, viewers=150_000, orders=1000, units=2000)
    frame = protocol.text_message(protocol.encode(tick))
    with (
        socket.create_server(("127.0.0.1", 0), backlog=4096) as server,
        crowd_processes(math.ceil(count / CROWD_SOCKETS)) as crowd,
    ):
        port = server.getsockname()[1]
        for number, (process, some) in enumerate(zip(crowd, share(count, len(crowd)), strict=True)):
            process.tell(Orders(host="127.0.0.1", port=port, count=some, number=number))
        taken = [server.accept()[0] for _ in range(count)]
        for process in crowd:
            process.answer()
        files = [sock.fileno() for sock in taken]
        write_round(files, frame)  # the first writes grow the kernel's buffers
        spent = 0.0
        for _ in range(FLOOR_ROUNDS):
            time.sleep(0.2)
            spent += write_round(files, frame)
        for sock in taken:
            sock.close()
    return spent / (FLOOR_ROUNDS * count) * 1e6


def write_round(files: list[int], frame: bytes) -> float:
    """CPU seconds of writing a frame to each."""
    write = os.write
    before = cpu_seconds()
    for file in files:
        write(file, frame)
    return cpu_seconds() - before


# The crowd


class CrowdProcess:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streaming.crowd"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def tell(self, orders: Orders | Watch) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(orders) + b"\n")
        self._process.stdin.flush()

    def answer(self) -> Tally:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("a process of the crowd died; is there enough memory?")
        return msgspec.json.decode(line, type=Tally)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def crowd_processes(count: int) -> Iterator[list[CrowdProcess]]:
    crowd = [CrowdProcess() for _ in range(count)]
    try:
        yield crowd
    finally:
        for process in crowd:
            process.stop()


def share(count: int, processes: int) -> list[int]:
    return [count // processes + (i < count % processes) for i in range(processes)]


# Gateways of our own


def gateways_needed(viewers: int) -> int:
    """Connections are spread over the processes by chance: leave room for five standard deviations."""
    most = file_limit() - RESERVED_FILES
    count = math.ceil(viewers / most)
    while viewers / count + 5 * math.sqrt(viewers / count) > most:
        count += 1
    return count


@contextlib.contextmanager
def own_gateways(valkey_url: str, viewers: int, say: Say, count: int = 0) -> Iterator[Target]:
    count = count or gateways_needed(viewers)
    say(f"{count} gateway process(es): one may hold {file_limit() - RESERVED_FILES} sockets here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secret = secrets.token_hex(32)
    config = GatewayConfig(valkey_url=valkey_url, ticket_secret=secret, port=port, prefix="bench", drain_s=0)
    processes = [start_process("streaming.gateway", config) for _ in range(count)]
    processes.append(start_process("streaming.bench", {"valkey_url": valkey_url}))
    try:
        target = Target(f"ws://127.0.0.1:{port}", ROOM, secret)
        wait_until(lambda: len(gateway_numbers(target)) == count, 20, "the gateways did not start")
        yield target
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def start_process(module: str, settings: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(settings))
    process.stdin.close()
    return process


async def tick(valkey_url: str) -> None:
    """What the market's ticker does, once a second."""
    bus = Bus(valkey_url, "bench")
    await bus.put_snapshot(ROOM, Snapshot(state=State.LIVE, stock={"A1": 1000}), as_of=await bus.seq(ROOM))
    viewers = orders = 0
    started = asyncio.get_running_loop().time()
    while True:
        with contextlib.suppress(BusAway):
            count = (await bus.viewers([ROOM]))[ROOM]
            viewers = viewers if count is None else count
            orders += 1
            await bus.publish(
                ROOM, Tick(viewers=viewers, orders=orders, units=2 * orders, stale=count is None)
            )
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(1.0 - (now - started) % 1.0)


# Measuring


def gateway_numbers(target: Target) -> Numbers:
    host, port = target.address
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    numbers: Numbers = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("chophien_gateway_").removesuffix("_total")
            mine = numbers.setdefault(sample.labels["gateway"], {})
            mine[name] = mine.get(name, 0.0) + sample.value
    return numbers


def total(numbers: Numbers, name: str) -> float:
    return sum(gateway[name] for gateway in numbers.values())


def measure(target: Target, viewers: int, seconds: float, rate: float, say: Say) -> dict[str, Any]:
    host, port = target.address
    before = gateway_numbers(target)
    with crowd_processes(math.ceil(viewers / CROWD_SOCKETS)) as crowd:
        say(f"{viewers} viewers come, from {len(crowd)} process(es)")
        for number, (process, count) in enumerate(zip(crowd, share(viewers, len(crowd)), strict=True)):
            process.tell(
                Orders(
                    host=host,
                    port=port,
                    count=count,
                    number=number,
                    room=target.room,
                    secret=target.secret,
                    rate=rate / len(crowd),
                )
            )
        opened = [process.answer() for process in crowd]
        opening_s = max(tally.opened_s for tally in opened)
        time.sleep(1.5)  # gateways say their numbers once a second
        arrived = gateway_numbers(target)
        say(f"{sum(tally.held for tally in opened)} are in after {opening_s:.1f} s; counting {seconds:g} s")
        begin = time.time() + SETTLE_S
        for process in crowd:
            process.tell(Watch(begin=begin, end=begin + seconds))
        time.sleep(max(0.0, begin - time.time()))
        full = gateway_numbers(target)
        watched = [process.answer() for process in crowd]
        after = gateway_numbers(target)
    return result(opened, watched, (before, arrived, full, after), opening_s)


def result(
    opened: list[Tally],
    watched: list[Tally],
    numbers: tuple[Numbers, Numbers, Numbers, Numbers],
    opening_s: float,
) -> dict[str, Any]:
    """`numbers`: of the gateways before anybody came, when all had come, and around the counting."""
    before, arrived, full, after = numbers
    delays: Counter[int] = Counter()
    closed: Counter[str] = Counter()
    for tally in watched:
        delays.update(tally.delays)
    for tally in (*opened, *watched):
        closed.update(tally.closed)
    held = sum(tally.held for tally in watched)
    writes = total(after, "writes") - total(full, "writes")
    came = max(1.0, total(arrived, "joined") - total(before, "joined"))
    return {
        "viewers": held,
        "refused": sum(tally.refused for tally in opened),
        "dropped": sum(tally.dropped for tally in watched),
        "frames": sum(tally.frames for tally in watched),
        "delay_ms": {
            "p50": percentile(delays, 0.50),
            "p99": percentile(delays, 0.99),
            "max": max(delays, default=None),
        },
        "longest_silence_s": round(max(tally.longest_silence_s for tally in watched), 2),
        "cpu_us_per_frame": round((total(after, "cpu_s") - total(full, "cpu_s")) / max(1.0, writes) * 1e6, 2),
        "kb_per_viewer": round((total(full, "rss_kb") - total(before, "rss_kb")) / came, 1),
        "accepts_per_s": round(sum(tally.held for tally in opened) / opening_s),
        "cpu_us_per_accept": round((total(arrived, "cpu_s") - total(before, "cpu_s")) / came * 1e6),
        "interval_s": round(max(gateway["interval_s"] for gateway in after.values()), 2),
        "gateways": len(after),
        "crowd_processes": len(watched),
        "crowd_cpu_s": round(sum(tally.cpu_s for tally in watched), 1),
        "closed": dict(closed),
        "files_per_process": file_limit(),
        "machine": f"{os.cpu_count()} x {processor()}, Python {platform.python_version()}",
    }


def percentile(delays: Counter[int], part: float) -> int | None:
    """The smallest delay that this part of all ticks did not exceed."""
    left = part * delays.total()
    for delay in sorted(delays):
        left -= delays[delay]
        if left <= 0:
            return delay
    return None


def processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def wait_until(ready: Callable[[], bool], seconds: float, else_: str) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise BenchError(else_)
        time.sleep(0.2)


if __name__ == "__main__":  # the ticker of `own_gateways`
    asyncio.run(tick(msgspec.json.decode(sys.stdin.buffer.read())["valkey_url"]))
