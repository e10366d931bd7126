"""Cards, through Stripe: the buyer pays on Stripe's page, the money goes to the seller's own account there.

    pay page     asks Stripe for a Checkout Session when the buyer goes there, and remembers it
    own form     an app that shows Stripe's card form itself asks for a PaymentIntent instead
    webhook      signed, put into the inbox and applied in one transaction; the money is counted once by the
                 name of its PaymentIntent, whichever event, retry or reconciliation tells of it, and only if
                 it is in the order's currency and on its own seller's account: others may write any order's
                 code on a payment to themselves
    jobs         `reconcile` asks after payments whose notice never came; `send_refunds` asks for refunds

No call to Stripe happens inside a transaction; each carries an idempotency key made from our own ids, so a
crash between the call and the row repeats it without charging or refunding twice. Switched on per seller.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import stripe
import structlog
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.core.db import sessions
from commerce.core.errors import NotFound
from commerce.core.settings import Settings
from commerce.orders.models import Order, OrderState
from commerce.orders.queries import order_by_key
from commerce.orders.service import lock_order
from commerce.payments.books import finish, take_back
from commerce.payments.errors import NotForCards, NothingDue, NotSigned, PaymentUnavailable
from commerce.payments.models import (
    REFUND_STATES,
    CardAccount,
    Method,
    Outcome,
    Payment,
    PaymentState,
    Receipt,
    Refund,
    RefundHistory,
    RefundState,
)
from commerce.payments.notices import note_outcome, remember
from commerce.payments.receiving import CARD, Credit, card_credit
from commerce.payments.refunds import lock_refund

SOURCE = CARD
LEAST, MOST = 20_000, 99_999_999  # dong: about half a dollar, and eight digits
SHORTEST_S = 31 * 60  # Stripe refuses checkouts that end sooner than 30 minutes from now
ASK_AFTER = timedelta(minutes=2)  # a webhook that has not come by then may never come
AT_ONCE = 50
SESSION_EVENTS = ("checkout.session.completed", "checkout.session.async_payment_succeeded")
INTENT_EVENTS = ("payment_intent.succeeded",)
REFUND_EVENTS = ("refund.created", "refund.updated", "refund.failed")

AWAITING = frozenset({OrderState.PLACED, OrderState.CONFIRMED})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Keys:
    """CHOPHIEN_STRIPE_KEY, CHOPHIEN_STRIPE_WEBHOOK_SECRET; CHOPHIEN_STRIPE_API points at the simulator."""

    key: str
    webhook_secret: str
    api: str | None

    @classmethod
    def of(cls, settings: Settings) -> Keys | None:
        key = settings.extra.get("STRIPE_KEY", "")
        secret = settings.extra.get("STRIPE_WEBHOOK_SECRET", "")
        return cls(key, secret, settings.extra.get("STRIPE_API")) if key and secret else None


def client_of(keys: Keys) -> stripe.StripeClient:
    http = stripe.HTTPXClient(timeout=10)
    if keys.api is None:
        return stripe.StripeClient(keys.key, http_client=http, max_network_retries=2)
    return stripe.StripeClient(
        keys.key, http_client=http, max_network_retries=2, base_addresses={"api": keys.api}
    )


# ---- the buyer goes to pay


@dataclass(frozen=True, slots=True)
class Due:
    """An order that may be paid by card now, and the account its money goes to."""

    order: Order
    payment: Payment
    account: str
    client: stripe.StripeClient

    def options(self, key: str = "") -> Any:
        return {"stripe_account": self.account, **({"idempotency_key": key} if key else {})}


async def find_due(settings: Settings, code: str, key: str) -> Due:
    """Raises `NotFound`, `NothingDue`, `NotForCards`, `PaymentUnavailable`."""
    async with sessions.read() as db:
        found = await order_by_key(db, code, key)
        account = await db.get(CardAccount, found.order.seller_id)
    order, payment = found.order, found.payment
    if payment.method == Method.VIETQR or not payment.due_now or order.state not in AWAITING:
        raise NothingDue
    if not LEAST <= payment.due_now <= MOST:
        raise NotForCards
    keys = Keys.of(settings)
    if keys is None or account is None or not account.active:
        raise PaymentUnavailable
    return Due(order, payment, account.account, client_of(keys))


async def checkout_url(settings: Settings, code: str, key: str) -> str:
    """Where the holder of the order's key pays; the same page while it is open. Raises as `find_due`."""
    due = await find_due(settings, code, key)
    try:
        known = await _known_session(due)
        if (
            known is not None
            and known.status == "open"
            and known.url
            and known.amount_total == due.payment.due_now
        ):
            return known.url
        if (
            known is not None
            and known.payment_status == "paid"
            and await apply_session(known.to_dict(), due.account)
        ):
            raise NothingDue
        params = _checkout(settings, due.order, due.payment)
        made = await due.client.v1.checkout.sessions.create_async(
            params=params,  # type: ignore[arg-type]
            # Two taps in the same minute ask for the same thing and get the same page.
            options=due.options(f"checkout {due.order.code} {due.payment.paid} {params['expires_at']}"),
        )
    except stripe.StripeError as error:
        log.warning("stripe_unavailable", order=due.order.code, error=repr(error)[:300])
        raise PaymentUnavailable from error
    async with sessions.begin() as db:
        kept = await db.get_one(Payment, due.payment.id, with_for_update=True)
        kept.reference = made.id
    if made.url is None:
        raise PaymentUnavailable
    return made.url


