"""Raw visits and beacons are kept for 13 months; then their month's partition goes, and the rollups stay."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import structlog
from sqlalchemy import text

from commerce.analytics.ingest import TABLES
from commerce.analytics.rollup import RAW_KEPT
from commerce.core import clock
from commerce.core.db import sessions

_PARTITION = re.compile(r"(?:visit|page_event)_part_(\d{4})_(\d{2})")

log = structlog.get_logger()

_PARTITIONS = text("""
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_class p ON p.oid = i.inhparent WHERE p.relname = ANY(:tables)
""")
_UNCOUNTED = text("""
    SELECT count(*) FROM live_session s LEFT JOIN session_rollup r ON r.live_session_id = s.id
    WHERE s.started_at < :until AND s.ended_at IS NOT NULL AND NOT s.rehearsal AND r.computed_at IS NULL
""")


async def forget_raw_rows(now: datetime | None = None) -> list[str]:
    """Drop partitions whose last day is older than 13 months; returns their names.

    A month with a session that was never counted stays until it is.
    """
    oldest = (now or clock.now()) - RAW_KEPT
    dropped: list[str] = []
    async with sessions.begin() as db:
        names = (await db.scalars(_PARTITIONS, {"tables": list(TABLES)})).all()
        for name in sorted(names):
            until = _end(name)
            if until is None or until > oldest:
                continue
            if await db.scalar(_UNCOUNTED, {"until": until}):
                log.warning("raw_rows_kept", partition=name, because="a session of its time is not counted")
                continue
            await db.execute(text(f"DROP TABLE {name}"))
            dropped.append(name)
    if dropped:
        log.info("raw_rows_forgotten", partitions=dropped)
    return dropped


def _end(name: str) -> datetime | None:
    """The first moment after the partition's month."""
    found = _PARTITION.fullmatch(name)
    if found is None:
        return None
    year, month = int(found[1]), int(found[2])
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


async def forget_job() -> None:
    await forget_raw_rows()
