"""From the wire's streams into PostgreSQL, each record once: visits from gateways, events from pages.

A batch is read, copied into a temporary table by COPY, merged from there, committed, and only then
acknowledged. A worker that dies in between leaves the batch to the next reader, and the merge makes the same
books however often and in whatever order batches are read (the rules are in `streaming.visits`); an event's
name is its place in the stream, so it cannot be stored twice.

Both tables are partitioned by month; partitions are made ahead, and for whatever month a batch holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar, overload

import asyncpg
import msgspec
import structlog
from prometheus_client import Counter

from commerce.core import clock
from commerce.core.db import sessions
from commerce.live import beacons
from streaming import visits
from streaming.bus import Bus, BusAway, Entry
from streaming.visits import GatewayDied, Visit

GROUP = "books"
READ = 200  # entries at once; a gateway puts up to some hundred visits into one
MONTHS_AHEAD = 2
PARTITIONS = 6_600_202  # advisory lock: two workers must not make the same partition
TRY_EVERY_S = 0.5

STORED = Counter("chophien_ingested_total", "Records taken from the wire's streams", ["stream"])
UNREADABLE = Counter("chophien_unreadable_total", "Entries of the streams that could not be read", ["stream"])

log = structlog.get_logger()

T = TypeVar("T")
Store = Callable[[asyncpg.Connection, Sequence[Entry]], Awaitable[int]]


class Ingest:
    """One reader of both streams; any number of them share the work."""

    def __init__(self, bus: Bus, consumer: str) -> None:
        self._bus = bus
        self._consumer = consumer

    async def run(self) -> None:
        """Until cancelled. Survives the absence of both engines; what was not stored is read again."""
        await asyncio.gather(
            self._follow(visits.VISITS, store_visits), self._follow(beacons.STREAM, store_events)
        )

    async def _follow(self, stream: str, store: Store) -> None:
        while True:
            connection: asyncpg.Connection | None = None
            try:
                connection = await sessions.connect_raw(command_timeout=30)
                while True:
                    await self.take(stream, store, connection)
            except (BusAway, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("ingest_paused", stream=stream, error=repr(error)[:200])
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(TRY_EVERY_S)

    async def take(
        self, stream: str, store: Store, connection: asyncpg.Connection, *, block_ms: int = 1000
    ) -> int:
        """Read, store and acknowledge once; returns how many entries."""
        entries = await self._bus.read(stream, GROUP, self._consumer, count=READ, block_ms=block_ms)
        if entries:
            STORED.labels(stream).inc(await store(connection, entries))
            await self._bus.ack(stream, GROUP, [entry.id for entry in entries])
        return len(entries)


# ---- visits

_MERGE_VISITS = """
    INSERT INTO visit (id, joined_at, live_session_id, visitor, source, gateway, left_at)
    SELECT n.id, n.joined_at, s.id, n.visitor, n.source, n.gateway, n.left_at
    FROM new_visit n JOIN live_session s ON s.code = n.room
    ORDER BY n.joined_at, n.id
    ON CONFLICT (id, joined_at) DO UPDATE SET
        left_at = coalesce(excluded.left_at, visit.left_at),
        gateway = greatest(excluded.gateway, visit.gateway)
"""

_STORE_DEATHS = """
    INSERT INTO gateway_death (gateway, live_session_id, at)
    SELECT n.gateway, s.id, n.at
    FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS n (gateway, room, at)
        JOIN live_session s ON s.code = n.room
    ORDER BY 1, 2
    ON CONFLICT DO NOTHING