async def _known_session(due: Due) -> stripe.checkout.Session | None:
    if due.payment.reference is None:
        return None
    try:
        return await due.client.v1.checkout.sessions.retrieve_async(
            due.payment.reference, options=due.options()
        )
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":  # another account since, or a stand-in that has forgotten
            raise
        return None


@dataclass(frozen=True, slots=True)
class CardForm:
    """What an app needs to show the card company's own form."""

    client_secret: str
    account: str


async def card_form(settings: Settings, code: str, key: str) -> CardForm:
    """A PaymentIntent for what is due; the same one while that stays the same. Raises as `find_due`."""
    due = await find_due(settings, code, key)
    amount = due.payment.due_now
    try:
        made = await due.client.v1.payment_intents.create_async(
            params={
                "amount": amount,  # dong have no cents
                "currency": due.payment.currency.lower(),
                "automatic_payment_methods": {"enabled": True},
                "metadata": {"order": due.order.code},
            },
            options=due.options(f"intent {due.order.code} {due.payment.paid} {amount}"),
        )
    except stripe.StripeError as error:
        log.warning("stripe_unavailable", order=due.order.code, error=repr(error)[:300])
        raise PaymentUnavailable from error
    async with sessions.begin() as db:
        kept = await db.get_one(Payment, due.payment.id, with_for_update=True)
        kept.intent = kept.intent or made.id
    return CardForm(str(made.client_secret), due.account)


def _checkout(settings: Settings, order: Order, payment: Payment) -> dict[str, Any]:
    back = f"{settings.public_url}/orders/{order.code}?key={order.key}"
    left = int(order.expires_at.timestamp()) if order.expires_at else 0
    ends = max(left, int(time.time() + SHORTEST_S) // 60 * 60 + 60)
    return {
        "mode": "payment",
        "client_reference_id": order.code,
        "success_url": f"{back}&paid=card",
        "cancel_url": back,
        "expires_at": ends,
        "locale": "vi",
        "metadata": {"order": order.code},
        "payment_intent_data": {"metadata": {"order": order.code}},
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": payment.currency.lower(),
                    "unit_amount": payment.due_now,  # dong have no cents
                    "product_data": {"name": order.code},
                },
            }
        ],
    }


# ---- Stripe tells


