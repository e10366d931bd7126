"""Goods held for money that did not come are given back."""

from __future__ import annotations

from sqlalchemy import func, select

from commerce.core.db import sessions
from commerce.orders.models import Order, OrderState
from commerce.orders.service import close_order

AT_ONCE = 500
WAITS = (OrderState.PLACED, OrderState.CONFIRMED)


async def expire_orders() -> None:
    """Expire every order whose time is up, each in its own transaction. A job, safe to repeat."""
    async with sessions.read() as db:
        due = select(Order.id).where(Order.expires_at < func.now(), Order.state.in_(WAITS))
        ids = (await db.scalars(due.order_by(Order.expires_at).limit(AT_ONCE))).all()
    for order_id in ids:
        await expire_order(order_id)


async def expire_order(order_id: int) -> bool:
    """False when it is not due after all: paid or cancelled in the meantime, or somebody is at it now."""
    async with sessions.begin() as db:
        order = await db.scalar(
            select(Order)
            .where(Order.id == order_id, Order.expires_at < func.now(), Order.state.in_(WAITS))
            .with_for_update(key_share=True, skip_locked=True)
        )
        if order is None:
            return False
        await close_order(db, order, OrderState.EXPIRED, by=None, reason="not paid in time")
        return True
