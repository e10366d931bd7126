"""From raw rows to counts: sessions are rolled up in SQL, as often as one likes, always with the same result.

`roll_up(db, ids)` reads each raw table once into temporary tables (times as whole milliseconds), derives
views, the sweep over the air time, beacons and attributed orders from them, and replaces these sessions'
rollup rows. One advisory lock makes it the only writer. What "once" costs grows with the visits of the
session; what screens read grows with sessions and minutes.

The sweep: every visit adds to its visitor's presence what earlier visits of the same visitor have not covered
yet, as one stretch. Stretch ends and minute boundaries in order of time give the number present between any
two of them, and from that at once the peak, the minutes' peaks and the watched time, all exact.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.analytics import recency
from commerce.analytics.measures import ATTRIBUTION_MS, CONTINUES_MS, CURVE_S, EFFECTIVE_MS
from commerce.core import clock
from commerce.core.db import sessions

LOCK_KEY = 6_600_107
RAW_KEPT = timedelta(days=395)
"""Raw rows go after 13 months; sessions older than that keep the rollup they have."""
BATCH = 60  # sessions a transaction when all are rebuilt

Progress = Callable[[str], None]

log = structlog.get_logger()


def statements() -> Sequence[str]:
    """rollup.sql, one statement each, without comments."""
    source = (Path(__file__).parent / "rollup.sql").read_text(encoding="utf-8")
    code = "\n".join(line for line in source.splitlines() if not line.startswith("--"))
    curve = ", ".join(f"count(*) FILTER (WHERE watched >= {second * 1000})" for second in CURVE_S)
    constants = {
        "ATTRIBUTION_MS": ATTRIBUTION_MS,
        "CONTINUES_MS": CONTINUES_MS,
        "EFFECTIVE_MS": EFFECTIVE_MS,
        "CURVE": curve,
    }
    return [statement.strip() for statement in code.format_map(constants).split(";") if statement.strip()]


STATEMENTS = statements()
_MADE = re.compile(r"CREATE TEMP TABLE (\w+)")


async def roll_up(db: AsyncSession, session_ids: Sequence[int], *, now: datetime | None = None) -> None:
    """Replace the rollups of these sessions by what the raw rows say now. `now` ends those that still run.

    Rehearsals and sessions that never started have none. Runs in the caller's transaction.
    """
    await db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
    values = {"ids": list(session_ids), "now": now or clock.now()}
    made: list[str] = []
    for statement in STATEMENTS:
        await db.execute(text(statement), values if ":ids" in statement else {})
        if table := _MADE.match(statement):
            made.append(table[1])
            await db.execute(text(f"ANALYZE {table[1]}"))  # else the planner takes them for small
    await db.execute(text(f"DROP TABLE {', '.join(made)}"))


# ---- use cases


async def roll_up_session(session_id: int, *, now: datetime | None = None) -> None:
    """One session, and, once it is over, how often its people had been with this commune before."""
    async with sessions.begin() as db:
        before = await _crowd(db, session_id)
        await roll_up(db, [session_id], now=now)
        after = await _crowd(db, session_id)
        if after is not None and after != before:
            await recency.refresh(db, after.commune_code)


_CROWD = text("""
    SELECT commune_code, day, viewers, reach, buyers FROM session_rollup
    WHERE live_session_id = :id AND ended_at IS NOT NULL
""")


async def _crowd(db: AsyncSession, session_id: int) -> Any:
    """What of a session decides over recency; none while it runs."""
    return (await db.execute(_CROWD, {"id": session_id})).one_or_none()


_DUE = text("""
    SELECT s.id FROM live_session s LEFT JOIN session_rollup r ON r.live_session_id = s.id
    WHERE s.started_at > :oldest AND NOT s.rehearsal AND (
        r.computed_at IS NULL
        OR r.ended_at IS DISTINCT FROM s.ended_at
        OR (s.ended_at IS NULL AND r.computed_at <= CAST(:now AS timestamptz) - make_interval(secs => 30))
        OR (r.computed_at < s.ended_at + make_interval(hours => 25) AND r.computed_at
            <= CAST(:now AS timestamptz) - CASE WHEN :now - s.ended_at < make_interval(mins => 10)
                THEN make_interval(secs => 60) ELSE make_interval(mins => 30) END))
    ORDER BY s.started_at
""")

# Orders and payments change long after a session; their histories are read from where they were left.
_CHANGED = {
    "order_history": text("""
        SELECT max(h.id) AS last, array_remove(array_agg(DISTINCT a.live_session_id), NULL) AS ids
        FROM order_history h LEFT JOIN attribution a ON a.order_id = h.subject_id WHERE h.id > :after
    """),
    "payment_history": text("""
        SELECT max(h.id) AS last, array_remove(array_agg(DISTINCT a.live_session_id), NULL) AS ids
        FROM payment_history h JOIN payment p ON p.id = h.subject_id
        LEFT JOIN attribution a ON a.order_id = p.order_id WHERE h.id > :after
    """),
}
_MARK = text("SELECT value FROM rollup_mark WHERE name = :name")
_SET_MARK = text("""
    INSERT INTO rollup_mark (name, value) VALUES (:name, :value)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
