"""The counts of every room, once a second, right again after whatever happened."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, text, update

from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.leader import lead
from commerce.live import service
from commerce.live.models import Deal, LiveCounter, LiveSession
from commerce.live.news import Newsroom
from commerce.live.ticker import Ticker
from streaming import protocol
from streaming.bus import SETTLE_MS, Bus
from streaming.protocol import State
from tests.live import scene
from tests.live.ear import Ear
from tests.live.proxy import door

KEY = 4711


async def presence(bus: Bus, room: str, *visitors: str) -> None:
    assert await bus.report("g1", room, visitors, [], first=True)


async def settled(bus: Bus, ticker: Ticker) -> None:
    """After a pause of counting the number is unknown for a moment; then it is known."""
    await ticker.tick(1)
    await asyncio.sleep(SETTLE_MS / 1000 + 0.1)


async def set_counter(sessions: Sessions, code: str, orders: int, units: int) -> None:
    async with sessions.begin() as db:
        session_id = select(LiveSession.id).where(LiveSession.code == code).scalar_subquery()
        await db.execute(
            update(LiveCounter)
            .where(LiveCounter.live_session_id == session_id)
            .values(orders=orders, units=units)
        )


async def test_a_tick_tells_committed_orders_and_present_viewers(sessions: Sessions, bus: Bus) -> None:
    made = await scene.on_air(sessions)
    other = await scene.on_air(sessions, "24600")
    ticker = Ticker(Newsroom(bus))
    await presence(bus, made.code, "v1", "v2", "v3")
    await bus.report("g2", made.code, ["v3"], [], first=True)  # a second tab on another gateway
    async with Ear(bus, made.code, other.code) as ear:
        await ticker.tick(1)
        first = [
            frame for room, frame in ear.frames if room == made.code and isinstance(frame, protocol.Tick)
        ]
        assert (first[0].viewers, first[0].stale) == (0, True)  # nobody has counted for a while
        await settled(bus, ticker)
        await presence(bus, made.code, "v1", "v2", "v3")
        await bus.report("g2", made.code, ["v3"], [], first=True)
        await set_counter(sessions, made.code, 12, 30)
        ear.frames.clear()
        await ticker.tick(2)
        await ear.wait(protocol.Tick, 2)
    by_room = {room: frame for room, frame in ear.frames if isinstance(frame, protocol.Tick)}
    mine, theirs = by_room[made.code], by_room[other.code]
    assert (mine.viewers, mine.orders, mine.units, mine.stale) == (3, 12, 30, False)
    assert (theirs.viewers, theirs.orders, theirs.units, theirs.stale) == (0, 0, 0, False)
    await ticker.newsroom.turn.close()


async def test_rooms_that_wait_for_their_start_are_ticked_and_those_over_are_not(
    sessions: Sessions, bus: Bus
) -> None:
    soon = await scene.planned(sessions)
    far = await scene.planned(sessions, "24600")
    over = await scene.on_air(sessions, "24601")
    await service.edit_session(far.host, far.code, starts_at=clock.now() + timedelta(days=5))
    await service.stop(over.host, over.code)
    ticker = Ticker(Newsroom(bus))
    async with Ear(bus, soon.code, far.code, over.code) as ear:
        await ticker.tick(1)
        await ear.wait(protocol.Tick)
        await ear.settle()
    assert {room for room, frame in ear.frames if isinstance(frame, protocol.Tick)} == {soon.code}
    await ticker.newsroom.turn.close()


async def test_a_deal_that_ends_by_the_clock_is_told(sessions: Sessions, bus: Bus) -> None:
    made = await scene.on_air(sessions)
    ticker = Ticker(Newsroom(bus))
    deal = await service.open_deal(made.host, made.code, "A1", price=80_000, quantity=10)
    await ticker.tick(1)
    async with Ear(bus, made.code) as ear:
        await ticker.tick(2)
        await ear.settle()
        assert ear.of(protocol.Deal) == []  # nothing changed, nothing is told
        async with sessions.begin() as db:
            await db.execute(update(Deal).where(Deal.id == deal.id).values(ends_at=clock.now()))
        await ticker.tick(3)
        assert (await ear.wait(protocol.Deal))[0].deals == []
    await ticker.newsroom.turn.close()


async def test_a_deal_that_is_taken_up_is_told(sessions: Sessions, bus: Bus) -> None:
    made = await scene.on_air(sessions)
    ticker = Ticker(Newsroom(bus))
    deal = await service.open_deal(made.host, made.code, "A1", price=80_000, quantity=10)
    await ticker.tick(1)
    async with Ear(bus, made.code) as ear:
        async with sessions.begin() as db:
            await db.execute(update(Deal).where(Deal.id == deal.id).values(taken=10))
        await ticker.tick(2)
        assert (await ear.wait(protocol.Deal))[0].deals == []
    await ticker.newsroom.turn.close()


async def test_an_emptied_wire_is_whole_again_after_one_tick(sessions: Sessions, bus: Bus) -> None:
    made = await scene.on_air(sessions)
    await service.pin(made.host, made.code, "A2")
    ticker = Ticker(Newsroom(bus))
    await ticker.tick(1)
    await bus._valkey.flushall()
    await ticker.tick(2)
    room = await bus.get_snapshot(made.code)
    assert room is not None
    assert room.pinned is not None
    assert (room.pinned["code"], room.state, room.stock["A1"]) == ("A2", State.LIVE, 100)
    await ticker.newsroom.turn.close()


async def test_a_new_leader_lays_every_room_down_anew(sessions: Sessions, bus: Bus) -> None:
    """Whatever the wire remembers wrongly is put right, be it from a frame that never came."""
    made = await scene.on_air(sessions)
    first = Ticker(Newsroom(bus))
    await first.tick(1)
    await bus.publish(made.code, protocol.Stock(stock={"A1": 7}, orders=99, units=99))
    second = Ticker(Newsroom(bus))
    await second.tick(1)
    room = await bus.get_snapshot(made.code)
    assert room is not None
    assert (room.stock["A1"], room.orders) == (100, 0)
    await first.newsroom.turn.close()
    await second.newsroom.turn.close()


async def test_a_new_leader_says_the_last_number_until_it_can_count(sessions: Sessions, bus: Bus) -> None:
    made = await scene.on_air(sessions)
    newsroom = Newsroom(bus)
    await newsroom.restate([(await scene.session_row(sessions, made.code)).id])
    await bus.publish(made.code, protocol.Tick(viewers=150, orders=0, units=0))
    async with Ear(bus, made.code) as ear:
        await Ticker(newsroom).tick(1)
        tick = (await ear.wait(protocol.Tick))[0]
    assert (tick.viewers, tick.stale) == (150, True)
    await newsroom.turn.close()


async def test_the_beat_is_steady(sessions: Sessions, bus: Bus) -> None:
    made = await scene.on_air(sessions)
    ticker = Ticker(Newsroom(bus))
    async with Ear(bus, made.code) as ear:
        task = asyncio.create_task(ticker.run())
        ticks = await ear.wait(protocol.Tick, 4, seconds=8)
        task.cancel()
    gaps = [b.sent_ms - a.sent_ms for a, b in itertools.pairwise(ticks[1:])]
    assert all(600 < gap < 1400 for gap in gaps), gaps
    await ticker.newsroom.turn.close()


async def wait_for(ask: Callable[[], Awaitable[bool]], seconds: float = 5) -> float:
    """How long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(seconds):
        while not await ask():  # noqa: ASYNC110 - what is asked tells nobody when it changes
            await asyncio.sleep(0.02)
    return loop.time() - began


