"""Reads about money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.models import Person
from commerce.catalog.models import Bank, Seller
from commerce.core.db import sessions
from commerce.core.errors import NotFound
from commerce.core.roles import Identity, Role
from commerce.orders.models import Order, OrderHistory, OrderLine, OrderState
from commerce.payments.books import refundable
from commerce.payments.models import (
    OPEN_REFUND,
    BankFeed,
    CardAccount,
    Outcome,
    Payment,
    PaymentState,
    Receipt,
    Refund,
    RefundState,
)

AWAITING = (OrderState.PLACED, OrderState.CONFIRMED)


@dataclass(frozen=True, slots=True)
class UnmatchedRow:
    id: int
    at: datetime
    seller: str
    source: str
    amount: int
    memo: str
    likely: tuple[str, ...] = ()
    """Codes of orders that wait for just this sum."""


@dataclass(frozen=True, slots=True)
class RefundRow:
    id: int
    order: str
    seller: str
    amount: int
    state: str
    reason: str
    created_at: datetime
    by_card: bool
    """The card company sends it; nobody does by hand, unless it failed."""
    buyer: str
    phone: str
    reference: str | None

    @property
    def by_hand(self) -> bool:
        return not self.by_card or self.state == RefundState.FAILED


@dataclass(frozen=True, slots=True)
class AwaitedRow:
    """An order that waits for a transfer, a card payment or a deposit."""

    code: str
    buyer: str
    phone: str
    seller: str
    method: str
    due_now: int
    paid: int
    placed_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """Money that came: how, how much, what became of it, and who said so if a person did."""

    at: datetime
    source: str
    amount: int
    counted: int
    outcome: str
    order: str | None
    by: str | None
    note: str
    reference: str


def handled_by(identity: Identity) -> ColumnElement[bool]:
    """Sellers whose money this person handles: their own, or those of their office's communes."""
    communes = identity.communes(Role.OFFICER)
    if Role.ADMIN in identity.roles or None in communes:
        return true()
    return or_(Seller.person_id == identity.person_id, Seller.commune_code.in_([c for c in communes if c]))


async def unmatched(identity: Identity, limit: int = 200) -> list[UnmatchedRow]:
    async with sessions.read() as db:
        rows = await db.execute(
            select(
                Receipt.id, Receipt.at, Seller.name, Receipt.source, Receipt.amount, Receipt.memo, Seller.id
            )
            .join(Seller, Seller.id == Receipt.seller_id)
            .where(Receipt.outcome == Outcome.UNMATCHED, handled_by(identity))
            .order_by(Receipt.id.desc())
            .limit(limit)
        )
        return [
            UnmatchedRow(*row[:6], likely=await _likely(db, seller=row[6], amount=row.amount)) for row in rows
        ]


async def _likely(db: AsyncSession, *, seller: int, amount: int) -> tuple[str, ...]:
    codes = await db.scalars(
        select(Order.code)
        .join(Payment, Payment.order_id == Order.id)
        .where(
            Order.seller_id == seller,
            Payment.state.in_((PaymentState.DUE, PaymentState.PARTIAL)),
            or_(Payment.amount - Payment.paid == amount, Payment.advance - Payment.paid == amount),
            Order.placed_at > func.now() - func.make_interval(0, 0, 0, 7),
        )
        .order_by(Order.id.desc())
        .limit(3)
    )
    return tuple(codes)


