"""The one writer of stock: what there is of each grade, what of it is promised, and the ledger of both.

Every change goes through `apply`, which adds to the balances and appends the same numbers to the ledger, so
that the balances can be rebuilt from it (`rebuild_check`). Rows are always locked in id order, once: two
baskets that name the same goods in another order can then never wait for each other. A lock that cannot be
had in time is "try again" (`Busy`), never "sold out".

    on hand     in the seller's store
    reserved    of that, promised to orders which are not shipped yet
    free        on hand - reserved: what may be sold

Functions take `db`, a session or connection inside a transaction, and never commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid, MarketError
from commerce.core.i18n import N_

Db = AsyncSession | AsyncConnection

COUNT_MOST = 1_000_000_000  # units of one grade; more is a slip of the thumb


class Reason(StrEnum):
    RECEIVED = "received"
    RESERVED = "reserved"
    RELEASED = "released"
    SHIPPED = "shipped"
    ADJUSTED = "adjusted"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Level:
    """Stock of one grade, as it is while its row is locked."""

    grade_id: int
    on_hand: int
    reserved: int

    @property
    def free(self) -> int:
        return self.on_hand - self.reserved


@dataclass(frozen=True, slots=True)
class Movement:
    """One line of the ledger: signed changes of what is on hand and of what is reserved."""

    grade_id: int
    on_hand: int
    reserved: int
    reason: Reason
    order_id: int | None = None
    by: int | None = None


@dataclass(frozen=True, slots=True)
class Shortage:
    grade_id: int
    wanted: int
    left: int


class OutOfStock(MarketError):
    """Not enough for what was asked; `shortages` holds every line that is short."""

    code = "out_of_stock"
    status = 409
    title = N_("Không đủ hàng")
    detail = N_("Kho không còn đủ hàng cho việc này. Xin xem lại số lượng.")

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        self.shortages = list(shortages)
        super().__init__()


_LOCK = text("""
    SELECT grade_id, on_hand, reserved FROM stock
    WHERE grade_id = ANY(:grades) ORDER BY grade_id FOR NO KEY UPDATE
""")

_OPEN = text("""
    INSERT INTO stock (grade_id, on_hand, reserved)
    SELECT grade, 0, 0 FROM unnest(CAST(:grades AS bigint[])) grade ORDER BY grade ON CONFLICT DO NOTHING
""")

# One statement: the balances are changed by exactly the lines that the ledger gets.
_APPLY = text("""
    WITH moved AS (
        INSERT INTO stock_movement (grade_id, on_hand, reserved, reason, order_id, by)
        SELECT * FROM unnest(CAST(:grades AS bigint[]), CAST(:on_hand AS bigint[]),
            CAST(:reserved AS bigint[]), CAST(:reasons AS text[]), CAST(:orders AS bigint[]),
            CAST(:people AS bigint[]))
        RETURNING grade_id, on_hand, reserved
    ), change AS (
        SELECT grade_id, sum(on_hand) AS on_hand, sum(reserved) AS reserved FROM moved GROUP BY grade_id
    )
    UPDATE stock SET on_hand = stock.on_hand + change.on_hand, reserved = stock.reserved + change.reserved
    FROM change WHERE stock.grade_id = change.grade_id
""")


async def lock(db: Db, grade_ids: Iterable[int]) -> dict[int, Level]:
    """The rows of these grades, locked until the transaction ends, in id order; without a row: absent."""
    rows = await db.execute(_LOCK, {"grades": sorted(set(grade_ids))})
    return {row.grade_id: Level(row.grade_id, row.on_hand, row.reserved) for row in rows}


async def apply(db: Db, movements: Sequence[Movement]) -> None:
    """Change balances and ledger together. The rows must be locked and the changes checked by the caller."""
    if not movements:
        return
    await db.execute(
        _APPLY,
        {
            "grades": [move.grade_id for move in movements],
            "on_hand": [move.on_hand for move in movements],
            "reserved": [move.reserved for move in movements],
            "reasons": [move.reason.value for move in movements],
            "orders": [move.order_id for move in movements],
            "people": [move.by for move in movements],
        },
    )


async def receive(db: Db, grade_id: int, quantity: int, *, by: int | None = None) -> None:
    """Goods came into the store; the first time opens the grade's account."""
    if quantity <= 0:
        raise ValueError("what is received is more than nothing")
    await db.execute(_OPEN, {"grades": [grade_id]})
    await lock(db, [grade_id])
    await apply(db, [Movement(grade_id, quantity, 0, Reason.RECEIVED, by=by)])


async def reserve(db: Db, wanted: Mapping[int, int], *, order_id: int | None, by: int | None = None) -> None:
    """Promise `wanted` (grade -> quantity) to an order: all of it or, with `OutOfStock`, nothing."""
    levels = await lock(db, wanted)
    short = shortages(levels, wanted)
    if short:
        raise OutOfStock(short)
    await apply(db, [Movement(g, 0, n, Reason.RESERVED, order_id, by) for g, n in sorted(wanted.items())])


