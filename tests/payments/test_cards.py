"""Card payments against the stand-in for Stripe, over HTTP in both directions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import httpx
import pytest
import stripe
from litestar import Litestar
from sqlalchemy import QueuePool, text

from commerce.core.db import sessions
from commerce.core.roles import Role
from commerce.core.settings import Settings
from commerce.orders.expiry import expire_orders
from commerce.payments import cards
from commerce.payments.models import CardAccount
from commerce.payments.simulator.server import create_simulator
from commerce.payments.simulator.state import Books
from tests.orders.market import change, one, open_market, order_body
from tests.payments.stage import free_port, served
from tests.payments.ways import bearer, order, track

# Stripe's own library hands its body to httpx in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

SECRET = "whsec_for_tests"
GOOD, DECLINED, POOR, ASKS = "4242424242424242", "4000000000000002", "4000000000009995", "4000002760003184"


@pytest.fixture
def simulator_port() -> int:
    return free_port()


@pytest.fixture
def environ(environ: dict[str, str], simulator_port: int) -> dict[str, str]:
    return environ | {
        "CHOPHIEN_STRIPE_KEY": "sk_test_made_up",
        "CHOPHIEN_STRIPE_WEBHOOK_SECRET": SECRET,
        "CHOPHIEN_STRIPE_API": f"http://127.0.0.1:{simulator_port}",
    }


@dataclass
class Shop:
    client: httpx.AsyncClient
    web: httpx.AsyncClient
    books: Books
    url: str

    async def order(self, **lines: int) -> tuple[dict[str, Any], str]:
        """An order to be paid by card, and where to pay."""
        made = await order(self.client, "card", **lines)
        return made, await self.pay_page(made)

    async def pay_page(self, made: dict[str, Any]) -> str:
        answer = await self.client.get(f"/orders/{made['code']}/pay", params={"key": made["key"]})
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    async def pay(self, page: str, card: str, **more: str) -> httpx.Response:
        typed = {"card": card, "expiry": "12 / 34", "cvc": "123"}
        return await self.web.post(page, data=typed | more)

    async def authenticate(self, answer: str) -> httpx.Response:
        """The card's holder answers the bank about the latest attempt."""
        intent = list(self.books.intents)[-1]
        return await self.web.post(f"{self.url}/3ds/{intent}", data={"answer": answer})

    async def becomes(self, made: dict[str, Any], state: str) -> bool:
        """The payment comes to this state when the notice has been taken."""
        return await soon(lambda: self._is(made, state))

    async def _is(self, made: dict[str, Any], state: str) -> bool:
        return bool((await track(self.client, made))["payment"]["state"] == state)


async def soon(true: Callable[[], Awaitable[bool]], seconds: float = 15) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if await true():
            return True
        await asyncio.sleep(0.05)
    return False


@pytest.fixture(params=[False, True], ids=["orderly", "unruly"])
async def shop(
    request: pytest.FixtureRequest, app: Litestar, client: httpx.AsyncClient, simulator_port: int
) -> AsyncIterator[Shop]:
    """A market whose seller takes cards; the unruly stand-in tells everything twice and out of order."""
    market = await open_market(A1=10)
    async with sessions.begin() as db:
        db.add(CardAccount(seller_id=market.goods["A1"].seller_id, account="acct_seller"))
    port, books = free_port(), Books(connected={"acct_seller"})
    simulator = create_simulator(
        base=f"http://127.0.0.1:{simulator_port}",
        webhook_url=f"http://127.0.0.1:{port}/webhooks/stripe",
        secret=SECRET,
        unruly=request.param,
        books=books,
    )
    async with (
        served(app, port, "off"),
        served(simulator, simulator_port, "on"),
        httpx.AsyncClient() as web,
    ):
        yield Shop(client, web, books, f"http://127.0.0.1:{simulator_port}")


