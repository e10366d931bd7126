"""The way of an order from the stall to the door, and back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from commerce.core.roles import Role
from commerce.core.settings import Settings
from tests.orders.market import ledger_is_right, one, open_market
from tests.payments.ways import add_feeds, bearer, order, sepay, sepay_body, track


class Office:
    def __init__(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        self.client, self.headers = client, headers

    async def do(self, act: str, made: dict[str, Any], **body: Any) -> int:
        url = f"/api/v1/orders/{made['code']}/{act}"
        return (await self.client.post(url, json=body, headers=self.headers)).status_code

    async def pack(self, made: dict[str, Any]) -> None:
        assert await self.do("packed", made) == 200


@pytest.fixture
async def office(client: httpx.AsyncClient, settings: Settings) -> Office:
    market = await open_market(A1=10)
    await add_feeds(settings, market)
    return Office(client, await bearer(Role.OFFICER))


async def levels() -> Any:
    return await one("SELECT on_hand || ' ' || reserved FROM stock")


async def test_cash_on_delivery_from_stall_to_door(client: httpx.AsyncClient, office: Office) -> None:
    made = await order(client, "cod", A1=2)
    assert await office.do("send", made) == 409, "not before it is packed"
    assert await office.do("confirm", made) == 200
    await office.pack(made)
    assert await office.do("send", made, carrier="Viettel Post", tracking="VT1") == 200
    assert await office.do("send", made) == 409
    assert await levels() == "8 0"
    assert await office.do("delivered", made) == 200
    assert await office.do("delivered", made) == 409
    found = await track(client, made)
    assert (found["state"], found["payment"]["state"]) == ("delivered", "paid")
    assert await one("SELECT source || ' ' || counted FROM receipt") == "carrier 370000"
    assert await ledger_is_right()


async def test_a_refused_parcel_comes_back(client: httpx.AsyncClient, office: Office) -> None:
    made = await order(client, "cod", A1=2)
    await office.pack(made)
    await office.do("send", made)
    assert await office.do("returned", made, sellable=True) == 409
    assert await office.do("refused", made, reason="không nghe máy") == 200
    found = await track(client, made)
    assert (found["state"], found["payment"]["state"]) == ("refused", "cancelled")
    assert await office.do("returned", made, sellable=True) == 200
    assert await office.do("returned", made, sellable=True) == 409
    assert await levels() == "10 0"
    assert await ledger_is_right()


async def test_what_is_paid_in_advance_is_not_sent_unpaid(client: httpx.AsyncClient, office: Office) -> None:
    made = await order(client, "vietqr")
    await office.pack(made)
    assert await office.do("send", made) == 409
    await sepay(client, sepay_body(made["code"], 185_000))
    assert await office.do("send", made) == 200
    assert await office.do("refused", made, reason="đổi ý") == 200
    assert await one("SELECT amount || ' ' || state FROM refund") == "185000 wanted"


async def test_the_seller_cancels_with_a_reason(client: httpx.AsyncClient, office: Office) -> None:
    made = await order(client, "cod", A1=2)
    assert await office.do("seller-cancel", made) == 422
    assert await office.do("seller-cancel", made, reason="hết mùa") == 200
    found = await track(client, made)
    assert found["history"][-1]["reason"] == "hết mùa"
    assert await levels() == "10 0"


async def test_strangers_may_not_act(client: httpx.AsyncClient, office: Office) -> None:
    made = await order(client, "cod")
    stranger = Office(client, await bearer(Role.SELLER))
    for act in ("confirm", "send", "delivered", "refused", "returned"):
        assert await stranger.do(act, made) == 403
