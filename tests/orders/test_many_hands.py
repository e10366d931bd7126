"""Two phones as host and three helpers on one session over real HTTP: no tap is lost, none counts twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import func, select

from commerce.catalog.models import Stock
from commerce.core.db import Sessions
from commerce.core.roles import Role
from commerce.live.models import Comment, Deal, LiveCounter, LiveSession, Pin
from commerce.orders.models import Order, WholesaleEnquiry
from tests import factories
from tests.orders.hands import served

ORDERS = 12
ROUNDS = 8


@pytest.fixture
async def market(sessions: Sessions, environ: dict[str, str]) -> AsyncIterator[str]:
    """Address of two web processes on this test's engines."""
    async with served(environ, processes=2) as web:
        yield web.url


async def session_on_air(sessions: Sessions) -> dict[str, str]:
    """Tokens of two hosts and three helpers of session CHO."""
    async with sessions.begin() as db:
        host = await factories.person(db, Role.HOST)
        _, grades = await factories.product(
            db, await factories.seller(db), grades={"A": (95_000, 500), "B": (70_000, 500)}
        )
        await factories.live_session(db, host, {"A1": grades["A"], "A2": grades["B"]}, code="CHO")
        tokens = {"host1": await factories.token(db, host), "host2": await factories.token(db, host)}
        for number in range(3):
            helper = await factories.person(db, Role.HELPER)
            tokens[f"helper{number}"] = await factories.token(db, helper)
    return tokens


async def test_no_tap_is_lost_or_doubled(market: str, sessions: Sessions) -> None:
    tokens = await session_on_air(sessions)
    people = {
        name: httpx.AsyncClient(base_url=market, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        for name, token in tokens.items()
    }
    async with httpx.AsyncClient(base_url=market, timeout=30) as crowd:
        for number in range(ORDERS):
            said = {"name": f"Khách {number}", "text": f"chốt A1 2kg 09055510{number:02d}"}
            own = {"Cookie": f"visitor=visitor-{number:04d}"}
            answer = await crowd.post("/api/v1/live-sessions/CHO/comments", json=said, headers=own)
            assert answer.status_code == 202, answer.text
    async with sessions.read() as db:
        ids = list(await db.scalars(select(Comment.id).order_by(Comment.id)))
    assert len(ids) == ORDERS
    helpers = [people[f"helper{n}"] for n in range(3)]
    hosts = [people["host1"], people["host2"]]

    async def confirm(helper: httpx.AsyncClient, comment: int) -> None:
        await helper.post(
            "/helper/CHO/confirm", data={"ids": str(comment), "lines": "A1 2"}, headers={"HX-Request": "true"}
        )

    async def enter(number: int, helper: httpx.AsyncClient) -> None:
        typed = {"lines": "A2 1", "phone": f"09066610{number:02d}", "source": "tiktok"}
        form = typed | {"order_key": f"entry-key-{number:04d}"}
        for _ in range(2):  # the thumb, or the line
            sent = await helper.post("/helper/CHO/orders", data=form, headers={"HX-Request": "true"})
            assert "Đã đặt" in sent.text, sent.text

    async def trader(number: int, helper: httpx.AsyncClient) -> None:
        form = {"phone": "0905123456", "quantity": "2", "key": f"trader-{number:06d}"}
        for _ in range(2):
            await helper.post("/helper/CHO/enquiries", data=form, headers={"HX-Request": "true"})

    async def host(client: httpx.AsyncClient, item: str) -> None:
        for number in range(ROUNDS):
            pinned = await client.post("/api/v1/live-sessions/CHO/pin", json={"product": item})
            assert pinned.status_code == 200, pinned.text
            deal = {
                "product": item,
                "price": 60_000 + number,
                "quantity": 5,
                "tap": f"deal-{item}-{number:04d}",
            }
            for _ in range(2):
                opened = await client.post("/api/v1/live-sessions/CHO/deals", json=deal)
                assert opened.status_code == 201, opened.text

    await asyncio.gather(
        *(confirm(helper, comment) for comment in ids for helper in helpers),
        *(enter(number, helpers[number % 3]) for number in range(ORDERS)),
        *(trader(number, helpers[number % 3]) for number in range(6)),
        host(hosts[0], "A1"),
        host(hosts[1], "A2"),
    )
    async with sessions.read() as db:
        assert await db.scalar(select(func.count(Order.id))) == 2 * ORDERS
        assert await db.scalar(select(LiveCounter.orders)) == 2 * ORDERS
        assert await db.scalar(select(LiveCounter.units)) == 3 * ORDERS
        assert await db.scalar(select(func.sum(Stock.reserved))) == 3 * ORDERS
        assert await db.scalar(select(func.count(WholesaleEnquiry.id))) == 6
        settled = await db.scalars(select(Comment.settled).distinct())
        assert list(settled) == ["ordered"]
        assert await db.scalar(select(func.count(Deal.id))) == 2 * ROUNDS, "each tap one deal"
        assert await db.scalar(select(func.count(Deal.id)).where(Deal.stopped_at.is_(None))) == 2
        open_pins = list(await db.scalars(select(Pin.item_id).where(Pin.until.is_(None))))
        assert open_pins == [await db.scalar(select(LiveSession.pinned_id))]
    for client in people.values():
        await client.aclose()


async def test_stopped_on_both_phones_in_one_moment(market: str, sessions: Sessions) -> None:
    tokens = await session_on_air(sessions)

    async def stop(token: str) -> int:
        async with httpx.AsyncClient(base_url=market, timeout=30) as client:
            headers = {"Authorization": f"Bearer {token}"}
            return (await client.post("/api/v1/live-sessions/CHO/stop", headers=headers)).status_code

    answers = await asyncio.gather(stop(tokens["host1"]), stop(tokens["host2"]))
    assert set(answers) == {200}
    async with sessions.read() as db:
        assert await db.scalar(select(LiveSession.state)) == "ended"
