"""The stand-in for Stripe against the original's library: shapes, refusals, keys, cards, limits, notices.

With STRIPE_TEST_KEY (and STRIPE_TEST_ACCOUNT, a connected account) in the environment the same stories run
against Stripe's test mode in place of the stand-in.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import types
import typing
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import stripe

from commerce.payments import cards as commerce_cards
from commerce.payments.simulator import shapes
from commerce.payments.simulator.server import create_simulator, form_fault, sign
from commerce.payments.simulator.state import Books
from tests.payments.stage import free_port, served

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

BACK = "https://example.com/back"
KEY, ACCOUNT = os.environ.get("STRIPE_TEST_KEY"), os.environ.get("STRIPE_TEST_ACCOUNT", "")
alone = pytest.mark.skipif(KEY is not None, reason="needs a look behind the stand-in")


@dataclass
class Service:
    """Stripe, or what stands in for it."""

    client: stripe.StripeClient
    account: str
    books: Books | None = None
    app: Any = None

    def options(self, key: str | None = None) -> Any:
        own = {"stripe_account": self.account} if self.account else {}
        return own | ({"idempotency_key": key} if key else {})

    async def intent(self, amount: int = 185_000, **more: Any) -> stripe.PaymentIntent:
        params: Any = {"amount": amount, "currency": "vnd", **more}
        return await self.client.v1.payment_intents.create_async(params=params, options=self.options())

    async def paid(self, amount: int = 185_000, card: str = "pm_card_visa") -> stripe.PaymentIntent:
        return await self.intent(amount, confirm=True, payment_method=card, return_url=BACK)

    async def checkout(self, amount: int = 185_000, key: str | None = None, **more: Any) -> Any:
        price = {"currency": "vnd", "unit_amount": amount, "product_data": {"name": "DL24505TEST"}}
        params: Any = {
            "mode": "payment",
            "success_url": "https://example.com/done",
            "cancel_url": "https://example.com/back",
            "line_items": [{"quantity": 1, "price_data": price}],
            **more,
        }
        return await self.client.v1.checkout.sessions.create_async(params=params, options=self.options(key))

    async def refund(self, intent: str, amount: int | None = None, key: str | None = None) -> stripe.Refund:
        params: Any = {"payment_intent": intent} | ({"amount": amount} if amount else {})
        return await self.client.v1.refunds.create_async(params=params, options=self.options(key))


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    if KEY is not None:
        yield Service(commerce_cards.client_of(commerce_cards.Keys(KEY, "none", None)), ACCOUNT)
        return
    port = free_port()
    books = Books(connected={"acct_seller"})
    app = create_simulator(
        base=f"http://127.0.0.1:{port}", webhook_url="http://127.0.0.1:9/none", secret="whsec_x", books=books
    )
    async with served(app, port, "on"):
        keys = commerce_cards.Keys("sk_test_x", "whsec_x", f"http://127.0.0.1:{port}")
        yield Service(commerce_cards.client_of(keys), "acct_seller", books, app)


# ---- shapes: what the library's types say of an object holds for ours


def unlike(value: Any, kind: Any, where: str = "") -> list[str]:
    """Where a value differs from the library's type for it: missing fields, unknown ones, other kinds."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or isinstance(kind, typing.ForwardRef):
        return []
    if origin in (typing.Union, types.UnionType):
        tries = [unlike(value, one, where) for one in arguments]
        return [] if [] in tries else min(tries, key=len)
    if origin is typing.Literal:
        return [] if value in arguments else [f"{where}: {value!r} is none of {arguments}"]
    if origin is list:
        return [fault for i, one in enumerate(value) for fault in unlike(one, arguments[0], f"{where}[{i}]")]
    found = origin or kind
    if isinstance(found, type) and issubclass(found, stripe.StripeObject):
        return unlike_object(value, found, where) if isinstance(value, dict) else [f"{where}: {value!r}"]
    if kind is type(None):
        return [] if value is None else [f"{where}: {value!r} is not None"]
    fits = isinstance(value, found) and not (found is int and isinstance(value, bool))
    return [] if fits else [f"{where}: {value!r} is no {kind}"]


