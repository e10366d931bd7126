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

# (day, person) once each, by kind; `place` narrows to one commune.
_DAYS = {
    "viewer": """
        SELECT DISTINCT r.day, v.visitor AS person FROM visit v
        JOIN live_session s ON s.id = v.live_session_id
        JOIN session_rollup r ON r.live_session_id = s.id
        LEFT JOIN gateway_death d ON d.gateway = v.gateway AND d.live_session_id = v.live_session_id
        WHERE {counted} {place}
            AND date_trunc('milliseconds', v.joined_at) <= s.ended_at
            AND greatest(coalesce(v.left_at, d.at, s.ended_at), v.joined_at)
                >= date_trunc('milliseconds', s.started_at)
    """,
    "reach": """
        SELECT r.day, v.visitor AS person FROM visit v
        JOIN live_session s ON s.id = v.live_session_id JOIN session_rollup r ON r.live_session_id = s.id
        WHERE {counted} {place}
        UNION
        SELECT r.day, e.visitor FROM page_event e
        JOIN live_session s ON s.id = e.live_session_id JOIN session_rollup r ON r.live_session_id = s.id
        WHERE {counted} {place} AND date_trunc('milliseconds', e.at)
            <= date_trunc('milliseconds', s.ended_at) + make_interval(hours => 24)
    """,
    "buyer": """
        SELECT DISTINCT r.day, o.buyer_phone AS person FROM attribution a
        JOIN "order" o ON o.id = a.order_id
        JOIN live_session s ON s.id = a.live_session_id JOIN session_rollup r ON r.live_session_id = s.id
        WHERE {counted} {place}
    """,
}

_INSERT = """
    INSERT INTO recency (commune_code, kind, day, previous, people)
    SELECT CAST(:code AS text), '{kind}', day, previous, count(*) FROM (
        SELECT day, coalesce(lag(day) OVER (PARTITION BY person ORDER BY day),
            CAST('0001-01-01' AS date)) AS previous
        FROM ({days}) AS days
    ) AS steps GROUP BY day, previous
"""


async def refresh(db: AsyncSession, commune_code: str) -> None:
    """One commune, anew; `PROVINCE` reads every raw row, so once a night is enough."""
    place = "" if commune_code == PROVINCE else "AND s.commune_code = :code"
    await db.execute(text("DELETE FROM recency WHERE commune_code = :code"), {"code": commune_code})
    for kind, days in _DAYS.items():
        statement = _INSERT.format(kind=kind, days=days.format(counted=_COUNTED, place=place))
        await db.execute(text(statement), {"code": commune_code})


async def rebuild(db: AsyncSession) -> None:
    """All communes and the province."""
    codes = (await db.scalars(text("SELECT DISTINCT commune_code FROM session_rollup"))).all()
    for code in (*codes, PROVINCE):
        await refresh(db, code)


_PEOPLE = text("""
    SELECT commune_code, kind, sum(people)::bigint AS people FROM recency
    WHERE day BETWEEN :first AND :last AND previous < :first GROUP BY commune_code, kind
""")


async def people(db: AsyncSession, first: date, last: date) -> dict[tuple[str, str], int]:
    """(commune or `*`, kind) -> different people from `first` to `last`, both included."""
    rows = await db.execute(_PEOPLE, {"first": first, "last": last})
    return {(row.commune_code, row.kind): row.people for row in rows}
