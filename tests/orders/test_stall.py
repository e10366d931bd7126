"""The farmer's stall: what to pack, one button, stock counted again, a pause."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import select, update

from commerce.catalog.models import Product, Stock
from commerce.core.db import Sessions
from commerce.core.roles import Role
from commerce.orders.models import Order
from tests import factories


class Stall:
    def __init__(self, person: int, token: str, product: str, grade: int) -> None:
        self.person, self.token, self.product, self.grade = person, token, product, grade


@pytest.fixture
async def stall(client: httpx.AsyncClient, sessions: Sessions) -> Stall:
    """A farmer signed in, with one product on air in session CHO."""
    async with sessions.begin() as db:
        person = await factories.person(db, Role.SELLER)
        seller = await factories.seller(db, person_id=person)
        _, grades = await factories.product(db, seller, grades={"A": (95_000, 50)}, code="sau-rieng")
        host = await factories.person(db, Role.HOST)
        await factories.live_session(db, host, {"A1": grades["A"]}, code="CHO")
        token = await factories.token(db, person)
    client.cookies.set("sign_in", token)
    return Stall(person, token, "sau-rieng", grades["A"])


async def an_order(client: httpx.AsyncClient) -> str:
    body = {
        "lines": [{"product": "A1", "quantity": 3}],
        "buyer": {"name": "Nguyễn Thị Hoa", "phone": "0901234567"},
        "address": {"province": "66", "commune": "24505", "street": "thôn 1"},
        "payment": "cod",
        "shown_total": 285_000,
        "consent": True,
    }
    answer = await client.post(
        "/api/v1/live-sessions/CHO/orders", json=body, headers={"Idempotency-Key": "stall-test-1"}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["orders"][0]["code"])


async def test_an_order_is_packed_with_one_button(
    client: httpx.AsyncClient, stall: Stall, sessions: Sessions
) -> None:
    assert "Chưa có đơn nào" in (await client.get("/seller")).text
    code = await an_order(client)
    shown = (await client.get("/seller")).text
    assert code in shown
    assert "Nguyễn T. H." in shown
    assert "0901234567" not in shown
    assert (await client.post(f"/seller/orders/{code}/packed")).status_code == 303
    async with sessions.read() as db:
        assert await db.scalar(select(Order.state).where(Order.code == code)) == "packed"
    assert code not in (await client.get("/seller")).text
    again = await client.post(f"/seller/orders/{code}/packed", headers={"Accept": "application/json"})
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")


async def test_nobody_packs_anothers_order(
    client: httpx.AsyncClient, stall: Stall, sessions: Sessions
) -> None:
    code = await an_order(client)
    async with sessions.begin() as db:
        other = await factories.token(db, await factories.person(db, Role.SELLER))
    client.cookies.set("sign_in", other)
    assert (await client.post(f"/seller/orders/{code}/packed")).status_code == 404
    async with sessions.read() as db:
        assert await db.scalar(select(Order.state).where(Order.code == code)) == "placed"


async def test_what_was_counted_replaces_the_book(
    client: httpx.AsyncClient, stall: Stall, sessions: Sessions
) -> None:
    address = f"/seller/products/{stall.product}/stock"
    assert (await client.post(address, data={"grade": "A", "counted": "1.200"})).status_code == 303
    async with sessions.read() as db:
        assert await db.scalar(select(Stock.on_hand).where(Stock.grade_id == stall.grade)) == 1200
    wrong = await client.post(address, data={"grade": "A", "counted": "nhiều"})
    assert wrong.status_code == 422
    assert "ví dụ 120" in wrong.text


async def test_a_pause_and_back(client: httpx.AsyncClient, stall: Stall, sessions: Sessions) -> None:
    async def state() -> str | None:
        async with sessions.read() as db:
            return await db.scalar(select(Product.state).where(Product.code == stall.product))

    await client.post(f"/seller/products/{stall.product}/pause")
    assert await state() == "paused"
    await client.post(f"/seller/products/{stall.product}/resume")
    assert await state() == "approved"


async def test_a_refusal_shows_its_reason_and_no_stall_says_what_to_do(
    client: httpx.AsyncClient, stall: Stall, sessions: Sessions
) -> None:
    async with sessions.begin() as db:
        await db.execute(update(Product).where(Product.code == stall.product).values(state="refused"))
        nobody = await factories.token(db, await factories.person(db, Role.SELLER))
    assert "xã trả lại" in (await client.get("/seller")).text
    client.cookies.set("sign_in", nobody)
    assert "Chưa có gian hàng" in (await client.get("/seller")).text
