"""Packing and sending on screen and on paper, by the seller and by the office."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import httpx
import openpyxl
import pytest
from pypdf import PdfReader

from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.roles import Role
from tests import factories
from tests.orders.market import change, one, open_market
from tests.payments.ways import order, track

TODAY = str(clock.today())


@pytest.fixture
async def made(client: httpx.AsyncClient, sessions: Sessions) -> dict[str, Any]:
    """An order of two kilograms, cash on delivery; the client is signed in as its seller."""
    market = await open_market(A1=50)
    placed = await order(client, "cod", A1=2)
    async with sessions.begin() as db:
        person = await factories.person(db, Role.SELLER)
        token = await factories.token(db, person)
    seller = market.goods["A1"].seller_id
    await change(
        "UPDATE seller SET person_id = :p, name = 'Hộ Y Bhăm Êban' WHERE id = :s", p=person, s=seller
    )
    client.cookies.set("sign_in", token)
    return placed


async def office(client: httpx.AsyncClient, sessions: Sessions, role: Role = Role.OFFICER) -> None:
    async with sessions.begin() as db:
        client.cookies.set("sign_in", await factories.token(db, await factories.person(db, role)))


async def press(client: httpx.AsyncClient, made: dict[str, Any], act: str, **data: str) -> httpx.Response:
    return await client.post(f"/parcels/{made['code']}/{act}", data=data or {"back": "/seller/parcels"})


def text_of(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)


async def test_from_packing_to_the_door_with_one_button_each(
    client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    code = made["code"]
    shown = (await client.get("/seller/parcels")).text
    assert code in shown
    assert "thôn 1, Xã Ea Knuếc, Đắk Lắk" in shown
    assert "370.000" in shown
    assert (await press(client, made, "packed")).status_code == 303
    assert code not in (await client.get("/seller/parcels")).text
    assert code in (await client.get("/seller/parcels?stage=send")).text
    sent = await press(client, made, "send", carrier="Viettel Post", tracking="VT 1", back="/seller/parcels")
    assert sent.headers["location"] == "/seller/parcels"
    assert "Viettel Post VT 1" in (await client.get("/seller/parcels?stage=way")).text
    assert (await press(client, made, "delivered")).status_code == 303
    found = await track(client, made)
    assert (found["state"], found["payment"]["state"]) == ("delivered", "paid")
    again = await press(client, made, "delivered")
    assert again.status_code == 409
    assert code in again.text


async def test_a_refusal_is_a_private_hint_for_the_next_seller(
    client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    assert "không nhận hàng" not in (await client.get("/seller/parcels")).text
    for act in ("packed", "send", "refused"):
        assert (await press(client, made, act)).status_code == 303
    assert (await press(client, made, "returned", sellable="1")).status_code == 303
    assert await one("SELECT on_hand || ' ' || reserved FROM stock") == "50 0"
    client.cookies.clear()
    another = await order(client, "cod", A1=1)
    page = await client.get(f"/orders/{another['code']}", params={"key": another["key"]})
    assert "1 lần không nhận" not in page.text, "the buyer never sees it"


async def test_the_hint_stands_on_the_next_parcel(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    for act in ("packed", "send", "refused"):
        await press(client, made, act)
    await order(client, "cod", A1=1)
    assert "1 lần không nhận hàng" in (await client.get("/seller/parcels")).text


async def test_without_an_address_nothing_is_sent(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    await change("UPDATE \"order\" SET street = '', commune_code = ''")
    await press(client, made, "packed")
    refused = await press(client, made, "send")
    assert refused.status_code == 409
    assert "chưa có địa chỉ" in refused.text
    assert await one('SELECT state FROM "order"') == "packed"
    sheet = (await client.get(f"/seller/parcels/{TODAY}/van-chuyen.csv")).content.decode("utf-8-sig")
    assert made["code"] not in sheet, "no carrier can take it"
    wrong = await press(client, made, "address", province="66", commune="không có xã này", street="thôn 2")
    assert wrong.status_code == 422
    told = await press(client, made, "address", province="66", commune="ea knuec", street="buôn Kniêr")
    assert told.status_code == 303
    assert (await press(client, made, "send")).status_code == 303


async def test_a_days_papers(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    base = f"/seller/parcels/{TODAY}"
    listed = await client.get(f"{base}/dong-goi.pdf")
    assert listed.headers["content-type"] == "application/pdf"
    said = text_of(listed.content)
    for part in (made["code"], "Nguyễn Thị Hoa", "2 kg", "Hộ Y Bhăm Êban", "Xã Ea Knuếc", "370.000"):
        assert part in said, part
    for name, width in (("phieu-a6.pdf", 105), ("phieu-80mm.pdf", 80)):
        slip = (await client.get(f"{base}/{name}")).content
        (page,) = PdfReader(io.BytesIO(slip)).pages
        assert round(float(page.mediabox.width) / 72 * 25.4) == width
        for part in (made["code"], "0901234567", "thôn 1, Xã Ea Knuếc, Đắk Lắk", "Thu hộ 370.000"):
            assert part in text_of(slip), (name, part)
    book = openpyxl.load_workbook(io.BytesIO((await client.get(f"{base}/van-chuyen.xlsx")).content))
    heads, row = list(book.active.values)
    line = dict(zip(heads, row, strict=True))
    assert line["Xã, phường"] == "Xã Ea Knuếc"
    assert (line["Mã xã"], line["Mã tỉnh"], line["Tỉnh, thành phố"]) == ("24505", "66", "Đắk Lắk")
    assert line["Tiền thu hộ (₫)"] == 370_000
    sheet = (await client.get(f"{base}/van-chuyen.csv")).content.decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(sheet))) == [[str(cell) for cell in line] for line in (heads, row)]
    assert (await client.get(f"{base}/la-gi.pdf")).status_code == 404
    assert (await client.get("/seller/parcels/hom-nay/dong-goi.pdf")).status_code == 404


async def test_a_parcel_is_on_the_papers_of_its_day(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    later = clock.today() + timedelta(days=3)
    await change('UPDATE "order" SET ship_on = :day', day=later)
    assert made["code"] not in text_of((await client.get(f"/seller/parcels/{TODAY}/dong-goi.pdf")).content)
    assert made["code"] in text_of((await client.get(f"/seller/parcels/{later}/dong-goi.pdf")).content)
    assert made["code"] not in (await client.get(f"/seller/parcels?day={TODAY}")).text
    assert made["code"] in (await client.get(f"/seller/parcels?day={later}")).text


async def test_fifty_lines_fit_on_a_roll_and_many_slips_are_many_pages(
    client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    await change(
        "INSERT INTO order_line (order_id, grade_id, item_code, product_name, grade_name, unit, unit_price,"
        " quantity, amount) SELECT order_id, grade_id, 'A' || n, 'Sầu riêng cắt già vườn số ' || n, 'A',"
        " 'kg', 1, 1, 1 FROM order_line, generate_series(1, 50) n"
    )
    await order(client, "cod", A1=1)
    slips = (await client.get(f"/seller/parcels/{TODAY}/phieu-80mm.pdf")).content
    first, second = PdfReader(io.BytesIO(slips)).pages
    assert "vườn số 50" in first.extract_text()
    assert float(first.mediabox.height) > 2 * float(second.mediabox.height)


async def test_the_office_sees_its_communes_parcels_and_nobody_else_does(
    client: httpx.AsyncClient, made: dict[str, Any], sessions: Sessions
) -> None:
    await office(client, sessions)
    assert made["code"] in (await client.get("/office/parcels")).text
    assert made["code"] in text_of((await client.get(f"/office/parcels/{TODAY}/dong-goi.pdf")).content)
    assert (await press(client, made, "packed", back="/office/parcels")).status_code == 303
    async with sessions.begin() as db:
        await factories.commune(db, "24133", "Buôn Hồ")
        away = await factories.person(db, Role.OFFICER, commune_code="24133")
        client.cookies.set("sign_in", await factories.token(db, away))
    assert made["code"] not in (await client.get("/office/parcels")).text
    assert (await press(client, made, "send", back="/office/parcels")).status_code == 403


async def test_the_summary_has_what_the_law_asks_and_lasts(
    client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    from commerce.orders.terms import keep_terms

    await keep_terms()
    await keep_terms()
    assert await one("SELECT count(*) FROM order_terms") == 1
    await change("UPDATE seller SET name = 'Tên khác', address = 'nơi khác'")
    await change("UPDATE product SET origin = 'Nơi khác', shelf_life = '1 giờ'")
    await change("UPDATE \"order\" SET placed_at = placed_at - interval '8 months'")
    client.cookies.clear()
    address = f"/orders/{made['code']}/summary.pdf"
    answer = await client.get(address, params={"key": made["key"]})
    said = " ".join(text_of(answer.content).split())
    law = (
        *("Hộ Y Bhăm Êban", "thôn 1", "0905000111", "6001234567"),  # seller
        *("2 kg", "loại A", "185.000", "370.000", "Xuất xứ: Xã Ea Knuếc", "Hạn dùng: 5 ngày"),  # goods
        *("Phí giao hàng", "Trả tiền khi nhận hàng", "Được xem hàng", "Khiếu nại"),
        *("Nguyễn Thị Hoa", "0901234567", "thôn 1, Xã Ea Knuếc, Đắk Lắk", "đồng ý"),
    )
    for part in law:
        assert part in said, part
    assert "Tên khác" not in said
    assert "Nơi khác" not in said
    assert (await client.get(address, params={"key": "wrong"})).status_code == 404
    page = (await client.get(f"/orders/{made['code']}", params={"key": made["key"]})).text
    assert address in page


async def test_a_seller_sets_season_and_hands(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    code = await one("SELECT code FROM product")
    day = clock.today()
    form = {"capacity": "120", "harvest_from": str(day), "harvest_to": str(day + timedelta(days=20))}
    assert (await client.post(f"/seller/days/{code}", data=form)).status_code == 303
    assert await one("SELECT capacity_per_day FROM product") == 120
    shown = (await client.get(f"/seller/days/{code}")).text
    assert "120" in shown
    wrong = await client.post(
        f"/seller/days/{code}", data=form | {"harvest_to": str(day - timedelta(days=1))}
    )
    assert wrong.status_code == 422
    await client.post(f"/seller/days/{code}", data={"capacity": "0"})
    assert await one("SELECT capacity_per_day IS NULL AND harvest_from IS NULL FROM product")
