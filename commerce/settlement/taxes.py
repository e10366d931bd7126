"""Tax that the platform withholds, line by line, by the table of rates; a refund reverses its part.

Records are changes. `adjust` knows what each line of a delivered order must have come to (its amount less its
share of what went back, at the rate in force when it was delivered) and appends the difference to what is
recorded. So it may be called as often as one likes, a full refund leaves exactly nothing, and no rounding is
ever carried along.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog.models import Seller
from commerce.core import clock
from commerce.core.money import Money
from commerce.orders.models import Order, OrderLine, OrderState
from commerce.payments.models import Payment
from commerce.settlement.models import TaxEntry, TaxRate


async def adjust(db: AsyncSession, order_id: int) -> None:
    """Bring the records of a locked order up to date. Nothing is withheld before goods are delivered."""
    facts = select(Order.state, Order.seller_id, Payment.refunded).join(Payment, Payment.order_id == Order.id)
    order = (await db.execute(facts.where(Order.id == order_id))).one()
    if order.state != OrderState.DELIVERED:
        return
    lines = list(
        await db.scalars(select(OrderLine).where(OrderLine.order_id == order_id).order_by(OrderLine.id))
    )
    recorded: dict[tuple[int, str], list[TaxEntry]] = {}
    for entry in await db.scalars(
        select(TaxEntry).where(TaxEntry.order_id == order_id).order_by(TaxEntry.id)
    ):
        recorded.setdefault((entry.order_line_id, entry.tax), []).append(entry)
    rates = (
        {tax: entries[0].basis_points for (_, tax), entries in recorded.items()}
        if recorded
        else await rates_for(db, order.seller_id)
    )
    if not rates:
        return
    back = Money(order.refunded).split([line.amount for line in lines])
    for line, part in zip(lines, back, strict=True):
        base = Money(line.amount) - part
        for tax, basis_points in sorted(rates.items()):
            before = recorded.get((line.id, tax), [])
            base_change = base.amount - sum(entry.base for entry in before)
            change = base.share(basis_points).amount - sum(entry.amount for entry in before)
            if base_change or change:
                db.add(
                    TaxEntry(
                        order_id=order_id,
                        order_line_id=line.id,
                        seller_id=order.seller_id,
                        tax=tax,
                        basis_points=basis_points,
                        base=base_change,
                        amount=change,
                    )
                )
    await db.flush()


async def rates_for(db: AsyncSession, seller_id: int) -> Mapping[str, int]:
    """Tax -> basis points, as in force today for this kind of seller."""
    seller = await db.get_one(Seller, seller_id)
    rows = await db.scalars(
        select(TaxRate)
        .where(TaxRate.seller_kind == seller.kind, TaxRate.valid_from <= clock.today())
        .order_by(TaxRate.valid_from)
    )
    return {rate.tax: rate.basis_points for rate in rows}  # the latest of each tax wins