"""


async def store_visits(connection: asyncpg.Connection, entries: Sequence[Entry]) -> int:
    """Merge what gateways reported; returns how many records. Visits of unknown rooms are left out."""
    records = [record for _, batch in _decoded(visits.VISITS, entries, visits.decode) for record in batch]
    merged = _merge(record for record in records if isinstance(record, Visit))
    deaths = {(r.gateway, r.room): _moment(r.at_ms) for r in records if isinstance(r, GatewayDied)}
    rows = [
        (v.id, _moment(v.joined_ms), v.room, v.visitor, v.source, v.gateway, _moment(v.left_ms))
        for v in merged.values()
    ]
    await ensure_partitions(connection, "visit", {row[1] for row in rows})
    async with connection.transaction():
        await connection.execute(
            "CREATE TEMP TABLE IF NOT EXISTS new_visit (id text, joined_at timestamptz, room text,"
            " visitor text, source text, gateway text, left_at timestamptz) ON COMMIT DELETE ROWS"
        )
        await connection.copy_records_to_table("new_visit", records=rows)
        await connection.execute(_MERGE_VISITS)
        if deaths:
            gateways, rooms = zip(*deaths, strict=True)
            await connection.execute(_STORE_DEATHS, gateways, rooms, list(deaths.values()))
    return len(records)


def _merge(reported: Iterable[Visit]) -> dict[str, Visit]:
    """One record a visit, by the same rules as the table's: a statement may touch a row only once."""
    merged: dict[str, Visit] = {}
    for visit in reported:
        before = merged.get(visit.id)
        if before is not None:
            visit = msgspec.structs.replace(
                visit,
                left_ms=before.left_ms if visit.left_ms is None else visit.left_ms,
                gateway=max(visit.gateway, before.gateway),
            )
        merged[visit.id] = visit
    return merged


# ---- page events

_STORE_EVENTS = """
    INSERT INTO page_event (reported, position, at, live_session_id, visitor, kind, item_code)
    SELECT n.reported, n.position, n.at, s.id, n.visitor, n.kind, n.item_code
    FROM new_page_event n JOIN live_session s ON s.code = n.room
    ON CONFLICT DO NOTHING
"""


async def store_events(connection: asyncpg.Connection, entries: Sequence[Entry]) -> int:
    """Store what pages reported; returns how many events. Events of unknown sessions are left out."""
    rows = [
        (_number(entry.id), position, _moment(e.at_ms), e.session, e.visitor, e.kind, e.product)
        for entry, batch in _decoded(beacons.STREAM, entries, beacons.decode)
        for position, e in enumerate(batch)
    ]
    await ensure_partitions(connection, "page_event", {row[2] for row in rows})
    async with connection.transaction():
        await connection.execute(
            "CREATE TEMP TABLE IF NOT EXISTS new_page_event (reported bigint, position smallint,"
            " at timestamptz, room text, visitor text, kind text, item_code text) ON COMMIT DELETE ROWS"
        )
        await connection.copy_records_to_table("new_page_event", records=rows)
        await connection.execute(_STORE_EVENTS)
    return len(rows)


def _number(entry_id: str) -> int:
    """`1732345678901-3` as one number: the milliseconds, then the count within them."""
    ms, _, count = entry_id.partition("-")
    return (int(ms) << 20) | int(count)


def _decoded(
    stream: str, entries: Sequence[Entry], decode: Callable[[bytes], list[T]]
) -> Iterable[tuple[Entry, list[T]]]:
    """What cannot be read is counted and let go: it would come back for ever."""
    for entry in entries:
        try:
            yield entry, decode(entry.data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            UNREADABLE.labels(stream).inc()
            log.error("unreadable_entry", stream=stream, id=entry.id, error=str(error)[:200])


@overload
def _moment(ms: int) -> datetime: ...
@overload
def _moment(ms: int | None) -> datetime | None: ...
def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


# ---- partitions

TABLES = ("visit", "page_event")
_known: set[tuple[str, str]] = set()


async def make_partitions_ahead() -> None:
    """This month's partitions and the next ones'."""
    connection = await sessions.connect_raw(command_timeout=30)
    try:
        month = clock.now()
        for _ in range(MONTHS_AHEAD + 1):
            for table in TABLES:
                await ensure_partitions(connection, table, [month])
            month = _next_month(month)
    finally:
        connection.terminate()


async def ensure_partitions(connection: asyncpg.Connection, table: str, moments: Iterable[datetime]) -> None:
    """Make the monthly partitions (by UTC) of `table` that hold these moments, if they are not there."""
    months = {_month(moment) for moment in moments}
    for first in sorted(months):
        name = f"{table}_part_{first:%Y_%m}"
        if (sessions.url, name) in _known:
            continue
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", PARTITIONS)
            if await connection.fetchval("SELECT to_regclass($1)", name) is None:
                await connection.execute(
                    f"CREATE TABLE {name} PARTITION OF {table}"
                    f" FOR VALUES FROM ('{first.isoformat()}') TO ('{_next_month(first).isoformat()}')"
                )
        _known.add((sessions.url, name))


def _month(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(moment: datetime) -> datetime:
    first = _month(moment)
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
