"""The commune office in the browser's forms: what waits, approving, sending back with a reason."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from sqlalchemy import insert, select

from commerce.catalog.models import Product, Recognition, Seller
from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.roles import Role
from tests import factories


@pytest.fixture
async def desk(client: httpx.AsyncClient, sessions: Sessions) -> httpx.AsyncClient:
    """A browser signed in as staff of Ea Knuếc."""
    async with sessions.begin() as db:
        token = await factories.token(db, await factories.person(db, Role.OFFICER))
    client.cookies.set("sign_in", token)
    return client


async def waiting_product(sessions: Sessions) -> str:
    async with sessions.begin() as db:
        seller = await factories.seller(db)
        made, _ = await factories.product(
            db, seller, name="Mắc ca mới", state="review", papers_checked_at=None, code="mac-ca-moi"
        )
        return str(await db.scalar(select(Product.code).where(Product.id == made)))


async def state_of(sessions: Sessions, code: str) -> str:
    async with sessions.read() as db:
        return str(await db.scalar(select(Product.state).where(Product.code == code)))


async def test_nothing_waiting_says_so(desk: httpx.AsyncClient) -> None:
    assert "Không có việc nào chờ" in (await desk.get("/office")).text
    assert "Đã duyệt hết" in (await desk.get("/office/listings")).text


async def test_a_listing_is_approved_with_its_papers(desk: httpx.AsyncClient, sessions: Sessions) -> None:
    code = await waiting_product(sessions)
    assert "1 món hàng chờ duyệt" in (await desk.get("/office")).text
    assert "Mắc ca mới" in (await desk.get("/office/listings")).text
    answer = await desk.post(f"/office/listings/{code}", data={"approve": "1", "papers_seen": "1"})
    assert answer.status_code == 303
    assert await state_of(sessions, code) == "approved"
    assert (await desk.get(f"/p/{code}")).status_code == 200


async def test_sending_back_needs_a_reason(desk: httpx.AsyncClient, sessions: Sessions) -> None:
    code = await waiting_product(sessions)
    answer = await desk.post(f"/office/listings/{code}", data={"reason": ""})
    assert answer.status_code == 422
    assert await state_of(sessions, code) == "review"
    await desk.post(f"/office/listings/{code}", data={"reason": "Ảnh mờ quá, xin chụp lại."})
    assert await state_of(sessions, code) == "refused"


async def test_a_seller_is_approved(desk: httpx.AsyncClient, sessions: Sessions) -> None:
    async with sessions.begin() as db:
        seller = await factories.seller(db, name="Hộ mới", state="review")
    assert "Hộ mới" in (await desk.get("/office/sellers")).text
    await desk.post(f"/office/sellers/{seller}", data={"approve": "1"})
    async with sessions.read() as db:
        assert await db.scalar(select(Seller.state).where(Seller.id == seller)) == "approved"


async def test_another_communes_listing_is_out_of_reach(desk: httpx.AsyncClient, sessions: Sessions) -> None:
    async with sessions.begin() as db:
        seller = await factories.seller(db, commune_code="24490")
        await factories.product(db, seller, state="review", commune_code="24490", code="cua-xa-khac")
    assert "cua-xa-khac" not in (await desk.get("/office/listings")).text
    answer = await desk.post("/office/listings/cua-xa-khac", data={"approve": "1"})
    assert answer.status_code in (403, 404)
    assert await state_of(sessions, "cua-xa-khac") == "review"


@pytest.mark.parametrize(("days", "warned"), [(179, True), (180, True), (181, False), (-1, False)])
async def test_renewal_is_announced_180_days_before(
    desk: httpx.AsyncClient, sessions: Sessions, days: int, warned: bool
) -> None:
    async with sessions.begin() as db:
        made, _ = await factories.product(db, await factories.seller(db), name="Cà phê bốn sao")
        await db.execute(
            insert(Recognition).values(
                product_id=made,
                stars=4,
                decision="1/QĐ",
                issuer="UBND tỉnh",
                granted_on=clock.today() - timedelta(days=900),
                expires_on=clock.today() + timedelta(days=days),
            )
        )
    assert ("Cà phê bốn sao" in (await desk.get("/office")).text) is warned


async def test_a_helper_finds_the_session_on_air(client: httpx.AsyncClient, sessions: Sessions) -> None:
    async with sessions.begin() as db:
        host = await factories.person(db, Role.HOST)
        _, grades = await factories.product(db, await factories.seller(db))
        await factories.live_session(db, host, {"A1": grades["A"]}, code="CHODEM", title="Phiên chợ đêm")
        token = await factories.token(db, await factories.person(db, Role.HELPER))
    client.cookies.set("sign_in", token)
    assert "/helper/CHODEM" in (await client.get("/helper")).text
