"""Payments: what each order is owed, what came in, and what went back. The platform itself holds no money."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, History, Id
from commerce.core.states import StateTable


class Method(StrEnum):
    COD = "cod"
    VIETQR = "vietqr"
    CARD = "card"


class PaymentState(StrEnum):
    DUE = "due"
    PARTIAL = "partial"
    """Some money came, less than the whole: the order waits for the rest, or the rest is paid on delivery."""
    PAID = "paid"
    REFUNDED = "refunded"
    """All that was paid went back."""
    CANCELLED = "cancelled"
    """Nothing is owed any more: the order was cancelled or expired."""


class Payment(Base):
    """What one order is owed by one way of paying."""

    __tablename__ = "payment"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("advance BETWEEN 0 AND amount", name="advance_within_amount"),
        CheckConstraint("paid BETWEEN 0 AND amount", name="paid_within_amount"),
        CheckConstraint("refunded BETWEEN 0 AND paid", name="refunded_within_paid"),
    )

    id: Mapped[Id]
    order_id: Mapped[int] = mapped_column(ForeignKey("order.id"), index=True)
    method: Mapped[str]
    state: Mapped[str]
    amount: Mapped[int]
    advance: Mapped[int] = mapped_column(server_default="0")
    """Of `amount`, what must have come before the parcel is packed: all of it for a transfer or a card, none
    for cash on delivery, or the deposit or shipping fee that the seller asks for."""
    paid: Mapped[int] = mapped_column(server_default="0")
    """Of `amount`; what comes beyond it is a refund that is wanted, never revenue."""
    refunded: Mapped[int] = mapped_column(server_default="0")
    """Of `paid`, gone back to the buyer."""
    currency: Mapped[str] = mapped_column(server_default="VND")
    reference: Mapped[str | None] = mapped_column(index=True)
    """The card company's name for it: a Checkout Session."""
    intent: Mapped[str | None] = mapped_column(index=True)
    """The card company's name for the money itself: a PaymentIntent."""
    created_at: Mapped[CreatedAt]

    @property
    def left(self) -> int:
        return self.amount - self.paid

    @property
    def due_now(self) -> int:
        """What is awaited before the parcel is packed."""
        open_states = (PaymentState.DUE, PaymentState.PARTIAL)
        return max(0, self.advance - self.paid) if self.state in open_states else 0


class PaymentHistory(History, Base):
    __tablename__ = "payment_history"


_P = PaymentState
PAYMENT_STATES = StateTable(
    Payment,
    PaymentHistory,
    {
        _P.DUE: frozenset({_P.PARTIAL, _P.PAID, _P.CANCELLED}),
        _P.PARTIAL: frozenset({_P.PAID, _P.CANCELLED}),
        _P.PAID: frozenset({_P.REFUNDED}),
        _P.REFUNDED: frozenset({_P.PAID}),  # the card company could not give it back after all
        _P.CANCELLED: frozenset({_P.DUE}),  # late money for an expired order whose goods were still there
    },
)


class Outcome(StrEnum):
    """What became of money that came in."""

    MATCHED = "matched"
    PARTIAL = "partial"
    """Counted, but less than the order waits for."""
    EXCESS = "excess"
    """Counted up to what was asked; the rest is a refund wanted."""
    LATE = "late"
    """Came when the order was closed and its goods were gone: a refund wanted."""
    UNMATCHED = "unmatched"
    """No order of ours by memo and account; a person decides."""
    SETTLED = "settled"
    """Was unmatched; a person has decided that it was for no order of ours."""
    RETURNED = "returned"
    """Was unmatched; a person has sent it back."""


