"""What each seller sold, lost, was paid and was taxed in a month, out of the orders' own records.

Nothing is accumulated: a statement is read anew from orders, histories, receipts and refunds, each dated by
the moment it happened, so a month that is over stays as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path

from sqlalchemy import ColumnElement, TextClause, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog.models import Seller
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.orders.models import OrderLine
from commerce.settlement.models import TaxEntry, TaxRate

WAYS = ("cash", "transfer", "hand", "card")
"""How money came: with the carrier, told by the bank, ticked off by the seller, by card."""
TAXES = ("vat", "pit")


@dataclass(frozen=True, slots=True)
class Month:
    first: date

    @classmethod
    def parse(cls, words: str) -> Month:
        """`2026-11`; anything else is this month."""
        try:
            return cls(date.fromisoformat(f"{words}-01"))
        except ValueError:
            return cls(clock.today().replace(day=1))

    @property
    def next(self) -> Month:
        return Month((self.first + timedelta(days=32)).replace(day=1))

    @property
    def before(self) -> Month:
        return Month((self.first - timedelta(days=1)).replace(day=1))

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """Of the calendar month in Vietnam."""
        begin = datetime.combine(self.first, time(), clock.VIETNAM)
        return begin, datetime.combine(self.next.first, time(), clock.VIETNAM)

    def __str__(self) -> str:
        return f"{self.first:%Y-%m}"


@dataclass(frozen=True, slots=True)
class Move:
    order: str
    at: datetime
    kind: str
    amount: int
    method: str


@dataclass(slots=True)
class Statement:
    """One seller's month, whole dong. `cancelled`, `refunded`, `back` are zero or less."""

    seller_id: int
    seller: str = ""
    kind: str = ""
    commune: str = ""
    sums: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    moves: list[Move] = field(default_factory=list)

    @property
    def sold(self) -> int:
        return self.sums["sold"]

    @property
    def cancelled(self) -> int:
        return self.sums["cancelled"]

    @property
    def refunded(self) -> int:
        return self.sums["refunded"]

    @property
    def net(self) -> int:
        return self.sold + self.cancelled + self.refunded

    @property
    def paid(self) -> int:
        return sum(self.sums[f"paid {way}"] for way in WAYS)

    @property
    def back(self) -> int:
        return self.sums["back"]

    @property
    def taxed(self) -> int:
        return sum(self.sums[f"tax {tax}"] for tax in TAXES)


@cache
def _statements() -> TextClause:
    return text((Path(__file__).parent / "statements.sql").read_text(encoding="utf-8"))


async def statements(
    db: AsyncSession, month: Month, *, sellers: Sequence[int] | None = None
) -> dict[int, Statement]:
    """By seller, of those whose books moved in the month; `sellers` none: everybody's."""
    first, last = month.bounds
    found: dict[int, Statement] = {}
    values = {"sellers": None if sellers is None else list(sellers), "first": first, "last": last}
    for row in await db.execute(_statements(), values):
        one = found.setdefault(row.seller_id, Statement(row.seller_id))
        one.sums[row.kind] += row.amount
        one.counts[row.kind] += 1
        one.moves.append(Move(row.code, row.at, row.kind, row.amount, row.payment_method))
    return found


async def named(db: AsyncSession, month: Month, whose: ColumnElement[bool] | None = None) -> list[Statement]:
    """Statements with names, by commune and seller. `whose`: about `Seller`."""
    wanted = select(Seller, Commune.name).join(Commune, Commune.code == Seller.commune_code)
    if whose is not None:
        wanted = wanted.where(whose)
    sellers = (await db.execute(wanted.order_by(Commune.sort_key, Seller.sort_key))).all()
    ids = None if whose is None else [row.Seller.id for row in sellers]
    found = await statements(db, month, sellers=ids)
    shown = []
    for row in sellers:
        if one := found.get(row.Seller.id):
            one.seller, one.kind, one.commune = row.Seller.name, row.Seller.kind, row.name
            shown.append(one)
    return shown


@dataclass(frozen=True, slots=True)
class TaxLine:
    """A record of one order line, for the tax office."""

    at: datetime
    order_id: int
    line: str
    tax: str
    basis_points: int
    base: int
    amount: int
    seller_id: int


async def tax_lines(db: AsyncSession, month: Month, sellers: Sequence[int]) -> list[TaxLine]:
    first, last = month.bounds
    rows = await db.execute(
        select(TaxEntry, OrderLine.product_name, OrderLine.grade_name)
        .join(OrderLine, OrderLine.id == TaxEntry.order_line_id)
        .where(TaxEntry.seller_id.in_(sellers), TaxEntry.at >= first, TaxEntry.at < last)
        .order_by(TaxEntry.id)
    )
    return [
        TaxLine(
            row.TaxEntry.at,
            row.TaxEntry.order_id,
            f"{row.product_name} {row.grade_name}".strip(),
            row.TaxEntry.tax,
            row.TaxEntry.basis_points,
            row.TaxEntry.base,
            row.TaxEntry.amount,
            row.TaxEntry.seller_id,
        )
        for row in rows
    ]


async def rates(db: AsyncSession) -> list[TaxRate]:
    """The whole table, the newest first."""
    return list(await db.scalars(select(TaxRate).order_by(TaxRate.valid_from.desc(), TaxRate.tax)))
