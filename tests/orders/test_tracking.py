"""The buyer's page of an order: what is due, what came, what goes back, an address still to give."""

from __future__ import annotations

import re

import httpx

from commerce.core.roles import Role
from commerce.core.settings import Settings
from commerce.live.rooms import rooms
from commerce.orders.queries import snapshots
from tests.orders.market import change, one, open_market
from tests.orders.test_pages import FORM
from tests.payments.ways import add_feeds, bearer, order, sepay, sepay_body, track


async def page_of(client: httpx.AsyncClient, made: dict[str, str]) -> str:
    answer = await client.get(f"/orders/{made['code']}", params={"key": made["key"]})
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_a_deposit_is_asked_for_paid_and_the_rest_is_cash(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    market = await open_market(A1=10)
    await add_feeds(settings, market)
    await change("UPDATE product SET fresh = true")
    await change("UPDATE seller SET deposit_percent = 20, deposit_fee = 15000")
    made = await order(client, "cod", A1=2)
    assert made["payment"]["due_now"] == 89_000  # 20 % of 370.000 and 15.000
    assert "540589000" in made["payment"]["qr"]
    text = await page_of(client, made)
    for said in ("Đặt cọc để giữ hàng", "89.000", "281.000", "<svg"):
        assert said in text
    office = await bearer(Role.OFFICER)
    packed = await client.post(f"/api/v1/orders/{made['code']}/packed", headers=office)
    assert packed.status_code == 200
    sent = await client.post(f"/api/v1/orders/{made['code']}/send", json={}, headers=office)
    assert sent.json()["code"] == "not_paid_yet"
    await sepay(client, sepay_body(made["code"], 89_000))
    assert "Trả nốt" in await page_of(client, made)
    assert await one("SELECT state || ' ' || paid FROM payment") == "partial 89000"
    assert await one('SELECT expires_at IS NULL FROM "order"') is True
    for act in ("send", "delivered"):
        answer = await client.post(f"/api/v1/orders/{made['code']}/{act}", json={}, headers=office)
        assert answer.status_code == 200, answer.text
    assert await one("SELECT state || ' ' || paid FROM payment") == "paid 370000"
    assert await one("SELECT string_agg(counted::text, ' ' ORDER BY id) FROM receipt") == "89000 281000"
    url = f"/api/v1/orders/{made['code']}/refunds"
    too_much = await client.post(url, json={"amount": 370_001, "reason": ""}, headers=office)
    assert too_much.status_code == 409
    both = await client.post(url, json={"amount": 300_000, "reason": "hỏng"}, headers=office)
    assert [part["amount"] for part in both.json()] == [281_000, 19_000], "back the way it came"


async def test_without_a_way_to_pay_it_no_deposit_is_asked(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    await change("UPDATE seller SET deposit_fee = 30000, bank_account = NULL")
    made = await order(client, "cod")
    assert made["payment"]["due_now"] == 0
    assert await one('SELECT expires_at IS NULL FROM "order"') is True


async def test_what_is_left_of_a_transfer_is_asked_for(client: httpx.AsyncClient, settings: Settings) -> None:
    await add_feeds(settings, await open_market(A1=10))
    made = await order(client, A1=2)
    await sepay(client, sepay_body(made["code"], 100_000))
    text = await page_of(client, made)
    assert "còn thiếu 270.000" in text.replace("\u00a0", " ")
    assert 'data-copy="270000"' in text
    assert "5406270000" in (await track(client, made))["payment"]["qr"]


async def test_the_page_asks_again_and_is_told_only_what_is_new(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    await add_feeds(settings, await open_market(A1=10))
    made = await order(client)
    seen = re.search(r'data-seen="(\w+)"', await page_of(client, made))
    assert seen is not None
    url, asked = f"/orders/{made['code']}/now", {"key": made["key"], "seen": seen[1]}
    assert (await client.get(url, params=asked)).status_code == 204
    await sepay(client, sepay_body(made["code"], 185_000))
    told = await client.get(url, params=asked)
    assert told.status_code == 200
    assert "Đã nhận đủ" in told.text
    assert "<html" not in told.text
    assert (await client.get(url, params=asked | {"key": "wrong"})).status_code == 404


async def test_the_code_is_a_picture_to_keep(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    made = await order(client)
    url, key = f"/orders/{made['code']}/qr.png", {"key": made["key"]}
    picture = await client.get(url, params=key)
    assert picture.content.startswith(b"\x89PNG")
    assert picture.headers["content-type"] == "image/png"
    assert (await client.get(url, params={"key": "wrong"})).status_code == 404
    cash = await order(client, "cod")
    none = await client.get(f"/orders/{cash['code']}/qr.png", params={"key": cash["key"]})
    assert none.status_code == 404


async def test_a_cancelled_order_shows_its_reason(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    made = await order(client, "cod")
    form = {"key": made["key"], "reason": "Tôi đổi ý, không mua nữa", "other": "Nhà đi vắng"}
    assert (await client.post(f"/orders/{made['code']}/cancel", data=form)).status_code == 303
    assert "Nhà đi vắng" in await page_of(client, made)


async def test_an_order_without_an_address_asks_for_it_and_waits(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    made = await order(client, "cod")
    await change("UPDATE \"order\" SET street = '', commune_code = '', buyer_name = 'Khách 567'")
    assert "Giao hàng đến đâu?" in await page_of(client, made)
    office = await bearer(Role.OFFICER)
    await client.post(f"/api/v1/orders/{made['code']}/packed", headers=office)
    held = await client.post(f"/api/v1/orders/{made['code']}/send", json={}, headers=office)
    assert (held.status_code, held.json()["code"]) == (409, "address_missing")

    where = {"key": made["key"], "name": "Hoa", "province": "66", "commune": "", "street": "thôn 1"}
    url = f"/orders/{made['code']}/address"
    wrong = await client.post(url, data=where)
    assert wrong.status_code == 422
    assert "Xin chọn xã, phường." in wrong.text
    assert (await client.post(url, data=where | {"key": "x", "commune": "Ea Knuếc"})).status_code == 404
    assert (await client.post(url, data=where | {"commune": "ea knuec"})).status_code == 303
    assert await one("SELECT commune_code || ' ' || buyer_name FROM \"order\"") == "24505 Hoa"
    text = await page_of(client, made)
    assert "Xã Ea Knuếc" in text
    assert "Giao hàng đến đâu?" not in text
    assert (await client.post(url, data=where | {"commune": "ea knuec"})).status_code == 404, "once"
    sent = await client.post(f"/api/v1/orders/{made['code']}/send", json={}, headers=office)
    assert sent.status_code == 200


async def test_a_deposit_is_told_before_ordering(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    assert "Xem hàng rồi mới trả tiền." in (await client.get("/live/EAKNUEC")).text
    await change("UPDATE product SET fresh = true")
    await change("UPDATE seller SET deposit_percent = 20, deposit_fee = 15000")
    rooms.forget("EAKNUEC")
    snapshots.forget()
    assert "cần đặt cọc" in (await client.get("/live/EAKNUEC")).text
    asked = await client.post("/live/EAKNUEC/orders", data=FORM | {"payment": "cod"})
    assert "Cần cọc trước 89.000" in asked.text.replace("\u00a0", " ")
    whole = await client.post("/live/EAKNUEC/orders", data=FORM)
    assert "Cần cọc trước" not in whole.text
