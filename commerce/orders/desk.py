"""The order desk: one writer a process, which commits whatever is waiting in one transaction.

Thousands of buyers want the same durian in the same second. If each order were a transaction of its own,
they would queue for the same stock row, each holding it for a commit to disk. Here a request joins a queue;
the writer takes all that wait, locks the row once, serves them in the order they came and commits once, so
that the time a commit takes makes the next batch larger instead of the queue longer.

A batch that fails is halved until the order at fault is alone: the others are placed without it. A database
that goes away is asked again for a few seconds; whether a lost commit happened is told by the idempotency
keys, which each try looks up first. Past `MAX_WAITING` buyers are told to try again (`Busy`), which is
honest and cheap. Several processes are correct together: the database decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import structlog
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


class Desk:
    """The process's order desk. Starts with the first order; `close` drains it."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        self._arrived = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
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
        self._arrived.set()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="order desk")
        return await request.answer

    async def close(self) -> None:
        """Take no more, place what waits, answer everybody. The desk can be used again afterwards."""
        self._closing = True
        self._arrived.set()
        if self._writer is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._writer, DRAIN_S)
        while self._waiting:
            _answer(self._waiting.popleft(), Busy())
        await self._disconnect()
        if self._engine is not None:
            await self._engine.dispose()
        self._writer = self._engine = None
        self._arrived = asyncio.Event()  # an event belongs to the loop that first waited for it
        self._closing = False

    # ---- the writer

    async def _write(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = self._take()
            BATCH.observe(len(batch))
            WAITING.set(len(self._waiting))
            await self._settle(batch, time.monotonic() + PATIENCE_S)

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
            for request, outcome in zip(batch, outcomes, strict=True):
                _answer(request, outcome)
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


def _answer(request: Request, outcome: Outcome | Exception) -> None:
    if request.answer.done():
        return  # the buyer went away; the order stands and its key will tell
    if isinstance(outcome, Exception):
        PLACED.labels(getattr(outcome, "code", "error")).inc()
        request.answer.set_exception(outcome)
    else:
        PLACED.labels("placed").inc()
        request.answer.set_result(outcome)


def _answer_all(batch: Sequence[Request], error: Exception) -> None:
    for request in batch:
        _answer(request, error)


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
