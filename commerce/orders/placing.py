"""Placing a batch of baskets in one transaction: decide who gets what, then write it all in bulk.

The order of things matters. Stock rows are locked first, once, in id order; deals after them, in id order
too; whatever else is written is new. So two batches of two processes can wait for each other's commit, but
never in a ring. First come, first served; a basket is taken whole or not at all. Prices, deals and their
end are read after the locks are held, and time is the database's.

An idempotency key is looked up at the start and inserted at the end. If another process placed the same key
in between, the insert finds it, `KeyTaken` undoes the batch, and the next try meets the answer at its start.

Rows go in by COPY, which costs about half of multi-row INSERTs here.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from commerce.catalog import stock
from commerce.core import outbox
from commerce.core.errors import MarketError
from commerce.live.models import LiveState
from commerce.orders.errors import (
    IdempotencyConflict,
    SessionEnded,
    SessionNotStarted,
    ShortLine,
    SoldOut,
    TotalChanged,
)
from commerce.orders.models import OrderState
from commerce.orders.queries import Item, Lineup, SellerCard
from commerce.orders.wire import OrderAnswer, PaymentAnswer, PurchaseAnswer
from commerce.payments import vietqr
from commerce.payments.models import Method, PaymentState

HOLD = timedelta(minutes=30)  # how long goods wait for a transfer or a card; Stripe's shortest checkout is 30
ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # without 0/O, 1/I/L, which people mix up
TOPIC = "live.ordered"


@dataclass(slots=True, eq=False)
class Basket:
    """What one buyer sent, checked and resolved; `lines` are merged by item."""

    lineup: Lineup
    lines: list[tuple[Item, int]]
    method: Method
    shown_total: int | None
    buyer_name: str
    buyer_phone: str
    province_code: str
    commune_code: str
    street: str
    note: str
    idempotency_key: str
    body_hash: str
    public_url: str
    visitor: str = ""
    source: str = "page"
    entered_by: int | None = None
    demo: bool = False


Outcome = PurchaseAnswer | MarketError


class KeyTaken(Exception):
    """An idempotency key was placed by another process while this batch was being written."""


@dataclass(slots=True)
class Deal:
    id: int
    price: int
    left: int
    per_buyer: int | None


@dataclass(slots=True)
class Facts:
    """What holds while the locks are held; taking a basket changes `free`, `deals` and `bought`."""

    now: datetime
    states: dict[int, str]
    pins: dict[int, tuple[int, int]]
    """session -> (item pinned, pin)"""
    prices: dict[int, int]
    free: dict[int, int]
    deals: dict[int, Deal]
    """by item"""
    bought: Counter[tuple[int, str]] = field(default_factory=Counter)
    """units by (deal, phone), of deals with a limit a buyer"""


@dataclass(slots=True)
class Line:
    item: Item
    quantity: int
    unit_price: int
    deal: Deal | None

    @property
    def amount(self) -> int:
        return self.unit_price * self.quantity


@dataclass(slots=True)
class Taken:
    """A basket that will be placed."""

    basket: Basket
    lines: list[Line]
    answer: PurchaseAnswer = field(default_factory=lambda: PurchaseAnswer("", []))


async def place(db: AsyncConnection, baskets: Sequence[Basket]) -> list[Outcome]:
    """An answer or a refusal for each basket, in their order. Keys must differ within the batch.

    Runs inside the caller's transaction; nothing holds before that has committed. Raises `KeyTaken`.
    """
    outcomes: list[Outcome | None] = list(await earlier_answers(db, baskets))
    fresh = [i for i, outcome in enumerate(outcomes) if outcome is None]
    if fresh:
        facts = await read_facts(db, [baskets[i] for i in fresh])
        taken: list[Taken] = []
        for i in fresh:
            decision = decide(baskets[i], facts)
            if isinstance(decision, Taken):
                taken.append(decision)
                outcomes[i] = decision.answer
            else:
                outcomes[i] = decision
        if taken:
            await write(db, taken, facts)
    return [outcome for outcome in outcomes if outcome is not None]


# ---- what was answered before

_ANSWERED = text("SELECT key, body_hash, answer::text AS answer FROM idempotency_key WHERE key = ANY(:keys)")
_decode_answer = msgspec.json.Decoder(PurchaseAnswer).decode


async def earlier_answers(db: AsyncConnection, baskets: Sequence[Basket]) -> list[Outcome | None]:
    rows = await db.execute(_ANSWERED, {"keys": [basket.idempotency_key for basket in baskets]})
    known = {row.key: row for row in rows}
    found: list[Outcome | None] = []
    for basket in baskets:
        row = known.get(basket.idempotency_key)
        if row is None:
            found.append(None)
        elif row.body_hash != basket.body_hash:
            found.append(IdempotencyConflict())
        else:
            found.append(_decode_answer(row.answer))
    return found


# ---- what holds now

_SESSIONS = text("""
    SELECT s.id, s.state, s.pinned_id, p.id AS pin_id, clock_timestamp() AS now
    FROM live_session s LEFT JOIN pin p
        ON p.live_session_id = s.id AND p.item_id = s.pinned_id AND p.until IS NULL
    WHERE s.id = ANY(:sessions)