def unlike_object(value: dict[str, Any], kind: type, where: str) -> list[str]:
    if kind.__name__ in ("UntypedStripeObject", "ListObject"):
        return []
    names = vars(sys.modules[kind.__module__]) | vars(stripe) | {kind.__name__: kind}
    known: dict[str, Any] = {}
    for name, written in vars(kind).get("__annotations__", {}).items():
        known[name] = resolved(written, names)
    known.pop("OBJECT_NAME", None)
    optional = {name for name, one in known.items() if type(None) in typing.get_args(one)}
    faults = [f"{where}.{name} is missing" for name in known if name not in value and name not in optional]
    faults += [f"{where}.{name} is unknown" for name in value if name not in known]
    for name in known.keys() & value.keys():
        faults += unlike(value[name], known[name], f"{where}.{name}")
    return faults


def resolved(written: Any, names: dict[str, Any]) -> Any:
    """An annotation with the names of its module; parts that only type checkers see stay open."""
    text = written.__forward_arg__ if isinstance(written, typing.ForwardRef) else written
    if not isinstance(text, str):
        return text
    try:
        return eval(text, dict(names))
    except NameError:
        return Any


@alone
async def test_objects_are_as_the_library_says(service: Service) -> None:
    assert service.books is not None
    session = await service.checkout(client_reference_id="DL1", metadata={"order": "DL1"})
    service.books.pay_checkout(session.id, "4242424242424242")
    await service.refund(str(service.books.sessions[session.id]["payment_intent"]), 50_000)
    asks = await service.intent(confirm=True, payment_method="pm_card_threeDSecure2Required")
    with pytest.raises(stripe.CardError):
        await service.paid(card="pm_card_chargeDeclinedInsufficientFunds")
    events = list(service.books.told.values())
    shelves: list[tuple[type, list[Any]]] = [
        (stripe.checkout.Session, list(service.books.sessions.values())),
        (stripe.PaymentIntent, list(service.books.intents.values())),
        (stripe.Charge, list(service.books.charges.values())),
        (stripe.Refund, list(service.books.refunds.values())),
        (stripe.Event, events),
        (stripe.Account, [shapes.account("acct_seller")]),
    ]
    assert asks.status == "requires_action"
    assert {event["type"] for event in events} > {
        "checkout.session.completed",
        "payment_intent.payment_failed",
    }
    for kind, objects in shelves:
        assert objects
        for made in objects:
            faults = unlike_object(made, kind, kind.__name__)
            assert not faults, faults[0]


@alone
def test_the_check_of_shapes_can_fail() -> None:
    refund = shapes.refund({"id": "pi_1", "latest_charge": "ch_1", "currency": "vnd"}, 1, {}, "succeeded")
    assert unlike_object(refund, stripe.Refund, "Refund") == []
    assert unlike_object(refund | {"amount": "1"}, stripe.Refund, "Refund") == [
        "Refund.amount: '1' is no <class 'int'>"
    ]
    assert unlike_object(refund | {"more": 1}, stripe.Refund, "Refund") == ["Refund.more is unknown"]
    refund.pop("currency")
    assert unlike_object(refund, stripe.Refund, "Refund") == ["Refund.currency is missing"]


# ---- stories that Stripe's test mode tells the same way


async def test_a_payment_in_dong_has_no_decimals(service: Service) -> None:
    made = await service.paid(185_000)
    assert (made.status, made.amount, made.amount_received, made.currency) == (
        "succeeded",
        185_000,
        185_000,
        "vnd",
    )
    known = await service.client.v1.payment_intents.retrieve_async(made.id, options=service.options())
    assert known.status == "succeeded"
    charge = await service.client.v1.charges.retrieve_async(
        str(made.latest_charge), options=service.options()
    )
    assert (charge.paid, charge.amount_captured) == (True, 185_000)


