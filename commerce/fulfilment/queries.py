"""Parcels as those who pack and send them see them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog.models import Seller
from commerce.communes import provinces
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.fulfilment.models import Shipment, ShipmentState
from commerce.orders.models import Order, OrderLine, OrderState
from commerce.orders.selling import TO_PACK
from commerce.orders.service import lacks_address
from commerce.payments.models import Method, Payment

STAGES = ("pack", "send", "way", "back")
"""To pack, packed and to be sent, on the way, on the way back."""
MOST = 300


@dataclass(frozen=True, slots=True)
class Parcel:
    order: Order
    seller: Seller
    seller_commune: str
    lines: Sequence[OrderLine]
    payment: Payment
    shipment: Shipment | None
    commune: str
    """Of the address, by name."""
    province: str
    refusals: int
    """How many parcels this phone did not take, of any seller. A hint for the one who packs, and no more."""

    @property
    def cash(self) -> int:
        """Whole dong that the carrier collects."""
        return self.payment.left if self.payment.method == Method.COD else 0

    @property
    def address(self) -> str:
        return ", ".join(part for part in (self.order.street, self.commune, self.province) if part)

    @property
    def addressed(self) -> bool:
        return not lacks_address(self.order)

    @property
    def goods(self) -> list[tuple[str, str, int, str]]:
        """(product, grade, quantity, unit) of each line."""
        return [(line.product_name, line.grade_name, line.quantity, line.unit) for line in self.lines]


def _ready() -> ColumnElement[bool]:
    """Waits to be packed: what is due in advance is there."""
    return and_(Order.state.in_(TO_PACK), Payment.paid >= Payment.advance)


def _stage(stage: str) -> ColumnElement[bool]:
    if stage == "pack":
        return _ready()
    if stage == "send":
        return Order.state == OrderState.PACKED
    if stage == "way":
        return Order.state == OrderState.SHIPPED
    return and_(Order.state == OrderState.REFUSED, Shipment.state == ShipmentState.REFUSED)


def leaves_by(day: date) -> ColumnElement[bool]:
    """Promised for this day or before; what has no day leaves as soon as it can."""
    return or_(Order.ship_on.is_(None), Order.ship_on <= day)


async def in_stage(
    db: AsyncSession, whose: ColumnElement[bool], stage: str, *, by: date | None = None
) -> list[Parcel]:
    """Parcels of these sellers in a stage, the most urgent first; `by`: what leaves until then."""
    where = [whose, _stage(stage), *([leaves_by(by)] if by else [])]
    return await _parcels(db, *where)


async def leaving(db: AsyncSession, whose: ColumnElement[bool], day: date) -> list[Parcel]:
    """All that is to leave on this day: to be packed, or packed and not sent yet."""
    return await _parcels(db, whose, or_(_ready(), Order.state == OrderState.PACKED), leaves_by(day))


async def counts(db: AsyncSession, whose: ColumnElement[bool]) -> dict[str, int]:
    """How many parcels are in each stage."""
    wanted = [func.count().filter(_stage(stage)).label(stage) for stage in STAGES]
    row = (
        await db.execute(
            select(*wanted)
            .select_from(Order)
            .join(Seller, Seller.id == Order.seller_id)
            .join(Payment, Payment.order_id == Order.id)
            .outerjoin(Shipment, Shipment.order_id == Order.id)
            .where(whose)
        )
    ).one()
    return dict(row._mapping)


async def days(db: AsyncSession, whose: ColumnElement[bool]) -> list[tuple[date, int]]:
    """The days that parcels leave on, with how many; what is overdue or has no day counts for today."""
    today = clock.today()
    day = func.greatest(func.coalesce(Order.ship_on, today), today)
    rows = await db.execute(
        select(day.label("day"), func.count())
        .select_from(Order)
        .join(Seller, Seller.id == Order.seller_id)
        .join(Payment, Payment.order_id == Order.id)
        .where(whose, or_(_ready(), Order.state == OrderState.PACKED))
        .group_by("day")
        .order_by("day")
    )
    found = {row[0]: row[1] for row in rows}
    for soon in (today, today + timedelta(days=1)):
        found.setdefault(soon, 0)
    return sorted(found.items())


async def _parcels(db: AsyncSession, *where: ColumnElement[bool]) -> list[Parcel]:
    rows = (
        await db.execute(
            select(Order, Seller, Payment, Shipment, Commune.name)
            .join(Seller, Seller.id == Order.seller_id)
            .join(Commune, Commune.code == Seller.commune_code)
            .join(Payment, Payment.order_id == Order.id)
            .outerjoin(Shipment, Shipment.order_id == Order.id)
            .where(*where)
            .order_by(Order.ship_on.nulls_first(), Order.placed_at, Order.id)
            .limit(MOST)
        )
    ).all()
    orders = [row.Order for row in rows]
    lines: dict[int, list[OrderLine]] = defaultdict(list)
    for line in await db.scalars(
        select(OrderLine).where(OrderLine.order_id.in_([one.id for one in orders])).order_by(OrderLine.id)
    ):
        lines[line.order_id].append(line)
    communes = await _commune_names(db, orders)
    refusals = await refusals_of(db, {one.buyer_phone for one in orders})
    return [
        Parcel(
            order=row.Order,
            seller=row.Seller,
            seller_commune=row.name,
            lines=lines[row.Order.id],
            payment=row.Payment,
            shipment=row.Shipment,
            commune=communes.get(row.Order.commune_code, row.Order.commune_code),
            province=provinces.NAMES.get(row.Order.province_code, row.Order.province_code),
            refusals=refusals.get(row.Order.buyer_phone, 0),
        )
        for row in rows
    ]


async def _commune_names(db: AsyncSession, orders: Sequence[Order]) -> dict[str, str]:
    """Names of our own province's communes; elsewhere the name is what was written."""
    codes = {one.commune_code for one in orders if one.province_code == provinces.OURS}
    rows = await db.execute(select(Commune.code, Commune.name).where(Commune.code.in_(codes)))
    return {row.code: row.name for row in rows}


async def refusals_of(db: AsyncSession, phones: set[str]) -> dict[str, int]:
    """By phone, how many parcels were not taken. Never shown to anybody but the seller who packs."""
    rows = await db.execute(
        select(Order.buyer_phone, func.count().label("refused"))
        .where(Order.buyer_phone.in_(phones), Order.state == OrderState.REFUSED)
        .group_by(Order.buyer_phone)
    )
    return {row.buyer_phone: row.refused for row in rows}