async def release(db: Db, held: Mapping[int, int], *, order_id: int | None, by: int | None = None) -> None:
    """Give back what was promised to an order that will not be shipped."""
    await lock(db, held)
    await apply(db, [Movement(g, 0, -n, Reason.RELEASED, order_id, by) for g, n in sorted(held.items())])


async def ship(db: Db, held: Mapping[int, int], *, order_id: int | None, by: int | None = None) -> None:
    """What was promised leaves the store."""
    await lock(db, held)
    await apply(db, [Movement(g, -n, -n, Reason.SHIPPED, order_id, by) for g, n in sorted(held.items())])


async def take_back(db: Db, goods: Mapping[int, int], *, order_id: int | None, by: int | None = None) -> None:
    """Shipped goods came back to the store fit to be sold again."""
    await lock(db, goods)
    await apply(db, [Movement(g, n, 0, Reason.RETURNED, order_id, by) for g, n in sorted(goods.items())])


async def adjust(db: Db, grade_id: int, counted: int, *, by: int | None = None) -> None:
    """The seller counted: this much is in the store. Never below what is promised already (`OutOfStock`)."""
    if counted < 0:
        raise Invalid(FieldError("counted", N_("Số lượng đếm được phải từ 0 trở lên.")))
    await db.execute(_OPEN, {"grades": [grade_id]})
    level = (await lock(db, [grade_id]))[grade_id]
    if counted < level.reserved:
        raise OutOfStock([Shortage(grade_id, level.reserved, counted)])
    if counted != level.on_hand:
        await apply(db, [Movement(grade_id, counted - level.on_hand, 0, Reason.ADJUSTED, by=by)])


async def add_free(db: Db, grade_id: int, change: int, *, by: int | None = None) -> int:
    """So much more, or less, is there to sell; returns what is free now. Never below what is promised: less
    than is free takes what is free."""
    await db.execute(_OPEN, {"grades": [grade_id]})
    level = (await lock(db, [grade_id]))[grade_id]
    change = max(change, -level.free)
    if change:
        await apply(db, [Movement(grade_id, change, 0, Reason.ADJUSTED, by=by)])
    return level.free + change


async def set_free(db: Db, grade_id: int, free: int, *, by: int | None = None) -> None:
    """Exactly so much is there to sell, whatever is promised already."""
    await db.execute(_OPEN, {"grades": [grade_id]})
    level = (await lock(db, [grade_id]))[grade_id]
    if free != level.free:
        await apply(db, [Movement(grade_id, free - level.free, 0, Reason.ADJUSTED, by=by)])


def shortages(levels: Mapping[int, Level], wanted: Mapping[int, int]) -> list[Shortage]:
    """Every line that cannot be met, in id order; a grade without stock has nothing left."""
    found = []
    for grade_id, quantity in sorted(wanted.items()):
        level = levels.get(grade_id)
        left = level.free if level else 0
        if quantity > left:
            found.append(Shortage(grade_id, quantity, left))
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    """A balance that its ledger does not explain."""

    grade_id: int
    balance: tuple[int, int]
    ledger: tuple[int, int]
    """(on hand, reserved)"""


async def rebuild_check(db: Db) -> list[Difference]:
    """Add up the whole ledger and compare; an empty list is the only good answer."""
    rows = await db.execute(
        text("""
            SELECT grade_id, coalesce(s.on_hand, 0) AS on_hand, coalesce(s.reserved, 0) AS reserved,
                coalesce(l.on_hand, 0) AS l_on_hand, coalesce(l.reserved, 0) AS l_reserved
            FROM stock s FULL JOIN (
                SELECT grade_id, sum(on_hand)::bigint AS on_hand, sum(reserved)::bigint AS reserved
                FROM stock_movement GROUP BY grade_id) l USING (grade_id)
            WHERE (coalesce(s.on_hand, 0), coalesce(s.reserved, 0))
                IS DISTINCT FROM (coalesce(l.on_hand, 0), coalesce(l.reserved, 0))
            ORDER BY grade_id
        """)
    )
    return [
        Difference(row.grade_id, (row.on_hand, row.reserved), (row.l_on_hand, row.l_reserved)) for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Checked:
    """How much was compared, and where balance and ledger differ."""

    grades: int
    movements: int
    differences: list[Difference]


async def checked() -> Checked:
    """The whole ledger against all balances, as of one moment."""
    async with sessions.read() as db:
        await db.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        counts = "SELECT (SELECT count(*) FROM stock), (SELECT count(*) FROM stock_movement)"
        grades, movements = (await db.execute(text(counts))).one()
        return Checked(grades, movements, await rebuild_check(db))
