"""Visits and page events: each once, whoever dies in between and in whatever order they are read."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest
from sqlalchemy import select, text

from commerce.analytics import ingest
from commerce.analytics.ingest import GROUP, Ingest, store_events, store_visits
from commerce.analytics.models import PageEvent, Visit, ended_at
from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.errors import Invalid
from commerce.live import beacons
from commerce.live.beacons import Beacon, Beacons, Kind
from streaming import visits
from streaming.bus import Bus, Entry
from streaming.visits import VISITS, GatewayDied
from tests.live import scene

T0 = 1_795_000_000_000  # Unix ms


@pytest.fixture
async def books(sessions: Sessions) -> AsyncIterator[asyncpg.Connection]:
    connection = await sessions.connect_raw()
    yield connection
    await connection.close()


def visit(
    number: int, room: str, *, gateway: str = "g1", left: int | None = None, joined: int = T0
) -> visits.Visit:
    return visits.Visit(
        id=f"visit-{number}",
        room=room,
        visitor=f"visitor-{number}",
        source="zalo",
        gateway=gateway,
        joined_ms=joined,
        left_ms=None if left is None else joined + left,
    )


async def stored(sessions: Sessions) -> list[Visit]:
    async with sessions.read() as db:
        return list(await db.scalars(select(Visit).order_by(Visit.id)))


async def ends(sessions: Sessions) -> dict[str, int | None]:
    """Visit id -> milliseconds from coming to ending, None while open."""
    async with sessions.read() as db:
        rows = (await db.execute(ended_at())).all()
    return {
        visit_id: None if ended is None else round((ended - joined).total_seconds() * 1000)
        for visit_id, joined, ended in rows
    }


async def test_visits_travel_from_the_wire_into_the_books_once(
    sessions: Sessions, bus: Bus, books: asyncpg.Connection
) -> None:
    made = await scene.on_air(sessions)
    opened = [visit(n, made.code) for n in range(500)]
    for start in range(0, len(opened), 50):
        await bus.append(VISITS, visits.encode(list(opened[start : start + 50])))
    await bus.append(VISITS, visits.encode([visit(n, made.code, left=15_000) for n in range(200)]))
    reader = Ingest(bus, "w1")
    await reader.take(VISITS, store_visits, books, block_ms=10)  # makes the group
    while await reader.take(VISITS, store_visits, books, block_ms=10):
        pass
    rows = await stored(sessions)
    assert len(rows) == 500
    assert rows[0].joined_at == datetime.fromtimestamp(T0 / 1000, UTC)
    assert (rows[0].source, rows[0].visitor) == ("zalo", "visitor-0")
    known = await ends(sessions)
    assert sum(end == 15_000 for end in known.values()) == 200
    assert sum(end is None for end in known.values()) == 300
    assert await bus.backlog(VISITS) == 0


async def test_a_worker_that_dies_between_reading_and_writing_loses_nothing(
    sessions: Sessions, bus: Bus, books: asyncpg.Connection
) -> None:
    made = await scene.on_air(sessions)
    await bus.read(VISITS, GROUP, "dead", block_ms=10)
    await bus.append(VISITS, visits.encode([visit(1, made.code), visit(2, made.code, left=9_000)]))
    taken = await bus.read(VISITS, GROUP, "dead", block_ms=10)
    assert len(taken) == 1  # and here it is killed
    assert await bus.read(VISITS, GROUP, "alive", block_ms=10) == []
    again = await bus.read(VISITS, GROUP, "alive", block_ms=10, reclaim_after_ms=0)
    assert await store_visits(books, again) == 2
    await bus.ack(VISITS, GROUP, [entry.id for entry in again])
    assert await ends(sessions) == {"visit-1": None, "visit-2": 9_000}


async def test_a_worker_that_dies_between_writing_and_acknowledging_doubles_nothing(
    sessions: Sessions, bus: Bus, books: asyncpg.Connection
) -> None:
    made = await scene.on_air(sessions)
    await bus.read(VISITS, GROUP, "dead", block_ms=10)
    await bus.append(VISITS, visits.encode([visit(1, made.code), visit(2, made.code, left=9_000)]))
    taken = await bus.read(VISITS, GROUP, "dead", block_ms=10)
    await store_visits(books, taken)  # and here it is killed
    again = await bus.read(VISITS, GROUP, "alive", block_ms=10, reclaim_after_ms=0)
    assert [entry.id for entry in again] == [entry.id for entry in taken]
    await store_visits(books, again)
    assert await ends(sessions) == {"visit-1": None, "visit-2": 9_000}


async def test_the_books_are_the_same_in_every_order(sessions: Sessions, books: asyncpg.Connection) -> None:
    """A gateway taken for dead reports its open visit under a new name; then the viewer leaves."""
    made = await scene.on_air(sessions)
    code = made.code
    story: list[visits.Record] = [
        visit(1, code, gateway="g-1"),
        GatewayDied(gateway="g-1", room=code, at_ms=T0 + 5_000),
        visit(1, code, gateway="g-2"),
        visit(1, code, gateway="g-2", left=60_000),
    ]
    half: list[visits.Record] = story[:2]  # this one never came back
    for number, order in enumerate(itertools.permutations(range(4))):
        for record in (story[i] for i in order):
            await store_visits(books, [_entry(_other(record, number))])
        assert (await ends(sessions))[f"visit-{number}"] == 60_000
    for number, order in enumerate(itertools.permutations(range(2)), start=100):
        await store_visits(books, [_entry(*(_other(half[i], number) for i in order))])
        assert (await ends(sessions))[f"visit-{number}"] == 5_000


def _other(record: visits.Record, number: int) -> visits.Record:
    """The same story of another visit and other gateways."""
    changed = msgspec.structs.replace(record, gateway=f"{record.gateway}-{number}")
    if isinstance(changed, visits.Visit):
        return msgspec.structs.replace(changed, id=f"visit-{number}")
    return changed


def _entry(*records: visits.Record) -> Entry:
    return Entry(f"{T0}-{random.randrange(1000)}", visits.encode(list(records)))


async def test_unknown_rooms_and_broken_entries_hold_nothing_up(
    sessions: Sessions, bus: Bus, books: asyncpg.Connection
) -> None:
    made = await scene.on_air(sessions)
    reader = Ingest(bus, "w1")
    await reader.take(VISITS, store_visits, books, block_ms=10)
    await bus.append(VISITS, b"\xff not json")
    await bus.append(VISITS, visits.encode([visit(1, "KHONGCO"), visit(2, made.code)]))
    await bus.append(VISITS, b'[{"type":"something else"}]')
    assert await reader.take(VISITS, store_visits, books, block_ms=10) == 3
    assert [row.id for row in await stored(sessions)] == ["visit-2"]
    assert await bus.backlog(VISITS) == 0


async def test_every_month_has_its_partition(sessions: Sessions, books: asyncpg.Connection) -> None:
    made = await scene.on_air(sessions)
    await ingest.make_partitions_ahead()
    await ingest.make_partitions_ahead()
    december = int(datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() * 1000)
    january = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
    entry = _entry(visit(1, made.code, joined=december), visit(2, made.code, joined=january))
    await store_visits(books, [entry])
    async with sessions.read() as db:
        rows = await db.execute(text("SELECT id, tableoid::regclass::text FROM visit ORDER BY id"))
        where = {row[0]: row[1] for row in rows}
        ahead = set(
            await db.scalars(
                text("SELECT relid::regclass::text FROM pg_partition_tree('page_event') WHERE isleaf")
            )
        )
    assert where == {"visit-1": "visit_part_2025_12", "visit-2": "visit_part_2026_01"}
    now = clock.now()
    months = [(now.year + (now.month - 1 + n) // 12, (now.month - 1 + n) % 12 + 1) for n in range(3)]
    assert {f"page_event_part_{y}_{m:02}" for y, m in months} <= ahead


# ---- page events


async def test_beacons_are_counted_once(sessions: Sessions, bus: Bus, books: asyncpg.Connection) -> None:
    made = await scene.on_air(sessions)
    reader = Ingest(bus, "w1")
    await reader.take(beacons.STREAM, store_events, books, block_ms=10)
    now = clock.unix_ms()
    sender = Beacons(bus)
    seen = [Beacon(Kind.IMPRESSION, "A1", now - 5_000), Beacon(Kind.CLICK, "A1", now + 999_999)]
    await sender.send(beacons.check(made.code.lower(), "visitor-1", seen))
    await sender.send(beacons.check(made.code, "visitor-2", [Beacon(Kind.IMPRESSION)]))
    entries = await bus.read(beacons.STREAM, GROUP, "w1", block_ms=10)
    for _ in range(2):
        await store_events(books, entries)
    async with sessions.read() as db:
        rows = list(await db.scalars(select(PageEvent).order_by(PageEvent.at, PageEvent.kind)))
    assert sorted((row.visitor, row.kind, row.item_code) for row in rows) == [
        ("visitor-1", "click", "A1"),
        ("visitor-1", "impression", "A1"),
        ("visitor-2", "impression", ""),
    ]
    moments = {row.kind: clock.unix_ms(row.at) for row in rows if row.visitor == "visitor-1"}
    assert moments["impression"] == now - 5_000
    assert abs(moments["click"] - now) < 5_000  # a clock of the future is not believed


async def test_beacons_are_dropped_quietly_while_the_wire_is_away() -> None:
    away = Bus("valkey://127.0.0.1:9")
    before = beacons.DROPPED._value.get()
    await Beacons(away).send(beacons.check("EAKNUEC", "visitor-1", [Beacon(Kind.CLICK, "A1")]))
    assert beacons.DROPPED._value.get() == before + 1
    await away.close()


def test_bad_beacons_are_named() -> None:
    with pytest.raises(Invalid) as refused:
        beacons.check("X", "v", [Beacon(Kind.CLICK, "A1"), Beacon(Kind.CLICK, "<b>")])
    assert [error.field for error in refused.value.errors] == ["[1].product"]
    with pytest.raises(Invalid):
        beacons.check("X", "v", [Beacon(Kind.CLICK, "A1")] * 101)


def test_a_clock_that_is_wrong_is_put_right() -> None:
    now = clock.unix_ms()

    def told(at: int, sent: int | None) -> int:
        """How long ago it was."""
        return clock.unix_ms() - beacons.check("X", "v", [Beacon(Kind.CLICK, "A1", at)], sent)[0].at_ms

    for wrong_by in (-7_200_000, -1_800_000, 0, 1_800_000, 86_400_000):
        page = now + wrong_by
        assert 3_000 <= told(page - 4_000, page) < 6_000, wrong_by
    assert 3_000 <= told(now - 4_000, now - 20_000) < 6_000, (
        "the network took 20 seconds: not the clock's fault"
    )
    assert told(now + 600_000, None) < 2_000, "nothing is counted in the future"
    page = now - 600_000
    once, again = (
        beacons.check("X", "v", [Beacon(Kind.CLICK, "A1", page - 4_000)], page)[0] for _ in range(2)
    )
    assert once == again, "a request that arrives twice says the same"