async def test_a_good_card_pays(shop: Shop) -> None:
    made, page = await shop.order(A1=2)
    assert "370.000&nbsp;₫" in (await shop.web.get(page)).text
    back = await shop.pay(page, GOOD)
    assert back.status_code == 303
    assert made["code"] in back.headers["location"]
    assert await shop.becomes(made, "paid")
    assert await one("SELECT count(*) FROM receipt") == 1
    assert await one("SELECT count(*) FROM refund") == 0


@pytest.mark.parametrize(("card", "words"), [(DECLINED, "từ chối"), (POOR, "không đủ"), ("1234", "Số thẻ")])
async def test_a_refused_card_leaves_the_page_open(shop: Shop, card: str, words: str) -> None:
    made, page = await shop.order()
    assert words in (await shop.pay(page, card)).text
    assert (await track(shop.client, made))["payment"]["state"] == "due"
    assert await shop.pay_page(made) == page, "the same page while it is open"
    await shop.pay(page, GOOD)
    assert await shop.becomes(made, "paid")


async def test_a_card_that_asks_for_its_holder(shop: Shop) -> None:
    made, page = await shop.order()
    assert "Ngân hàng phát hành thẻ" in (await shop.pay(page, ASKS)).text
    assert "Chưa xác thực" in (await shop.authenticate("fail")).text
    assert (await track(shop.client, made))["payment"]["state"] == "due"
    await shop.pay(page, ASKS)
    assert (await shop.authenticate("complete")).status_code == 303
    assert await shop.becomes(made, "paid")


async def test_refunds_go_back_by_card_and_never_too_much(shop: Shop, settings: Settings) -> None:
    made, page = await shop.order(A1=2)
    await shop.pay(page, GOOD)
    assert await shop.becomes(made, "paid")
    office = await bearer(Role.OFFICER)
    url = f"/api/v1/orders/{made['code']}/refunds"
    for amount, status in ((100_000, 201), (300_000, 409), (270_000, 201), (1, 409)):
        answer = await shop.client.post(url, json={"amount": amount, "reason": "dập"}, headers=office)
        assert answer.status_code == status
    await asyncio.gather(*(cards.send_refunds(settings) for _ in range(3)), return_exceptions=True)
    await cards.send_refunds(settings)
    assert await shop.becomes(made, "refunded")
    assert sum(refund["amount"] for refund in shop.books.refunds.values()) == 370_000
    assert await one("SELECT string_agg(DISTINCT state, ' ') FROM refund") == "done"


