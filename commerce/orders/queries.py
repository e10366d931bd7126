"""Reads about orders, and the snapshot of a session's line-up that the order page works from.

The snapshot is kept for at most a second in each process, so that thousands of orders a second do not ask
the same question. It only tells what there is to name; what it costs, whether the session still runs and
what is left are decided in the transaction that places the order.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog.models import Bank, Grade, ListingState, Product, Seller
from commerce.catalog.packing import Plan
from commerce.communes.models import Commune
from commerce.core.db import sessions
from commerce.core.errors import NotFound
from commerce.live.models import LineupItem, LiveSession, LiveState
from commerce.orders.models import Order, OrderHistory, OrderLine
from commerce.payments.models import CardAccount, Payment, Refund

T = TypeVar("T")

SNAPSHOT_S = 1.0
COMMUNES_S = 60.0


@dataclass(frozen=True, slots=True)
class SellerCard:
    """What an order has to know of the seller."""

    id: int
    name: str
    commune_code: str
    bank_bin: str | None
    bank_account: str | None
    takes_cards: bool
    deposit_percent: int = 0
    deposit_fee: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in a line-up that may be ordered."""

    id: int
    code: str
    grade_id: int
    product_id: int
    product_name: str
    grade_name: str
    unit: str
    seller: SellerCard
    fresh: bool = False

    @property
    def name(self) -> str:
        return f"{self.product_name} ({self.grade_name})" if self.grade_name else self.product_name

    plan: Plan | None = None
    """Of goods with a season or a packing capacity; at most a second old, which nobody is misled by."""


@dataclass(frozen=True, slots=True)
class Lineup:
    session_id: int
    session_code: str
    demo: bool
    items: Mapping[str, Item]
    """By short code, upper case."""


_SESSION = text("SELECT id, code, demo FROM live_session WHERE code = :code")

_ITEMS = text("""
    SELECT i.id, i.code, i.grade_id, p.id AS product_id, p.name AS product_name, g.name AS grade_name, p.unit,
        p.harvest_from, p.harvest_to, p.capacity_per_day,
        s.id AS seller_id, s.name AS seller_name, s.commune_code, s.bank_bin, s.bank_account,
        coalesce(c.active, false) AS takes_cards, s.deposit_percent, s.deposit_fee, p.fresh
    FROM lineup_item i JOIN grade g ON g.id = i.grade_id JOIN product p ON p.id = g.product_id
        JOIN seller s ON s.id = p.seller_id LEFT JOIN card_account c ON c.seller_id = s.id
    WHERE i.live_session_id = :session AND i.removed_at IS NULL AND g.active
        AND p.state = 'approved' AND s.state = 'approved'
    ORDER BY i.position
""")


async def read_lineup(code: str) -> Lineup:
    """Raises `NotFound` for a session that does not exist."""
    async with sessions.read() as db:
        session = (await db.execute(_SESSION, {"code": code})).first()
        if session is None:
            raise NotFound
        rows = (await db.execute(_ITEMS, {"session": session.id})).all()
    items: dict[str, Item] = {}
    sellers: dict[int, SellerCard] = {}
    for row in rows:
        seller = sellers.setdefault(
            row.seller_id,
            SellerCard(
                row.seller_id,
                row.seller_name,
                row.commune_code,
                row.bank_bin,
                row.bank_account,
                row.takes_cards,
                row.deposit_percent,
                row.deposit_fee,
            ),
        )
        items[row.code] = Item(
            row.id,
            row.code,
            row.grade_id,
            row.product_id,
            row.product_name,
            row.grade_name,
            row.unit,
            seller,
            row.fresh,
            plan=plan_of(row),
        )
    return Lineup(session.id, session.code, session.demo, items)


def plan_of(row: Any) -> Plan | None:
    if row.harvest_from is None and row.harvest_to is None and row.capacity_per_day is None:
        return None
    return Plan(row.product_id, row.harvest_from, row.harvest_to, row.capacity_per_day)


async def read_communes(_: str) -> frozenset[str]:
    """Codes of the province's communes."""
    async with sessions.read() as db:
        return frozenset(await db.scalars(select(Commune.code)))


class Remembered(Generic[T]):
    """What `read` says of a key, at most `seconds` old; many who ask at once cause one question.

    Without that the first thousand buyers of a session would ask the database a thousand times at once.
    """

    def __init__(self, read: Callable[[str], Coroutine[None, None, T]], seconds: float) -> None:
        self._read = read
        self._seconds = seconds
        self._known: dict[str, tuple[float, T]] = {}
        self._asking: dict[str, asyncio.Task[T]] = {}

    async def get(self, key: str) -> T:
        """Raises what `read` raises."""
        known = self._known.get(key)
        if known and time.monotonic() - known[0] < self._seconds:
            return known[1]
        asked = self._asking.get(key)
        if asked is None:
            asked = self._asking[key] = asyncio.create_task(self._ask(key))
            asked.add_done_callback(lambda _: self._asking.pop(key, None))
        # Shielded: one who goes away must not take the answer from the others who wait for it.
        return await asyncio.shield(asked)

    async def _ask(self, key: str) -> T:
        began = time.monotonic()
        found = await self._read(key)
        if len(self._known) > 1_000:
            self._known.clear()
        self._known[key] = (began, found)
        return found

    def forget(self) -> None:
        self._known.clear()


