"""An order's payment and refunds as rows; the caller holds the order's row locked.

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
    REFUND_STATES,
    Payment,
    PaymentState,
    Receipt,
    Refund,
    RefundHistory,
    RefundState,
)
from commerce.settlement import taxes


async def payment_of(db: AsyncSession, order_id: int) -> Payment:
    """The order's payment, locked."""
    return (await db.scalars(select(Payment).where(Payment.order_id == order_id).with_for_update())).one()


async def close_payment(db: AsyncSession, order_id: int, *, by: int | None, reason: str) -> None:
    """The order is cancelled or expired: nothing is owed any more, and what was paid has to go back."""
    payment = await payment_of(db, order_id)
    left = await refundable(db, payment)
    if payment.state in (PaymentState.DUE, PaymentState.PARTIAL):
        before = PaymentState(payment.state)
        await PAYMENT_STATES.transition(db, payment.id, before, PaymentState.CANCELLED, by=by, reason=reason)
    await return_money(db, payment, left, by=by, reason=reason)


async def return_money(
    db: AsyncSession, payment: Payment, amount: int, *, by: int | None, reason: str
) -> list[Refund]:
    """`amount` of what counted goes back the way it came: one refund for each receipt it is taken from, the
    newest first. The caller has checked the amount."""
    made = []
    receipts = await db.scalars(
        select(Receipt)
        .where(Receipt.payment_id == payment.id, Receipt.counted > 0)
        .order_by(Receipt.id.desc())
    )
    for receipt in receipts.all():
        back = await db.scalar(
            select(func.coalesce(func.sum(Refund.amount), 0)).where(
                Refund.receipt_id == receipt.id, Refund.of_excess.is_(False)
            )
        )
        part = min(amount, receipt.counted - int(back or 0))
        if part > 0:
            amount -= part
            made.append(await want_refund(db, payment, part, by=by, reason=reason, receipt_id=receipt.id))
    if amount > 0:
        raise AssertionError(f"payment {payment.id} counts {amount} that no receipt brought")
    return made


async def want_refund(
    db: AsyncSession,
    payment: Payment,
    amount: int,
    *,
    by: int | None,
    reason: str,
    of_excess: bool = False,
    receipt_id: int | None = None,
) -> Refund:
    """Put it on the list of what has to go back. The caller has checked the amount, with the order locked."""
    refund = Refund(
        order_id=payment.order_id,
        payment_id=payment.id,
        receipt_id=receipt_id,
        amount=amount,
        of_excess=of_excess,
        state=RefundState.WANTED,
        reason=reason,
        by=by,
    )
    db.add(refund)
    await db.flush()
    db.add(
        RefundHistory(subject_id=refund.id, before="", after=RefundState.WANTED.value, by=by, reason=reason)
    )
    return refund


async def refundable(db: AsyncSession, payment: Payment) -> int:
    """Of what was paid, neither given back nor on its way."""
    under_way = await db.scalar(
        select(func.coalesce(func.sum(Refund.amount), 0)).where(
            Refund.payment_id == payment.id, Refund.state.in_(OPEN_REFUND), Refund.of_excess.is_(False)
        )
    )
    return payment.paid - payment.refunded - int(under_way or 0)


async def finish(
    db: AsyncSession, refund: Refund, payment: Payment, *, by: int | None, reference: str
) -> None:
    """The money is back with the buyer. Raises `WrongState`."""
    await REFUND_STATES.transition(
        db,
        refund.id,
        RefundState(refund.state),
        RefundState.DONE,
        by=by,
        reason=reference,
        reference=reference,
    )
    if refund.of_excess:
        return  # it never counted as payment
    refunded = payment.refunded + refund.amount
    if refunded == payment.paid and payment.state == PaymentState.PAID:
        await PAYMENT_STATES.transition(
            db, payment.id, PaymentState.PAID, PaymentState.REFUNDED, by=by, refunded=refunded
        )
    else:
        payment.refunded = refunded
    await taxes.adjust(db, payment.order_id)


async def take_back(db: AsyncSession, refund: Refund, payment: Payment, *, reason: str) -> None:
    """The card company sent it and could not: the money is not with the buyer after all."""
    await REFUND_STATES.transition(db, refund.id, RefundState.DONE, RefundState.FAILED, reason=reason)
    if refund.of_excess:
        return
    refunded = payment.refunded - refund.amount
    if payment.state == PaymentState.REFUNDED:
        await PAYMENT_STATES.transition(
            db, payment.id, PaymentState.REFUNDED, PaymentState.PAID, reason=reason, refunded=refunded
        )
    else:
        payment.refunded = refunded
    await taxes.adjust(db, payment.order_id)
