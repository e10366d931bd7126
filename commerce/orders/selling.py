"""What a seller does with an order: see what is to pack today, and say that it is packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog import assisting
from commerce.catalog.models import Seller
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import NotFound
from commerce.core.roles import Identity, Role
from commerce.core.text import mask_name
from commerce.orders.models import ORDER_STATES, Order, OrderLine, OrderState
from commerce.orders.service import lock_order
from commerce.payments.models import Payment, PaymentState

TO_PACK = (OrderState.PLACED, OrderState.CONFIRMED)
UNDER_WAY = (*TO_PACK, OrderState.PACKED, OrderState.SHIPPED)


@dataclass(frozen=True, slots=True)
class ToPack:
    """An order that waits to be packed; the buyer's name is masked, the packing slip has it whole."""

    code: str
    buyer: str
    placed_at: datetime
    total: int
    paid: bool
    lines: Sequence[OrderLine]


async def own_seller(db: AsyncSession, identity: Identity) -> Seller | None:
    """The stall this person tends; the first one, should there be several."""
    return await db.scalar(
        select(Seller).where(Seller.person_id == identity.person_id).order_by(Seller.id).limit(1)
    )


async def to_pack(db: AsyncSession, seller_id: int, limit: int = 200) -> list[ToPack]:
    """What leaves today or as soon as it can, oldest first. Orders whose transfer, card payment or deposit
    has not come yet wait for it; those of a later day for their day."""
    rows = (
        await db.execute(
            select(Order, Payment.state)
            .join(Payment, Payment.order_id == Order.id)
            .where(
                Order.seller_id == seller_id,
                Order.state.in_(TO_PACK),
                Payment.paid >= Payment.advance,
                or_(Order.ship_on.is_(None), Order.ship_on <= clock.today()),
            )
            .order_by(Order.placed_at)
            .limit(limit)
        )
    ).all()
    lines: dict[int, list[OrderLine]] = {row.Order.id: [] for row in rows}
    for line in await db.scalars(
        select(OrderLine).where(OrderLine.order_id.in_(lines)).order_by(OrderLine.id)
    ):
        lines[line.order_id].append(line)
    return [
        ToPack(
            row.Order.code,
            mask_name(row.Order.buyer_name),
            row.Order.placed_at,
            row.Order.total,
            row.state == PaymentState.PAID,
            lines[row.Order.id],
        )
        for row in rows
    ]


async def owed(db: AsyncSession, seller_id: int) -> int:
    """Whole dong of orders under way that have not reached the seller yet."""
    total = await db.scalar(
        select(func.sum(Payment.amount - Payment.paid))
        .join(Order, Order.id == Payment.order_id)
        .where(Order.seller_id == seller_id, Order.state.in_(UNDER_WAY))
    )
    return int(total or 0)


async def pack_order(by: Identity, code: str) -> None:
    """The parcel is ready. The seller's own, or commune staff for them.

    Raises `NotFound` (also for others' orders: nobody learns that a code exists), `WrongState`.
    """
    async with sessions.begin() as db:
        order = await lock_order(db, code)
        seller = await db.get(Seller, order.seller_id) if order else None
        if order is None or seller is None:
            raise NotFound
        if seller.person_id != by.person_id and not by.may(seller.commune_code, Role.OFFICER):
            raise NotFound
        before = OrderState(order.state)
        await ORDER_STATES.transition(db, order.id, before, OrderState.PACKED, by=by.person_id)
        await assisting.note(db, by, seller, "packed", order=order.code)
