"""When sessions are rolled up, and that rebuilding finds what was changed behind our back."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import insert, text, update

from commerce.analytics import rollup
from commerce.core.db import Sessions
from commerce.live.models import LiveSession
from commerce.orders.models import Order, OrderHistory
from tests.analytics import worlds
from tests.analytics.test_api import played

END = worlds.moment(worlds.START + worlds.DAY + 60_000)
"""When the later session of `played` ended."""


async def value(sessions: Sessions, query: str) -> object:
    async with sessions.read() as db:
        return await db.scalar(text(query))


async def test_ended_sessions_are_counted_once_and_again_only_while_late_news_may_come(
    sessions: Sessions,
) -> None:
    await played(await worlds.set_stage())
    assert await rollup.refresh(now=END + timedelta(minutes=1)) == 2
    assert await rollup.refresh(now=END + timedelta(minutes=2)) == 1, "the second ended a minute ago"
    assert await rollup.refresh(now=END + timedelta(days=3)) == 2, "the last word, after 25 hours"
    assert await rollup.refresh(now=END + timedelta(days=4)) == 0


async def test_an_order_cancelled_weeks_later_changes_net_sales(sessions: Sessions) -> None:
    await played(await worlds.set_stage())
    await rollup.refresh(now=END + timedelta(days=3))
    assert await value(sessions, "SELECT sum(net) FROM session_rollup") == 260_000
    async with sessions.begin() as db:
        order = await db.scalar(
            update(Order).where(Order.total == 70_000).values(state="cancelled").returning(Order.id)
        )
        await db.execute(
            insert(OrderHistory).values(subject_id=order, before="placed", after="cancelled", reason="")
        )
    assert await rollup.refresh(now=END + timedelta(days=20)) == 1
    assert await value(sessions, "SELECT sum(net) FROM session_rollup") == 190_000
    assert await value(sessions, "SELECT sum(gmv) FROM session_rollup") == 260_000
    assert await rollup.refresh(now=END + timedelta(days=21)) == 0


async def test_rehearsals_are_not_counted(sessions: Sessions) -> None:
    stage = await worlds.set_stage()
    await played(stage)
    async with sessions.begin() as db:
        await db.execute(
            update(LiveSession).where(LiveSession.id == stage.session_ids[0]).values(rehearsal=True)
        )
    await rollup.refresh(now=END + timedelta(days=3))
    assert await value(sessions, "SELECT count(*) FROM session_rollup") == 1


async def test_rebuilding_compares_and_mends(sessions: Sessions) -> None:
    await played(await worlds.set_stage())
    later = END + timedelta(days=3)
    await rollup.rebuild(now=later)
    assert (await rollup.rebuild(compare=True, now=later)).differences == []
    async with sessions.begin() as db:
        await db.execute(text("UPDATE session_rollup SET gmv = gmv + 1 WHERE orders > 0"))
    found = await rollup.rebuild(compare=True, now=later)
    assert found.sessions == 2
    assert len(found.differences) == 1
    assert ": gmv 260001 -> 260000" in found.differences[0]
    assert await value(sessions, "SELECT sum(gmv) FROM session_rollup") == 260_001, (
        "comparing changes nothing"
    )
    await rollup.rebuild(now=later)
    assert (await rollup.rebuild(compare=True, now=later)).differences == []