""")


_counting: asyncio.Task[None] | None = None


async def count_province() -> None:
    """People of the whole province: a night's work, minutes for 20 million visits, beside the other jobs."""
    global _counting
    if _counting is None or _counting.done():
        _counting = asyncio.create_task(_count_province())


async def _count_province() -> None:
    try:
        async with sessions.begin() as db:
            await recency.refresh(db, recency.PROVINCE)
    except Exception as error:
        log.warning("province_not_counted", exc_info=error)


async def refresh(*, now: datetime | None = None) -> int:
    """Roll up whatever is due: running sessions (every 30 s), the first 25 hours after an end, sessions whose
    orders changed later. For the worker, every few seconds. Returns how many sessions were rolled up.
    """
    now = now or clock.now()
    marks: dict[str, int] = {}
    async with sessions.read() as db:
        due = set((await db.scalars(_DUE, {"now": now, "oldest": now - RAW_KEPT})).all())
        for name, query in _CHANGED.items():
            after = await db.scalar(_MARK, {"name": name}) or 0
            found = (await db.execute(query, {"after": after})).one()
            if found.last is not None:
                marks[name] = found.last
                due.update(found.ids or ())
        due = set(await _with_raw_rows(db, due, now))
    for session_id in sorted(due):
        await roll_up_session(session_id, now=now)
    async with sessions.begin() as db:
        for name, value in marks.items():
            await db.execute(_SET_MARK, {"name": name, "value": value})
    return len(due)


async def _with_raw_rows(db: AsyncSession, ids: set[int], now: datetime) -> Sequence[int]:
    query = text("SELECT id FROM live_session WHERE id = ANY(:ids) AND started_at > :oldest")
    return (await db.scalars(query, {"ids": list(ids), "oldest": now - RAW_KEPT})).all()


async def refresh_due() -> None:
    """`refresh`, as a job."""
    await refresh()


@dataclass(frozen=True, slots=True)
class Rebuilt:
    sessions: int
    differences: list[str]
    """What the rollups said otherwise before: `session_rollup 17: views 10 -> 12`."""


def silent(_step: str) -> None:
    pass


async def rebuild(
    *, compare: bool = False, progress: Progress = silent, now: datetime | None = None
) -> Rebuilt:
    """Roll up every session that still has raw rows, anew. With `compare` nothing is changed: the result is
    only set beside what is stored.
    """
    now = now or clock.now()
    async with sessions.read() as db:
        query = text("""
            SELECT id FROM live_session WHERE started_at > :oldest AND NOT rehearsal
                AND (NOT :compare OR ended_at IS NOT NULL) ORDER BY started_at
        """)
        ids = (await db.scalars(query, {"oldest": now - RAW_KEPT, "compare": compare})).all()
    differences: list[str] = []
    for start in range(0, len(ids), BATCH):
        differences += await _rebuild_batch(ids[start : start + BATCH], now, compare=compare)
        progress(f"rollup: {min(start + BATCH, len(ids))} of {len(ids)} sessions")
    if not compare:
        async with sessions.begin() as db:
            await recency.rebuild(db)
        progress("rollup: returning people")
    return Rebuilt(len(ids), differences)


async def _rebuild_batch(ids: Sequence[int], now: datetime, *, compare: bool) -> list[str]:
    async with sessions.read() as db:
        before = await _stored(db, ids) if compare else {}
        await roll_up(db, ids, now=now)
        after = await _stored(db, ids) if compare else {}
        if not compare:
            await db.commit()
    return [
        f"{table} {key}: {column} {old.get(column)} -> {new.get(column)}"
        for (table, key), (old, new) in _pairs(before, after)
        for column in (new or old)
        if old.get(column) != new.get(column)
    ]


Rows = dict[tuple[str, str], dict[str, Any]]
_KEYS = {
    "session_rollup": ("live_session_id",),
    "minute_rollup": ("live_session_id", "at"),
    "item_rollup": ("live_session_id", "item_code"),
    "source_rollup": ("live_session_id", "source"),
    "pin_rollup": ("pin_id",),
    "deal_rollup": ("deal_id",),
    "attribution": ("order_id",),
}


async def _stored(db: AsyncSession, ids: Sequence[int]) -> Rows:
    rows: Rows = {}
    for table, key in _KEYS.items():
        query = text(f"SELECT * FROM {table} WHERE live_session_id = ANY(:ids)")  # noqa: S608 - names of ours
        for row in (await db.execute(query, {"ids": list(ids)})).mappings():
            values = {name: value for name, value in row.items() if name != "computed_at"}
            rows[table, " ".join(str(row[name]) for name in key)] = values
    return rows


def _pairs(before: Rows, after: Rows) -> Any:
    for key in sorted(before.keys() | after.keys()):
        yield key, (before.get(key, {}), after.get(key, {}))
