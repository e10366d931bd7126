"""Complaints as lists and as one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.models import Person
from commerce.catalog.models import Seller
from commerce.complaints import words
from commerce.complaints.models import (
    UNSETTLED,
    Complaint,
    ComplaintHistory,
    ComplaintMessage,
    ComplaintState,
    Reason,
)
from commerce.core import clock
from commerce.core.i18n import translate
from commerce.live.models import LiveSession
from commerce.orders.models import Order
from commerce.payments.books import refundable
from commerce.payments.models import Payment

MOST = 200


@dataclass(frozen=True, slots=True)
class Row:
    """A complaint in a list."""

    complaint: Complaint
    about: str
    """The order's code or the session's title."""
    seller: str
    now: datetime

    @property
    def state(self) -> str:
        return translate(words.STATE[ComplaintState(self.complaint.state)])

    @property
    def reason(self) -> str:
        return translate(words.REASON[Reason(self.complaint.reason)])

    @property
    def unsettled(self) -> bool:
        return self.complaint.state in UNSETTLED

    @property
    def overdue(self) -> bool:
        return self.unsettled and self.complaint.due_at < self.now

    @property
    def url(self) -> str:
        """Of the complainant's own page."""
        return f"/complaints/{self.complaint.code}?{urlencode({'key': self.complaint.key})}"


@dataclass(frozen=True, slots=True)
class Said:
    message: ComplaintMessage
    who: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A complaint with all that was said and done."""

    row: Row
    said: Sequence[Said]
    steps: Sequence[ComplaintHistory]
    order: Order | None
    session: LiveSession | None
    refundable: int
    """Whole dong that could go back."""


async def listed(db: AsyncSession, *where: ColumnElement[bool], settled: bool | None = None) -> list[Row]:
    """What waits first, the most urgent at the top; `settled`: only such, or only the others."""
    if settled is not None:
        where += (Complaint.state.not_in(UNSETTLED) if settled else Complaint.state.in_(UNSETTLED),)
    rows = await db.execute(
        select(Complaint, Order.code, LiveSession.title, Seller.name)
        .outerjoin(Order, Order.id == Complaint.order_id)
        .outerjoin(LiveSession, LiveSession.id == Complaint.live_session_id)
        .outerjoin(Seller, Seller.id == Complaint.seller_id)
        .where(*where)
        .order_by(Complaint.state.not_in(UNSETTLED), Complaint.due_at, Complaint.id)
        .limit(MOST)
    )
    now = clock.now()
    return [Row(row.Complaint, row.code or row.title or "", row.name or "", now) for row in rows]


async def waiting(db: AsyncSession, *where: ColumnElement[bool]) -> tuple[int, int]:
    """(how many are not settled, how many of them are overdue)"""
    row = (
        await db.execute(
            select(func.count(), func.count().filter(Complaint.due_at < func.now())).where(
                *where, Complaint.state.in_(UNSETTLED)
            )
        )
    ).one()
    return int(row[0]), int(row[1])


async def of_order(db: AsyncSession, order_id: int) -> list[Row]:
    return await listed(db, Complaint.order_id == order_id)


async def open_one(db: AsyncSession, complaint: Complaint) -> Opened:
    order = await db.get(Order, complaint.order_id) if complaint.order_id else None
    session = await db.get(LiveSession, complaint.live_session_id) if complaint.live_session_id else None
    seller = await db.get(Seller, complaint.seller_id) if complaint.seller_id else None
    said = await db.execute(
        select(ComplaintMessage, Person.name)
        .outerjoin(Person, Person.id == ComplaintMessage.by)
        .where(ComplaintMessage.complaint_id == complaint.id)
        .order_by(ComplaintMessage.id)
    )
    steps = await db.scalars(
        select(ComplaintHistory)
        .where(ComplaintHistory.subject_id == complaint.id)
        .order_by(ComplaintHistory.id)
    )
    left = 0
    if order is not None:
        payment = (await db.scalars(select(Payment).where(Payment.order_id == order.id))).one()
        left = await refundable(db, payment)
    about = order.code if order else session.title if session else ""
    return Opened(
        row=Row(complaint, about, seller.name if seller else "", clock.now()),
        said=[Said(row.ComplaintMessage, _who(row.ComplaintMessage, row.name, complaint)) for row in said],
        steps=list(steps),
        order=order,
        session=session,
        refundable=left,
    )


def _who(message: ComplaintMessage, name: str | None, complaint: Complaint) -> str:
    side = translate(words.SIDE[message.side])
    person = complaint.name if message.side == "buyer" else name
    return f"{person} · {side}" if person else side
