"""News is a row: what another process must learn is written in the transaction that made it true.

`emit()` inserts the row and notifies; the relay in every worker wakes on NOTIFY and on a slow poll, claims
rows with SKIP LOCKED for a lease, hands them to their topic's function in batches, and deletes them.
A crash after the work and before the deletion delivers again: functions must be idempotent. A row that
fails is retried with growing pauses and, after `MAX_ATTEMPTS`, kept as dead, where /metrics, `doctor` and
the admin page show it.

Why not procrastinate: it needs psycopg beside asyncpg (we keep one driver), stores one job a row without
batches, and our relay's whole logic is the two statements below. Claims are leases rather than open
transactions because functions talk to the network (STYLE: no network inside a transaction).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import Index, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, Id, sessions

CHANNEL = "outbox"
BATCH = 500  # rows a claim; one topic's function sees at most so many at once
LEASE_S = 60  # longer than any function may take; after it another worker tries
PACE_S = 0.1  # from one delivery to the next: in a rush, what came together is told together
POLL_S = 1.0  # the slow poll, for rows that became due or whose NOTIFY was lost
MAX_ATTEMPTS = 12  # with pauses doubling from 1 s to 10 min this is about an hour

log = structlog.get_logger()


class OutboxMessage(Base):
    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_due_at", "due_at", "id", postgresql_where=text("dead_at IS NULL")),)

    id: Mapped[Id]
    topic: Mapped[str]
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[CreatedAt]
    due_at: Mapped[CreatedAt]
    claimed_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None]
    dead_at: Mapped[datetime | None]


@dataclass(frozen=True, slots=True)
class Message:
    id: int
    topic: str
    payload: dict[str, Any]
    attempts: int
    created_at: datetime


Handler = Callable[[Sequence[Message]], Awaitable[None]]


_EMIT = text("""
    WITH news AS (
        INSERT INTO outbox (topic, payload) VALUES (:topic, CAST(:payload AS jsonb)) RETURNING topic
    ) SELECT pg_notify(:channel, topic) FROM news
""")


async def emit(db: AsyncSession | AsyncConnection, topic: str, payload: dict[str, Any]) -> None:
    """Tell the worker, if and only if this transaction commits."""
    values = {"topic": topic, "payload": msgspec.json.encode(payload).decode(), "channel": CHANNEL}
    await db.execute(_EMIT, values)


_CLAIM = text("""
    UPDATE outbox SET claimed_until = now() + make_interval(secs => :lease), attempts = attempts + 1
    WHERE id IN (
        SELECT id FROM outbox
        WHERE dead_at IS NULL AND due_at <= now() AND (claimed_until IS NULL OR claimed_until < now())
        ORDER BY id LIMIT :batch FOR UPDATE SKIP LOCKED)
    RETURNING id, topic, payload, attempts, created_at
""")

_FAILED = text("""
    UPDATE outbox SET claimed_until = NULL, error = :error,
        due_at = now() + make_interval(secs => least(600, power(2, attempts - 1))),
        dead_at = CASE WHEN attempts >= :most THEN now() END
    WHERE id = :id
""")


class Relay:
    """Delivers the outbox of one market; any number of them may run."""

    def __init__(self, topics: Mapping[str, Handler]) -> None:
        self.topics = topics
        self._wake = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set: deliver, sleep until notified or the poll, again. Survives a lost database."""
        listener = asyncio.create_task(self._listen(stop))
        try:
            while not stop.is_set():
                began = time.monotonic()
                try:
                    delivered = await self.deliver_due()
                except Exception as error:
                    log.warning("outbox_unreachable", error=repr(error))
                    delivered = 0
                if delivered < BATCH:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), POLL_S)
                    await asyncio.sleep(began + PACE_S - time.monotonic())
                    self._wake.clear()
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener

    async def deliver_due(self) -> int:
        """One claim and its delivery; returns how many rows were claimed."""
        async with sessions.begin() as db:
            rows = (await db.execute(_CLAIM, {"lease": LEASE_S, "batch": BATCH})).all()
        by_topic: dict[str, list[Message]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: row.id):
            message = Message(row.id, row.topic, row.payload, row.attempts, row.created_at)
            by_topic[row.topic].append(message)
        for topic, messages in by_topic.items():
            await self._deliver(topic, messages)
        return len(rows)

    async def _deliver(self, topic: str, messages: list[Message]) -> None:
        try:
            handler = self.topics.get(topic)
            if handler is None:
                raise LookupError(f"no function for topic {topic!r}")
            await handler(messages)
        except Exception as error:
            if len(messages) > 1:
                # One bad row must not hold up the others: each is tried alone.
                for message in messages:
                    await self._deliver(topic, [message])
                return
            log.warning("outbox_failed", topic=topic, id=messages[0].id, exc_info=error)
            await self._failed(messages[0], error)
            return
        async with sessions.begin() as db:
            await db.execute(
                text("DELETE FROM outbox WHERE id = ANY(:ids)"), {"ids": [m.id for m in messages]}
            )

    async def _failed(self, message: Message, error: Exception) -> None:
        values = {"id": message.id, "error": repr(error)[:2000], "most": MAX_ATTEMPTS}
        async with sessions.begin() as db:
            await db.execute(_FAILED, values)

    async def _listen(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(Exception):
                await self._listen_once()
            await asyncio.sleep(0.5)

    async def _listen_once(self) -> None:
        """Until the connection is lost."""
        connection = await sessions.connect_raw()
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            await connection.add_listener(CHANNEL, lambda *_: self._wake.set())
            await lost.wait()
        finally:
            await connection.close(timeout=2)


async def dead_messages(db: AsyncSession, limit: int = 100) -> list[OutboxMessage]:
    """Rows given up, newest first, for the admin page and `doctor`."""
    found = await db.scalars(
        select(OutboxMessage)
        .where(OutboxMessage.dead_at.is_not(None))
        .order_by(OutboxMessage.dead_at.desc())
        .limit(limit)
    )
    return list(found)


def encode(payload: Any) -> dict[str, Any]:
    """A msgspec struct as the plain JSON an outbox row holds."""
    plain: dict[str, Any] = msgspec.to_builtins(payload)
    return plain
