"""What SePay, payOS and Stripe tell us: a hundred times, too late, forged, and into a fault of ours."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from commerce.core.db import sessions
from commerce.core.roles import Role
from commerce.core.settings import Settings
from commerce.payments.models import CardAccount
from commerce.payments.notices import payos_signature
from commerce.payments.simulator.server import sign
from tests.orders.market import Market, change, one, open_market
from tests.payments.ways import API_KEY, CHECKSUM_KEY, add_feeds, bearer, order, payos_body, sepay_body, track

ACCOUNT, SECRET = "acct_seller", "whsec_for_tests"
AT_ONCE = 20  # as many as a process has connections to the database
Headers = dict[str, str]


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Cards are on; nothing here asks Stripe for anything."""
    stripe = {"KEY": "sk_test_made_up", "WEBHOOK_SECRET": SECRET, "API": "http://127.0.0.1:9"}
    return environ | {f"CHOPHIEN_STRIPE_{name}": value for name, value in stripe.items()}


@pytest.fixture
async def market(settings: Settings, client: httpx.AsyncClient) -> Market:
    made = await open_market(A1=10)
    await add_feeds(settings, made)
    async with sessions.begin() as db:
        db.add(CardAccount(seller_id=made.goods["A1"].seller_id, account=ACCOUNT))
    return made


@dataclass(frozen=True)
class Notice:
    """One delivery: where, what, and how its sender proves himself."""

    source: str
    body: bytes
    headers: Headers

    async def send(self, client: httpx.AsyncClient) -> httpx.Response:
        kind = {"Content-Type": "application/json"}
        return await client.post(f"/webhooks/{self.source}", content=self.body, headers=kind | self.headers)


def sepay(code: str, amount: int, key: str = API_KEY) -> Notice:
    return Notice("sepay", json.dumps(sepay_body(code, amount)).encode(), {"Authorization": f"Apikey {key}"})


def payos(code: str, amount: int, key: str = CHECKSUM_KEY) -> Notice:
    body = payos_body(code, amount)
    return Notice("payos", json.dumps(body | {"signature": payos_signature(body["data"], key)}).encode(), {})


def event(kind: str, about: dict[str, Any], *, account: str = ACCOUNT) -> bytes:
    number = f"evt_{uuid.uuid4().hex}"
    told = {"id": number, "object": "event", "type": kind, "account": account, "data": {"object": about}}
    return json.dumps(told).encode()


def checkout(code: str, amount: int, intent: str, currency: str = "vnd") -> dict[str, Any]:
    return {
        "id": f"cs_{intent}",
        "object": "checkout.session",
        "payment_status": "paid",
        "payment_intent": intent,
        "client_reference_id": code,
        "amount_total": amount,
        "currency": currency,
    }


def signed(body: bytes, secret: str = SECRET, at: int | None = None) -> Notice:
    return Notice("stripe", body, {"Stripe-Signature": sign(body, secret, at)})


def stripe(code: str, amount: int, key: str = SECRET) -> Notice:
    about = checkout(code, amount, f"pi_{uuid.uuid4().hex}")
    return signed(event("checkout.session.completed", about), key)


@dataclass(frozen=True)
class Service:
    """`tells(code, amount)`: a paid order; with a third argument, by somebody with another key."""

    method: str
    tells: Callable[..., Notice]


each = pytest.mark.parametrize(
    "service",
    [Service("vietqr", sepay), Service("vietqr", payos), Service("card", stripe)],
    ids=["sepay", "payos", "stripe"],
)


async def books() -> Any:
    """What came, what counts, what goes back, what the inbox knows."""
    return await one("""SELECT concat_ws(' ', (SELECT count(*) FROM receipt), (SELECT sum(paid) FROM payment),
        (SELECT count(*) FROM refund), (SELECT count(*) FROM webhook_event))""")


