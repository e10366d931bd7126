"""Ordering without scripts, and the order's page."""

from __future__ import annotations

import re

import httpx

from tests.orders.market import one, open_market

FORM = {
    "quantity-A1": "2",
    "name": "Nguyễn Thị Hoa",
    "phone": "0901 234 567",
    "province": "66",
    "commune": "ea knuec",
    "street": "thôn 1",
    "payment": "vietqr",
    "consent": "1",
    "order_key": "from-the-page",
}


async def test_a_form_is_shown_once_more_and_then_placed(client: httpx.AsyncClient) -> None:
    await open_market(A1=10, B1=10)
    first = await client.post("/live/EAKNUEC/orders", data=FORM | {"quantity-B1": "1"})
    assert first.status_code == 200, first.text
    assert "Xem lại đơn hàng" in first.text
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', first.text))
    assert fields["shown_total"] == "555000"
    second = await client.post("/live/EAKNUEC/orders", data=fields)
    assert second.status_code == 303
    again = await client.post("/live/EAKNUEC/orders", data=fields)
    assert again.headers["location"] == second.headers["location"], "sent twice, it is one order"
    assert await one("SELECT count(*) FROM purchase") == 1
    found = await client.get(second.headers["location"])
    assert found.status_code == 200
    for text in ("Đã đặt hàng!", "<svg", "1012345678", "090****567", "370.000"):
        assert text in found.text
    assert "0901234567" not in found.text


async def test_a_form_with_faults_comes_back_with_them(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    answer = await client.post("/live/EAKNUEC/orders", data=FORM | {"phone": "123", "commune": "nowhere"})
    assert answer.status_code == 422
    assert "Số điện thoại chưa đúng" in answer.text
    assert 'value="thôn 1"' in answer.text
    assert "Tỉnh Đắk Lắk không có xã" in answer.text


async def test_a_changed_price_is_shown_before_it_is_taken(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    answer = await client.post("/live/EAKNUEC/orders", data=FORM | {"shown_total": "100"})
    assert "Giá vừa thay đổi" in answer.text
    assert 'name="shown_total" value="370000"' in answer.text


async def test_a_sold_out_form_says_what_is_left(client: httpx.AsyncClient) -> None:
    await open_market(A1=1)
    answer = await client.post("/live/EAKNUEC/orders", data=FORM | {"shown_total": "370000"})
    assert answer.status_code == 409
    assert "A1 (1/2)" in answer.text


async def test_the_page_needs_the_key_and_cancels(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    placed = await client.post("/live/EAKNUEC/orders", data=FORM | {"shown_total": "370000"})
    where = placed.headers["location"]
    path, key = where.split("?")[0], re.search(r"key=([^&]+)", where)
    assert key is not None
    assert (await client.get(path)).status_code == 404
    assert (await client.get(f"{path}?key=wrong")).status_code == 404
    cancelled = await client.post(f"{path}/cancel", data={"key": key[1]})
    assert cancelled.status_code == 303
    assert "Đã huỷ" in (await client.get(cancelled.headers["location"])).text
    again = await client.post(f"{path}/cancel", data={"key": key[1]})
    assert again.status_code == 409
