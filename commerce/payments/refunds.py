"""Money that has to go back to a buyer: wanted, sent, done; never more than was paid.

Transfers and cash go back by the seller's own hand and are ticked off. Card refunds are asked of the card
company by a job, with a key made from our own id, and end with its answer (payments.cards).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid, NotFound
from commerce.core.i18n import N_
from commerce.core.roles import Identity
from commerce.core.text import clean
from commerce.orders.models import Order
from commerce.orders.service import lock_order
from commerce.payments.books import finish, payment_of, refundable, return_money
from commerce.payments.errors import SentByCard, TooMuch
from commerce.payments.models import REFUND_STATES, Payment, Receipt, Refund, RefundState
from commerce.payments.queries import RefundRow, refund_row
from commerce.payments.receiving import CARD, must_handle_money


async def refund_order(identity: Identity, code: str, amount: int, reason: str) -> list[RefundRow]:
    """All or part of what was paid goes back, the way it came: what came in two ways is two refunds.

    Raises `Invalid`, `NotFound`, `Forbidden`, `TooMuch`.
    """
    if amount <= 0:
        raise Invalid(FieldError("amount", N_("Số tiền hoàn phải lớn hơn 0.")))
    async with sessions.begin() as db:
        order = await lock_order(db, code)
        if order is None:
            raise NotFound
        await must_handle_money(db, identity, order.seller_id)
        payment = await payment_of(db, order.id)
        left = await refundable(db, payment)
        if amount > left:
            raise TooMuch(left)
        text = clean(reason)[:500]
        made = await return_money(db, payment, amount, by=identity.person_id, reason=text)
        ids = [refund.id for refund in made]
    return [await refund_row(refund_id) for refund_id in ids]


async def start_by_hand(identity: Identity, refund_id: int) -> None:
    """Somebody is about to send it, so that nobody else does too. Raises as `finish_by_hand`."""
    async with _by_hand(identity, refund_id) as (db, refund, _):
        before = RefundState(refund.state)
        await REFUND_STATES.transition(db, refund.id, before, RefundState.SENT, by=identity.person_id)


async def finish_by_hand(identity: Identity, refund_id: int, reference: str) -> None:
    """It was sent back; `reference`: the bank's number, or how.

    Raises `NotFound`, `Forbidden`, `SentByCard` for what the card company sends, `WrongState` when it was
    done before.
    """
    async with _by_hand(identity, refund_id) as (db, refund, payment):
        text = clean(reference)[:200]
        await finish(db, refund, payment, by=identity.person_id, reference=text)


@asynccontextmanager
async def _by_hand(identity: Identity, refund_id: int) -> AsyncIterator[tuple[AsyncSession, Refund, Payment]]:
    async with sessions.begin() as db:
        refund, payment = await lock_refund(db, refund_id)
        order = await db.get_one(Order, payment.order_id)
        await must_handle_money(db, identity, order.seller_id)
        receipt = await db.get(Receipt, refund.receipt_id) if refund.receipt_id else None
        failed = refund.state == RefundState.FAILED  # then a person sends it another way
        if receipt is not None and receipt.source == CARD and not failed:
            raise SentByCard
        yield db, refund, payment


async def lock_refund(db: AsyncSession, refund_id: int) -> tuple[Refund, Payment]:
    """A refund with its order and payment locked, in the order in which everything locks them."""
    found = await db.get(Refund, refund_id)
    if found is None:
        raise NotFound
    await db.get_one(Order, found.order_id, with_for_update={"key_share": True})
    payment = await db.get_one(Payment, found.payment_id, with_for_update=True)
    await db.refresh(found, with_for_update=True)
    return found, payment
