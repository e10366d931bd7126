"""Sellers, what they sell, in which grades and at what price, and what it was recognised as."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Date, Double, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, History, Id


class SellerKind(StrEnum):
    HOUSEHOLD = "household"
    COOPERATIVE = "cooperative"
    COMPANY = "company"


class Unit(StrEnum):
    KG = "kg"
    BOX = "box"
    TONNE = "tonne"
    PIECE = "piece"


class ListingState(StrEnum):
    """Of sellers and products alike: nothing is shown before the commune office has reviewed it."""

    DRAFT = "draft"
    REVIEW = "review"
    APPROVED = "approved"
    REFUSED = "refused"
    PAUSED = "paused"


class Seller(Base):
    __tablename__ = "seller"
    __table_args__ = (
        UniqueConstraint("commune_code", "folded"),
        CheckConstraint("deposit_percent BETWEEN 0 AND 100", name="deposit_percent_of_100"),
        CheckConstraint("deposit_fee >= 0", name="deposit_fee_not_negative"),
    )

    id: Mapped[Id]
    commune_code: Mapped[str] = mapped_column(ForeignKey("commune.code"), index=True)
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"), index=True)
    kind: Mapped[str]
    name: Mapped[str]
    folded: Mapped[str]
    sort_key: Mapped[str]
    phone: Mapped[str]
    address: Mapped[str]
    registration: Mapped[str] = mapped_column(server_default="")
    """Tax or business registration number; shown to buyers before they order, as the law asks."""
    bank_bin: Mapped[str | None]
    bank_account: Mapped[str | None]
    bank_holder: Mapped[str | None]
    deposit_percent: Mapped[int] = mapped_column(server_default="0")
    """Of fresh goods in an order paid on delivery, how much is asked for in advance."""
    deposit_fee: Mapped[int] = mapped_column(server_default="0")
    """Whole dong of any order paid on delivery that are asked for in advance: the carrier's fee, say."""
    identity_verified_at: Mapped[datetime | None]
    """When the office checked who this is; a seller is not approved before."""
    state: Mapped[str]
    demo: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[CreatedAt]


class Product(Base):
    __tablename__ = "product"
    __table_args__ = (
        UniqueConstraint("seller_id", "folded"),
        Index(
            "ix_product_search", "search", postgresql_using="gin", postgresql_ops={"search": "gin_trgm_ops"}
        ),
    )

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(unique=True)
    """Public and stable: in the address /p/{code}."""
    seller_id: Mapped[int] = mapped_column(ForeignKey("seller.id"), index=True)
    commune_code: Mapped[str] = mapped_column(ForeignKey("commune.code"), index=True)
    name: Mapped[str]
    folded: Mapped[str]
    search: Mapped[str]
    """Folded name, seller and commune together: one index answers the search box."""
    sort_key: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    unit: Mapped[str]
    industry: Mapped[str]
    """One of the six OCOP industries: food, drink, medicinal, handicraft, ornamental, tourism."""
    origin: Mapped[str] = mapped_column(server_default="")
    shelf_life: Mapped[str] = mapped_column(server_default="")
    fresh: Mapped[bool] = mapped_column(server_default=text("false"))
    harvest_from: Mapped[date | None] = mapped_column(Date)
    harvest_to: Mapped[date | None] = mapped_column(Date)
    capacity_per_day: Mapped[int | None]
    """Units that can be packed in a day; of fresh goods."""
    state: Mapped[str]
    photo_id: Mapped[int | None]
    """The photo shown first; a row of `photo`."""
    art: Mapped[str] = mapped_column(server_default="")
    """Name of the drawing shown while there is no photo."""
    papers_checked_at: Mapped[datetime | None]
    """When the office saw the quality papers; without, the product cannot be pinned."""
    demo: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[CreatedAt]


class Grade(Base):
    __tablename__ = "grade"
    __table_args__ = (
        UniqueConstraint("product_id", "name"),
        CheckConstraint("price > 0", name="price_positive"),
    )

    id: Mapped[Id]
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id", ondelete="CASCADE"))
    name: Mapped[str]
    """`A`, `B`, `C`, or empty for goods of one grade."""
    price: Mapped[int]
    """Whole dong for one unit of the product."""
    position: Mapped[int] = mapped_column(server_default="0")
    active: Mapped[bool] = mapped_column(server_default=text("true"))


class Stock(Base):
    """What there is of one grade. Written by catalog.stock alone; the CHECK is the last net."""

    __tablename__ = "stock"
    __table_args__ = (
        CheckConstraint("on_hand >= 0", name="on_hand_not_negative"),
        CheckConstraint("reserved >= 0 AND reserved <= on_hand", name="reserved_within_on_hand"),
    )

    grade_id: Mapped[int] = mapped_column(ForeignKey("grade.id"), primary_key=True, autoincrement=False)
    on_hand: Mapped[int]
    reserved: Mapped[int] = mapped_column(server_default="0")
    """Promised to orders that are not shipped yet. Free to sell: on_hand - reserved."""


class StockMovement(Base):
    """The append-only ledger from which the balance can be rebuilt."""

    __tablename__ = "stock_movement"

    id: Mapped[Id]
    grade_id: Mapped[int] = mapped_column(ForeignKey("grade.id"), index=True)
    on_hand: Mapped[int] = mapped_column(server_default="0")
    reserved: Mapped[int] = mapped_column(server_default="0")
    """Changes, signed."""
    reason: Mapped[str]
    order_id: Mapped[int | None] = mapped_column(index=True)
    """The order it was for; no foreign key, the catalogue knows no orders."""
    by: Mapped[int | None]
    at: Mapped[CreatedAt]


