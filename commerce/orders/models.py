"""Orders: what was bought, by whom, from whom, and what became of it."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, History, Id
from commerce.core.states import StateTable


class OrderState(StrEnum):
    PLACED = "placed"
    CONFIRMED = "confirmed"
    PACKED = "packed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Purchase(Base):
    """What one buyer sent at once: one or more orders, each of exactly one seller."""

    __tablename__ = "purchase"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(unique=True)
    placed_at: Mapped[CreatedAt]


class IdempotencyKey(Base):
    """The answer a key already got, for 24 hours."""

    __tablename__ = "idempotency_key"

    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[str]
    purchase_id: Mapped[int]
    answer: Mapped[dict[str, Any]]
    at: Mapped[CreatedAt] = mapped_column(index=True)


class Order(Base):
    __tablename__ = "order"
    __table_args__ = (
        Index("ix_order_seller_id_placed_at", "seller_id", "placed_at"),
        Index("ix_order_expires_at", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    )

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(unique=True)
    """Also the transfer memo: upper-case ASCII letters and digits, at most 25."""
    key: Mapped[str]
    """The secret of the tracking link; whoever holds it is the buyer."""
    purchase_id: Mapped[int] = mapped_column(ForeignKey("purchase.id"), index=True)
    seller_id: Mapped[int] = mapped_column(ForeignKey("seller.id"))
    live_session_id: Mapped[int | None] = mapped_column(ForeignKey("live_session.id"), index=True)
    pin_id: Mapped[int | None]
    state: Mapped[str]
    total: Mapped[int]
    currency: Mapped[str] = mapped_column(server_default="VND")
    payment_method: Mapped[str]
    buyer_name: Mapped[str]
    buyer_phone: Mapped[str] = mapped_column(index=True)
    province_code: Mapped[str]
    commune_code: Mapped[str]
    """Of the delivery address; another province's codes are free text there."""
    street: Mapped[str]
    note: Mapped[str] = mapped_column(server_default="")
    consent_at: Mapped[datetime]
    visitor: Mapped[str] = mapped_column(server_default="")
    source: Mapped[str] = mapped_column(server_default="")
    entered_by: Mapped[int | None]
    """The helper who typed it in, if it came from outside."""
    demo: Mapped[bool] = mapped_column(server_default=text("false"))
    placed_at: Mapped[CreatedAt]
    ship_on: Mapped[date | None] = mapped_column(Date)
    """The day its parcel was promised to leave, for goods with a season or a packing capacity."""
    expires_at: Mapped[datetime | None]
    """Until when goods are held for money that is on its way; none for cash on delivery or once paid."""


class OrderTerms(Base):
    """What buyer and seller agreed on, as it stood when the order was placed: the text of the contract.

    Sellers move and listings change; a summary read months later must not.
    """

    __tablename__ = "order_terms"

    order_id: Mapped[int] = mapped_column(ForeignKey("order.id"), primary_key=True, autoincrement=False)
    terms: Mapped[dict[str, Any]]
    """{"seller": {name, kind, address, phone, registration}, "goods": {grade id: {origin, shelf_life}}}"""
    at: Mapped[CreatedAt]


class OrderHistory(History, Base):
    __tablename__ = "order_history"


_S = OrderState
ORDER_STATES = StateTable(
    Order,
    OrderHistory,
    {
        _S.PLACED: frozenset({_S.CONFIRMED, _S.PACKED, _S.CANCELLED, _S.EXPIRED}),
        _S.CONFIRMED: frozenset({_S.PACKED, _S.CANCELLED, _S.EXPIRED}),
        _S.PACKED: frozenset({_S.SHIPPED, _S.CANCELLED}),
        _S.SHIPPED: frozenset({_S.DELIVERED, _S.REFUSED}),
        _S.DELIVERED: frozenset(),
        _S.REFUSED: frozenset(),
        _S.CANCELLED: frozenset(),
        _S.EXPIRED: frozenset({_S.PLACED}),  # its money came late and there was still stock
    },
)
HOLDS_STOCK = frozenset({_S.PLACED, _S.CONFIRMED, _S.PACKED})
BUYER_MAY_CANCEL = frozenset({_S.PLACED, _S.CONFIRMED})


class OrderLine(Base):
    __tablename__ = "order_line"
    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity_positive"),
        Index("ix_order_line_deal_id", "deal_id", postgresql_where=text("deal_id IS NOT NULL")),
    )

    id: Mapped[Id]
    order_id: Mapped[int] = mapped_column(ForeignKey("order.id"), index=True)
    grade_id: Mapped[int] = mapped_column(ForeignKey("grade.id"), index=True)
    deal_id: Mapped[int | None]
    """The deal its price came from; how many a buyer took of a deal is counted over these lines."""
    item_code: Mapped[str]
    """The short code it was ordered by: A1."""
    product_name: Mapped[str]
    grade_name: Mapped[str]
    unit: Mapped[str]
    unit_price: Mapped[int]
    quantity: Mapped[int]
    amount: Mapped[int]


class WholesaleEnquiry(Base):
    """A trader who wants tonnes: called back by the sellers, not an order."""

    __tablename__ = "wholesale_enquiry"
    __table_args__ = (CheckConstraint("kilograms > 0", name="kilograms_positive"),)

    id: Mapped[Id]
    commune_code: Mapped[str] = mapped_column(ForeignKey("commune.code"), index=True)
    """Whose goods it is about; its office and its helpers call back."""
    live_session_id: Mapped[int | None] = mapped_column(ForeignKey("live_session.id"), index=True)
    grade_id: Mapped[int | None] = mapped_column(ForeignKey("grade.id"))
    name: Mapped[str]
    phone: Mapped[str]
    kilograms: Mapped[int]
    note: Mapped[str] = mapped_column(server_default="")
    source: Mapped[str] = mapped_column(server_default="")
    entered_by: Mapped[int | None]
    """The helper who noted it; nobody when the trader wrote it."""
    at: Mapped[CreatedAt]
    called_at: Mapped[datetime | None]
    called_by: Mapped[int | None]
