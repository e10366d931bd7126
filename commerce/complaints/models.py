"""Complaints: what went wrong with an order or in a session, what was said about it, and how it ended."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, History, Id
from commerce.core.states import StateTable


class ComplaintState(StrEnum):
    OPEN = "open"
    """Waits for the seller's or the office's word."""
    ANSWERED = "answered"
    """Somebody answered; not settled yet."""
    REFUNDED = "refunded"
    REPLACED = "replaced"
    """Other goods are sent, or what was wrong in a session was put right."""
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class Reason(StrEnum):
    SPOILED = "spoiled"
    WRONG = "wrong"
    SHORT = "short"
    LATE = "late"
    MISLEADING = "misleading"
    """Not what was said in the session."""
    OTHER = "other"


class Complaint(Base):
    """About an order, or about a session by somebody who need not have bought anything."""

    __tablename__ = "complaint"
    __table_args__ = (
        CheckConstraint("num_nonnulls(order_id, live_session_id) > 0", name="about_something"),
        Index(
            "ix_complaint_open",
            "commune_code",
            "due_at",
            postgresql_where=text("state IN ('open', 'answered')"),
        ),
    )

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(unique=True)
    key: Mapped[str]
    """The secret of the complaint's page; whoever holds it is the complainant."""
    order_id: Mapped[int | None] = mapped_column(ForeignKey("order.id"), index=True)
    seller_id: Mapped[int | None] = mapped_column(ForeignKey("seller.id"), index=True)
    live_session_id: Mapped[int | None] = mapped_column(ForeignKey("live_session.id"), index=True)
    commune_code: Mapped[str] = mapped_column(ForeignKey("commune.code"))
    """Whose office looks after it."""
    reason: Mapped[str]
    state: Mapped[str]
    name: Mapped[str]
    phone: Mapped[str]
    due_at: Mapped[datetime]
    """Until when somebody has to answer; once answered, until when it has to be settled."""
    resolution: Mapped[str] = mapped_column(server_default="")
    """The last word, in words."""
    refund_amount: Mapped[int | None]
    created_at: Mapped[CreatedAt]


class ComplaintHistory(History, Base):
    __tablename__ = "complaint_history"


class ComplaintMessage(Base):
    """One thing said: by the complainant (`by` is none), the seller or the office."""

    __tablename__ = "complaint_message"

    id: Mapped[Id]
    complaint_id: Mapped[int] = mapped_column(ForeignKey("complaint.id"), index=True)
    by: Mapped[int | None]
    side: Mapped[str]
    """`buyer`, `seller`, `office`."""
    words: Mapped[str]
    photos: Mapped[list[Any]]
    """[{sha256, width, height, widths}]: pictures that only the parties get."""
    at: Mapped[CreatedAt]


_C = ComplaintState
_ENDS = frozenset({_C.REFUNDED, _C.REPLACED, _C.REFUSED, _C.WITHDRAWN})
COMPLAINT_STATES = StateTable(
    Complaint,
    ComplaintHistory,
    {
        _C.OPEN: _ENDS | {_C.ANSWERED},
        _C.ANSWERED: _ENDS | {_C.OPEN},  # the buyer asked again
        _C.REFUSED: frozenset({_C.OPEN}),  # the buyer does not agree
        _C.REFUNDED: frozenset(),
        _C.REPLACED: frozenset({_C.OPEN}),  # what was sent instead is no better
        _C.WITHDRAWN: frozenset(),
    },
)
UNSETTLED = frozenset({_C.OPEN, _C.ANSWERED})