async def take_notice(settings: Settings, body: bytes, signature: str) -> None:
    """A webhook. Raises `NotSigned` for what is forged or stale; any fault of ours stays a loud 500."""
    keys = Keys.of(settings)
    if keys is None:
        raise NotSigned
    try:
        event = client_of(keys).construct_event(body, signature, keys.webhook_secret)
    except (ValueError, stripe.SignatureVerificationError) as error:
        raise NotSigned from error
    about: dict[str, Any] = event["data"]["object"].to_dict()
    account = str(event.to_dict().get("account") or "")
    async with sessions.begin() as db:
        if not await remember(db, SOURCE, event["id"], {"type": event["type"], "object": about}):
            return
        outcome = ""
        if event["type"] in SESSION_EVENTS:
            outcome = await count_session(db, about, account)
        elif event["type"] in INTENT_EVENTS:
            outcome = await count_intent(db, about, account)
        elif event["type"] in REFUND_EVENTS:
            outcome = await note_refund(db, about, account)
        await note_outcome(db, SOURCE, event["id"], outcome)


async def apply_session(session: Mapping[str, Any], account: str) -> bool:
    """True when its money was new to us."""
    async with sessions.begin() as db:
        return await count_session(db, session, account) in set(Outcome)


async def count_session(db: AsyncSession, session: Mapping[str, Any], account: str) -> str:
    """A finished checkout on a seller's account. What became of it, in a word."""
    if session.get("payment_status") != "paid":
        return "not paid"
    code = str(session.get("client_reference_id") or "")
    amount, currency = int(session["amount_total"]), str(session.get("currency"))
    return await _count(db, code, str(session["payment_intent"]), amount, currency, account)


async def count_intent(db: AsyncSession, intent: Mapping[str, Any], account: str) -> str:
    """A PaymentIntent that succeeded, of a checkout or of an app's own form."""
    if intent.get("status") != "succeeded":
        return "not paid"
    code = str((intent.get("metadata") or {}).get("order", ""))
    amount, currency = int(intent["amount_received"]), str(intent.get("currency"))
    return await _count(db, code, str(intent["id"]), amount, currency, account)


async def _count(db: AsyncSession, code: str, intent: str, amount: int, currency: str, account: str) -> str:
    order = await lock_order(db, code)
    if order is None:
        return "unknown order"
    if currency != order.currency.lower() or not await _is_sellers(db, order.seller_id, account):
        log.warning("card_money_elsewhere", order=code, intent=intent, account=account, currency=currency)
        return "another account or currency"
    receipt = await card_credit(db, Credit(SOURCE, intent, amount, memo=order.code), order)
    if receipt is None:
        return "known"
    if receipt.counted:
        payment = await db.get_one(Payment, receipt.payment_id)
        payment.intent = intent
    return receipt.outcome


async def _is_sellers(db: AsyncSession, seller_id: int, account: str) -> bool:
    own = await db.get(CardAccount, seller_id)
    return own is not None and own.account == account


async def reconcile(settings: Settings) -> None:
    """Ask after payments whose notice never came; close the pages of cancelled orders. A job."""
    keys = Keys.of(settings)
    if keys is None:
        return
    async with sessions.read() as db:
        rows = await db.execute(
            select(Payment.reference, Payment.intent, CardAccount.account, Order.state)
            .join(Order, Order.id == Payment.order_id)
            .join(CardAccount, CardAccount.seller_id == Order.seller_id)
            .where(
                Payment.state.in_((PaymentState.DUE, PaymentState.PARTIAL, PaymentState.CANCELLED)),
                Payment.paid < func.greatest(Payment.advance, 1),
                or_(Payment.reference.is_not(None), Payment.intent.is_not(None)),
                Payment.created_at.between(func.now() - timedelta(days=2), func.now() - ASK_AFTER),
            )
            .order_by(func.random())  # more than are asked at once all have their turn
            .limit(AT_ONCE)
        )
        waiting = rows.all()
    client = client_of(keys)
    for row in waiting:
        try:
            await _ask(client, row.account, row.reference, row.intent, row.state)
        except stripe.StripeError as error:  # one that cannot be found must not keep the others waiting
            log.warning("checkout_not_found", checkout=row.reference, error=repr(error)[:300])