async def test_ticks_come_back_by_themselves_after_either_engine_was_away(
    database_url: str, bus: Bus, valkey_url: str, sessions: Sessions
) -> None:
    made = await scene.on_air(sessions)
    async with door(database_url) as (database, db_url), door(valkey_url) as (wire, bus_url):
        sessions.configure(db_url)
        through = Bus(bus_url)
        newsroom = Newsroom(through)
        ticker = Ticker(newsroom)
        parts = [asyncio.create_task(lead(KEY, [ticker.run])), asyncio.create_task(newsroom.mend())]
        async with Ear(bus, made.code) as ear:
            await ear.wait(protocol.Tick)
            for engine in (database, wire):
                engine.shut()
                await asyncio.sleep(1.5)
                ear.frames.clear()
                await ear.settle(1.2)
                assert ear.of(protocol.Tick) == []
                if engine is wire:
                    await bus.forget(made.code)
                engine.open()
                await ear.wait(protocol.Tick, 1, seconds=5)

                async def whole() -> bool:
                    return await bus.get_snapshot(made.code) is not None

                await wait_for(whole)
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        await newsroom.turn.close()
        await through.close()
        await sessions.close()
    sessions.configure(database_url)


class Crew:
    """Processes that would lead; `leading` are those that think they do."""

    def __init__(self, *names: str) -> None:
        self.leading: list[str] = []
        self.tasks = {name: asyncio.create_task(lead(KEY, [self._work(name)])) for name in names}

    def _work(self, name: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            self.leading.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                self.leading.remove(name)

        return run

    async def one_leads(self) -> bool:
        return len(self.leading) == 1

    async def leave(self, name: str) -> None:
        self.tasks[name].cancel()
        await asyncio.gather(self.tasks[name], return_exceptions=True)


async def test_one_leads_and_when_it_goes_another_does(sessions: Sessions) -> None:
    crew = Crew("a", "b", "c")
    await wait_for(crew.one_leads)
    first = crew.leading[0]
    await asyncio.sleep(1)
    assert crew.leading == [first]
    await crew.leave(first)
    assert await wait_for(crew.one_leads) < 2
    second = crew.leading[0]
    assert second != first
    await crew.leave(second)
    await wait_for(crew.one_leads)
    await crew.leave(crew.leading[0])
    assert crew.leading == []


async def test_a_leader_whose_connection_died_leads_no_more(sessions: Sessions) -> None:
    crew = Crew("a")
    await wait_for(crew.one_leads)
    kill = text(
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.objid = :key AND d.datname = current_database()"
    )
    async with sessions.begin() as db:
        assert (await db.execute(kill, {"key": KEY})).all() == [(True,)]

    async def nobody() -> bool:
        return not crew.leading

    assert await wait_for(nobody) < 2
    assert await wait_for(crew.one_leads) < 2
    await crew.leave("a")


async def test_work_that_fails_is_not_swallowed(sessions: Sessions) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(lead(KEY, [broken]), 5)
