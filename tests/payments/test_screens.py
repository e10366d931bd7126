"""The screens of those who handle a seller's money: the seller and the office."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from commerce.core.db import sessions
from commerce.core.roles import Role
from commerce.core.settings import Settings
from tests import factories
from tests.orders.market import Market, one, open_market
from tests.payments.ways import add_feeds, order, sepay, sepay_body, track


@pytest.fixture
async def market(client: httpx.AsyncClient, settings: Settings) -> Market:
    made = await open_market(A1=10)
    await add_feeds(settings, made)
    return made


async def sign_in(client: httpx.AsyncClient, role: Role, *, owns: int | None = None) -> None:
    """As a person of this role in the market's commune; `owns`: the seller that is theirs."""
    async with sessions.begin() as db:
        person = await factories.person(db, role, name="H'Bia Niê")
        token = await factories.token(db, person)
        if owns is not None:
            from commerce.catalog.models import Seller

            (await db.get_one(Seller, owns)).person_id = person
    client.cookies.set("sign_in", token)


async def test_money_without_an_order_is_matched_on_screen(client: httpx.AsyncClient, market: Any) -> None:
    made = await order(client)
    await sepay(client, sepay_body("tien sau rieng", 185_000))
    await sign_in(client, Role.OFFICER)
    shown = (await client.get("/office/money")).text
    assert "tien sau rieng" in shown
    assert f'value="{made["code"]}"' in shown, "the one order that waits for just this sum is proposed"
    receipt = await one("SELECT id FROM receipt")
    url = f"/office/money/unmatched/{receipt}"
    wrong = await client.post(url, data={"order": "DL24505NOTHING"})
    assert wrong.status_code == 404
    assert 'role="alert"' in wrong.text
    assert (await client.post(url, data={"order": made["code"].lower()})).status_code == 303
    assert (await track(client, made))["payment"]["state"] == "paid"
    assert (await client.post(url, data={"order": made["code"]})).status_code == 409, "decided once"
    assert "H&#39;Bia Niê" in (await client.get(f"/office/money/orders/{made['code']}")).text


async def test_money_that_is_none_of_ours_is_sent_back(client: httpx.AsyncClient, market: Any) -> None:
    await sepay(client, sepay_body("nham so", 1_000_000))
    await sign_in(client, Role.OFFICER)
    receipt = await one("SELECT id FROM receipt")
    sent = {"act": "returned", "note": "FT26327001"}
    assert (await client.post(f"/office/money/unmatched/{receipt}", data=sent)).status_code == 303
    assert await one("SELECT outcome || ' ' || note FROM receipt") == "returned FT26327001"
    assert "FT26327001" in (await client.get("/office/money")).text


async def test_the_seller_ticks_money_gives_it_back_and_cancels(
    client: httpx.AsyncClient, market: Market
) -> None:
    made = await order(client, A1=2)
    await sign_in(client, Role.SELLER, owns=market.goods["A1"].seller_id)
    assert made["code"] in (await client.get("/seller/money")).text
    at = f"/seller/money/orders/{made['code']}"
    assert (await client.post(f"{at}/received", data={"note": "thấy trong app"})).status_code == 303
    assert (await client.post(f"{at}/received", data={})).status_code == 409
    shown = (await client.get(at)).text
    for said in ("ghi tay", "H&#39;Bia Niê", "thấy trong app", "370.000"):
        assert said in shown
    too_much = await client.post(f"{at}/refund", data={"amount": "370.001", "reason": "dập"})
    assert (too_much.status_code, "Chỉ còn hoàn được" in too_much.text) == (409, True)
    assert (await client.post(f"{at}/refund", data={"amount": "70.000", "reason": "dập"})).status_code == 303
    without = await client.post(f"{at}/cancel", data={"reason": " "})
    assert (without.status_code, "Xin ghi lý do huỷ" in without.text) == (422, True)
    assert (await client.post(f"{at}/cancel", data={"reason": "mưa, không hái được"})).status_code == 303
    assert "mưa, không hái được" in (await client.get(at)).text

    refunds = "SELECT string_agg(amount || ' ' || state, ', ' ORDER BY id) FROM refund"
    assert await one(refunds) == "70000 wanted, 300000 wanted"
    first = await one("SELECT min(id) FROM refund")
    url = f"/seller/money/refunds/{first}"
    assert (await client.post(url, data={"act": "start"})).status_code == 303
    assert (await client.post(url, data={"act": "start"})).status_code == 409, "somebody is at it"
    assert (await client.post(url, data={"reference": "FT1"})).status_code == 303
    assert (await client.post(url, data={"reference": "FT1"})).status_code == 409
    assert await one(refunds) == "70000 done, 300000 wanted"
    page = (await client.get(f"/orders/{made['code']}", params={"key": made["key"]})).text
    for said in ("đã chuyển lại", "FT1", "sẽ chuyển lại", "mưa, không hái được"):
        assert said in page


async def test_nobody_sees_or_touches_the_money_of_others(client: httpx.AsyncClient, market: Any) -> None:
    made = await order(client)
    await sepay(client, sepay_body("tien", 185_000))
    await sign_in(client, Role.SELLER)
    shown = (await client.get("/seller/money")).text
    assert made["code"] not in shown
    at = f"/seller/money/orders/{made['code']}"
    assert (await client.get(at)).status_code == 404
    for act in ("received", "refund", "cancel"):
        answer = await client.post(f"{at}/{act}", data={"amount": "1", "reason": "x"})
        assert answer.status_code in (403, 404)
    receipt = await one("SELECT id FROM receipt")
    answer = await client.post(f"/seller/money/unmatched/{receipt}", data={"order": made["code"]})
    assert answer.status_code == 403
    assert (await track(client, made))["payment"]["state"] == "due"


async def test_a_seller_asks_for_a_deposit(client: httpx.AsyncClient, market: Market) -> None:
    seller = market.goods["A1"].seller_id
    await sign_in(client, Role.SELLER, owns=seller)
    assert "1012345678" in (await client.get("/seller/money/setup")).text
    asked = {"seller": str(seller), "percent": "30", "fee": "20.000"}
    assert (await client.post("/seller/money/deposit", data=asked)).status_code == 303
    assert await one("SELECT deposit_percent || ' ' || deposit_fee FROM seller") == "30 20000"
    for wrong in ({"percent": "101"}, {"fee": "x"}):
        assert (await client.post("/seller/money/deposit", data=asked | wrong)).status_code == 422
    await sign_in(client, Role.SELLER)
    assert (await client.post("/seller/money/deposit", data=asked)).status_code == 403
