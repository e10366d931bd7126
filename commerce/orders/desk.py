"""The order desk: one writer a process, which commits whatever is waiting in one transaction.

Thousands of buyers want the same durian in the same second. If each order were a transaction of its own,
they would queue for the same stock row, each holding it for a commit to disk. Here a request joins a queue;
the writer takes all that wait, locks the row once, serves them in the order they came and commits once, so
that the time a commit takes makes the next batch larger instead of the queue longer.

The writer has a thread and an event loop of its own. In the loop of the pages, the answer of each statement
would wait behind whatever requests have just come, while the stock row is locked: half of the time.

A batch that fails is halved until the order at fault is alone: the others are placed without it. A database
that goes away is asked again for a few seconds; whether a lost commit happened is told by the idempotency
keys, which each try looks up first. Past `MAX_WAITING` buyers are told to try again (`Busy`), which is
honest and cheap. Several processes are correct together: the database decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import asyncpg
import structlog
import uvloop
from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from commerce.core.db import async_url, sessions
from commerce.core.errors import Busy
from commerce.orders.placing import Basket, KeyTaken, Outcome, place
from commerce.orders.wire import PurchaseAnswer

MAX_BATCH = 250  # past this a batch saves little more and makes its first order wait for its last
MAX_WAITING = 5_000  # a crowd that comes in one second; most of it can be answered in the next
PATIENCE_S = 5.0  # how long a buyer waits for a database that restarts
PAUSE_S = 0.1
LOCK_TIMEOUT_MS = 3_000
DRAIN_S = 4.0  # the supervisor gives a process five seconds
SESSION_SETTINGS = {
    "application_name": "chophien desk",
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "jit": "off",
    # The statements are always the same and find everything by index: planning them anew is half their cost.
    "plan_cache_mode": "force_generic_plan",
}

BATCH = Histogram("chophien_order_batch", "Orders a transaction", buckets=(1, 2, 5, 10, 25, 50, 100, 250))
WAITING = Gauge("chophien_orders_waiting", "Orders in the queue of this process's desk")
PLACED = Counter("chophien_orders_total", "Answers of the order desk", ["outcome"])

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Request:
    basket: Basket
    answer: asyncio.Future[PurchaseAnswer]


Answer = tuple[asyncio.Future[PurchaseAnswer], Outcome | Exception]


class Desk:
    """The process's order desk. Starts with the first order; `close` drains it."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        self._thread: threading.Thread | None = None
        self._wake: Callable[[], object] | None = None
        """Set while the writer sleeps."""
        self._stop: Callable[[], object] = lambda: None
        self._engine: AsyncEngine | None = None
        self._connection: AsyncConnection | None = None
        self._closing = False

    async def place(self, basket: Basket) -> PurchaseAnswer:
        """Place the basket. Raises the refusals of `orders.errors`, and `Busy`."""
        if self._closing or len(self._waiting) >= MAX_WAITING:
            PLACED.labels("busy").inc()
            raise Busy
        request = Request(basket, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="order desk", daemon=True)
            self._thread.start()
        self._rouse()
        return await request.answer

    @property
    def waiting(self) -> int:
        """Orders in the queue, without the batch under way."""
        return len(self._waiting)

    async def close(self) -> None:
        """Take no more, place what waits, answer everybody. The desk can be used again afterwards."""
        self._closing = True
        self._rouse()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, DRAIN_S)
            if self._thread.is_alive():
                self._stop()
                await asyncio.to_thread(self._thread.join)
        _answer_all(list(self._waiting), Busy())
        self._waiting.clear()
        self._thread = None
        self._closing = False

    def _rouse(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    # ---- the writer, in its own thread

    def _work(self) -> None:
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        with runner, contextlib.suppress(asyncio.CancelledError):
            runner.run(self._write())

    async def _write(self) -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        self._stop = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            while self._waiting or not self._closing:
                if not self._waiting:
                    await self._sleep(loop)
                    continue
                batch = self._take()
                BATCH.observe(len(batch))
                try:
                    await self._settle(batch, time.monotonic() + PATIENCE_S)
                except asyncio.CancelledError:
                    _answer_all(batch, Busy())
                    raise
        finally:
            self._stop = lambda: None
            await self._disconnect()
            if self._engine is not None:
                await self._engine.dispose()
                self._engine = None

    async def _sleep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until somebody comes. Who came between the look at the queue and this is seen by a second look."""
        arrived = asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(arrived.set)
        if not self._waiting and not self._closing:
            await arrived.wait()
        self._wake = None

    def _take(self) -> list[Request]:
        """The next batch. A key that is in it already waits for the next one, where it meets its answer."""
        keys: set[str] = set()
        batch: list[Request] = []
        again: list[Request] = []
        while self._waiting and len(batch) < MAX_BATCH:
            request = self._waiting.popleft()
            key = request.basket.idempotency_key
            (again if key in keys else batch).append(request)
            keys.add(key)
        self._waiting.extendleft(reversed(again))
        return batch

    async def _settle(self, batch: Sequence[Request], deadline: float, *, retried: bool = False) -> None:
        """Place the batch and answer everybody in it, whatever happens. Never raises."""
        while True:
            try:
                outcomes = await self._commit(batch)
            except KeyTaken:
                continue
            except Exception as error:
                if _is_outage(error):
                    await self._disconnect()
                if _is_passing(error):
                    if time.monotonic() < deadline:
                        await asyncio.sleep(PAUSE_S)
                        continue
                    log.warning("desk_gave_up", orders=len(batch), error=repr(error)[:300])
                    _answer_all(batch, Busy())
                elif len(batch) > 1:
                    log.warning("desk_halves_batch", orders=len(batch), error=repr(error)[:300])
                    middle = len(batch) // 2
                    await self._settle(batch[:middle], deadline)
                    await self._settle(batch[middle:], deadline)
                elif not retried:  # a random code that was given before: the next one will not be
                    await self._settle(batch, deadline, retried=True)
                else:
                    log.error("desk_poison", exc_info=error)
                    _answer_all(batch, error)
                return
            _answer_all(batch, *outcomes)
            return

    async def _commit(self, batch: Sequence[Request]) -> list[Outcome]:
        connection = await self._connect()
        async with connection.begin():
            return await place(connection, [request.basket for request in batch])

    async def _connect(self) -> AsyncConnection:
        """The desk's own connection: orders do not wait behind pages for one of the pool's."""
        if self._connection is None:
            if self._engine is None:
                self._engine = desk_engine(sessions.url)
            self._connection = await self._engine.connect()
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.invalidate()
            with contextlib.suppress(Exception):
                await connection.close()


def desk_engine(url: str) -> AsyncEngine:
    return create_async_engine(
        async_url(url), poolclass=NullPool, connect_args={"timeout": 5, "server_settings": SESSION_SETTINGS}
    )


def _answer_all(batch: Sequence[Request], *outcomes: Outcome | Exception) -> None:
    """Tell each its own outcome, or all of them the only one, in the loops they wait in."""
    each = outcomes if len(outcomes) == len(batch) else outcomes * len(batch)
    told: defaultdict[asyncio.AbstractEventLoop, list[Answer]] = defaultdict(list)
    for request, outcome in zip(batch, each, strict=True):
        told[request.answer.get_loop()].append((request.answer, outcome))
    for loop, answers in told.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_deliver, answers)


def _deliver(answers: Sequence[Answer]) -> None:
    for answer, outcome in answers:
        if answer.done():
            continue  # the buyer went away; the order stands and its key will tell
        if isinstance(outcome, Exception):
            PLACED.labels(getattr(outcome, "code", "error")).inc()
            answer.set_exception(outcome)
        else:
            PLACED.labels("placed").inc()
            answer.set_result(outcome)


def _sqlstate(error: BaseException) -> str:
    original = getattr(error, "orig", None) or error
    return str(getattr(original, "sqlstate", None) or "")


def _is_outage(error: BaseException) -> bool:
    """The connection is gone or going: class 08, and 57P01 to 57P03 (shutdown, crash, starting up)."""
    if isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = _sqlstate(error)
    return state.startswith(("08", "57P", "53")) or "connection is closed" in str(error)


def _is_passing(error: BaseException) -> bool:
    """The same batch may succeed in a moment: an outage, a lock not had in time, a deadlock with somebody."""
    return _is_outage(error) or _sqlstate(error) in ("55P03", "40P01", "40001")


desk = Desk()
WAITING.set_function(lambda: desk.waiting)  # asked when somebody looks