class Receipt(Base):
    """Money that came to a seller, once by (source, external id), whoever told us and how often."""

    __tablename__ = "receipt"
    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        CheckConstraint("amount > 0", name="amount_positive"),
        Index("ix_receipt_unmatched", "id", postgresql_where=text("outcome = 'unmatched'")),
    )

    id: Mapped[Id]
    source: Mapped[str]
    """`sepay`, `payos`, `stripe`, `hand` (a person ticked "đã nhận tiền"), `carrier` (cash on delivery)."""
    external_id: Mapped[str]
    payment_id: Mapped[int | None] = mapped_column(ForeignKey("payment.id"), index=True)
    seller_id: Mapped[int | None] = mapped_column(ForeignKey("seller.id"), index=True)
    amount: Mapped[int]
    counted: Mapped[int] = mapped_column(server_default="0")
    """What of it counts as payment."""
    account: Mapped[str] = mapped_column(server_default="")
    memo: Mapped[str] = mapped_column(server_default="")
    outcome: Mapped[str]
    confirms: Mapped[int | None] = mapped_column(ForeignKey("receipt.id"), unique=True)
    """The receipt by hand that this notice proved: the same money told twice is counted once."""
    by: Mapped[int | None]
    note: Mapped[str] = mapped_column(server_default="")
    at: Mapped[CreatedAt]


class RefundState(StrEnum):
    WANTED = "wanted"
    """Somebody has to send it (transfer, cash) or the card company is still to be asked."""
    SENT = "sent"
    DONE = "done"
    FAILED = "failed"


class Refund(Base):
    """Money that has to go back. `of_excess`: it never counted as payment."""

    __tablename__ = "refund"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_positive"),)

    id: Mapped[Id]
    order_id: Mapped[int] = mapped_column(ForeignKey("order.id"), index=True)
    payment_id: Mapped[int] = mapped_column(ForeignKey("payment.id"), index=True)
    receipt_id: Mapped[int | None] = mapped_column(ForeignKey("receipt.id"))
    amount: Mapped[int]
    of_excess: Mapped[bool] = mapped_column(server_default=text("false"))
    state: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str] = mapped_column(server_default="")
    by: Mapped[int | None]
    reference: Mapped[str | None] = mapped_column(index=True)
    created_at: Mapped[CreatedAt]


class RefundHistory(History, Base):
    __tablename__ = "refund_history"


_R = RefundState
REFUND_STATES = StateTable(
    Refund,
    RefundHistory,
    {
        _R.WANTED: frozenset({_R.SENT, _R.DONE, _R.FAILED}),
        _R.SENT: frozenset({_R.DONE, _R.FAILED}),
        _R.FAILED: frozenset({_R.WANTED, _R.SENT, _R.DONE}),
        _R.DONE: frozenset({_R.FAILED}),  # cards: "succeeded" may be taken back days later
    },
)
OPEN_REFUND = frozenset({_R.WANTED, _R.SENT, _R.FAILED})
"""Money that is still to go back."""


class BankFeed(Base):
    """A service that tells us of credits on a seller's account. Its secret is kept sealed."""

    __tablename__ = "bank_feed"
    __table_args__ = (UniqueConstraint("service", "account"),)

    id: Mapped[Id]
    seller_id: Mapped[int] = mapped_column(ForeignKey("seller.id"), index=True)
    service: Mapped[str]
    account: Mapped[str]
    secret: Mapped[str]
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[CreatedAt]


class CardAccount(Base):
    """A seller who takes cards: the account at the card company that the money goes to."""

    __tablename__ = "card_account"

    seller_id: Mapped[int] = mapped_column(ForeignKey("seller.id"), primary_key=True, autoincrement=False)
    account: Mapped[str] = mapped_column(unique=True)
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[CreatedAt]


class WebhookEvent(Base):
    """The inbox: every notice once by (source, external id), kept until it has been applied."""

    __tablename__ = "webhook_event"
    __table_args__ = (UniqueConstraint("source", "external_id"),)

    id: Mapped[Id]
    source: Mapped[str]
    external_id: Mapped[str]
    payload: Mapped[dict[str, Any]]
    received_at: Mapped[CreatedAt]
    done_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(server_default="")
