"""What happens to an order's money. Everything here runs with the order's row locked by the caller.

The platform holds no money: a transfer goes to the seller's account, cash to the seller through the carrier,
a card payment to the seller's account at the card company. What is kept here is what is owed, what came and
what has to go back.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.payments.models import (
    OPEN_REFUND,
    PAYMENT_STATES,
    Payment,
    PaymentState,
    Refund,
)
from commerce.payments.refunds import want_refund


async def payment_of(db: AsyncSession, order_id: int) -> Payment:
    """The order's payment, locked."""
    return (await db.scalars(select(Payment).where(Payment.order_id == order_id).with_for_update())).one()


async def close_payment(db: AsyncSession, order_id: int, *, by: int | None, reason: str) -> None:
    """The order is cancelled or expired: nothing is owed any more, and what was paid has to go back."""
    payment = await payment_of(db, order_id)
    if payment.state in (PaymentState.DUE, PaymentState.PARTIAL):
        before = PaymentState(payment.state)
        await PAYMENT_STATES.transition(db, payment.id, before, PaymentState.CANCELLED, by=by, reason=reason)
    left = payment.paid - payment.refunded - await being_refunded(db, payment.id)
    if left > 0:
        await want_refund(db, payment, left, by=by, reason=reason)


async def being_refunded(db: AsyncSession, payment_id: int) -> int:
    """Of what was paid, already on its way back or wanted back."""
    total = await db.scalar(
        select(func.coalesce(func.sum(Refund.amount), 0)).where(
            Refund.payment_id == payment_id, Refund.state.in_(OPEN_REFUND), Refund.of_excess.is_(False)
        )
    )
    return int(total or 0)
