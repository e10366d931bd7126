"""Money that comes in: each case has one defined outcome, however often and in whatever order it is told."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Any

import httpx
import pytest

from commerce.core.roles import Role
from commerce.core.settings import Settings
from commerce.orders.expiry import expire_orders
from commerce.payments import receiving
from tests.orders.market import add_deal, change, ledger_is_right, one, open_market, order_body
from tests.payments.ways import (
    API_KEY,
    add_feeds,
    bearer,
    order,
    payos_body,
    sepay,
    sepay_body,
    track,
)


@pytest.fixture
async def market(settings: Settings, client: httpx.AsyncClient) -> Any:
    made = await open_market(A1=10)
    await add_feeds(settings, made)
    return made


async def outcomes() -> Any:
    return await one("SELECT coalesce(string_agg(outcome, ' ' ORDER BY id), '') FROM receipt")


async def refunds() -> Any:
    return await one("SELECT coalesce(string_agg(amount || ' ' || state, ', ' ORDER BY id), '') FROM refund")


async def expire(made: dict[str, Any]) -> None:
    await change(
        "UPDATE \"order\" SET expires_at = now() - interval '1 second' WHERE code = :code", code=made["code"]
    )
    await expire_orders()


async def test_a_transfer_pays_its_order(client: httpx.AsyncClient, market: Any) -> None:
    made = await order(client, A1=2)
    answer = await sepay(client, sepay_body(f"MBVCB.123.{made['code'].lower()}.CT tu 0123", 370_000))
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    found = await track(client, made)
    assert (found["payment"]["state"], found["payment"]["qr"], found["expires_at"]) == ("paid", None, None)
    assert await outcomes() == "matched"


async def test_payos_pays_as_well(client: httpx.AsyncClient, market: Any) -> None:
    made = await order(client)
    assert (await client.post("/webhooks/payos", json=payos_body(made["code"], 185_000))).status_code == 200
    assert (await track(client, made))["payment"]["state"] == "paid"


async def test_parts_add_up_in_any_order(client: httpx.AsyncClient, market: Any) -> None:
    made = await order(client, A1=2)
    parts = [sepay_body(made["code"], amount) for amount in (100_000, 200_000, 70_000)]
    deliveries = parts * 5
    random.Random(7).shuffle(deliveries)
    await asyncio.gather(*(sepay(client, body) for body in deliveries))
    assert (await track(client, made))["payment"]["state"] == "paid"
    assert await one("SELECT paid FROM payment") == 370_000
    assert await refunds() == ""


async def test_less_than_asked_leaves_the_order_waiting(client: httpx.AsyncClient, market: Any) -> None:
    made = await order(client, A1=2)
    await sepay(client, sepay_body(made["code"], 170_000))
    found = await track(client, made)
    assert found["payment"]["state"] == "partial"
    assert "5406200000" in found["payment"]["qr"], "the code now asks for the rest"
    await expire(made)
    assert (await track(client, made))["state"] == "expired"
    assert await refunds() == "170000 wanted"


async def test_more_than_asked_is_wanted_back(client: httpx.AsyncClient, market: Any) -> None:
    made = await order(client)
    await sepay(client, sepay_body(made["code"], 200_000))
    assert await one("SELECT paid FROM payment") == 185_000
    assert (await outcomes(), await refunds()) == ("excess", "15000 wanted")


async def test_a_second_payment_is_wanted_back(client: httpx.AsyncClient, market: Any) -> None:
    made = await order(client)
    for _ in range(2):
        await sepay(client, sepay_body(made["code"], 185_000))
    assert (await outcomes(), await refunds()) == ("matched excess", "185000 wanted")
    assert await one("SELECT paid FROM payment") == 185_000


async def test_late_money_takes_the_goods_again(client: httpx.AsyncClient, market: Any) -> None:
    made = await order(client, A1=2)
    await expire(made)
    assert await one("SELECT reserved FROM stock") == 0
    await sepay(client, sepay_body(made["code"], 370_000))
    found = await track(client, made)
    assert (found["state"], found["payment"]["state"], found["expires_at"]) == ("placed", "paid", None)
    assert await one("SELECT reserved FROM stock") == 2
    assert await ledger_is_right()


async def test_late_money_for_goods_that_are_gone_is_wanted_back(
    client: httpx.AsyncClient, market: Any
) -> None:
    made = await order(client, A1=2)
    await expire(made)
    await order(client, "cod", A1=10)
    await sepay(client, sepay_body(made["code"], 370_000))
    assert (await track(client, made))["state"] == "expired"
    assert (await outcomes(), await refunds()) == ("late", "370000 wanted")
    assert await one("SELECT on_hand - reserved FROM stock") == 0


async def test_late_money_at_the_price_of_a_deal_takes_of_the_deal_again(
    client: httpx.AsyncClient, market: Any
) -> None:
    item, session = market.goods["A1"].item_id, market.session_id
    await add_deal(item, session, price=100_000, quantity=4, per_buyer=3)

    async def at_deal_price(phone: str) -> dict[str, Any]:
        body = order_body(total=200_000, payment="vietqr", A1=2)
        body["buyer"]["phone"] = phone
        url, key = "/api/v1/live-sessions/EAKNUEC/orders", {"Idempotency-Key": uuid.uuid4().hex}
        made: dict[str, Any] = (await client.post(url, json=body, headers=key)).json()["orders"][0]
        return made

    first, second = await at_deal_price("0901000001"), await at_deal_price("0901000002")
    await expire(first)
    await expire(second)
    await at_deal_price("0901000001")
    assert await one("SELECT taken FROM deal") == 2
    await sepay(client, sepay_body(first["code"], 200_000))
    assert (await track(client, first))["state"] == "expired", "this buyer has had as many as one may"
    await change("UPDATE deal SET ends_at = now()")
    await sepay(client, sepay_body(second["code"], 200_000))
    assert (await track(client, second))["state"] == "placed", "ordered while the deal ran"
    assert await one("SELECT taken FROM deal") == 4
    await sepay(client, sepay_body(first["code"], 200_000))
    assert (await outcomes(), await refunds()) == ("late matched late", "200000 wanted, 200000 wanted")
    cancelled = await client.post(f"/api/v1/orders/{second['code']}/cancel", json={"key": second["key"]})
    assert cancelled.status_code == 200
    assert await one("SELECT taken FROM deal") == 2
    assert await ledger_is_right()


async def test_money_for_a_cancelled_order_is_wanted_back(client: httpx.AsyncClient, market: Any) -> None:
    made = await order(client)
    await client.post(f"/api/v1/orders/{made['code']}/cancel", json={"key": made["key"]})
    await sepay(client, sepay_body(made["code"], 185_000))
    assert (await outcomes(), await refunds()) == ("late", "185000 wanted")


@pytest.mark.parametrize("memo", ["chuyen tien", "DL24505ZZZZZZ", ""])
async def test_money_without_an_order_waits_for_a_person(
    client: httpx.AsyncClient, market: Any, memo: str
) -> None:
    made = await order(client)
    await sepay(client, sepay_body(memo, 185_000))
    assert await outcomes() == "unmatched"
    office = await bearer(Role.OFFICER)
    (row,) = (await client.get("/api/v1/payments/unmatched", headers=office)).json()
    assert (row["amount"], row["source"]) == (185_000, "sepay")
    settle = f"/api/v1/payments/unmatched/{row['id']}/settle"
    assert (await client.post(settle, json={}, headers=office)).status_code == 422
    assert (await client.post(settle, json={"order": made["code"]}, headers=office)).status_code == 200
    assert (await client.post(settle, json={"order": made["code"]}, headers=office)).status_code == 409
    assert (await track(client, made))["payment"]["state"] == "paid"


async def test_an_order_of_another_seller_is_not_paid(client: httpx.AsyncClient, settings: Settings) -> None:
    market = await open_market(A1=10, B1=10)
    await add_feeds(settings, market)  # the account of A's seller
    made = await order(client, B1=1)
    await sepay(client, sepay_body(made["code"], 185_000))
    assert (await track(client, made))["payment"]["state"] == "due"
    assert await outcomes() == "unmatched"


@pytest.mark.parametrize("authorization", ["", "Apikey wrong", "Bearer x", f"Apikey {API_KEY}x"])
async def test_a_forged_notice_is_refused(client: httpx.AsyncClient, market: Any, authorization: str) -> None:
    made = await order(client)
    answer = await sepay(client, sepay_body(made["code"], 185_000), authorization)
    assert (answer.status_code, answer.json()["code"]) == (401, "not_signed")
    assert await one("SELECT count(*) FROM receipt") == 0


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"\xff", b'{"id": "x"}'])
async def test_a_broken_notice_is_refused(client: httpx.AsyncClient, market: Any, body: bytes) -> None:
    for service in ("sepay", "payos"):
        answer = await client.post(f"/webhooks/{service}", content=body)
        assert 400 <= answer.status_code < 500, answer.text


async def test_received_by_hand_counts_once_and_a_notice_proves_it(
    client: httpx.AsyncClient, market: Any
) -> None:
    made = await order(client)
    office = await bearer(Role.OFFICER)
    url = f"/api/v1/orders/{made['code']}/received"
    answers = await asyncio.gather(*(client.post(url, json={}, headers=office) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert await one("SELECT by IS NOT NULL FROM receipt") is True
    await sepay(client, sepay_body(made["code"], 185_000))
    assert (await outcomes(), await refunds()) == ("matched matched", "")
    await sepay(client, sepay_body(made["code"], 185_000))
    assert await refunds() == "185000 wanted", "the third is a second payment"


async def test_a_stranger_may_not_touch_money(client: httpx.AsyncClient, market: Any) -> None:
    made = await order(client)
    stranger = await bearer(Role.SELLER)
    for path, body in (("received", {}), ("refunds", {"amount": 1, "reason": ""})):
        answer = await client.post(f"/api/v1/orders/{made['code']}/{path}", json=body, headers=stranger)
        assert answer.status_code == 403
    assert (await client.get("/api/v1/payments/unmatched", headers=stranger)).json() == []


async def test_refunds_never_exceed_what_was_paid(client: httpx.AsyncClient, market: Any) -> None:
    made = await order(client, A1=2)
    await sepay(client, sepay_body(made["code"], 370_000))
    office = await bearer(Role.OFFICER)
    url = f"/api/v1/orders/{made['code']}/refunds"
    ask = {"amount": 200_000, "reason": "hàng dập"}
    answers = await asyncio.gather(*(client.post(url, json=ask, headers=office) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    rest = await client.post(url, json={"amount": 170_000, "reason": ""}, headers=office)
    assert rest.status_code == 201
    for row in (await client.get("/api/v1/payments/refunds", headers=office)).json():
        done = f"/api/v1/payments/refunds/{row['id']}/done"
        assert (await client.post(done, json={"reference": "FT1"}, headers=office)).status_code == 200
        assert (await client.post(done, json={"reference": "FT1"}, headers=office)).status_code == 409
    assert (await track(client, made))["payment"]["state"] == "refunded"
    assert await one("SELECT refunded FROM payment") == 370_000


@pytest.mark.parametrize(
    ("memo", "codes"),
    [
        ("DL24505ABCDEF", ["DL24505ABCDEF"]),
        ("ct dl24505abcdef thanh toan", ["DL24505ABCDEF"]),
        ("DL24505 ABC DEF", ["DL24505ABCDEF"]),
        ("MBVCB.1.DL24505ABCDEF.CT", ["DL24505ABCDEF"]),
        ("DL24505ABCDEF DL22015XYZ234", ["DL24505ABCDEF", "DL22015XYZ234"]),
        ("xin chao", []),
    ],
)
def test_codes_in_what_banks_write(memo: str, codes: list[str]) -> None:
    assert receiving.codes_in(memo)[: len(codes)] == codes
    assert bool(receiving.codes_in(memo)) == bool(codes)
