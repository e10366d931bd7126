"""How a seller is paid is set by the seller's own people, and secrets are kept sealed."""

from __future__ import annotations

import httpx

from commerce.core.roles import Role
from tests.orders.market import one, open_market
from tests.payments.ways import API_KEY, bearer, order, sepay, sepay_body, track


async def test_a_feed_is_set_sealed_and_works(client: httpx.AsyncClient) -> None:
    market = await open_market(A1=10)
    url = f"/api/v1/sellers/{market.goods['A1'].seller_id}/bank-feed"
    body = {"service": "sepay", "secret": API_KEY}
    assert (await client.post(url, json=body, headers=await bearer(Role.SELLER))).status_code == 403
    office = await bearer(Role.OFFICER)
    assert (await client.post(url, json=body | {"service": "x"}, headers=office)).status_code == 422
    for _ in range(2):
        assert (await client.post(url, json=body, headers=office)).status_code == 200
    assert API_KEY not in str(await one("SELECT secret FROM bank_feed"))
    made = await order(client)
    await sepay(client, sepay_body(made["code"], 185_000))
    assert (await track(client, made))["payment"]["state"] == "paid"


async def test_cards_are_switched_on_and_off(client: httpx.AsyncClient) -> None:
    market = await open_market(A1=10)
    office = await bearer(Role.OFFICER)
    url = f"/api/v1/sellers/{market.goods['A1'].seller_id}/card-account"
    assert (await client.post(url, json={"account": "nonsense"}, headers=office)).status_code == 422
    assert (await client.post(url, json={"account": "acct_1abc"}, headers=office)).status_code == 200
    assert (await order(client, "card"))["payment"]["checkout_url"]
    assert (await client.post(url, json={}, headers=office)).status_code == 200
    assert await one("SELECT active FROM card_account") is False
