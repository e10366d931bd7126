"""Money that has to go back to a buyer."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from commerce.payments.models import Payment, Refund, RefundHistory, RefundState


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
