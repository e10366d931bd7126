"""What becomes of the work behind the pages: do workers live, does one lead, how old is the last tick, what
waits in the outbox. Read by /readyz, /metrics and `chophien doctor`."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from sqlalchemy import text

from commerce.core import heartbeat
from commerce.core.db import sessions

TICK_LATE_S = 15.0  # a tick is due every second and told of with the heartbeat, every five
NEWS_LATE_S = 15.0


class Background(msgspec.Struct, kw_only=True):
    workers: int
    """Processes heard within `heartbeat.SILENT_S`."""
    leading: int
    tick_age_s: float | None
    """Since the counts of all rooms were last told, as far as the leader's last heartbeat knew; of one that
    has told none yet, since it leads."""
    news_waiting: int
    news_late_s: float
    """How long the oldest undelivered news has been due."""
    news_dead: int
    """Given up; a person has to look."""
    troubles: list[str] = []


_LOOK = text(f"""
    WITH worker AS (
        SELECT figures FROM heartbeat
        WHERE name LIKE 'worker@%' AND seen_at > now() - interval '{heartbeat.SILENT_S} s'
    )
    SELECT (SELECT count(*) FROM worker) AS workers,
        (SELECT count(*) FROM worker WHERE figures->>'leads_since' IS NOT NULL) AS leading,
        (SELECT extract(epoch FROM now())::float8
            - max(greatest((figures->>'ticked_at')::float8, (figures->>'leads_since')::float8)) FROM worker)
            AS tick_age_s,
        count(*) FILTER (WHERE dead_at IS NULL) AS news_waiting,
        coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE dead_at IS NULL)), 0)::float8
            AS news_late_s,
        count(*) FILTER (WHERE dead_at IS NOT NULL) AS news_dead
    FROM outbox
""")  # noqa: S608 - our own number


async def look() -> Background:
    """Raises what PostgreSQL raises."""
    async with sessions.read() as db:
        row = (await db.execute(_LOOK)).one()
    seen = Background(**row._mapping)
    seen.news_late_s = max(0.0, seen.news_late_s)  # news to be tried again later is not late
    seen.troubles = list(_troubles(seen))
    return seen


def _troubles(seen: Background) -> Iterator[str]:
    if not seen.workers:
        yield f"no worker was heard for {heartbeat.SILENT_S} s: counts stand still, news is not delivered"
    elif not seen.leading:
        yield "no worker leads: counts stand still, nothing expires"
    elif seen.tick_age_s is not None and seen.tick_age_s > TICK_LATE_S:
        yield f"the counts of live sessions were last told {seen.tick_age_s:.0f} s ago"
    if seen.news_late_s > NEWS_LATE_S:
        yield f"{seen.news_waiting} news wait, the oldest for {seen.news_late_s:.0f} s"
    if seen.news_dead:
        yield f"{seen.news_dead} news could not be delivered and were given up"
