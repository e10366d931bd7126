"""Traders leave a quantity and a phone; the commune calls back."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import select

from commerce.core.db import Sessions
from commerce.core.roles import Role
from commerce.orders.models import WholesaleEnquiry
from commerce.orders.wholesale import _kilograms
from tests import factories
from tests.orders.market import open_market

FORM = {"quantity": "2,5", "unit": "tonne", "phone": "0905 111 222", "consent": "1", "note": "giao ở Đà Nẵng"}


@pytest.mark.parametrize(
    ("quantity", "unit", "kilograms"),
    [
        ("2", "tonne", 2_000),
        ("2,5", "tonne", 2_500),
        ("0.5", "tonne", 500),
        ("500", "kg", 500),
        ("1.500", "kg", 1_500),
        ("12 000", "kg", 12_000),
        ("99", "kg", None),
        ("10001", "tonne", None),
        ("nhiều", "kg", None),
        ("-5", "tonne", None),
        ("", "tonne", None),
        ("5", "thùng", None),
        ("٣", "tonne", None),
    ],
)
def test_quantities_as_people_write_them(quantity: str, unit: str, kilograms: int | None) -> None:
    assert _kilograms(quantity, unit) == kilograms


async def test_a_buyer_asks_on_a_session_and_the_office_calls_back(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    await open_market(A1=100)
    assert (await client.get("/live/EAKNUEC/wholesale")).status_code == 200
    answer = await client.post("/live/EAKNUEC/wholesale?s=zalo", data={**FORM, "product": "A1"})
    assert answer.status_code == 200
    assert "gọi lại" in answer.text
    async with sessions.begin() as db:
        kept = (await db.scalars(select(WholesaleEnquiry))).one()
        assert (kept.kilograms, kept.phone, kept.commune_code) == (2_500, "0905111222", factories.EA_KNUEC)
        assert (kept.source, kept.entered_by) == ("zalo", None)
        officer = await factories.token(db, await factories.person(db, Role.OFFICER))
        other = await factories.token(db, await factories.person(db, Role.OFFICER, commune_code="24490"))
    client.headers["Authorization"] = f"Bearer {officer}"
    shown = await client.get("/office/enquiries")
    assert "0905111222" in shown.text
    assert "Đã gọi lại" in shown.text
    await client.post(f"/office/enquiries/{kept.id}/called")
    assert "đã gọi lại" in (await client.get("/office/enquiries")).text
    client.headers["Authorization"] = f"Bearer {other}"
    assert "0905111222" not in (await client.get("/office/enquiries")).text
    assert (await client.post(f"/office/enquiries/{kept.id}/called")).status_code == 403


async def test_a_buyer_asks_for_a_product(client: httpx.AsyncClient, sessions: Sessions) -> None:
    async with sessions.begin() as db:
        _, grades = await factories.product(db, await factories.seller(db), code="SR1")
    answer = await client.post("/p/SR1/wholesale", data=FORM | {"unit": "kg", "quantity": "800"})
    assert answer.status_code == 200
    async with sessions.read() as db:
        kept = (await db.scalars(select(WholesaleEnquiry))).one()
    assert (kept.kilograms, kept.grade_id, kept.live_session_id) == (800, grades["A"], None)


async def test_all_faults_are_named_and_nothing_is_kept(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    await open_market(A1=100)
    answer = await client.post(
        "/live/EAKNUEC/wholesale", data={"quantity": "5", "unit": "kg", "phone": "1", "product": "Z9"}
    )
    assert answer.status_code == 422
    for said in ("không có mã Z9", "100 kg", "chưa đúng", "đồng ý"):
        assert said in answer.text
    async with sessions.read() as db:
        assert await db.scalar(select(WholesaleEnquiry.id)) is None
    assert (await client.get("/p/KHONG/wholesale")).status_code == 404