@pytest.mark.parametrize(
    ("card", "code", "decline"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", None),
    ],
)
async def test_a_refused_card_is_an_error_and_the_intent_waits_for_another(
    service: Service, card: str, code: str, decline: str | None
) -> None:
    made = await service.intent()
    with pytest.raises(stripe.CardError) as refused:
        await service.client.v1.payment_intents.confirm_async(
            made.id, params={"payment_method": card, "return_url": BACK}, options=service.options()
        )
    error = refused.value
    assert (error.http_status, error.code) == (402, code)
    told: Any = error.json_body
    assert told["error"]["type"] == "card_error"
    assert decline is None or told["error"]["decline_code"] == decline
    assert told["error"]["payment_intent"]["status"] == "requires_payment_method"
    paid = await service.client.v1.payment_intents.confirm_async(
        made.id, params={"payment_method": "pm_card_visa", "return_url": BACK}, options=service.options()
    )
    assert paid.status == "succeeded"


async def test_a_bank_that_asks_gives_an_address_to_go_to(service: Service) -> None:
    made = await service.intent(confirm=True, payment_method="pm_card_threeDSecure2Required", return_url=BACK)
    assert made.status == "requires_action"
    assert made.next_action is not None
    assert made.next_action.type == "redirect_to_url"
    cancelled = await service.client.v1.payment_intents.cancel_async(made.id, options=service.options())
    assert cancelled.status == "canceled"


async def test_a_key_is_answered_the_same_and_refuses_other_parameters(service: Service) -> None:
    key = uuid.uuid4().hex
    first = await service.checkout(185_000, key)
    again = await service.checkout(185_000, key)
    assert again.id == first.id
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    with pytest.raises(stripe.IdempotencyError) as refused:
        await service.checkout(185_001, key)
    assert refused.value.http_status == 400
    assert "same parameters they were first used with" in str(refused.value)


async def test_a_key_saves_a_declined_card_too(service: Service) -> None:
    key, seen = uuid.uuid4().hex, set()
    made = await service.intent()
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refused:
            await service.client.v1.payment_intents.confirm_async(
                made.id,
                params={"payment_method": "pm_card_visa_chargeDeclined", "return_url": BACK},
                options=service.options(key),
            )
        told: Any = refused.value.json_body
        seen.add(told["error"]["charge"])
    assert len(seen) == 1, "the second was not another attempt"


async def test_refunds_stop_at_what_was_paid(service: Service) -> None:
    made = await service.paid(300_000)
    part = await service.refund(made.id, 100_000)
    assert (part.status, part.amount) == ("succeeded", 100_000)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        await service.refund(made.id, 200_001)
    await service.refund(made.id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await service.refund(made.id, 1)
    assert refused.value.code == "charge_already_refunded"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount": 1_000}, "amount_too_small"),
        ({"amount": 100_000_000}, "amount_too_large"),
        ({"amount": "185000.5"}, "parameter_invalid_integer"),
        ({"colour": "red"}, "parameter_unknown"),
        ({"currency": ""}, None),
    ],
)
async def test_what_makes_no_sense_is_refused(service: Service, change: Any, code: str | None) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await service.intent(**change)
    assert refused.value.http_status == 400
    assert code is None or refused.value.code == code


async def test_a_checkout_has_its_limits(service: Service) -> None:
    for seconds in (60, 90_000):
        with pytest.raises(stripe.InvalidRequestError, match="expires_at"):
            await service.checkout(expires_at=int(time.time()) + seconds)
    made = await service.checkout()
    ended = await service.client.v1.checkout.sessions.expire_async(made.id, options=service.options())
    assert ended.status == "expired"
    with pytest.raises(stripe.InvalidRequestError):
        await service.client.v1.checkout.sessions.expire_async(made.id, options=service.options())


