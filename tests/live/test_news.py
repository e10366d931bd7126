"""What changes is told to every screen: what is true now, once or twice, never late, whoever was away."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, text

from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.leader import Turn
from commerce.core.outbox import Relay, emit
from commerce.live import queries, service
from commerce.live.models import Comment
from commerce.live.news import News, Newsroom
from commerce.worker import topics
from streaming import protocol
from streaming.bus import Bus, staff_room
from streaming.protocol import AnyFrame, State
from tests.live import scene
from tests.live.ear import Ear
from tests.live.proxy import door
from tests.live.scene import nowhere


async def deliver(newsroom: Newsroom) -> None:
    relay = Relay(topics(newsroom, nowhere, nowhere))
    while await relay.deliver_due():
        pass


async def snapshot(bus: Bus, room: str) -> protocol.Snapshot:
    found = await bus.get_snapshot(room)
    assert found is not None
    return found


async def test_a_planned_session_gets_its_room_and_a_start_is_heard(sessions: Sessions, bus: Bus) -> None:
    newsroom = Newsroom(bus)
    made = await scene.planned(sessions)
    await deliver(newsroom)
    room = await snapshot(bus, made.code)
    assert (room.state, room.stock) == (State.SCHEDULED, {"A1": 100, "A2": 100, "B1": 50})
    async with Ear(bus, made.code) as ear:
        await service.start(made.host, made.code)
        await deliver(newsroom)
        assert (await ear.wait(protocol.Status))[-1].state == State.LIVE
    assert (await snapshot(bus, made.code)).state == State.LIVE
    await newsroom.turn.close()


async def test_pins_deals_and_the_end_are_heard(sessions: Sessions, bus: Bus) -> None:
    newsroom = Newsroom(bus)
    made = await scene.on_air(sessions)
    await deliver(newsroom)
    async with Ear(bus, made.code) as ear:
        await service.pin(made.host, made.code, "A2")
        await deliver(newsroom)
        card = (await ear.wait(protocol.Pin))[0].pinned
        assert card is not None
        assert (card["code"], card["grade"], card["price"], card["unit"]) == ("A2", "B", 70_000, "kg")

        await service.open_deal(made.host, made.code, "A1", price=80_000, quantity=7, minutes=10)
        await deliver(newsroom)
        deal = (await ear.wait(protocol.Deal))[0].deals[0]
        assert (deal["code"], deal["price"], deal["was"], deal["left"]) == ("A1", 80_000, 95_000, 7)
        assert 595_000 < deal["ends_at"] - protocol.now_ms() <= 600_000

        await service.stop(made.host, made.code)
        await deliver(newsroom)
        assert (await ear.wait(protocol.Status))[0].state == State.ENDED
        assert (await ear.wait(protocol.Pin, 2))[1].pinned is None
        assert (await ear.wait(protocol.Deal, 2))[-1].deals == []
    await newsroom.turn.close()


async def test_a_takedown_tells_its_reason(sessions: Sessions, bus: Bus) -> None:
    newsroom = Newsroom(bus)
    made = await scene.on_air(sessions)
    await deliver(newsroom)
    async with Ear(bus, made.code) as ear:
        await service.takedown(made.officer, made.code, "Hàng không rõ nguồn gốc")
        await deliver(newsroom)
        told = (await ear.wait(protocol.Status))[0]
    assert (told.state, told.reason) == (State.TAKEN_DOWN, "Hàng không rõ nguồn gốc")
    await newsroom.turn.close()


async def place_order(client: httpx.AsyncClient, made: scene.Scene, name: str, quantity: int) -> None:
    answer = await client.post(
        f"/api/v1/live-sessions/{made.code}/orders",
        headers={"Idempotency-Key": secrets.token_hex(16)},
        json={
            "lines": [{"product": "A1", "quantity": quantity}],
            "buyer": {"name": name, "phone": "0901234567"},
            "address": {"province": "66", "commune": "24505", "street": "thôn 1"},
            "payment": "cod",
            "shown_total": quantity * scene.PRICE,
            "consent": True,
        },
    )
    assert answer.status_code == 201, answer.text


async def test_an_order_is_heard_by_all_as_stock_and_by_staff_with_a_masked_name(
    client: httpx.AsyncClient, sessions: Sessions, bus: Bus
) -> None:
    newsroom = Newsroom(bus)
    made = await scene.on_air(sessions)
    await deliver(newsroom)
    async with Ear(bus, made.code, staff_room(made.code)) as ear:
        await place_order(client, made, "Nguyễn Thị Hoa", 2)
        await place_order(client, made, "Y Bhiông Niê", 3)
        await deliver(newsroom)
        stock = (await ear.wait(protocol.Stock))[0]
        orders = await ear.wait(protocol.Order, 2)
        await ear.settle()
    # Told once for both orders, with what is true after both.
    assert ear.of(protocol.Stock) == [stock]
    assert (stock.stock["A1"], stock.orders, stock.units) == (95, 2, 5)
    assert [order.name for order in orders] == ["Nguyễn T. H.", "Y B. N."]
    assert [order.total for order in orders] == [190_000, 285_000]
    assert orders[0].lines[0] == {
        "code": "A1",
        "product": "Sầu riêng",
        "grade": "A",
        "unit": "kg",
        "quantity": 2,
    }
    assert {room for room, frame in ear.frames if isinstance(frame, protocol.Order)} == {
        staff_room(made.code)
    }
    assert not any(b"0901234567" in protocol.encode(frame) for _, frame in ear.frames)
    await newsroom.turn.close()


async def test_news_that_came_together_is_told_once(sessions: Sessions, bus: Bus) -> None:
    newsroom = Newsroom(bus)
    made = await scene.on_air(sessions)
    await deliver(newsroom)
    async with Ear(bus, made.code) as ear:
        for code in ("A1", "A2", "B1", "A1", "A2"):
            await service.pin(made.host, made.code, code)
        await deliver(newsroom)
        await ear.wait(protocol.Pin)
        await ear.settle()
    pins = ear.of(protocol.Pin)
    assert [pin.pinned and pin.pinned["code"] for pin in pins] == ["A2"]
    await newsroom.turn.close()


async def test_news_delivered_twice_shows_the_same(sessions: Sessions, bus: Bus) -> None:
    """The worker dies after telling and before deleting: the row comes again."""
    newsroom = Newsroom(bus)
    made = await scene.on_air(sessions)
    row = await scene.session_row(sessions, made.code)
    await deliver(newsroom)
    async with sessions.begin() as db:
        comment = Comment(live_session_id=row.id, visitor="v", name="Hoa", text="A1 x2")
        db.add(comment)
        await db.flush()
        news = {"live_session_id": row.id, "parts": ["stock"], "comments": [comment.id]}
        await emit(db, "live.changed", news)
        await emit(db, "live.changed", news)
    await deliver(newsroom)
    async with sessions.begin() as db:
        await emit(db, "live.changed", news)
    await deliver(newsroom)
    room = await snapshot(bus, made.code)
    assert [c.text for c in room.comments] == ["A1 x2"]
    assert room.stock["A1"] == 100
    await newsroom.turn.close()


async def test_a_hidden_comment_vanishes_and_a_shown_one_returns(sessions: Sessions, bus: Bus) -> None:
    newsroom = Newsroom(bus)
    made = await scene.on_air(sessions)
    row = await scene.session_row(sessions, made.code)
    await deliver(newsroom)
    async with sessions.begin() as db:
        ids = list(
            await db.scalars(
                insert(Comment).returning(Comment.id),
                [
                    {"live_session_id": row.id, "visitor": "v", "name": "Hoa", "text": words}
                    for words in ("một", "hai", "ba")
                ],
            )
        )
        await emit(db, "live.changed", {"live_session_id": row.id, "comments": ids})
    await deliver(newsroom)
    async with Ear(bus, made.code) as ear:
        await service.hide_comment(made.helper, made.code, ids[1])
        await deliver(newsroom)
        assert (await ear.wait(protocol.Comments))[0].hidden == [str(ids[1])]
        assert [c.text for c in (await snapshot(bus, made.code)).comments] == ["một", "ba"]
        await service.hide_comment(made.helper, made.code, ids[1], hidden=False)
        await deliver(newsroom)
        assert [c.text for c in (await ear.wait(protocol.Comments, 2))[1].comments] == ["hai"]
    await newsroom.turn.close()


async def race_of_two_newsrooms(sessions: Sessions, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> str:
    """The first reads, is held up, and tells; meanwhile the pin moves on and the second tells that.
    Returns the pin that screens show in the end."""
    made = await scene.on_air(sessions)
    row = await scene.session_row(sessions, made.code)
    slow, quick = Newsroom(bus), Newsroom(bus)
    await slow.restate([row.id])
    await service.pin(made.host, made.code, "A1")
    publish = slow._publish
    has_read = asyncio.Event()

    async def held_up(session: Any, frames: list[tuple[str, AnyFrame]]) -> bool:
        has_read.set()
        await asyncio.sleep(0.3)
        return await publish(session, frames)

    monkeypatch.setattr(slow, "_publish", held_up)
    first = asyncio.create_task(slow.tell({row.id: News(parts={"pin"})}))
    await has_read.wait()
    await service.pin(made.host, made.code, "B1")
    await quick.tell({row.id: News(parts={"pin"})})
    await first
    shown = (await snapshot(bus, made.code)).pinned
    assert shown is not None
    await slow.turn.close()
    await quick.turn.close()
    return str(shown["code"])


async def test_what_was_read_earlier_is_never_told_later(
    sessions: Sessions, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await race_of_two_newsrooms(sessions, bus, monkeypatch) == "B1"


async def test_without_turns_old_news_is_told_last(
    sessions: Sessions, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(Turn, "__aenter__", nothing)
    monkeypatch.setattr(Turn, "__aexit__", nothing)
    assert await race_of_two_newsrooms(sessions, bus, monkeypatch) == "A1"


async def test_a_turn_left_by_force_is_free_for_the_others(sessions: Sessions) -> None:
    mine, theirs = Turn(77), Turn(77)
    inside = asyncio.Event()

    async def hold() -> None:
        async with mine:
            inside.set()
            await asyncio.sleep(60)

    holder = asyncio.create_task(hold())
    await inside.wait()
    waiting = asyncio.create_task(theirs.__aenter__())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    holder.cancel()
    await asyncio.wait_for(waiting, 2)
    await theirs.__aexit__(None, None, None)
    async with asyncio.timeout(2), mine:
        pass
    await mine.close()
    await theirs.close()


async def test_while_the_wire_is_away_nothing_waits_and_after_it_all_is_right(
    sessions: Sessions, bus: Bus, valkey_url: str
) -> None:
    made = await scene.on_air(sessions)
    async with door(valkey_url) as (wire, url):
        through = Bus(url)
        newsroom = Newsroom(through)
        await deliver(newsroom)
        mending = asyncio.create_task(newsroom.mend())
        wire.shut()
        await service.pin(made.host, made.code, "B1")
        async with asyncio.timeout(5):
            await deliver(newsroom)
        assert (await snapshot(bus, made.code)).pinned is None
        async with sessions.read() as db:  # nothing is retried for an hour on account of it
            assert await db.scalar(text("SELECT count(*) FROM outbox")) == 0
        wire.open()
        async with asyncio.timeout(5):
            while (await snapshot(bus, made.code)).pinned is None:  # noqa: ASYNC110 - in another system
                await asyncio.sleep(0.05)
        mending.cancel()
        await newsroom.turn.close()
        await through.close()


async def test_a_restatement_tells_only_what_differs(sessions: Sessions, bus: Bus) -> None:
    newsroom = Newsroom(bus)
    made = await scene.on_air(sessions)
    row = await scene.session_row(sessions, made.code)
    await deliver(newsroom)
    old = clock.now() - timedelta(minutes=1)
    async with sessions.begin() as db:
        ids = list(
            await db.scalars(
                insert(Comment).returning(Comment.id, sort_by_parameter_order=True),
                [
                    {"live_session_id": row.id, "visitor": "v", "name": "Hoa", "text": words, "at": at}
                    for words, at in (("một", old), ("hai", old), ("ba", old), ("bốn", clock.now()))
                ],
            )
        )
    lost, shown, stays, _ = await comments_of(sessions, ids)
    await bus.publish(made.code, protocol.Comments(comments=[shown, stays]))
    await service.hide_comment(made.helper, made.code, ids[1])
    await service.pin(made.host, made.code, "A1")
    async with Ear(bus, made.code) as ear:
        await newsroom.restate([row.id])
        assert (await ear.wait(protocol.Pin))[0].pinned is not None
        told = (await ear.wait(protocol.Comments))[0]
        # `lost` is older than all that readers keep; `bốn` has its own news under way.
        assert (told.comments, told.hidden) == ([], [str(ids[1])])
        await ear.settle()
        kinds = {type(frame) for _, frame in ear.frames}
        assert kinds == {protocol.Pin, protocol.Comments}  # above all no snapshot for 150,000 readers

        await bus.publish(made.code, protocol.Comments(hidden=[stays.id]))
        await ear.settle()
        ear.frames.clear()
        await newsroom.restate([row.id])
        assert [c.text for c in (await ear.wait(protocol.Comments))[0].comments] == ["một", "ba"]
        ear.frames.clear()
        await newsroom.restate([row.id])
        await ear.settle()
        assert ear.frames == []
    assert lost.text == "một"
    await newsroom.turn.close()


async def comments_of(sessions: Sessions, ids: list[int]) -> list[protocol.Comment]:
    async with sessions.read() as db:
        return await queries.comments_by_ids(db, ids)


async def test_an_emptied_wire_is_told_everything_again(sessions: Sessions, bus: Bus) -> None:
    newsroom = Newsroom(bus)
    made = await scene.on_air(sessions)
    await service.pin(made.host, made.code, "A1")
    await deliver(newsroom)
    await bus.forget(made.code)
    assert await bus.get_snapshot(made.code) is None
    await service.open_deal(made.host, made.code, "A1", price=90_000, quantity=5)
    await deliver(newsroom)
    room = await snapshot(bus, made.code)
    assert room.pinned is not None
    assert (room.pinned["code"], len(room.deals), room.state) == ("A1", 1, State.LIVE)
    await newsroom.turn.close()
