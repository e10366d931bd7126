"""Placing an order over HTTP, as the contract promises it."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from commerce.core import clock
from tests.orders.market import add_deal, change, ledger_is_right, one, open_market, order_body

URL = "/api/v1/live-sessions/EAKNUEC/orders"


async def send(client: httpx.AsyncClient, body: dict[str, Any], key: str | None = None) -> httpx.Response:
    return await client.post(URL, json=body, headers={"Idempotency-Key": key or str(uuid.uuid4())})


async def test_an_order_is_placed_and_can_be_followed(client: httpx.AsyncClient) -> None:
    market = await open_market(A1=10)
    answer = await send(client, order_body(A1=2))
    assert answer.status_code == 201, answer.text
    (order,) = answer.json()["orders"]
    assert order["state"] == "placed"
    assert order["total"] == 370_000
    due = {"method": "cod", "state": "due", "qr": None, "checkout_url": None}
    assert order["payment"] == due | {"due_now": 0, "paid": 0, "refunded": 0}
    assert order["code"].startswith("DL24505")
    assert order["track_url"].endswith(f"/orders/{order['code']}?key={order['key']}")

    found = (await client.get(f"/api/v1/orders/{order['code']}", params={"key": order["key"]})).json()
    assert found["lines"][0] | {"name": ""} == {
        "product": "A1",
        "name": "",
        "grade": "A",
        "unit": "kg",
        "unit_price": 185_000,
        "quantity": 2,
        "amount": 370_000,
    }
    assert [step["state"] for step in found["history"]] == ["placed"]
    grade = market.goods["A1"].grade_id
    assert await one("SELECT reserved FROM stock WHERE grade_id = :g", g=grade) == 2
    counted = "SELECT (orders, units, gmv)::text FROM live_counter WHERE live_session_id = :s"
    assert await one(counted, s=market.session_id) == "(1,2,370000)"
    told = "SELECT payload->'grade_ids' FROM outbox WHERE topic = 'live.ordered'"
    assert await one(told) == [grade]
    assert await ledger_is_right()


async def test_a_wrong_key_finds_nothing(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    order = (await send(client, order_body())).json()["orders"][0]
    answer = await client.get(f"/api/v1/orders/{order['code']}", params={"key": "x" + order["key"]})
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


async def test_three_sellers_make_one_purchase_of_three_orders(client: httpx.AsyncClient) -> None:
    await open_market(A1=5, A2=5, B1=5, C1=5)
    answer = (await send(client, order_body(A1=1, B1=2, C1=3, A2=1))).json()
    assert sorted(order["total"] for order in answer["orders"]) == [370_000, 370_000, 555_000]
    assert len({order["seller"] for order in answer["orders"]}) == 3
    assert await one('SELECT count(DISTINCT purchase_id) FROM "order"') == 1


async def test_the_same_key_gives_the_same_answer(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    first = await send(client, order_body(), "k1")
    again = await send(client, order_body(), "k1")
    assert (again.status_code, again.json()) == (201, first.json())
    other = await send(client, order_body(A1=2), "k1")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert await one('SELECT count(*) FROM "order"') == 1


async def test_the_same_key_at_the_same_moment_is_one_order(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    answers = await asyncio.gather(*(send(client, order_body(), "k1") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert await one('SELECT count(*) FROM "order"') == 1


@pytest.mark.parametrize("key", [None, "", "x" * 201, "khoá"])
async def test_an_order_without_a_usable_key_is_refused(client: httpx.AsyncClient, key: str | None) -> None:
    await open_market(A1=10)
    headers = {} if key is None else {b"Idempotency-Key": key.encode()}
    answer = await client.post(URL, json=order_body(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_needed")
    assert "Idempotency-Key" in answer.json()["detail"]


async def test_all_short_lines_are_told_and_nothing_is_taken(client: httpx.AsyncClient) -> None:
    await open_market(A1=10, A2=1, B1=0)
    answer = await send(client, order_body(A1=2, A2=3, B1=1))
    assert (answer.status_code, answer.json()["code"]) == (409, "sold_out")
    short = [(line["product"], line["wanted"], line["left"]) for line in answer.json()["lines"]]
    assert short == [("A2", 3, 1), ("B1", 1, 0)]
    assert await one("SELECT sum(reserved) FROM stock") == 0
    assert await one('SELECT count(*) FROM "order"') == 0


async def test_another_total_than_shown_is_told(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    answer = await send(client, order_body(total=300_000, A1=2))
    assert (answer.status_code, answer.json()["code"], answer.json()["total"]) == (
        *(409, "total_changed"),
        370_000,
    )
    assert "370.000" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("ended", "session_ended"),
        ("taken_down", "session_ended"),
        ("cancelled", "session_ended"),
        ("scheduled", "session_not_started"),
    ],
)
async def test_only_a_running_session_takes_orders(client: httpx.AsyncClient, state: str, code: str) -> None:
    market = await open_market(A1=10)
    await change("UPDATE live_session SET state = :state WHERE id = :id", state=state, id=market.session_id)
    answer = await send(client, order_body())
    assert (answer.status_code, answer.json()["code"]) == (409, code)


async def test_an_unknown_session_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/api/v1/live-sessions/NOWHERE/orders", json=order_body(), headers={"Idempotency-Key": "k"}
    )
    assert answer.status_code == 404


async def test_every_wrong_field_is_named(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    answer = await send(client, {"lines": [{"product": "Z9", "quantity": 1}, {"product": "A1"}]})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    fields = {error["field"] for error in answer.json()["errors"]}
    assert fields == {
        *("lines[0].product", "lines[1].quantity", "buyer.name", "buyer.phone", "address.province"),
        *("address.commune", "address.street", "shown_total", "consent"),
    }


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("lines", 0, "quantity"), -1, "lines[0].quantity"),
        (("lines", 0, "quantity"), 0, "lines[0].quantity"),
        (("lines", 0, "quantity"), 10**30, "lines[0].quantity"),
        (("lines", 0, "quantity"), 1.5, "lines[0].quantity"),
        (("buyer", "phone"), "12345", "buyer.phone"),
        (("buyer", "name"), "x" * 81, "buyer.name"),
        (("address", "commune"), "99999", "address.commune"),
        (("payment",), "gold", "payment"),
        (("payment",), "card", "payment"),
        (("consent",), False, "consent"),
        (("lines",), [], "lines"),
    ],
)
async def test_a_wrong_value_is_named(
    client: httpx.AsyncClient, path: tuple[Any, ...], value: object, field: str
) -> None:
    await open_market(A1=10)
    body: Any = order_body()
    at = body
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    answer = await send(client, body)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("phone", ["0901.234.567", "+84901234567", "84 901 234 567", "o9o1234567"])
async def test_phones_as_people_write_them(client: httpx.AsyncClient, phone: str) -> None:
    await open_market(A1=10)
    body = order_body()
    body["buyer"]["phone"] = phone
    assert (await send(client, body)).status_code == 201
    assert await one('SELECT buyer_phone FROM "order"') == "0901234567"


async def test_another_province_takes_the_commune_as_text(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    body = order_body()
    body["address"] |= {"province": "79", "commune": "Phường Bến Thành"}
    assert (await send(client, body)).status_code == 201


async def test_a_transfer_is_answered_with_the_code_to_scan(client: httpx.AsyncClient) -> None:
    await open_market(A1=10)
    order = (await send(client, order_body(payment="vietqr"))).json()["orders"][0]
    assert order["code"] in order["payment"]["qr"]
    assert "5406185000" in order["payment"]["qr"]
    held = "SELECT expires_at - placed_at = interval '30 minutes' FROM \"order\""
    assert await one(held) is True


async def test_a_deal_sets_the_price_until_it_is_used_up(client: httpx.AsyncClient) -> None:
    market = await open_market(A1=10)
    await add_deal(market.goods["A1"].item_id, market.session_id, price=100_000, quantity=3)
    assert (await send(client, order_body(total=200_000, A1=2))).status_code == 201
    refused = await send(client, order_body(total=200_000, A1=2))
    assert (refused.json()["code"], refused.json()["total"]) == ("total_changed", 370_000)
    assert (await send(client, order_body(total=100_000, A1=1))).status_code == 201
    assert await one("SELECT taken FROM deal") == 3
    assert await one("SELECT count(*) FROM order_line WHERE deal_id IS NOT NULL") == 2


async def test_a_deal_ends_by_the_databases_clock(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = await open_market(A1=10)
    await add_deal(market.goods["A1"].item_id, market.session_id, price=100_000, quantity=3)
    assert (await send(client, order_body(total=100_000, A1=1))).status_code == 201
    await change("UPDATE deal SET ends_at = clock_timestamp()")
    monkeypatch.setattr(clock, "now", lambda: datetime(2000, 1, 1, tzinfo=UTC))  # ours may be wrong
    assert (await send(client, order_body(total=100_000, A1=1))).json()["code"] == "total_changed"


async def test_one_buyer_gets_only_so_many_of_a_deal(client: httpx.AsyncClient) -> None:
    market = await open_market(A1=10)
    await add_deal(market.goods["A1"].item_id, market.session_id, price=100_000, quantity=9, per_buyer=2)
    answers = await asyncio.gather(*(send(client, order_body(total=100_000, A1=1)) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409]
    other = order_body(total=200_000, A1=2)
    other["buyer"]["phone"] = "0907654321"
    assert (await send(client, other)).status_code == 201


async def test_cancelling_gives_everything_back_once(client: httpx.AsyncClient) -> None:
    market = await open_market(A1=10)
    await add_deal(market.goods["A1"].item_id, market.session_id, price=100_000, quantity=3)
    order = (await send(client, order_body(total=200_000, A1=2))).json()["orders"][0]
    url = f"/api/v1/orders/{order['code']}/cancel"
    assert (await client.post(url, json={"key": "wrong"})).status_code == 404
    answers = await asyncio.gather(
        *(client.post(url, json={"key": order["key"], "reason": "đổi ý"}) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    found = (await client.get(f"/api/v1/orders/{order['code']}", params={"key": order["key"]})).json()
    assert (found["state"], found["payment"]["state"]) == ("cancelled", "cancelled")
    assert [(step["state"], step["reason"]) for step in found["history"]] == [
        ("placed", ""),
        ("cancelled", "đổi ý"),
    ]
    assert await one("SELECT sum(reserved) FROM stock") == 0
    assert await one("SELECT taken FROM deal") == 0
    assert await ledger_is_right()


async def test_a_pinned_product_carries_its_pin(client: httpx.AsyncClient) -> None:
    market = await open_market(A1=10, A2=10)
    item = market.goods["A1"].item_id
    await change("INSERT INTO pin (live_session_id, item_id) VALUES (:s, :i)", s=market.session_id, i=item)
    await change("UPDATE live_session SET pinned_id = :i WHERE id = :s", s=market.session_id, i=item)
    await send(client, order_body(A1=1))
    await send(client, order_body(A2=1))
    assert await one('SELECT count(*) FROM "order" WHERE pin_id IS NOT NULL') == 1
