"""What tax is withheld of sales: the dated table of rates, and a record of every line."""

from __future__ import annotations

from datetime import date

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, Id


class TaxRate(Base):
    """From `valid_from` on, until a later row of the same tax and kind of seller. Facts, not code."""

    __tablename__ = "tax_rate"
    __table_args__ = (
        UniqueConstraint("tax", "seller_kind", "valid_from"),
        CheckConstraint("basis_points BETWEEN 0 AND 10000", name="basis_points"),
    )

    id: Mapped[Id]
    tax: Mapped[str]
    """`vat` (giá trị gia tăng) or `pit` (thu nhập cá nhân)."""
    seller_kind: Mapped[str]
    """Of the sellers it is withheld from: `household`. Others pay their own taxes and have no rows."""
    basis_points: Mapped[int]
    """10.000 is the whole: 100 is 1 %."""
    valid_from: Mapped[date] = mapped_column(Date)
    source: Mapped[str] = mapped_column(server_default="")
    by: Mapped[int | None]
    created_at: Mapped[CreatedAt]


class TaxEntry(Base):
    """A change of what is withheld of one order line; append-only, signed: a refund reverses what it was."""

    __tablename__ = "tax_entry"
    __table_args__ = (Index("ix_tax_entry_seller_id_at", "seller_id", "at"),)

    id: Mapped[Id]
    order_id: Mapped[int] = mapped_column(ForeignKey("order.id"), index=True)
    order_line_id: Mapped[int] = mapped_column(ForeignKey("order_line.id"), index=True)
    seller_id: Mapped[int] = mapped_column(ForeignKey("seller.id"))
    tax: Mapped[str]
    basis_points: Mapped[int]
    """As in force when the goods were delivered; a reversal uses the rate of what it reverses."""
    base: Mapped[int]
    amount: Mapped[int]
    at: Mapped[CreatedAt]