async def send_all(client: httpx.AsyncClient, notices: list[Notice]) -> set[int]:
    """Their statuses; many at once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def send(notice: Notice) -> int:
        async with gate:
            return (await notice.send(client)).status_code

    return set(await asyncio.gather(*map(send, notices)))


@each
async def test_the_same_notice_100_times_has_one_effect(
    client: httpx.AsyncClient, market: Market, service: Service
) -> None:
    made = await order(client, service.method)
    notice = service.tells(made["code"], 185_000)
    assert await send_all(client, [notice] * 100) == {200}
    assert await books() == "1 185000 0 1"
    assert (await track(client, made))["payment"]["state"] == "paid"


@each
async def test_an_old_notice_after_the_story_went_on_has_no_effect(
    client: httpx.AsyncClient, market: Market, service: Service
) -> None:
    made = await order(client, service.method)
    notice = service.tells(made["code"], 185_000)
    assert (await notice.send(client)).status_code == 200
    office = await bearer(Role.OFFICER)
    cancelled = f"/api/v1/orders/{made['code']}/seller-cancel"
    assert (await client.post(cancelled, json={"reason": "hết"}, headers=office)).status_code == 200
    before = await books()
    assert before == "1 185000 1 1"
    assert await send_all(client, [notice] * 3) == {200}
    assert await books() == before
    assert (await track(client, made))["state"] == "cancelled"


@each
async def test_a_forged_notice_is_refused_and_leaves_nothing(
    client: httpx.AsyncClient, market: Market, service: Service
) -> None:
    made = await order(client, service.method)
    real = service.tells(made["code"], 185_000)
    changed = Notice(real.source, real.body.replace(b"185000", b"1"), real.headers)
    forged = [
        service.tells(made["code"], 185_000, "key of a stranger"),
        Notice(real.source, real.body, {"Authorization": "", "Stripe-Signature": "t=1,v1=00"}),
    ]
    if real.source != "sepay":  # SePay proves who speaks, not what is said
        forged.append(changed)
    if real.source == "payos":
        forged = [forged[0], changed]  # its proof is in the body
    for notice in forged:
        answer = await notice.send(client)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_signed"), notice
    assert await books() == "0 0 0 0"


async def test_a_stale_signature_is_refused(client: httpx.AsyncClient, market: Market) -> None:
    made = await order(client, "card")
    body = event("checkout.session.completed", checkout(made["code"], 185_000, "pi_1"))
    assert (await signed(body, at=int(time.time()) - 3600).send(client)).status_code == 401
    assert await books() == "0 0 0 0"
    assert (await signed(body, at=int(time.time()) - 60).send(client)).status_code == 200
    assert await books() == "1 185000 0 1"


@each
@pytest.mark.parametrize("moment", ["in the middle", "at the commit"])
async def test_a_fault_of_ours_answers_500_and_the_retry_is_applied(
    client: httpx.AsyncClient, market: Market, service: Service, moment: str
) -> None:
    """The fault is the database's, once when the money is written and once when all of it is committed."""
    made = await order(client, service.method)
    notice = service.tells(made["code"], 185_000)
    await change("""CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'a fault of ours'; END $$""")
    kind, when, deferred = ("", "BEFORE", "")
    if moment == "at the commit":
        kind, when, deferred = ("CONSTRAINT", "AFTER", "DEFERRABLE INITIALLY DEFERRED")
    trigger = f"CREATE {kind} TRIGGER fails {when} INSERT ON receipt {deferred}"
    await change(f"{trigger} FOR EACH ROW EXECUTE FUNCTION fails()")
    assert await send_all(client, [notice] * 3) == {500}
    assert await books() == "0 0 0 0", "nothing of it is kept, so that the retry is new"
    await change("DROP TRIGGER fails ON receipt")
    assert await send_all(client, [notice] * 3) == {200}
    assert await books() == "1 185000 0 1"
    assert (await track(client, made))["payment"]["state"] == "paid"


async def test_stripes_events_in_any_order_and_often_are_one_payment(
    client: httpx.AsyncClient, market: Market
) -> None:
    made = await order(client, "card")
    intent = {
        "id": "pi_1",
        "object": "payment_intent",
        "status": "succeeded",
        "amount_received": 185_000,
        "currency": "vnd",
        "metadata": {"order": made["code"]},
    }
    session = checkout(made["code"], 185_000, "pi_1")
    events = [
        event("payment_intent.created", intent | {"status": "requires_payment_method"}),
        event("payment_intent.succeeded", intent),
        event("checkout.session.completed", session | {"payment_status": "unpaid"}),
        event("checkout.session.async_payment_succeeded", session),
        event("charge.succeeded", {"id": "ch_1", "object": "charge", "payment_intent": "pi_1"}),
    ]
    deliveries = [signed(body) for body in events * 4]
    random.Random(11).shuffle(deliveries)
    assert await send_all(client, deliveries) == {200}
    assert await books() == f"1 185000 0 {len(events)}"


def refund_event(number: int, status: str) -> Notice:
    about = {"id": f"re_{number}", "object": "refund", "status": status, "metadata": {"refund": str(number)}}
    return signed(event("refund.created" if status == "pending" else "refund.updated", about))


@pytest.mark.parametrize("told", sorted(set(itertools.permutations(["pending", "succeeded", "pending"]))))
async def test_a_refunds_events_in_any_order_end_the_same(
    client: httpx.AsyncClient, market: Market, told: tuple[str, ...]
) -> None:
    made = await order(client, "card")
    await stripe(made["code"], 185_000).send(client)
    url, ask = f"/api/v1/orders/{made['code']}/refunds", {"amount": 85_000, "reason": "dập"}
    office = await bearer(Role.OFFICER)
    assert (await client.post(url, json=ask, headers=office)).status_code == 201
    number = await one("SELECT id FROM refund")
    for status in told:
        assert (await refund_event(number, status).send(client)).status_code == 200
    assert await one("SELECT state FROM refund") == "done"
    assert await one("SELECT refunded FROM payment") == 85_000


async def test_money_on_another_account_or_in_another_currency_pays_nothing(
    client: httpx.AsyncClient, market: Market
) -> None:
    """Whoever has an account at Stripe may write an order's code on a payment to himself."""
    made = await order(client, "card")
    own = checkout(made["code"], 185_000, "pi_1")
    for body in (
        event("checkout.session.completed", own, account="acct_stranger"),
        event("checkout.session.completed", own, account=""),
        event("checkout.session.completed", checkout(made["code"], 185_000, "pi_2", "idr")),
    ):
        assert (await signed(body).send(client)).status_code == 200
    assert await books() == "0 0 0 3"
    assert (await track(client, made))["payment"]["state"] == "due"
    await stripe(made["code"], 185_000).send(client)
    url, ask = f"/api/v1/orders/{made['code']}/refunds", {"amount": 85_000, "reason": "dập"}
    assert (await client.post(url, json=ask, headers=await bearer(Role.OFFICER))).status_code == 201
    number = await one("SELECT id FROM refund")
    about = {"id": "re_1", "object": "refund", "status": "succeeded", "metadata": {"refund": str(number)}}
    await signed(event("refund.updated", about, account="acct_stranger")).send(client)
    assert await one("SELECT state FROM refund") == "wanted"