""")

_PRICES = text("SELECT id, price FROM grade WHERE id = ANY(:grades) AND active")

# A deal runs by the database's clock, read after the stock is locked: waiting for a lock cannot prolong it.
_DEALS = text("""
    SELECT id, item_id, price, quantity - taken AS left, per_buyer FROM deal
    WHERE live_session_id = ANY(:sessions) AND item_id = ANY(:items) AND stopped_at IS NULL
        AND taken < quantity AND starts_at <= clock_timestamp() AND ends_at > clock_timestamp()
    ORDER BY id FOR NO KEY UPDATE
""")

_BOUGHT = text("""
    SELECT l.deal_id, o.buyer_phone, sum(l.quantity)::bigint AS units
    FROM order_line l JOIN "order" o ON o.id = l.order_id
    WHERE l.deal_id = ANY(:deals) AND o.buyer_phone = ANY(:phones) AND o.state NOT IN ('cancelled', 'expired')
    GROUP BY l.deal_id, o.buyer_phone
""")


async def read_facts(db: AsyncConnection, baskets: Sequence[Basket]) -> Facts:
    """Lock the stock and the running deals of these baskets, and read what decides."""
    session_ids = sorted({basket.lineup.session_id for basket in baskets})
    items = {item.id: item for basket in baskets for item, _ in basket.lines}
    grades = sorted({item.grade_id for item in items.values()})
    levels = await stock.lock(db, grades)
    found = (await db.execute(_SESSIONS, {"sessions": session_ids})).all()
    prices = (await db.execute(_PRICES, {"grades": grades})).all()
    deals = (await db.execute(_DEALS, {"sessions": session_ids, "items": sorted(items)})).all()
    facts = Facts(
        now=found[0].now,
        states={row.id: row.state for row in found},
        pins={row.id: (row.pinned_id, row.pin_id) for row in found if row.pin_id is not None},
        prices={row.id: row.price for row in prices},
        free={grade: level.free for grade, level in levels.items()},
        deals={row.item_id: Deal(row.id, row.price, row.left, row.per_buyer) for row in deals},
    )
    limited = [deal.id for deal in facts.deals.values() if deal.per_buyer is not None]
    if limited:
        phones = sorted({basket.buyer_phone for basket in baskets})
        for row in await db.execute(_BOUGHT, {"deals": limited, "phones": phones}):
            facts.bought[row.deal_id, row.buyer_phone] = row.units
    return facts


# ---- deciding


def decide(basket: Basket, facts: Facts) -> Taken | MarketError:
    """Take the basket from what is left, or say why not and take nothing."""
    state = facts.states.get(basket.lineup.session_id)
    if state == LiveState.SCHEDULED:
        return SessionNotStarted()
    if state != LiveState.LIVE:
        return SessionEnded()
    short = [
        ShortLine(item.code, item.name, quantity, max(0, left))
        for item, quantity in basket.lines
        if quantity > (left := facts.free.get(item.grade_id, 0) if item.grade_id in facts.prices else 0)
    ]
    if short:
        return SoldOut(short)
    lines = [price_line(basket, item, quantity, facts) for item, quantity in basket.lines]
    total = sum(line.amount for line in lines)
    if basket.shown_total is not None and basket.shown_total != total:
        return TotalChanged(total, [(line.item.code, line.unit_price) for line in lines])
    for line in lines:
        facts.free[line.item.grade_id] -= line.quantity
        if line.deal is not None:
            line.deal.left -= line.quantity
            facts.bought[line.deal.id, basket.buyer_phone] += line.quantity
    return Taken(basket, lines)


def price_line(basket: Basket, item: Item, quantity: int, facts: Facts) -> Line:
    """A deal's price holds for a line the deal still covers whole; else the grade's own price."""
    deal = facts.deals.get(item.id)
    if deal is not None:
        had = facts.bought[deal.id, basket.buyer_phone]
        if quantity <= deal.left and (deal.per_buyer is None or had + quantity <= deal.per_buyer):
            return Line(item, quantity, deal.price, deal)
    return Line(item, quantity, facts.prices[item.grade_id], None)


# ---- writing

_IDS = text("""
    SELECT nextval(pg_get_serial_sequence('purchase', 'id')) FROM generate_series(1, :purchases)
    UNION ALL SELECT nextval(pg_get_serial_sequence('"order"', 'id')) FROM generate_series(1, :orders)
