"""Counting people once over any period, exactly, without keeping who they are.

People of a period cannot be added up from its days. But each of them has exactly one first day in the period:
the day on which their previous day lies before it. So it is enough to know, for every day, how many of its
people were last there on which earlier day:

    people in [a, b]  =  sum of people where day in [a, b] and previous < a

A commune with 50 market days a year has at most 1,275 such pairs, however many people came. Kept for viewers,
reached visitors and buyers, a commune at a time and for the whole province (`*`). A day is the Vietnamese day
on which the session started. Exact as long as the period begins within the 13 months of raw rows.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

PROVINCE = "*"
NEVER = date(1, 1, 1)

_COUNTED = "s.ended_at IS NOT NULL AND NOT s.rehearsal AND s.state <> 'taken_down'"
_OF_SESSIONS = "live_session s JOIN session_rollup r ON r.live_session_id = s.id"

# (code, day, person) once each, by kind. {code}: whom people are counted for; {place}: whose sessions.
_DAYS = {
    "viewer": """
        SELECT DISTINCT {code} AS code, r.day, x.visitor AS person
        FROM {sessions} JOIN {visits} ON x.live_session_id = s.id
        LEFT JOIN gateway_death d ON d.gateway = x.gateway AND d.live_session_id = s.id
        WHERE {counted} {place}
            AND date_trunc('milliseconds', x.joined_at) <= s.ended_at
            AND greatest(coalesce(x.left_at, d.at, s.ended_at), x.joined_at)
                >= date_trunc('milliseconds', s.started_at)
    """,
    "reach": """
        SELECT {code} AS code, r.day, x.visitor AS person
        FROM {sessions} JOIN {visits} ON x.live_session_id = s.id
        WHERE {counted} {place}
        UNION
        SELECT {code}, r.day, x.visitor FROM {sessions} JOIN {events} ON x.live_session_id = s.id
        WHERE {counted} {place} AND date_trunc('milliseconds', x.at)
            <= date_trunc('milliseconds', s.ended_at) + make_interval(hours => 24)
    """,
    "buyer": """
        SELECT DISTINCT {code} AS code, r.day, o.buyer_phone AS person
        FROM {sessions} JOIN attribution a ON a.live_session_id = s.id JOIN "order" o ON o.id = a.order_id
        WHERE {counted} {place}
    """,
}

# Of one commune: session by session through the index. The planner would rather read a year of everybody's
# visits than believe that a session's lie together; OFFSET 0 keeps it from asking.
_BY_INDEX = "LATERAL (SELECT * FROM {table} WHERE live_session_id = s.id OFFSET 0) x"
_ALL_ROWS = "{table} x"

_INSERT = """
    INSERT INTO recency (commune_code, kind, day, previous, people)
    SELECT code, '{kind}', day, previous, count(*) FROM (
        SELECT code, day, coalesce(lag(day) OVER (PARTITION BY code, person ORDER BY day),
            CAST('0001-01-01' AS date)) AS previous
        FROM ({days}) AS days
    ) AS steps GROUP BY code, day, previous
"""


async def refresh(db: AsyncSession, commune_code: str) -> None:
    """One commune, anew; `PROVINCE` reads every raw row, so once a night is enough."""
    await db.execute(text("DELETE FROM recency WHERE commune_code = :code"), {"code": commune_code})
    if commune_code == PROVINCE:
        await _count(db, "CAST(:code AS text)", "", _ALL_ROWS, code=PROVINCE)
    else:
        place = "AND s.commune_code = :code"
        await _count(db, "CAST(:code AS text)", place, _BY_INDEX, code=commune_code)


async def rebuild(db: AsyncSession) -> None:
    """All communes and the province."""
    await db.execute(text("DELETE FROM recency"))
    await _count(db, "s.commune_code", "", _ALL_ROWS)
    await refresh(db, PROVINCE)


async def _count(db: AsyncSession, whom: str, place: str, reach: str, **values: str) -> None:
    if reach is _ALL_ROWS:
        await db.execute(text("SET LOCAL work_mem = '128MB'"))  # one person's days are found by sorting
    for kind, days in _DAYS.items():
        inner = days.format(
            code=whom,
            place=place,
            counted=_COUNTED,
            sessions=_OF_SESSIONS,
            visits=reach.format(table="visit"),
            events=reach.format(table="page_event"),
        )
        await db.execute(text(_INSERT.format(kind=kind, days=inner)), values)


_PEOPLE = text("""
    SELECT commune_code, kind, sum(people)::bigint AS people FROM recency
    WHERE day BETWEEN :first AND :last AND previous < :first GROUP BY commune_code, kind
""")


async def people(db: AsyncSession, first: date, last: date) -> dict[tuple[str, str], int]:
    """(commune or `*`, kind) -> different people from `first` to `last`, both included."""
    rows = await db.execute(_PEOPLE, {"first": first, "last": last})
    return {(row.commune_code, row.kind): row.people for row in rows}
