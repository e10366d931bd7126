"""Cards, through Stripe: the buyer pays on Stripe's page, the money goes to the seller's own account there.

    pay page     asks Stripe for a Checkout Session when the buyer goes there, and remembers it
    webhook      signed, put into the inbox and applied in one transaction; the money is counted once by the
                 name of its PaymentIntent, whichever event, retry or reconciliation tells of it
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
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.core.db import sessions
from commerce.core.errors import NotFound
from commerce.core.settings import Settings
from commerce.orders.models import Order, OrderState
from commerce.orders.queries import order_by_key
from commerce.orders.service import lock_order
from commerce.payments.books import finish
from commerce.payments.errors import NothingDue, NotSigned, PaymentUnavailable
from commerce.payments.models import (
    REFUND_STATES,
    CardAccount,
    Method,
    Payment,
    PaymentState,
    Refund,
    RefundState,
)
from commerce.payments.notices import note_outcome, remember
from commerce.payments.receiving import Credit, card_credit
from commerce.payments.refunds import lock_refund

SOURCE = "stripe"
SHORTEST_S = 31 * 60  # Stripe refuses checkouts that end sooner than 30 minutes from now
ASK_AFTER = timedelta(minutes=2)  # a webhook that has not come by then may never come
AT_ONCE = 50
PAID_EVENTS = ("checkout.session.completed", "checkout.session.async_payment_succeeded")
REFUND_EVENTS = ("refund.created", "refund.updated", "refund.failed")

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


async def checkout_url(settings: Settings, code: str, key: str) -> str:
    """Where the holder of the order's key pays. The same page again while it is open.

    Raises `NotFound`, `NothingDue`, `PaymentUnavailable`.
    """
    async with sessions.read() as db:
        found = await order_by_key(db, code, key)
        account = await db.get(CardAccount, found.order.seller_id)
    order, payment = found.order, found.payment
    keys = Keys.of(settings)
    if payment.method != Method.CARD or payment.state != PaymentState.DUE:
        raise NothingDue
    if order.state != OrderState.PLACED:
        raise NothingDue
    if keys is None or account is None or not account.active:
        raise PaymentUnavailable
    client = client_of(keys)
    params = _checkout(settings, order, payment)
    try:
        if payment.reference is not None:
            known = await client.v1.checkout.sessions.retrieve_async(
                payment.reference, options={"stripe_account": account.account}
            )
            if known.status == "open" and known.url:
                return known.url
            if known.status == "complete":
                await apply_session(known.to_dict())
                raise NothingDue
        made = await client.v1.checkout.sessions.create_async(
            params=params,  # type: ignore[arg-type]
            options={
                "stripe_account": account.account,
                # Two taps in the same minute ask for the same thing and get the same page.
                "idempotency_key": f"checkout {order.code} {params['expires_at']}",
            },
        )
    except stripe.StripeError as error:
        log.warning("stripe_unavailable", order=order.code, error=repr(error)[:300])
        raise PaymentUnavailable from error
    async with sessions.begin() as db:
        kept = await db.get_one(Payment, payment.id, with_for_update=True)
        kept.reference = made.id
    if made.url is None:
        raise PaymentUnavailable
    return made.url


def _checkout(settings: Settings, order: Order, payment: Payment) -> dict[str, Any]:
    back = f"{settings.public_url}/orders/{order.code}?key={order.key}"
    left = int(order.expires_at.timestamp()) if order.expires_at else 0
    ends = max(left, int(time.time() + SHORTEST_S) // 60 * 60 + 60)
    return {
        "mode": "payment",
        "client_reference_id": order.code,
        "success_url": back,
        "cancel_url": back,
        "expires_at": ends,
        "metadata": {"order": order.code},
        "payment_intent_data": {"metadata": {"order": order.code}},
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": payment.currency.lower(),
                    "unit_amount": payment.amount - payment.paid,  # dong have no cents
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
    async with sessions.begin() as db:
        if not await remember(db, SOURCE, event["id"], {"type": event["type"], "object": about}):
            return
        outcome = ""
        if event["type"] in PAID_EVENTS:
            outcome = await count_session(db, about)
        elif event["type"] in REFUND_EVENTS:
            outcome = await note_refund(db, about)
        await note_outcome(db, SOURCE, event["id"], outcome)


async def apply_session(session: Mapping[str, Any]) -> None:
    async with sessions.begin() as db:
        await count_session(db, session)


async def count_session(db: AsyncSession, session: Mapping[str, Any]) -> str:
    """A finished checkout: its money is counted once, by its PaymentIntent. What became of it, in a word."""
    if session.get("payment_status") != "paid":
        return "not paid"
    order = await lock_order(db, str(session.get("client_reference_id") or ""))
    if order is None:
        return "unknown order"
    intent = str(session["payment_intent"])
    payment = (await db.scalars(select(Payment).where(Payment.order_id == order.id))).one()
    payment.reference, payment.intent = str(session["id"]), intent
    await db.flush()
    credit = Credit(SOURCE, intent, int(session["amount_total"]), memo=order.code)
    receipt = await card_credit(db, credit, order)
    return receipt.outcome if receipt else "known"


async def reconcile(settings: Settings) -> None:
    """Ask after payments whose notice never came. A job."""
    keys = Keys.of(settings)
    if keys is None:
        return
    async with sessions.read() as db:
        rows = await db.execute(
            select(Payment.reference, CardAccount.account)
            .join(Order, Order.id == Payment.order_id)
            .join(CardAccount, CardAccount.seller_id == Order.seller_id)
            .where(
                Payment.method == Method.CARD,
                Payment.state.in_((PaymentState.DUE, PaymentState.CANCELLED)),
                Payment.reference.is_not(None),
                Payment.created_at.between(func.now() - timedelta(days=2), func.now() - ASK_AFTER),
            )
            .limit(AT_ONCE)
        )
        waiting = [(str(reference), str(account)) for reference, account in rows]
    client = client_of(keys)
    for reference, account in waiting:
        try:
            session = await client.v1.checkout.sessions.retrieve_async(
                reference, options={"stripe_account": account}
            )
        except stripe.StripeError as error:  # one that cannot be found must not keep the others waiting
            log.warning("checkout_not_found", checkout=reference, error=repr(error)[:300])
            continue
        if session.payment_status == "paid":
            await apply_session(session.to_dict())


# ---- money goes back


async def send_refunds(settings: Settings) -> None:
    """Ask Stripe for every card refund that is wanted. A job; the key keeps a repeated call one refund."""
    keys = Keys.of(settings)
    if keys is None:
        return
    async with sessions.read() as db:
        rows = await db.execute(
            select(Refund.id, Refund.amount, Payment.intent, CardAccount.account)
            .join(Payment, Payment.id == Refund.payment_id)
            .join(Order, Order.id == Refund.order_id)
            .join(CardAccount, CardAccount.seller_id == Order.seller_id)
            .where(Refund.state == RefundState.WANTED, Payment.intent.is_not(None))
            .order_by(Refund.id)
            .limit(AT_ONCE)
        )
        wanted = rows.all()
    client = client_of(keys)
    for refund_id, amount, intent, account in wanted:
        try:
            made = await client.v1.refunds.create_async(
                params={
                    "payment_intent": str(intent),
                    "amount": amount,
                    "metadata": {"refund": str(refund_id)},
                },
                options={"stripe_account": account, "idempotency_key": f"refund {refund_id}"},
            )
        except stripe.StripeError as error:
            log.warning("refund_not_sent", refund=refund_id, error=repr(error)[:300])
            continue
        async with sessions.begin() as db:
            await note_refund(db, made.to_dict())


async def note_refund(db: AsyncSession, about: Mapping[str, Any]) -> str:
    """What Stripe says of a refund of ours. Told again or out of order, it changes nothing."""
    number = str((about.get("metadata") or {}).get("refund", ""))
    if not number.isdigit():
        return "not ours"
    try:
        refund, payment = await lock_refund(db, int(number))
    except NotFound:
        return "not ours"
    status, reference = str(about.get("status")), str(about["id"])
    if refund.state == RefundState.WANTED and status in ("pending", "succeeded", "failed", "requires_action"):
        await REFUND_STATES.transition(
            db, refund.id, RefundState.WANTED, RefundState.SENT, reason=reference, reference=reference
        )
        await db.refresh(refund)
    if refund.state == RefundState.SENT and status == "succeeded":
        await finish(db, refund, payment, by=None, reference=reference)
    elif refund.state == RefundState.SENT and status in ("failed", "canceled"):
        await REFUND_STATES.transition(
            db, refund.id, RefundState.SENT, RefundState.FAILED, reason=str(about.get("failure_reason", ""))
        )
    return status