""")

_TAKE_DEALS = text("""
    UPDATE deal SET taken = taken + more.units
    FROM unnest(CAST(:deals AS bigint[]), CAST(:units AS bigint[])) AS more (id, units)
    WHERE deal.id = more.id
""")

_COUNT = text("""
    INSERT INTO live_counter AS c (live_session_id, orders, units, gmv)
    SELECT * FROM unnest(CAST(:sessions AS bigint[]), CAST(:orders AS bigint[]), CAST(:units AS bigint[]),
        CAST(:gmv AS bigint[])) AS more (session, orders, units, gmv) ORDER BY more.session
    ON CONFLICT (live_session_id) DO UPDATE
    SET orders = c.orders + excluded.orders, units = c.units + excluded.units, gmv = c.gmv + excluded.gmv
""")

# In key order: two processes that insert the same keys wait for each other one way round only.
_KEEP_KEYS = text("""
    INSERT INTO idempotency_key (key, body_hash, purchase_id, answer)
    SELECT key, hash, purchase, answer::jsonb
    FROM unnest(CAST(:keys AS text[]), CAST(:hashes AS text[]), CAST(:purchases AS bigint[]),
        CAST(:answers AS text[])) AS kept (key, hash, purchase, answer) ORDER BY key
    ON CONFLICT DO NOTHING RETURNING 1
