"""A lean HTTP/1.1 load generator: keep-alive connections that each wait for one answer before asking again.

Libraries cost more a request than the server under test, and on the machine that runs both this would be
measured instead. It knows just enough HTTP for our own servers: a status line and a Content-Length.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit


@dataclass(slots=True)
class Tally:
    """What was answered: counts by status (0: no answer), and the times of those in `timed`, in seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0

    def percentile_ms(self, percent: float) -> float:
        """Nearest rank; 0 when nothing was timed."""
        if not self.seconds:
            return 0.0
        ranked = sorted(self.seconds)
        index = min(len(ranked) - 1, int(len(ranked) * percent / 100))
        return round(ranked[index] * 1000, 1)


MakeRequest = Callable[[], bytes]
SeeAnswer = Callable[[int, bytes], None]


class Pace:
    """Requests at a fixed rate, whoever is free to send them. Times count from the moment a request was due,
    so that a server that stalls cannot hide it by keeping the generator waiting."""

    def __init__(self, per_second: float) -> None:
        self.interval = 1 / per_second
        self.due = time.perf_counter()

    def next_due(self) -> float:
        self.due += self.interval
        return self.due


class Asker(asyncio.Protocol):
    """One connection: sends a request, reads its answer, sends the next until told to stop."""

    def __init__(
        self, make: MakeRequest, see: SeeAnswer, tally: Tally, finished: asyncio.Event, pace: Pace | None
    ) -> None:
        self.make, self.see, self.tally, self.finished, self.pace = make, see, tally, finished, pace
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.sent_at = 0.0
        self.asking = False
        self.stopping = False
        self.counting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.ask()

    def ask(self) -> None:
        assert self.transport is not None
        if self.stopping:
            self.transport.close()
            return
        if self.pace is None:
            self.send(time.perf_counter())
            return
        due = self.pace.next_due()
        wait = due - time.perf_counter()
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self.send, due)
        else:
            self.send(due)

    def send(self, due: float) -> None:
        assert self.transport is not None
        if self.stopping or self.transport.is_closing():
            self.transport.close()
            return
        self.asking = True
        self.sent_at = due
        self.transport.write(self.make())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        stop = head.find(b"\r\n", at)
        length = int(head[at + 15 : stop if stop > 0 else end]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        status = int(head[9:12])
        body, self.buffer = self.buffer[end + 4 : end + 4 + length], b""
        self.answered(status, body)
        self.ask()

    def answered(self, status: int, body: bytes) -> None:
        self.asking = False
        self.see(status, body)
        if self.counting:
            self.tally.statuses[status] += 1
            self.tally.seconds.append(time.perf_counter() - self.sent_at)

    def connection_lost(self, error: Exception | None) -> None:
        if self.asking and self.counting:
            self.tally.statuses[0] += 1
        self.finished.set()


async def run(
    url: str,
    make: MakeRequest,
    *,
    concurrency: int,
    seconds: float,
    warm_up: float = 1.0,
    see: SeeAnswer = lambda status, body: None,
    per_second: float | None = None,
) -> Tally:
    """Keep `concurrency` requests under way for `seconds` after the warm-up, or as many as `per_second`
    needs. `see` gets every answer.

    A connection that the server closes is opened again; the request it lost counts as status 0.
    """
    parts = urlsplit(url)
    tally = Tally()
    stop = asyncio.Event()
    counting = False

    async def keep_asking() -> None:
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            finished = asyncio.Event()
            asker = Asker(make, see, tally, finished, pace)
            asker.counting = counting
            askers.add(asker)
            try:
                await loop.create_connection(lambda: asker, parts.hostname or "", parts.port or 80)  # noqa: B023
                await finished.wait()
            except OSError:
                tally.statuses[0] += 1
                await asyncio.sleep(0.1)
            finally:
                askers.discard(asker)

    pace = Pace(per_second) if per_second else None
    askers: set[Asker] = set()
    tasks = [asyncio.create_task(keep_asking()) for _ in range(concurrency)]
    await asyncio.sleep(warm_up)
    counting = True
    began = time.perf_counter()
    for asker in askers:
        asker.counting = True
    await asyncio.sleep(seconds)
    tally.elapsed = time.perf_counter() - began
    stop.set()
    for asker in list(askers):
        asker.counting = False
        asker.stopping = True
    await asyncio.wait(tasks, timeout=10)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return tally
