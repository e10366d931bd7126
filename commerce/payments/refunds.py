"""Money that has to go back to a buyer: wanted, sent, done; never more than was paid.

Transfers and cash go back by the seller's own hand and are ticked off. Card refunds are asked of the card
company by a job, with a key made from our own id, and end with its answer (payments.cards).
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid, NotFound
from commerce.core.i18n import N_
from commerce.core.roles import Identity
from commerce.core.text import clean
from commerce.orders.models import Order
from commerce.orders.service import lock_order
from commerce.payments.books import finish, payment_of, refundable, want_refund
from commerce.payments.errors import TooMuch
from commerce.payments.models import Payment, Refund
from commerce.payments.queries import RefundRow, refund_row
from commerce.payments.receiving import must_handle_money


async def refund_order(identity: Identity, code: str, amount: int, reason: str) -> RefundRow:
    """All or part of what was paid goes back. Raises `Invalid`, `NotFound`, `Forbidden`, `TooMuch`."""
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
        refund = await want_refund(db, payment, amount, by=identity.person_id, reason=clean(reason)[:500])
    return await refund_row(refund.id)


async def finish_by_hand(identity: Identity, refund_id: int, reference: str) -> None:
    """The seller sent it back. Raises `NotFound`, `Forbidden`, `WrongState` when it was done before."""
    async with sessions.begin() as db:
        refund, payment = await lock_refund(db, refund_id)
        order = await db.get_one(Order, payment.order_id)
        await must_handle_money(db, identity, order.seller_id)
        await finish(db, refund, payment, by=identity.person_id, reference=clean(reference)[:200])


async def lock_refund(db: AsyncSession, refund_id: int) -> tuple[Refund, Payment]:
    """A refund with its order and payment locked, in the order in which everything locks them."""
    found = await db.get(Refund, refund_id)
    if found is None:
        raise NotFound
    await db.get_one(Order, found.order_id, with_for_update={"key_share": True})
    payment = await db.get_one(Payment, found.payment_id, with_for_update=True)
    await db.refresh(found, with_for_update=True)
    return found, payment
