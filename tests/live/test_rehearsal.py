"""A rehearsal: private, with a crowd that is none, and nothing sold."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from sqlalchemy import select, text

from commerce.core.db import Sessions
from commerce.core.settings import Settings
from commerce.live import queries, rehearsal, replays, service
from commerce.live.errors import NotReady
from commerce.live.models import LiveCounter, LiveSession
from commerce.live.rehearsal import GUESTS, Crowd
from commerce.live.video import archive_settings
from streaming.bus import Bus, staff_room
from streaming.gateway import Gateway, GatewayConfig
from streaming.video.archive import Archive
from tests.live import scene
from tests.streaming.video.stage import eventually, free_port


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same crowd in a hurry."""
    for name, value in (
        ("COME_WITHIN_S", 1.0),
        ("TALK_EVERY_S", (0.1, 0.3)),
        ("BUY_EVERY_S", (0.1, 0.3)),
        ("LOOK_EVERY_S", 0.2),
    ):
        monkeypatch.setattr(rehearsal, name, value)


@pytest.mark.usefixtures("hurried")
async def test_a_crowd_comes_asks_and_pretends_to_buy(
    settings: Settings, sessions: Sessions, bus: Bus
) -> None:
    port = free_port()
    made = dataclasses.replace(settings, live_url=f"ws://127.0.0.1:{port}")
    config = GatewayConfig(
        valkey_url=settings.valkey_url, ticket_secret=settings.secret_key, port=port, drain_s=0.1
    )
    gateway = Gateway(config)
    await gateway.start()
    market = await scene.planned(sessions)
    session = await service.rehearse(market.host, market.code)
    stock = "SELECT sum(on_hand - reserved) FROM stock"
    async with sessions.read() as db:
        before = await db.scalar(text(stock))
        room = await queries.by_code(db, session.code)
        await bus.put_snapshot(session.code, await queries.snapshot(db, room), await bus.seq(session.code))
    crowd = asyncio.create_task(Crowd(made, bus).run())
    try:
        await asyncio.sleep(0.5)
        assert not await viewers(bus, session.code)  # nobody comes before it begins
        await service.start(market.host, session.code)
        await eventually(lambda: everybody(bus, session.code), within_s=20)
        await eventually(lambda: bought(sessions, session.id), within_s=20)
        async with sessions.read() as db:
            said = await db.scalar(text("SELECT count(*) FROM comment"))
            assert said
            assert await db.scalar(text('SELECT count(*) FROM "order"')) == 0
            assert await db.scalar(text(stock)) == before
        assert await bus.seq(staff_room(session.code)) > 0  # the console heard of orders
        await service.stop(market.host, session.code)

        async def nobody() -> bool:
            return not await viewers(bus, session.code)

        await eventually(nobody, within_s=20)
    finally:
        crowd.cancel()
        await asyncio.gather(crowd, return_exceptions=True)
        await gateway.stop()


async def viewers(bus: Bus, code: str) -> int:
    return (await bus.viewers([code]))[code] or 0


async def everybody(bus: Bus, code: str) -> bool:
    return await viewers(bus, code) == GUESTS


async def bought(sessions: Sessions, session_id: int) -> bool:
    async with sessions.read() as db:
        counter = await db.get(LiveCounter, session_id)
        return bool(counter and counter.orders >= 2 and counter.gmv > 0)


async def test_a_real_session_gets_no_crowd(settings: Settings, sessions: Sessions, bus: Bus) -> None:
    await scene.on_air(sessions)
    crowd = Crowd(settings, bus)
    await crowd._look()
    assert not crowd._rooms


async def test_a_rehearsal_needs_little_and_shows_to_nobody(sessions: Sessions) -> None:
    """Not verified yet, rules not accepted: one may still practise."""
    market = await scene.planned(sessions)
    async with sessions.begin() as db:
        await db.execute(text("UPDATE person SET identity_verified_at = NULL"))
        await db.execute(text("UPDATE live_session SET rules_accepted_at = NULL"))
    with pytest.raises(NotReady):
        await service.start(market.host, market.code)
    made = await service.rehearse(market.host, market.code)
    await service.start(market.host, made.code)
    async with sessions.read() as db:
        assert made.code not in [one.code for one in await queries.listed(db)]
        lines = await queries.lineup(db, await queries.by_code(db, made.code))
        assert [line.code for line in lines] == ["A1", "A2", "B1"]
        codes = set(await db.scalars(select(LiveSession.code)))
    assert codes == {market.code, made.code}
    assert len(made.code) == len("THU") + 16


async def test_a_rehearsal_disturbs_no_session(sessions: Sessions) -> None:
    """One voice a commune, and a second phone may practise beside it."""
    market = await scene.on_air(sessions)
    made = await service.rehearse(market.host, market.code)
    await service.start(market.host, made.code)
    async with sessions.read() as db:
        rows = await db.execute(select(LiveSession.code, LiveSession.state))
        states = {row.code: row.state for row in rows}
    assert states == {market.code: "live", made.code: "live"}
    other = await service.rehearse(market.host, market.code)
    await service.stop(market.host, market.code)
    await service.start(market.host, other.code)


async def test_five_minutes_without_a_pin_are_worth_a_word(settings: Settings, sessions: Sessions) -> None:
    market = await scene.planned(sessions)
    made = await service.rehearse(market.host, market.code)
    await service.start(market.host, made.code)
    await service.pin(market.host, made.code, "A1")
    await service.stop(market.host, made.code)
    archive = Archive(archive_settings(settings))
    for pinned_until, told in ((16, False), (14, True)):
        async with sessions.begin() as db:  # twenty minutes, the pin from the fourth on
            await db.execute(text("UPDATE live_session SET started_at = ended_at - interval '20 min'"))
            await db.execute(
                text(
                    "UPDATE pin SET at = ended_at - interval '16 min',"
                    " until = ended_at - make_interval(mins => 20 - :until) FROM live_session"
                    " WHERE live_session.id = live_session_id"
                ),
                {"until": pinned_until},
            )
        async with sessions.read() as db:
            row = (await db.scalars(select(LiveSession).where(LiveSession.code == made.code))).one()
            advice = await replays.advice(db, archive, row)
        assert ("no_pin" in [one.code for one in advice]) == told
    archive.close()