class PackingDay(Base):
    """How much of a product is promised for one shipping day. Written by catalog.packing alone."""

    __tablename__ = "packing_day"
    __table_args__ = (CheckConstraint("units >= 0", name="units_not_negative"),)

    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"), primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    units: Mapped[int]


class Photo(Base):
    """A product's picture in S3: `widths` WebP files named by the hash of the cleaned original."""

    __tablename__ = "photo"

    id: Mapped[Id]
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id", ondelete="CASCADE"), index=True)
    sha256: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    widths: Mapped[list[Any]]
    alt: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[CreatedAt]


class Paper(Base):
    """A quality paper of a product, as its seller brought it; seen by seller and office alone."""

    __tablename__ = "paper"

    id: Mapped[Id]
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    number: Mapped[str] = mapped_column(server_default="")
    expires_on: Mapped[date | None] = mapped_column(Date)
    sha256: Mapped[str] = mapped_column(server_default="")
    """Of its picture in S3; empty when it was only shown at the office."""
    by: Mapped[int | None]
    created_at: Mapped[CreatedAt]


class AssistedLink(Base):
    """A link sent to a seller's phone to confirm what was done in their name; its token is kept hashed."""

    __tablename__ = "assisted_link"

    id: Mapped[Id]
    seller_id: Mapped[int] = mapped_column(ForeignKey("seller.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    by: Mapped[int]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    answer: Mapped[str] = mapped_column(server_default="")
    """`confirmed`, `refused`, `replaced` by a newer link; empty while it waits."""
    answered_at: Mapped[datetime | None]
    note: Mapped[str] = mapped_column(server_default="")


class AssistedAct(Base):
    """One thing that commune staff did for a seller: by whom, for whom, what, and the seller's answer."""

    __tablename__ = "assisted_act"

    id: Mapped[Id]
    seller_id: Mapped[int] = mapped_column(ForeignKey("seller.id", ondelete="CASCADE"), index=True)
    product_id: Mapped[int | None] = mapped_column(ForeignKey("product.id", ondelete="CASCADE"), index=True)
    by: Mapped[int]
    at: Mapped[CreatedAt]
    what: Mapped[str]
    detail: Mapped[dict[str, Any]]
    """What the sentence about it is filled with: names, prices in whole dong, quantities."""
    needs_answer: Mapped[bool]
    """Whether the seller is asked; small changes of stock are only told."""
    answer: Mapped[str] = mapped_column(server_default="")
    answered_at: Mapped[datetime | None]


class Recognition(Base):
    """One OCOP decision about a product. A product has a history of them; only the current one is shown."""

    __tablename__ = "recognition"
    __table_args__ = (
        UniqueConstraint("product_id", "decision"),
        CheckConstraint("stars BETWEEN 3 AND 5", name="stars"),
    )

    id: Mapped[Id]
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id", ondelete="CASCADE"), index=True)
    stars: Mapped[int]
    score: Mapped[float | None] = mapped_column(Double)
    decision: Mapped[str]
    issuer: Mapped[str]
    granted_on: Mapped[date] = mapped_column(Date)
    expires_on: Mapped[date] = mapped_column(Date)
    """The last day it counts: 36 months from 29/01/2024 end with 28/01/2027."""
    withdrawn_on: Mapped[date | None] = mapped_column(Date)
    """The first day it no longer counts."""
    withdrawn_reason: Mapped[str] = mapped_column(server_default="")
    warned_at: Mapped[datetime | None]
    """When the seller was told that it runs out."""
    demo: Mapped[bool] = mapped_column(server_default=text("false"))


class RegisterEntry(Base):
    """OCOP products of the province as the press reported them: reference data, not for sale."""

    __tablename__ = "register_entry"

    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    product_name: Mapped[str]
    producer: Mapped[str]
    """Empty when the source names none; private households are never named."""
    producer_kind: Mapped[str]
    stars: Mapped[int | None]
    """As reported. Shown only for `recognised`, and as current only until `valid_until`."""
    evidence_status: Mapped[str]
    reported_on: Mapped[str]
    """As exact as the source: `2024-01-29`, `2023-12`, `2023` or empty."""
    valid_until: Mapped[date | None] = mapped_column(Date)
    """The last day on which the recognition surely holds, by the earliest day that `reported_on` can mean."""
    commune_code: Mapped[str | None] = mapped_column(ForeignKey("commune.code"), index=True)
    former_place: Mapped[str]
    industry: Mapped[str]
    search: Mapped[str]
    sort_key: Mapped[str]
    source: Mapped[str]
    note: Mapped[str]


class Bank(Base):
    """Vietnamese banks with the number VietQR knows them by.

    A bank that was renamed keeps its number, so a number names one bank only among the current ones.
    """

    __tablename__ = "bank"
    __table_args__ = (Index("uq_bank_bin", "bin", unique=True, postgresql_where=text("current")),)

    short_name: Mapped[str] = mapped_column(primary_key=True)
    bin: Mapped[str | None]
    code: Mapped[str]
    name: Mapped[str]
    takes_vietqr: Mapped[bool]
    """Money can be sent to its accounts by VietQR, which is all a seller needs."""
    current: Mapped[bool]
    sort_key: Mapped[str]
    source: Mapped[str]


class SellerHistory(History, Base):
    __tablename__ = "seller_history"


class ProductHistory(History, Base):
    __tablename__ = "product_history"
