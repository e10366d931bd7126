"""Shipping days of fresh goods: picked within their season, never more in a day than can be packed.

A product may have a harvest window and a packing capacity a day, in its own units over all grades. An order
with such goods gets one day, the earliest on which all of it can leave, and that day's units are counted in
`packing_day`. The days of a product are read and written with its lock held (`lock`, after the stock rows, in
id order), so that two desks never promise the same hands twice. Other goods have no days and cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from commerce.core import clock

Db = AsyncSession | AsyncConnection

LOCKS = 6_602  # the class of our advisory locks; the other half is the product
HEAD_START = timedelta(hours=12)  # what comes in after noon is picked and packed the next day at the earliest
HORIZON = timedelta(days=60)  # nobody orders durian for a day farther away


@dataclass(frozen=True, slots=True)
class Plan:
    """When a product can leave, and how much of it a day; `per_day` none: as much as there is."""

    product_id: int
    first: date | None = None
    last: date | None = None
    per_day: int | None = None

    def matters(self, today: date) -> bool:
        """Whether it says anything about orders of today: goods in season without a capacity just leave."""
        before = self.first is not None and self.first > today
        return self.per_day is not None or before or (self.last is not None and self.last < today)


@dataclass(slots=True)
class Calendar:
    """The plans of some products and what is promised already; `take` adds to it."""

    today: date
    plans: Mapping[int, Plan]
    """By product; without a plan it may leave on any day."""
    promised: dict[tuple[int, date], int] = field(default_factory=dict)
    taken: dict[tuple[int, date], int] = field(default_factory=dict)
    """What `take` added, to be written."""

    def day_for(self, wanted: Mapping[int, int]) -> date | None:
        """The earliest day on which all of it (product -> units) can leave together, if there is one."""
        plans = [(self.plans[product], units) for product, units in wanted.items() if product in self.plans]
        first = max([self.today, *(plan.first for plan, _ in plans if plan.first)])
        last = min([self.today + HORIZON, *(plan.last for plan, _ in plans if plan.last)])
        for offset in range((last - first).days + 1):
            day = first + timedelta(days=offset)
            if all(units <= self.room(plan, day) for plan, units in plans):
                return day
        return None

    def room(self, plan: Plan, day: date) -> int:
        """Units that still fit into this day."""
        if (plan.first and day < plan.first) or (plan.last and day > plan.last):
            return 0
        if plan.per_day is None:
            return 1 << 40
        return max(0, plan.per_day - self.promised.get((plan.product_id, day), 0))

    def most(self, product: int) -> int:
        """Of one product, what could leave on its best day."""
        plan = self.plans[product]
        days = range(HORIZON.days + 1)
        return max(self.room(plan, self.today + timedelta(days=offset)) for offset in days)

    def take(self, wanted: Mapping[int, int], day: date) -> None:
        for product, units in wanted.items():
            slot = (product, day)
            self.promised[slot] = self.promised.get(slot, 0) + units
            self.taken[slot] = self.taken.get(slot, 0) + units


def earliest(now: datetime) -> date:
    """The first day on which something ordered now can leave."""
    return clock.local(now + HEAD_START).date()


_PLANS = text("""
    SELECT id, harvest_from, harvest_to, capacity_per_day FROM product
    WHERE id = ANY(:products)
        AND (harvest_from IS NOT NULL OR harvest_to IS NOT NULL OR capacity_per_day IS NOT NULL)
""")
_LOCK = text("""
    SELECT pg_advisory_xact_lock(:class, product) FROM
        (SELECT product FROM unnest(CAST(:products AS integer[])) product ORDER BY product) ordered
""")
_DAYS = text("""
    SELECT product_id, day, units FROM packing_day WHERE product_id = ANY(:products) AND day >= :today
""")
_ADD = text("""
    INSERT INTO packing_day AS d (product_id, day, units)
    SELECT * FROM unnest(CAST(:products AS bigint[]), CAST(:days AS date[]), CAST(:units AS bigint[]))
    ON CONFLICT (product_id, day) DO UPDATE SET units = d.units + excluded.units
""")
_GIVE_BACK = text("""
    UPDATE packing_day d SET units = d.units - back.units
    FROM unnest(CAST(:products AS bigint[]), CAST(:units AS bigint[])) AS back (product, units)
    WHERE d.product_id = back.product AND d.day = :day
""")
_PRODUCTS = text("SELECT id, product_id FROM grade WHERE id = ANY(:grades)")


async def plans_of(db: Db, products: Iterable[int]) -> dict[int, Plan]:
    """By product, of those that have a season or a capacity."""
    rows = await db.execute(_PLANS, {"products": sorted(set(products))})
    return {row.id: Plan(row.id, row.harvest_from, row.harvest_to, row.capacity_per_day) for row in rows}


async def lock(db: Db, products: Iterable[int]) -> None:
    """These products' days are ours until the transaction ends."""
    await db.execute(_LOCK, {"class": LOCKS, "products": sorted(set(products))})


async def read(db: Db, plans: Mapping[int, Plan], now: datetime) -> Calendar:
    """Without the lock it is what pages show; with it, what may be promised."""
    calendar = Calendar(earliest(now), plans)
    limited = [product for product, plan in plans.items() if plan.per_day is not None]
    if limited:
        for row in await db.execute(_DAYS, {"products": limited, "today": calendar.today}):
            calendar.promised[row.product_id, row.day] = row.units
    return calendar


async def write(db: Db, calendar: Calendar) -> None:
    """What was taken of a locked calendar."""
    if calendar.taken:
        slots: Sequence[tuple[tuple[int, date], int]] = sorted(calendar.taken.items())
        await db.execute(
            _ADD,
            {
                "products": [product for (product, _), _ in slots],
                "days": [day for (_, day), _ in slots],
                "units": [units for _, units in slots],
            },
        )


async def by_product(db: Db, goods: Mapping[int, int]) -> dict[int, int]:
    """Units by grade as units by product."""
    found: dict[int, int] = {}
    for row in await db.execute(_PRODUCTS, {"grades": sorted(goods)}):
        found[row.product_id] = found.get(row.product_id, 0) + goods[row.id]
    return found


async def give_back(db: Db, goods: Mapping[int, int], day: date) -> None:
    """An order (units by grade) will not leave on its day after all."""
    units = await by_product(db, goods)
    await lock(db, units)
    await db.execute(
        _GIVE_BACK, {"products": sorted(units), "units": [units[one] for one in sorted(units)], "day": day}
    )


async def book_again(db: Db, goods: Mapping[int, int]) -> tuple[bool, date | None]:
    """Days for an order that comes back to life: (whether it fits, its day, if it needs one)."""
    units = await by_product(db, goods)
    plans = await plans_of(db, units)
    now = clock.now()
    if not any(plan.matters(earliest(now)) for plan in plans.values()):
        return True, None
    await lock(db, units)
    calendar = await read(db, plans, now)
    day = calendar.day_for(units)
    if day is None:
        return False, None
    calendar.take(units, day)
    await write(db, calendar)
    return True, day