def _refunds(*conditions: ColumnElement[bool]) -> Any:
    by_card = (func.coalesce(Receipt.source, "") == "stripe").label("by_card")
    return (
        select(
            Refund.id,
            Order.code,
            Seller.name,
            Refund.amount,
            Refund.state,
            Refund.reason,
            Refund.created_at,
            by_card,
            Order.buyer_name,
            Order.buyer_phone,
            Refund.reference,
        )
        .join(Order, Order.id == Refund.order_id)
        .join(Seller, Seller.id == Order.seller_id)
        .outerjoin(Receipt, Receipt.id == Refund.receipt_id)
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


async def awaited(identity: Identity, limit: int = 200) -> list[AwaitedRow]:
    """Oldest first."""
    async with sessions.read() as db:
        rows = await db.execute(
            select(
                Order.code,
                Order.buyer_name,
                Order.buyer_phone,
                Seller.name,
                Payment.method,
                Payment.advance - Payment.paid,
                Payment.paid,
                Order.placed_at,
                Order.expires_at,
            )
            .join(Payment, Payment.order_id == Order.id)
            .join(Seller, Seller.id == Order.seller_id)
            .where(
                handled_by(identity),
                Order.state.in_(AWAITING),
                Payment.state.in_((PaymentState.DUE, PaymentState.PARTIAL)),
                Payment.paid < Payment.advance,
            )
            .order_by(Order.id)
            .limit(limit)
        )
        return [AwaitedRow(*row) for row in rows]


def _receipts(*conditions: ColumnElement[bool]) -> Any:
    return (
        select(
            Receipt.at,
            Receipt.source,
            Receipt.amount,
            Receipt.counted,
            Receipt.outcome,
            Order.code,
            Person.name,
            Receipt.note,
            Receipt.external_id,
        )
        .join(Seller, Seller.id == Receipt.seller_id)
        .outerjoin(Payment, Payment.id == Receipt.payment_id)
        .outerjoin(Order, Order.id == Payment.order_id)
        .outerjoin(Person, Person.id == Receipt.by)
        .where(*conditions)
    )


async def latest_receipts(identity: Identity, limit: int = 30) -> list[ReceiptRow]:
    """Newest first; what still matches nothing has a list of its own."""
    async with sessions.read() as db:
        found = _receipts(handled_by(identity), Receipt.outcome != Outcome.UNMATCHED)
        rows = await db.execute(found.order_by(Receipt.id.desc()).limit(limit))
        return [ReceiptRow(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Books:
    """One order as those see it who handle its seller's money."""

    order: Order
    seller: Seller
    payment: Payment
    lines: Sequence[OrderLine]
    receipts: list[ReceiptRow]
    refunds: list[RefundRow]
    history: list[tuple[OrderHistory, str | None]]
    """With the name of who did it."""
    refundable: int
    """Of what was paid, neither given back nor on its way."""


async def books_of(identity: Identity, code: str) -> Books:
    """Raises `NotFound`, also for orders of sellers whose money this person does not handle."""
    async with sessions.read() as db:
        found = (
            await db.execute(
                select(Order, Seller, Payment)
                .join(Seller, Seller.id == Order.seller_id)
                .join(Payment, Payment.order_id == Order.id)
                .where(Order.code == code.upper(), handled_by(identity))
            )
        ).one_or_none()
        if found is None:
            raise NotFound
        order, seller, payment = found
        lines = await db.scalars(
            select(OrderLine).where(OrderLine.order_id == order.id).order_by(OrderLine.id)
        )
        receipts = await db.execute(_receipts(Receipt.payment_id == payment.id).order_by(Receipt.id))
        refunds = await db.execute(_refunds(Refund.order_id == order.id).order_by(Refund.id))
        history = await db.execute(
            select(OrderHistory, Person.name)
            .outerjoin(Person, Person.id == OrderHistory.by)
            .where(OrderHistory.subject_id == order.id)
            .order_by(OrderHistory.id)
        )
        left = await refundable(db, payment)
        return Books(
            order,
            seller,
            payment,
            lines.all(),
            [ReceiptRow(*row) for row in receipts],
            [RefundRow(*row) for row in refunds],
            [(step, name) for step, name in history],
            left,
        )


@dataclass(frozen=True, slots=True)
class WaysRow:
    """How one seller is paid."""

    id: int
    name: str
    bank: str | None
    account: str | None
    feeds: tuple[str, ...]
    """Services that tell of credits on the account."""
    cards: bool
    deposit_percent: int
    deposit_fee: int


async def ways_of_sellers(identity: Identity, limit: int = 200) -> list[WaysRow]:
    feeds = (
        select(func.array_agg(BankFeed.service))
        .where(BankFeed.seller_id == Seller.id, BankFeed.active.is_(True))
        .scalar_subquery()
    )
    async with sessions.read() as db:
        rows = await db.execute(
            select(
                Seller.id,
                Seller.name,
                Bank.short_name,
                Seller.bank_account,
                feeds,
                func.coalesce(CardAccount.active, False),
                Seller.deposit_percent,
                Seller.deposit_fee,
            )
            .outerjoin(Bank, Bank.bin == Seller.bank_bin)
            .outerjoin(CardAccount, CardAccount.seller_id == Seller.id)
            .where(handled_by(identity))
            .order_by(Seller.sort_key)
            .limit(limit)
        )
        return [
            WaysRow(number, name, bank, account, tuple(sorted(services or ())), cards, percent, fee)
            for number, name, bank, account, services, cards, percent, fee in rows
        ]
