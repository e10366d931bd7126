"""The month's book on screen and as a file, and the table of rates."""

from __future__ import annotations

import io
from datetime import timedelta

import httpx
import openpyxl
import pytest

from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.roles import Role
from commerce.settlement.pages import basis_points
from tests import factories
from tests.orders.market import change, one, open_market
from tests.payments.ways import order

MONTH = f"{clock.today():%Y-%m}"


async def as_role(client: httpx.AsyncClient, sessions: Sessions, role: Role) -> int:
    async with sessions.begin() as db:
        person = await factories.person(db, role)
        client.cookies.set("sign_in", await factories.token(db, person))
    return person


@pytest.fixture
async def sold(client: httpx.AsyncClient, sessions: Sessions) -> None:
    """A household sold 370.000 for cash, of which 85.000 went back; another order was cancelled."""
    await open_market(A1=50)
    await change("UPDATE seller SET kind = 'household', name = 'Hộ Y Bhăm'")
    for tax, points in (("vat", 100), ("pit", 50)):
        await change(
            "INSERT INTO tax_rate (tax, seller_kind, basis_points, valid_from, source)"
            " VALUES (:tax, 'household', :points, '2025-07-01', 'thử')",
            tax=tax,
            points=points,
        )
    kept = await order(client, "cod", A1=2)
    gone = await order(client, "cod", A1=1)
    await as_role(client, sessions, Role.OFFICER)
    for act in ("packed", "send", "delivered"):
        assert (await client.post(f"/api/v1/orders/{kept['code']}/{act}", json={})).status_code == 200
    cancelled = f"/api/v1/orders/{gone['code']}/seller-cancel"
    assert (await client.post(cancelled, json={"reason": "hết"})).status_code == 200
    refund = {"amount": 85_000, "reason": "dập"}
    assert (await client.post(f"/api/v1/orders/{kept['code']}/refunds", json=refund)).status_code < 300
    number = await one("SELECT id FROM refund")
    assert (await client.post(f"/api/v1/payments/refunds/{number}/done", json={})).status_code < 300


@pytest.mark.usefixtures("sold")
async def test_the_seller_the_office_and_the_province_read_the_same(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    for role, area in ((Role.SELLER, "seller"), (Role.OFFICER, "office"), (Role.PROVINCE, "province")):
        person = await as_role(client, sessions, role)
        if role == Role.SELLER:
            await change("UPDATE seller SET person_id = :p", p=person)
        shown = (await client.get(f"/{area}/book")).text
        for amount in ("555.000", "-185.000", "-85.000", "285.000", "2.850", "1.425"):
            assert amount in shown, (area, amount)
        others = {"seller", "office", "province"} - {area}
        assert {(await client.get(f"/{other}/book")).status_code for other in others} == {404}


@pytest.mark.usefixtures("sold")
async def test_the_file_has_sums_moves_and_tax_records(client: httpx.AsyncClient, sessions: Sessions) -> None:
    await as_role(client, sessions, Role.PROVINCE)
    answer = await client.get(f"/province/book/{MONTH}.xlsx")
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    sums, moves, taxes = (list(sheet.values) for sheet in book.worksheets)
    line = dict(zip(sums[0], sums[1], strict=True))
    assert (line["Bán (₫)"], line["Còn lại (₫)"]) == (555_000, 285_000)
    assert sum(move[-1] for move in moves[1:] if move[3] == "Bán") == 555_000
    assert [tax[4] for tax in taxes[1:]] == [0.5, 1, 0.5, 1]
    assert sum(tax[-1] for tax in taxes[1:]) == 2_850 + 1_425
    assert (await client.get("/province/book/x.xlsx")).status_code == 404


@pytest.mark.usefixtures("sold")
async def test_other_months_and_empty_ones(client: httpx.AsyncClient, sessions: Sessions) -> None:
    await as_role(client, sessions, Role.PROVINCE)
    assert "chưa có gì" in (await client.get("/province/book?month=2025-01")).text
    assert "555.000" in (await client.get("/province/book?month=nonsense")).text


async def test_a_rate_starts_on_a_coming_day(client: httpx.AsyncClient, sessions: Sessions) -> None:
    await as_role(client, sessions, Role.PROVINCE)
    form = {"tax": "vat", "kind": "household", "percent": "1,5", "source": "Nghị định thử"}
    today, tomorrow = clock.today(), clock.today() + timedelta(days=1)
    post = "/province/tax-rates"
    assert (await client.post(post, data=form | {"valid_from": str(today)})).status_code == 422
    assert (await client.post(post, data=form | {"valid_from": ""})).status_code == 422
    assert (await client.post(post, data=form | {"valid_from": str(tomorrow)})).status_code == 303
    assert (await client.post(post, data=form | {"valid_from": str(tomorrow)})).status_code == 409
    assert await one("SELECT basis_points FROM tax_rate") == 150
    assert "1,5" in (await client.get(post)).text


def test_percent_is_never_a_float() -> None:
    texts = ("1", "0,5", "1.25", "0", "100", "abc", "1,234", "-1", "")
    assert [basis_points(one) for one in texts] == [100, 50, 125, 0, 10_000, -1, -1, -1, -1]
