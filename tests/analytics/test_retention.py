"""Raw rows go after 13 months, with what stands on them counted before; rollups stay for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from commerce.analytics import rollup
from commerce.analytics.retention import forget_raw_rows
from commerce.core.db import Sessions
from tests.analytics import worlds
from tests.analytics.test_api import played

AFTER = datetime(2026, 10, 2, tzinfo=UTC)
"""13 months after August 2025, in which `played` plays, had ended."""


async def count(sessions: Sessions, table: str) -> int:
    async with sessions.read() as db:
        return int(await db.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


async def test_a_month_goes_when_thirteen_have_passed(sessions: Sessions) -> None:
    stage = await worlds.set_stage()
    await played(stage)
    for session_id in stage.session_ids:
        await rollup.roll_up_session(session_id)
    assert await forget_raw_rows(AFTER - timedelta(days=3)) == []
    assert await forget_raw_rows(AFTER) == ["page_event_part_2025_08", "visit_part_2025_08"]
    assert await count(sessions, "visit") == await count(sessions, "page_event") == 0
    assert await count(sessions, "session_rollup") == 2
    assert await rollup.refresh(now=AFTER) == 0, "what has no raw rows any more is not counted anew"
    assert await count(sessions, "minute_rollup WHERE watched_ms > 0") > 0


async def test_what_was_never_counted_keeps_its_rows(sessions: Sessions) -> None:
    await played(await worlds.set_stage())
    assert await forget_raw_rows(AFTER) == []
    assert await count(sessions, "visit") == 5
