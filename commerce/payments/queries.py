"""Reads about money."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select, true

from commerce.catalog.models import Seller
from commerce.core.db import sessions
from commerce.core.roles import Identity, Role
from commerce.orders.models import Order
from commerce.payments.models import OPEN_REFUND, Outcome, Receipt, Refund


@dataclass(frozen=True, slots=True)
class UnmatchedRow:
    id: int
    at: datetime
    seller: str
    source: str
    amount: int
    memo: str


@dataclass(frozen=True, slots=True)
class RefundRow:
    id: int
    order: str
    seller: str
    amount: int
    state: str
    reason: str
    created_at: datetime


def handled_by(identity: Identity) -> ColumnElement[bool]:
    """Sellers whose money this person handles: their own, or those of their office's communes."""
    communes = identity.communes(Role.OFFICER)
    if Role.ADMIN in identity.roles or None in communes:
        return true()
    return or_(Seller.person_id == identity.person_id, Seller.commune_code.in_([c for c in communes if c]))


async def unmatched(identity: Identity, limit: int = 200) -> list[UnmatchedRow]:
    async with sessions.read() as db:
        rows = await db.execute(
            select(Receipt.id, Receipt.at, Seller.name, Receipt.source, Receipt.amount, Receipt.memo)
            .join(Seller, Seller.id == Receipt.seller_id)
            .where(Receipt.outcome == Outcome.UNMATCHED, handled_by(identity))
            .order_by(Receipt.id.desc())
            .limit(limit)
        )
        return [UnmatchedRow(*row) for row in rows]


def _refunds(*conditions: ColumnElement[bool]) -> Any:
    return (
        select(
            Refund.id, Order.code, Seller.name, Refund.amount, Refund.state, Refund.reason, Refund.created_at
        )
        .join(Order, Order.id == Refund.order_id)
        .join(Seller, Seller.id == Order.seller_id)
        .where(*conditions)
    )


async def open_refunds(identity: Identity, limit: int = 200) -> list[RefundRow]:
    async with sessions.read() as db:
        found = _refunds(Refund.state.in_(OPEN_REFUND), handled_by(identity))
        rows = await db.execute(found.order_by(Refund.id).limit(limit))
        return [RefundRow(*row) for row in rows]


async def refund_row(refund_id: int) -> RefundRow:
    async with sessions.read() as db:
        return RefundRow(*(await db.execute(_refunds(Refund.id == refund_id))).one())