class Snapshots:
    """The process's memory of line-ups and communes."""

    def __init__(self) -> None:
        self._lineups = Remembered(read_lineup, SNAPSHOT_S)
        self._communes = Remembered(read_communes, COMMUNES_S)

    async def lineup(self, code: str) -> Lineup:
        """Raises `NotFound`."""
        return await self._lineups.get(code)

    async def communes(self) -> frozenset[str]:
        """Codes of the province's communes."""
        return await self._communes.get("")

    def forget(self) -> None:
        self._lineups.forget()
        self._communes.forget()


snapshots = Snapshots()


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order with everything its page shows."""

    order: Order
    seller: Seller
    lines: list[OrderLine]
    payment: Payment
    history: list[OrderHistory]
    refunds: list[Refund]
    takes_cards: bool


async def order_by_key(db: AsyncSession, code: str, key: str) -> OrderView:
    """The order for the buyer who holds its key. Raises `NotFound` for a wrong code and a wrong key alike."""
    order = await db.scalar(select(Order).where(Order.code == code.upper()))
    if order is None or not hmac.compare_digest(order.key.encode(), key.encode()):
        raise NotFound
    return await view(db, order)


async def view(db: AsyncSession, order: Order) -> OrderView:
    seller = await db.get_one(Seller, order.seller_id)
    lines = await db.scalars(select(OrderLine).where(OrderLine.order_id == order.id).order_by(OrderLine.id))
    payment = (await db.scalars(select(Payment).where(Payment.order_id == order.id))).one()
    history = await db.scalars(
        select(OrderHistory).where(OrderHistory.subject_id == order.id).order_by(OrderHistory.id)
    )
    refunds = await db.scalars(select(Refund).where(Refund.order_id == order.id).order_by(Refund.id))
    account = await db.get(CardAccount, order.seller_id)
    takes_cards = account is not None and account.active
    return OrderView(order, seller, list(lines), payment, list(history), list(refunds), takes_cards)


@dataclass(frozen=True, slots=True)
class Siblings:
    """What stands around an order: its session, the purchase's other orders, the seller's bank."""

    session: dict[str, str] | None
    orders: list[tuple[str, str, str]]
    """(code, key, seller)"""
    bank: str | None


async def again(db: AsyncSession, lines: list[OrderLine]) -> str | None:
    """Where the same goods can be ordered again: the session on air with most of them, the basket in
    its address; else the product's page; none when it is no longer on sale."""
    wanted = {line.grade_id: line.quantity for line in lines}
    rows = await db.execute(
        select(LiveSession.code, LineupItem.code, LineupItem.grade_id)
        .join(LineupItem, LineupItem.live_session_id == LiveSession.id)
        .where(
            LiveSession.state == LiveState.LIVE,
            LiveSession.rehearsal.is_(False),
            LineupItem.removed_at.is_(None),
            LineupItem.grade_id.in_(wanted),
        )
        .order_by(LiveSession.id, LineupItem.position)
    )
    offers: dict[str, list[str]] = {}
    for session, item, grade in rows:
        offers.setdefault(session, []).append(f"{item}.{wanted[grade]}")
    if offers:
        best = max(offers, key=lambda code: len(offers[code]))
        return f"/live/{best}?again={','.join(offers[best])}"
    product: str | None = await db.scalar(
        select(Product.code)
        .join(Grade, Grade.product_id == Product.id)
        .where(Grade.id.in_(wanted), Product.state == ListingState.APPROVED)
        .order_by(Product.id)
        .limit(1)
    )
    return f"/p/{product}" if product else None


async def siblings(db: AsyncSession, order: Order) -> Siblings:
    session = await db.get(LiveSession, order.live_session_id) if order.live_session_id else None
    others = await db.execute(
        select(Order.code, Order.key, Seller.name)
        .join(Seller, Seller.id == Order.seller_id)
        .where(Order.purchase_id == order.purchase_id, Order.id != order.id)
        .order_by(Order.id)
    )
    bank = await db.scalar(
        select(Bank.short_name).join(Seller, Seller.bank_bin == Bank.bin).where(Seller.id == order.seller_id)
    )
    shown = {"code": session.code, "title": session.title, "state": session.state} if session else None
    return Siblings(shown, [(code, key, name) for code, key, name in others], bank)