async def test_a_lost_notice_is_asked_after(
    shop: Shop, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, page = await shop.order()

    async def lost(*_: Any) -> None:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr(cards, "take_notice", lost)
        await shop.pay(page, GOOD)
        assert (await track(shop.client, made))["payment"]["state"] == "due"
        await change("UPDATE payment SET created_at = now() - interval '10 minutes'")
        await cards.reconcile(settings)
    assert (await track(shop.client, made))["payment"]["state"] == "paid"

    async def told() -> bool:
        return bool(await one("SELECT count(*) FROM webhook_event WHERE outcome = 'known'"))

    assert await soon(told), "the notice comes after all"
    assert await one("SELECT count(*) FROM receipt") == 1


async def test_a_card_paid_after_expiry_takes_the_goods_again(shop: Shop) -> None:
    made, page = await shop.order()
    await change("UPDATE \"order\" SET expires_at = now() - interval '1 second'")
    await expire_orders()
    await shop.pay(page, GOOD)
    assert await shop.becomes(made, "paid")
    assert await one("SELECT reserved FROM stock") == 1


async def test_an_account_of_somebody_else_pays_no_order_of_ours(shop: Shop, settings: Settings) -> None:
    made, page = await shop.order()
    shop.books.connected.add("acct_stranger")
    keys = cards.Keys.of(settings)
    assert keys is not None
    await cards.client_of(keys).v1.payment_intents.create_async(
        params={
            "amount": 185_000,
            "currency": "vnd",
            "confirm": True,
            "payment_method": "pm_card_visa",
            "return_url": "https://example.com/back",
            "metadata": {"order": made["code"]},
        },
        options={"stripe_account": "acct_stranger"},
    )

    async def told() -> bool:
        return bool(await one("SELECT count(*) FROM webhook_event WHERE outcome LIKE 'another account%'"))

    assert await soon(told)
    assert (await track(shop.client, made))["payment"]["state"] == "due"
    await shop.pay(page, GOOD)
    assert await shop.becomes(made, "paid")


async def test_a_paid_order_has_nothing_to_pay(shop: Shop) -> None:
    made, page = await shop.order()
    await shop.pay(page, GOOD)
    assert await shop.becomes(made, "paid")
    answer = await shop.client.get(f"/orders/{made['code']}/pay", params={"key": made["key"]})
    assert answer.status_code == 409
    wrong = await shop.client.get(f"/orders/{made['code']}/pay", params={"key": "wrong"})
    assert wrong.status_code == 404


async def test_an_app_pays_by_its_own_form(shop: Shop, settings: Settings) -> None:
    made = await order(shop.client, "card")
    url, key = f"/api/v1/orders/{made['code']}/card-form", {"key": made["key"]}
    form = (await shop.client.post(url, params=key)).json()
    assert form["account"] == "acct_seller"
    assert (await shop.client.post(url, params=key)).json() == form, "the same intent while it is due"
    assert (await shop.client.post(url, params={"key": "x"})).status_code == 404
    await confirm(settings, form["client_secret"], "pm_card_visa")
    assert await shop.becomes(made, "paid")
    again = await shop.client.post(url, params=key)
    assert (again.status_code, again.json()["code"]) == (409, "nothing_due")


async def confirm(settings: Settings, client_secret: str, card: str) -> None:
    """What the card company's own form does on the buyer's phone."""
    keys = cards.Keys.of(settings)
    assert keys is not None
    await cards.client_of(keys).v1.payment_intents.confirm_async(
        client_secret.split("_secret_")[0],
        params={"payment_method": card},
        options={"stripe_account": "acct_seller"},
    )


async def test_who_pays_twice_gets_the_second_back_from_where_it_came(shop: Shop, settings: Settings) -> None:
    made, page = await shop.order()
    form = await shop.client.post(f"/api/v1/orders/{made['code']}/card-form", params={"key": made["key"]})
    await shop.pay(page, GOOD)
    assert await shop.becomes(made, "paid")
    await confirm(settings, form.json()["client_secret"], "pm_card_visa")

    async def wanted() -> bool:
        return bool(await one("SELECT count(*) FROM refund WHERE of_excess"))

    assert await soon(wanted)
    await cards.send_refunds(settings)
    second = form.json()["client_secret"].split("_secret_")[0]
    assert [refund["payment_intent"] for refund in shop.books.refunds.values()] == [second]
    assert (await track(shop.client, made))["payment"]["state"] == "paid"


async def test_a_refund_that_fails_days_later_is_open_again(shop: Shop, settings: Settings) -> None:
    made, page = await shop.order()
    await shop.pay(page, "4000000000005126")
    assert await shop.becomes(made, "paid")
    office = await bearer(Role.OFFICER)
    ask = {"amount": 185_000, "reason": "dập"}
    await shop.client.post(f"/api/v1/orders/{made['code']}/refunds", json=ask, headers=office)
    await cards.send_refunds(settings)

    async def failed() -> bool:
        return bool(await one("SELECT state = 'failed' FROM refund"))

    assert await soon(failed)
    assert await one("SELECT state || ' ' || refunded FROM payment") == "paid 0"
    (row,) = (await shop.client.get("/api/v1/payments/refunds", headers=office)).json()
    done = f"/api/v1/payments/refunds/{row['id']}/done"
    assert (await shop.client.post(done, json={"reference": "FT9"}, headers=office)).status_code == 200
    assert await one("SELECT state || ' ' || refunded FROM payment") == "refunded 185000"


async def test_nobody_sends_by_hand_what_the_card_company_sends(shop: Shop) -> None:
    made, page = await shop.order()
    await shop.pay(page, GOOD)
    assert await shop.becomes(made, "paid")
    office = await bearer(Role.OFFICER)
    ask = {"amount": 185_000, "reason": "dập"}
    url = f"/api/v1/orders/{made['code']}/refunds"
    (row,) = (await shop.client.post(url, json=ask, headers=office)).json()
    done = f"/api/v1/payments/refunds/{row['id']}/done"
    answer = await shop.client.post(done, json={"reference": "FT9"}, headers=office)
    assert (answer.status_code, answer.json()["code"]) == (409, "sent_by_card")


async def test_a_cancelled_orders_card_page_is_closed(shop: Shop, settings: Settings) -> None:
    made, page = await shop.order()
    await shop.client.post(f"/api/v1/orders/{made['code']}/cancel", json={"key": made["key"]})
    await change("UPDATE payment SET created_at = now() - interval '10 minutes'")
    await cards.reconcile(settings)
    assert "đã hết giờ" in (await shop.web.get(page)).text


async def test_cards_take_no_small_change(shop: Shop) -> None:
    await change("UPDATE grade SET price = 19000")
    answer = await shop.client.post(
        "/api/v1/live-sessions/EAKNUEC/orders",
        json=order_body(total=19_000, payment="card"),
        headers={"Idempotency-Key": "small"},
    )
    made = answer.json()["orders"][0]
    told = await shop.client.get(
        f"/orders/{made['code']}/pay",
        params={"key": made["key"]},
        headers={"Accept": "application/json"},
    )
    assert (told.status_code, told.json()["code"]) == (409, "not_for_cards")


async def test_no_transaction_is_open_while_the_card_company_is_asked(
    shop: Shop, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    request = stripe.HTTPXClient.request_async

    async def seen(self: Any, method: str, url: str, *rest: Any, **named: Any) -> Any:
        asked.append((url.rpartition("/v1/")[2].split("/")[0], connections_in_use()))
        return await request(self, method, url, *rest, **named)

    monkeypatch.setattr(stripe.HTTPXClient, "request_async", seen)
    form = await order(shop.client, "card")
    await shop.client.post(f"/api/v1/orders/{form['code']}/card-form", params={"key": form["key"]})
    assert await soon(told_of_all(shop))
    made, page = await shop.order()
    assert await soon(told_of_all(shop))
    await change("UPDATE payment SET created_at = now() - interval '10 minutes'")
    await cards.reconcile(settings)
    await shop.pay(page, GOOD)
    assert await shop.becomes(made, "paid")
    assert await soon(told_of_all(shop))
    ask, office = {"amount": 185_000, "reason": "dập"}, await bearer(Role.OFFICER)
    await shop.client.post(f"/api/v1/orders/{made['code']}/refunds", json=ask, headers=office)
    await cards.send_refunds(settings)
    assert {what for what, _ in asked} == {"payment_intents", "checkout", "refunds"}
    assert {used for _, used in asked} == {0}
    async with sessions.begin() as db:
        await db.execute(text("SELECT 1"))
        assert connections_in_use() >= 1, "it would be seen, beside what the notice of the refund uses"


def connections_in_use() -> int:
    return cast(QueuePool, sessions.engine.pool).checkedout()


def told_of_all(shop: Shop) -> Callable[[], Awaitable[bool]]:
    """Every notice has been delivered, so that none is being taken while we look."""

    async def told() -> bool:
        return not shop.books.events

    return told


async def test_a_stand_in_that_has_forgotten_gives_a_new_page(shop: Shop) -> None:
    made, page = await shop.order()
    shop.books.sessions.clear()
    shop.books.keys.clear()
    assert await shop.pay_page(made) != page