async def test_nothing_is_found_that_is_not_there_or_not_theirs(service: Service) -> None:
    with pytest.raises(stripe.InvalidRequestError) as missing:
        await service.client.v1.payment_intents.retrieve_async("pi_none", options=service.options())
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.PermissionError) as stranger:
        await service.client.v1.payment_intents.retrieve_async(
            "pi_none", options={"stripe_account": "acct_1032D82eZvKYlo2C"}
        )
    told: Any = stranger.value.json_body
    assert told["error"]["code"] == "account_invalid"


# ---- what only the stand-in lets one see


@alone
async def test_a_wrong_key_is_refused(service: Service) -> None:
    api = service.app.state.api

    class Asking:
        headers: typing.ClassVar[dict[str, str]] = {"authorization": "Bearer sk_live_x"}

    with pytest.raises(shapes.ApiError) as refused:
        api.account(Asking())
    assert (refused.value.status, "Invalid API Key" in str(refused.value)) == (401, True)


@alone
async def test_too_many_requests_are_told_so(service: Service) -> None:
    service.app.state.api.limit.rate = 5
    answers = await asyncio.gather(*(service.intent() for _ in range(30)), return_exceptions=True)
    limited = [one for one in answers if isinstance(one, stripe.RateLimitError)]
    assert limited
    assert limited[0].http_status == 429
    told: Any = limited[0].json_body
    assert told["error"]["code"] == "rate_limit"


@alone
async def test_a_lost_answer_is_asked_for_again_and_charges_once(service: Service) -> None:
    assert service.books is not None
    service.app.state.api.faults = 2
    made = await service.paid()
    assert made.status == "succeeded"
    assert len(service.books.intents) == 1, "the library asked again with the same key"


@alone
async def test_refunds_that_end_later(service: Service) -> None:
    assert service.books is not None
    for card, first, last in (
        ("pm_card_pendingRefund", "pending", "succeeded"),
        ("pm_card_refundFail", "succeeded", "failed"),
    ):
        paid = await service.paid(card=card)
        refund = await service.refund(paid.id)
        assert refund.status == first
        service.books.later = [(0, number, status) for _, number, status in service.books.later]
        service.books.let_time_pass()
        known = await service.client.v1.refunds.retrieve_async(refund.id, options=service.options())
        assert known.status == last


@alone
async def test_a_restart_forgets_nothing(tmp_path: Any) -> None:
    books = Books(connected={"acct_1"}, file=tmp_path / "cards.json")
    intent = books.open_intent("acct_1", {"amount": "50000", "currency": "vnd"})
    books.confirm(intent["id"], "acct_1", {"payment_method": "pm_card_visa"})
    books.remember("acct_1", "k", {}, 200, intent)
    books.save()
    assert (tmp_path / "cards.json").stat().st_mode & 0o077 == 0
    back = Books(file=tmp_path / "cards.json")
    back.load()
    assert back.intents == books.intents
    assert [event["type"] for event in back.events] == [event["type"] for event in books.events]
    assert back.refund("acct_1", {"payment_intent": intent["id"]})["amount"] == 50_000


@alone
def test_signatures_are_the_librarys() -> None:
    body, secret = b'{"id": "evt_1", "object": "event"}', "whsec_x"
    assert stripe.WebhookSignature.verify_header(body.decode(), sign(body, secret), secret, 300)
    for header in (sign(body, "other"), sign(b"{}", secret), sign(body, secret, at=int(time.time()) - 600)):
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(body.decode(), header, secret, 300)


@pytest.mark.parametrize(
    ("card", "expiry", "cvc", "fault"),
    [
        ("4242424242424242", "12/34", "123", ""),
        ("4242424242424242", "1234", "1234", ""),
        ("", "12/34", "123", "incomplete_number"),
        ("4242424242424242", "13/34", "123", "incomplete_expiry"),
        ("4242424242424242", "01 / 20", "123", "invalid_expiry"),
        ("4242424242424242", "12/34", "12", "incomplete_cvc"),
    ],
)
def test_the_card_form_looks_before_it_asks(card: str, expiry: str, cvc: str, fault: str) -> None:
    assert form_fault(card, expiry, cvc) == fault