""")


@dataclass(slots=True)
class Rows:
    """What the batch inserts, a list of tuples a table."""

    purchases: list[tuple[Any, ...]] = field(default_factory=list)
    orders: list[tuple[Any, ...]] = field(default_factory=list)
    lines: list[tuple[Any, ...]] = field(default_factory=list)
    payments: list[tuple[Any, ...]] = field(default_factory=list)
    history: list[tuple[Any, ...]] = field(default_factory=list)
    movements: list[stock.Movement] = field(default_factory=list)


@dataclass(slots=True)
class Sold:
    """What one session sold in this batch."""

    grade_ids: set[int] = field(default_factory=set)
    order_ids: list[int] = field(default_factory=list)
    units: int = 0
    gmv: int = 0


async def write(db: AsyncConnection, taken: Sequence[Taken], facts: Facts) -> None:
    rows = Rows()
    sold: defaultdict[int, Sold] = defaultdict(Sold)
    by_seller = [split_by_seller(one.lines) for one in taken]
    orders = sum(map(len, by_seller))
    ids = list((await db.execute(_IDS, {"purchases": len(taken), "orders": orders})).scalars())
    purchase_ids, order_ids = ids[: len(taken)], iter(ids[len(taken) :])
    for one, purchase_id, parts in zip(taken, purchase_ids, by_seller, strict=True):
        one.answer.purchase = code = "PH" + random_letters(8)
        rows.purchases.append((purchase_id, code, facts.now))
        for seller, lines in parts:
            order_id = next(order_ids)
            one.answer.orders.append(add_order(rows, one.basket, seller, lines, order_id, purchase_id, facts))
            count = sold[one.basket.lineup.session_id]
            count.order_ids.append(order_id)
            for line in lines:
                count.grade_ids.add(line.item.grade_id)
                count.units += line.quantity
                count.gmv += line.amount
    await insert(db, rows)
    await stock.apply(db, rows.movements)
    await take_deals(db, taken)
    await count_and_tell(db, sold)
    await keep_keys(db, taken, purchase_ids)


def split_by_seller(lines: Iterable[Line]) -> list[tuple[SellerCard, list[Line]]]:
    """One order has exactly one seller: the money goes straight to each."""
    parts: dict[int, tuple[SellerCard, list[Line]]] = {}
    for line in lines:
        parts.setdefault(line.item.seller.id, (line.item.seller, []))[1].append(line)
    return list(parts.values())


def add_order(
    rows: Rows,
    basket: Basket,
    seller: SellerCard,
    lines: Sequence[Line],
    order_id: int,
    purchase_id: int,
    facts: Facts,
) -> OrderAnswer:
    """The rows of one order, and what its buyer is told."""
    code = f"DL{seller.commune_code}{random_letters(6)}"
    key = secrets.token_urlsafe(15)
    total = sum(line.amount for line in lines)
    session_id = basket.lineup.session_id
    pinned, pin = facts.pins.get(session_id, (None, None))
    rows.orders.append(
        (
            order_id,
            code,
            key,
            purchase_id,
            seller.id,
            session_id,
            pin if any(line.item.id == pinned for line in lines) else None,
            OrderState.PLACED.value,
            total,
            basket.method.value,
            basket.buyer_name,
            basket.buyer_phone,
            basket.province_code,
            basket.commune_code,
            basket.street,
            basket.note,
            facts.now,  # consent
            basket.visitor,
            basket.source,
            basket.entered_by,
            basket.demo,
            facts.now,
            None if basket.method is Method.COD else facts.now + HOLD,
        )
    )
    rows.payments.append((order_id, basket.method.value, PaymentState.DUE.value, total, facts.now))
    rows.history.append((order_id, "", OrderState.PLACED.value, basket.entered_by, facts.now))
    for line in lines:
        item = line.item
        rows.lines.append(
            (
                order_id,
                item.grade_id,
                line.deal.id if line.deal else None,
                item.code,
                item.product_name,
                item.grade_name,
                item.unit,
                line.unit_price,
                line.quantity,
                line.amount,
            )
        )
        rows.movements.append(
            stock.Movement(
                item.grade_id, 0, line.quantity, stock.Reason.RESERVED, order_id, basket.entered_by
            )
        )
    payment = payment_answer(basket.method, PaymentState.DUE, seller, code, key, total, basket.public_url)
    return OrderAnswer(
        code=code,
        key=key,
        seller=seller.name,
        state=OrderState.PLACED.value,
        total=total,
        currency="VND",
        payment=payment,
        track_url=f"{basket.public_url}/orders/{code}?key={key}",
    )


def payment_answer(
    method: Method,
    state: PaymentState,
    seller: SellerCard,
    code: str,
    key: str,
    total: int,
    public_url: str,
) -> PaymentAnswer:
    """How to pay. The card page is ours: it asks the card company when the buyer goes there, not before."""
    answer = PaymentAnswer(method.value, state.value)
    if method is Method.VIETQR and seller.bank_bin and seller.bank_account:
        answer.qr = vietqr.payload(seller.bank_bin, seller.bank_account, total, code)
    elif method is Method.CARD:
        answer.checkout_url = f"{public_url}/orders/{code}/pay?key={key}"
    return answer


def random_letters(count: int) -> str:
    number = int.from_bytes(os.urandom(8), "big")
    letters = ""
    for _ in range(count):
        number, index = divmod(number, len(ALPHABET))
        letters += ALPHABET[index]
    return letters


COLUMNS: Mapping[str, Sequence[str]] = {
    "purchase": ("id", "code", "placed_at"),
    "order": (
        *("id", "code", "key", "purchase_id", "seller_id", "live_session_id", "pin_id", "state", "total"),
        *("payment_method", "buyer_name", "buyer_phone", "province_code", "commune_code", "street", "note"),
        *("consent_at", "visitor", "source", "entered_by", "demo", "placed_at", "expires_at"),
    ),
    "order_line": (
        *("order_id", "grade_id", "deal_id", "item_code", "product_name", "grade_name", "unit"),
        *("unit_price", "quantity", "amount"),
    ),
    "payment": ("order_id", "method", "state", "amount", "created_at"),
    "order_history": ("subject_id", "before", "after", "by", "at"),
}


async def insert(db: AsyncConnection, rows: Rows) -> None:
    connection = (await db.get_raw_connection()).driver_connection
    assert connection is not None
    tables = {
        "purchase": rows.purchases,
        "order": rows.orders,
        "order_line": rows.lines,
        "payment": rows.payments,
        "order_history": rows.history,
    }
    for table, records in tables.items():
        await connection.copy_records_to_table(table, records=records, columns=COLUMNS[table])


async def take_deals(db: AsyncConnection, taken: Sequence[Taken]) -> None:
    units: Counter[int] = Counter()
    for one in taken:
        for line in one.lines:
            if line.deal is not None:
                units[line.deal.id] += line.quantity
    if units:
        await db.execute(_TAKE_DEALS, {"deals": list(units), "units": list(units.values())})


async def count_and_tell(db: AsyncConnection, sold: Mapping[int, Sold]) -> None:
    """The sessions' counters, and one message a session for everybody who watches."""
    sessions = sorted(sold)
    await db.execute(
        _COUNT,
        {
            "sessions": sessions,
            "orders": [len(sold[one].order_ids) for one in sessions],
            "units": [sold[one].units for one in sessions],
            "gmv": [sold[one].gmv for one in sessions],
        },
    )
    for one in sessions:
        payload = {
            "live_session_id": one,
            "grade_ids": sorted(sold[one].grade_ids),
            "order_ids": sold[one].order_ids,
        }
        await outbox.emit(db, TOPIC, payload)


async def keep_keys(db: AsyncConnection, taken: Sequence[Taken], purchase_ids: Sequence[int]) -> None:
    kept = await db.execute(
        _KEEP_KEYS,
        {
            "keys": [one.basket.idempotency_key for one in taken],
            "hashes": [one.basket.body_hash for one in taken],
            "purchases": list(purchase_ids),
            "answers": [msgspec.json.encode(one.answer).decode() for one in taken],
        },
    )
    if len(kept.all()) != len(taken):
        raise KeyTaken