async def _ask(
    client: stripe.StripeClient, account: str, reference: str | None, intent: str | None, state: str
) -> None:
    options: Any = {"stripe_account": account}
    if reference is not None:
        session = await client.v1.checkout.sessions.retrieve_async(reference, options=options)
        await apply_session(session.to_dict(), account)
        if session.status == "open" and state == OrderState.CANCELLED:
            await client.v1.checkout.sessions.expire_async(reference, options=options)
    if intent is not None:
        found = await client.v1.payment_intents.retrieve_async(intent, options=options)
        async with sessions.begin() as db:
            await count_intent(db, found.to_dict(), account)


# ---- money goes back


async def send_refunds(settings: Settings) -> None:
    """Ask Stripe for every card refund that is wanted. A job; the key keeps a repeated call one refund."""
    keys = Keys.of(settings)
    if keys is None:
        return
    # A refund that failed and is wanted again is another call: the key counts the attempts.
    attempt = (
        select(func.count())
        .where(RefundHistory.subject_id == Refund.id, RefundHistory.after == RefundState.WANTED)
        .scalar_subquery()
    )
    async with sessions.read() as db:
        rows = await db.execute(
            select(
                Refund.id, Refund.amount, Receipt.external_id, CardAccount.account, attempt.label("attempt")
            )
            .join(Receipt, Receipt.id == Refund.receipt_id)
            .join(CardAccount, CardAccount.seller_id == Receipt.seller_id)
            .where(Refund.state == RefundState.WANTED, Receipt.source == SOURCE)
            .order_by(Refund.id)
            .limit(AT_ONCE)
        )
        wanted = rows.all()
    client = client_of(keys)
    for row in wanted:
        try:
            made = await client.v1.refunds.create_async(
                params={
                    "payment_intent": row.external_id,
                    "amount": row.amount,
                    "metadata": {"refund": str(row.id)},
                },
                options={"stripe_account": row.account, "idempotency_key": f"refund {row.id} {row.attempt}"},
            )
        except stripe.InvalidRequestError as error:  # asking again would be answered the same
            log.warning("refund_refused", refund=row.id, error=repr(error)[:300])
            await _note_refusal(row.id, str(error.user_message or error.code or "")[:200])
        except stripe.StripeError as error:
            log.warning("refund_not_sent", refund=row.id, error=repr(error)[:300])
        else:
            async with sessions.begin() as db:
                await note_refund(db, made.to_dict(), row.account)


async def _note_refusal(refund_id: int, reason: str) -> None:
    async with sessions.begin() as db:
        refund, _ = await lock_refund(db, refund_id)
        if refund.state == RefundState.WANTED:
            await REFUND_STATES.transition(
                db, refund.id, RefundState.WANTED, RefundState.FAILED, reason=reason
            )


async def note_refund(db: AsyncSession, about: Mapping[str, Any], account: str) -> str:
    """What Stripe says of a refund of ours. Told again or out of order, it changes nothing."""
    number = str((about.get("metadata") or {}).get("refund", ""))
    if not number.isdigit():
        return "not ours"
    try:
        refund, payment = await lock_refund(db, int(number))
    except NotFound:
        return "not ours"
    order = await db.get_one(Order, payment.order_id)
    if not await _is_sellers(db, order.seller_id, account):
        return "not ours"
    status, reference = str(about.get("status")), str(about["id"])
    if refund.state == RefundState.WANTED and status in ("pending", "succeeded", "failed", "requires_action"):
        await REFUND_STATES.transition(
            db, refund.id, RefundState.WANTED, RefundState.SENT, reason=reference, reference=reference
        )
        await db.refresh(refund)
    if refund.state == RefundState.SENT and status == "succeeded":
        await finish(db, refund, payment, by=None, reference=reference)
    elif status in ("failed", "canceled") and refund.reference == reference:
        reason = str(about.get("failure_reason") or status)
        if refund.state == RefundState.SENT:
            await REFUND_STATES.transition(db, refund.id, RefundState.SENT, RefundState.FAILED, reason=reason)
        elif refund.state == RefundState.DONE:
            await take_back(db, refund, payment, reason=reason)
    return status
