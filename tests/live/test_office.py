"""The commune office in the browser's forms: what waits, approving, sending back with a reason."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from sqlalchemy import insert, select

from commerce.catalog.models import Product, Recognition, Seller
from commerce.catalog.queries import last_reason
from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.roles import Role
from commerce.live.office import REASONS
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


async def test_ticked_reasons_reach_the_seller_with_the_way_out(
    desk: httpx.AsyncClient, sessions: Sessions
) -> None:
    code = await waiting_product(sessions)
    ticked = [REASONS[0], REASONS[2]]
    answer = await desk.post(f"/office/listings/{code}", data={"usual": ticked, "reason": "Gọi xã nhé."})
    assert answer.status_code == 303
    async with sessions.read() as db:
        product = (await db.scalars(select(Product).where(Product.code == code))).one()
        said = await last_reason(db, product.id)
    assert said == " ".join([*ticked, "Gọi xã nhé."])


async def test_the_review_compares_the_price_with_the_market(
    desk: httpx.AsyncClient, sessions: Sessions
) -> None:
    async with sessions.begin() as db:
        seller = await factories.seller(db)
        for name, price in (("Mắc ca sấy", 200_000), ("Mắc ca nứt vỏ", 240_000)):
            await factories.product(db, seller, name=name, grades={"": (price, 5)})
        await factories.product(
            db, seller, name="Mắc ca", state="review", grades={"": (22_000, 5)}, code="mac-ca-la"
        )
    shown = (await desk.get("/office/listings")).text
    assert "200.000" in shown
    assert "giá lạ, xem lại số 0" in shown


async def test_a_recognition_is_recorded_and_withdrawn(desk: httpx.AsyncClient, sessions: Sessions) -> None:
    async with sessions.begin() as db:
        made, _ = await factories.product(db, await factories.seller(db), name="Mật ong", code="mat-ong")
    form = {
        "product": "mat-ong",
        "stars": "4",
        "score": "78,5",
        "decision": "12/QĐ-UBND",
        "issuer": "UBND tỉnh Đắk Lắk",
        "granted_on": f"{clock.today() - timedelta(days=30):%Y-%m-%d}",
    }
    bad = await desk.post("/office/ocop", data=form | {"score": "nhiều", "granted_on": ""})
    assert bad.status_code == 422
    assert "Xin ghi số điểm" in bad.text
    assert (await desk.post("/office/ocop", data=form)).status_code == 303
    assert "12/QĐ-UBND" in (await desk.get("/office/ocop")).text
    async with sessions.read() as db:
        row = (await db.scalars(select(Recognition).where(Recognition.product_id == made))).one()
    assert (row.stars, row.score) == (4, 78.5)
    address = f"/office/ocop/mat-ong/{row.id}/withdraw"
    assert (await desk.post(address, data={"reason": ""})).status_code == 422
    assert (await desk.post(address, data={"reason": "Quyết định 99/QĐ"})).status_code == 303
    assert "bị thu hồi" in (await desk.get("/office/ocop")).text


async def test_the_office_keeps_the_schedule(desk: httpx.AsyncClient, sessions: Sessions) -> None:
    async with sessions.begin() as db:
        host = await factories.person(db, Role.HOST, name="H'Linh")
    tomorrow = clock.today() + timedelta(days=1)
    form = {"title": "Phiên chợ cuối tuần", "host": str(host), "day": f"{tomorrow}", "time": "19:30"}
    assert (await desk.post("/office/schedule", data=form | {"day": ""})).status_code == 422
    assert (await desk.post("/office/schedule", data=form)).status_code == 303
    shown = (await desk.get("/office/schedule")).text
    assert "Phiên chợ cuối tuần" in shown
    assert "19:30" in shown
    moved = await desk.post("/office/schedule/EAKNUEC", data={"day": f"{tomorrow}", "time": "20:15"})
    assert moved.status_code == 303
    assert "20:15" in (await desk.get("/office/schedule")).text
    late = await desk.post("/office/schedule/EAKNUEC", data={"day": "2020-01-01", "time": "20:15"})
    assert late.status_code == 422
    assert (await desk.post("/office/schedule/EAKNUEC/cancel", data={"reason": "Mưa bão"})).status_code == 303
    assert "Phiên chợ cuối tuần" not in (await desk.get("/office/schedule")).text
