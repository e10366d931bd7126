"""What the gateway's tests stand on: a Valkey that can be killed, gateways as processes, viewers, a ticker.

Plain classes; nothing here knows a market. `Viewer` is the `websockets` client with a memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from commerce.core.embedded.valkey import find_server
from streaming import protocol, visits
from streaming.bus import Bus, BusAway
from streaming.gateway import GatewayConfig
from streaming.protocol import AnyFrame, Snapshot, State, Tick
from streaming.tickets import Kind, Tickets
from streaming.visits import GatewayDied, Record, Visit

SECRET = "a secret of the tests, long enough for anybody"
ROOM = "EAKNUEC"
T = TypeVar("T")
tickets = Tickets(SECRET)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def eventually(ask: Callable[[], Any], within: float = 10.0) -> Any:
    """The first true answer of `ask` (awaited if need be); fails with the last one."""
    end = time.monotonic() + within
    while True:
        answer = ask()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {within} s; last: {answer!r}"
        await asyncio.sleep(0.05)


class ValkeyServer:
    """A Valkey of this test's own, which forgets everything when it dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"valkey://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        command = [str(find_server()), "--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        with (self._folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen([*command, "--dir", str(self._folder)], stdout=log)
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 0.1):
                return
            time.sleep(0.02)
        raise RuntimeError("Valkey did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """It keeps its connections and says nothing, until `go_on`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class GatewayProcess:
    """A gateway as it is in production: a process of its own."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self._process = subprocess.Popen([sys.executable, "-m", "streaming.gateway"], stdin=subprocess.PIPE)
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(config))
        self._process.stdin.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def stop(self, within: float = 10.0) -> int:
        """SIGTERM; the exit status."""
        self._process.terminate()
        return self._process.wait(within)


async def wait_listening(port: int, gateways: int = 1, bus: Bus | None = None) -> None:
    """Until this many gateways have said a number of their own on the bus, or one answers on the port."""

    async def there() -> bool:
        if bus is not None:
            with contextlib.suppress(BusAway):
                return len(await bus.gateways(3000)) >= gateways
            return False
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
        return False

    await eventually(there, 20)


def live_url(
    port: int, visitor: str = "v1", *, room: str = ROOM, kind: Kind = Kind.VIEWER, source: str = "direct"
) -> str:
    return f"ws://127.0.0.1:{port}/live/{room}?ticket={tickets.sign(room, visitor, source, kind)}"


class Viewer:
    """A page: follows a room, keeps its state and all it was told."""

    def __init__(self, socket_: ClientConnection) -> None:
        self.socket = socket_
        self.frames: list[AnyFrame] = []
        self.times: list[float] = []
        self.state = Snapshot()
        self.code: int | None = None
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, url: str, **options: Any) -> Viewer:
        return cls(await connect(url, ping_interval=None, **options))

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                frame = protocol.decode(text)
                self.frames.append(frame)
                self.times.append(time.monotonic())
                self.state = frame if isinstance(frame, Snapshot) else self.state.after(frame)
        except ConnectionClosed:
            pass
        self.code = self.socket.close_code

    def seen(self, kind: type[T]) -> list[T]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    async def wait(self, kind: type[T], count: int = 1, within: float = 10.0) -> T:
        """The count-th frame of a kind."""
        await eventually(lambda: len(self.seen(kind)) >= count, within)
        return self.seen(kind)[count - 1]

    async def wait_closed(self, within: float = 10.0) -> int:
        await asyncio.wait_for(asyncio.shield(self._task), within)
        assert self.code is not None
        return self.code

    async def close(self) -> None:
        await self.socket.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def refused(url: str, **options: Any) -> int:
    """The closing code a viewer gets who is let in no further."""
    viewer = await Viewer.open(url, **options)
    code = await viewer.wait_closed()
    assert viewer.frames == []
    return code


@contextlib.asynccontextmanager
async def viewers(urls: Iterable[str]) -> AsyncIterator[list[Viewer]]:
    opened = list(await asyncio.gather(*(Viewer.open(url) for url in urls)))
    try:
        yield opened
    finally:
        await asyncio.gather(*(viewer.close() for viewer in opened))


class Ticker:
    """What commerce does for a room: puts its snapshot, ticks once a second, and puts the snapshot again
    when the bus says that it has none."""

    def __init__(self, bus: Bus, room: str = ROOM) -> None:
        self.bus = bus
        self.room = room
        self.counts: list[int | None] = []
        self.snapshot = Snapshot(state=State.LIVE, pinned={"code": "A1"}, stock={"A1": 10})
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Ticker:
        await self.restate()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def restate(self) -> None:
        await self.bus.put_snapshot(self.room, self.snapshot, await self.bus.seq(self.room))

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(BusAway):
                count = (await self.bus.viewers([self.room]))[self.room]
                self.counts.append(count)
                last = next((c for c in reversed(self.counts) if c is not None), 0)
                tick = Tick(viewers=last, orders=0, units=0, stale=count is None)
                if not (await self.bus.publish(self.room, tick)).complete:
                    await self.restate()
            await asyncio.sleep(1.0)


class Books:
    """The rules of `streaming.visits`, as a store would follow them."""

    def __init__(self) -> None:
        self.visits: dict[str, Visit] = {}
        self.deaths: dict[tuple[str, str], int] = {}

    def enter(self, records: Iterable[Record]) -> None:
        for record in records:
            if isinstance(record, GatewayDied):
                self.deaths.setdefault((record.gateway, record.room), record.at_ms)
                continue
            stored = self.visits.get(record.id, record)
            self.visits[record.id] = msgspec.structs.replace(
                record,
                gateway=max(record.gateway, stored.gateway),
                left_ms=record.left_ms if record.left_ms is not None else stored.left_ms,
            )

    def ended(self, visit: Visit) -> int | None:
        return visit.left_ms if visit.left_ms is not None else self.deaths.get((visit.gateway, visit.room))

    @property
    def open(self) -> list[Visit]:
        return [visit for visit in self.visits.values() if self.ended(visit) is None]

    async def read(self, bus: Bus, consumer: str = "clerk") -> Sequence[Record]:
        """Take in everything that is waiting; returns the records in order."""
        everything: list[Record] = []
        while entries := await bus.read(visits.VISITS, "books", consumer, block_ms=100):
            for entry in entries:
                everything += visits.decode(entry.data)
            await bus.ack(visits.VISITS, "books", [entry.id for entry in entries])
        self.enter(everything)
        return everything
