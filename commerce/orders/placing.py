"""Placing a batch of baskets in one transaction: decide who gets what, then write it all in bulk.

The order of things matters. Stock rows are locked first, once, in id order; deals after them, in id order
too; whatever else is written is new. So two batches of two processes can wait for each other's commit, but
never in a ring. First come, first served; a basket is taken whole or not at all. Prices, deals and their
end are read after the locks are held, and time is the database's.

An idempotency key is looked up at the start and inserted at the end. If another process placed the same key
in between, the insert finds it, `KeyTaken` undoes the batch, and the next try meets the answer at its start.

Each step is one statement for the whole batch, because on a busy machine it is the round trips that cost.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from commerce.catalog import packing, stock
from commerce.core import clock, outbox
from commerce.core.errors import MarketError
from commerce.live.models import LiveState
from commerce.orders.errors import (
    IdempotencyConflict,
    NoShippingDay,
    SessionEnded,
    SessionNotStarted,
    SessionRehearsal,
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
REHEARSAL, REPLAY = "rehearsal", "replay"


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
    replay: bool = False
    """Ordered while watching again: what is still for sale is sold, at its usual price."""
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
    answered: dict[str, tuple[str, Any]]
    """key -> (hash of the order it was used for, what was answered)"""
    states: dict[int, str]
    """A session's, with two more: `REHEARSAL`, and `REPLAY` for one that is over and can be watched again."""
    pins: dict[int, tuple[int, int]]
    """session -> (item pinned, pin)"""
    prices: dict[int, int]
    free: dict[int, int]
    deals: dict[int, Deal]
    """by item"""
    bought: Counter[tuple[int, str]] = field(default_factory=Counter)
    """units by (deal, phone), of deals with a limit a buyer"""
    calendar: packing.Calendar = field(default_factory=lambda: packing.Calendar(clock.today(), {}))

    def earlier(self, basket: Basket) -> Outcome | None:
        """What the basket's key was answered before, if it was used before."""
        known = self.answered.get(basket.idempotency_key)
        if known is None:
            return None
        return (
            msgspec.convert(known[1], PurchaseAnswer)
            if known[0] == basket.body_hash
            else IdempotencyConflict()
        )


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
    days: dict[int, date]
    """When a seller's parcel leaves, of sellers whose goods have a shipping day."""
    answer: PurchaseAnswer = field(default_factory=lambda: PurchaseAnswer("", []))


async def place(db: AsyncConnection, baskets: Sequence[Basket]) -> list[Outcome]:
    """An answer or a refusal for each basket, in their order. Keys must differ within the batch.

    Runs inside the caller's transaction; nothing holds before that has committed. Raises `KeyTaken`.
    """
    facts = await read_facts(db, baskets)
    outcomes: list[Outcome] = []
    taken: list[Taken] = []
    for basket in baskets:
        outcome = facts.earlier(basket) or decide(basket, facts)
        if isinstance(outcome, Taken):
            taken.append(outcome)
            outcomes.append(outcome.answer)
        else:
            outcomes.append(outcome)
    if taken:
        await write(db, taken, facts)
    return outcomes


# ---- what holds now

# A deal runs by the database's clock, read after the stock is locked: waiting for a lock cannot prolong it.
_FACTS = text("""
    SELECT clock_timestamp() AS now,
    (SELECT json_agg(json_build_array(key, body_hash, answer)) FROM idempotency_key
        WHERE key = ANY(:keys)) AS answered,
    (SELECT json_agg(json_build_array(s.id, CASE WHEN s.rehearsal THEN 'rehearsal'
            WHEN s.playback <> '' AND s.state = 'ended' THEN 'replay' ELSE s.state END, s.pinned_id, p.id))
        FROM live_session s LEFT JOIN pin p
        ON p.live_session_id = s.id AND p.item_id = s.pinned_id AND p.until IS NULL
        WHERE s.id = ANY(:sessions)) AS sessions,
    (SELECT json_agg(json_build_array(id, price)) FROM grade
        WHERE id = ANY(:grades) AND active) AS prices,
    (SELECT json_agg(json_build_array(item_id, id, price, free, per_buyer)) FROM (
        SELECT item_id, id, price, quantity - taken AS free, per_buyer FROM deal
        WHERE live_session_id = ANY(:sessions) AND item_id = ANY(:items) AND stopped_at IS NULL
            AND taken < quantity AND starts_at <= clock_timestamp() AND ends_at > clock_timestamp()
        ORDER BY id FOR NO KEY UPDATE) running) AS deals
""")

_BOUGHT = text("""
    SELECT l.deal_id, o.buyer_phone, sum(l.quantity)::bigint AS units
    FROM order_line l JOIN "order" o ON o.id = l.order_id
    WHERE l.deal_id = ANY(:deals) AND o.buyer_phone = ANY(:phones) AND o.state NOT IN ('cancelled', 'expired')
    GROUP BY l.deal_id, o.buyer_phone
""")


async def read_facts(db: AsyncConnection, baskets: Sequence[Basket]) -> Facts:
    """Lock the stock and the running deals of these baskets, and read what decides."""
    items = {item.id: item for basket in baskets for item, _ in basket.lines}
    grades = sorted({item.grade_id for item in items.values()})
    levels = await stock.lock(db, grades)
    rationed = {item.product_id for item in items.values() if item.plan and item.plan.per_day is not None}
    if rationed:
        await packing.lock(db, rationed)
    asked = {
        "keys": [basket.idempotency_key for basket in baskets],
        "sessions": sorted({basket.lineup.session_id for basket in baskets}),
        "grades": grades,
        "items": sorted(items),
    }
    found = (await db.execute(_FACTS, asked)).one()
    facts = Facts(
        now=found.now,
        answered={key: (hashed, answer) for key, hashed, answer in found.answered or ()},
        states={session: state for session, state, _, _ in found.sessions or ()},
        pins={session: (item, pin) for session, _, item, pin in found.sessions or () if pin is not None},
        prices=dict(found.prices or ()),
        free={grade: level.free for grade, level in levels.items()},
        deals={item: Deal(*deal) for item, *deal in found.deals or ()},
    )
    plans = {item.product_id: item.plan for item in items.values() if item.plan}
    facts.calendar = await packing.read(db, plans, facts.now)
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
    if state == REHEARSAL:
        return SessionRehearsal()
    if state != LiveState.LIVE and not (state == REPLAY and basket.replay):
        return SessionEnded()
    short = [
        ShortLine(item.code, item.name, quantity, max(0, left))
        for item, quantity in basket.lines
        if quantity > (left := facts.free.get(item.grade_id, 0) if item.grade_id in facts.prices else 0)
    ]
    if short:
        return SoldOut(short)
    days = shipping_days(basket.lines, facts.calendar)
    if isinstance(days, NoShippingDay):
        return days
    lines = [price_line(basket, item, quantity, facts) for item, quantity in basket.lines]
    total = sum(line.amount for line in lines)
    if basket.shown_total is not None and basket.shown_total != total:
        return TotalChanged(total, [(line.item.code, line.unit_price) for line in lines])
    for line in lines:
        facts.free[line.item.grade_id] -= line.quantity
        if line.deal is not None:
            line.deal.left -= line.quantity
            facts.bought[line.deal.id, basket.buyer_phone] += line.quantity
    for seller_id, day in days.items():
        mine = [one for one in basket.lines if one[0].seller.id == seller_id]
        facts.calendar.take(units_by_product(mine), day)
    return Taken(basket, lines, days)


def units_by_product(lines: Iterable[tuple[Item, int]]) -> dict[int, int]:
    units: Counter[int] = Counter()
    for item, quantity in lines:
        units[item.product_id] += quantity
    return units


def shipping_days(
    lines: Sequence[tuple[Item, int]], calendar: packing.Calendar
) -> dict[int, date] | NoShippingDay:
    """By seller, the earliest day on which all of the order can leave; none for goods without such days."""
    days: dict[int, date] = {}
    for seller_id in {item.seller.id for item, _ in lines}:
        mine = [(item, quantity) for item, quantity in lines if item.seller.id == seller_id]
        planned = [one for one in mine if one[0].plan and one[0].plan.matters(calendar.today)]
        if not planned:
            continue
        units = units_by_product(mine)
        day = calendar.day_for(units)
        if day is None:
            most = {item.product_id: calendar.most(item.product_id) for item, _ in planned}
            over = [one for one in planned if units[one[0].product_id] > most[one[0].product_id]] or planned
            return NoShippingDay(
                [ShortLine(item.code, item.name, wanted, most[item.product_id]) for item, wanted in over]
            )
        days[seller_id] = day
    return days


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

# Foreign keys are checked at the end of the statement, when all its rows are there. Keys go in by key order:
# two processes that insert the same keys wait for each other one way round only.
_WRITE = text("""
    WITH purchases AS (
        INSERT INTO purchase (id, code, placed_at)
        SELECT id, code, :now FROM unnest(CAST(:p_id AS bigint[]), CAST(:p_code AS text[])) AS p (id, code)
    ), orders AS (
        INSERT INTO "order" (id, code, key, purchase_id, seller_id, live_session_id, pin_id, total,
            payment_method, buyer_name, buyer_phone, province_code, commune_code, street, note, visitor,
            source, entered_by, demo, expires_at, ship_on, state, consent_at, placed_at)
        SELECT o.*, 'placed', :now, :now FROM unnest(CAST(:o_id AS bigint[]), CAST(:o_code AS text[]),
            CAST(:o_key AS text[]), CAST(:o_purchase AS bigint[]), CAST(:o_seller AS bigint[]),
            CAST(:o_session AS bigint[]), CAST(:o_pin AS bigint[]), CAST(:o_total AS bigint[]),
            CAST(:o_method AS text[]), CAST(:o_name AS text[]), CAST(:o_phone AS text[]),
            CAST(:o_province AS text[]), CAST(:o_commune AS text[]), CAST(:o_street AS text[]),
            CAST(:o_note AS text[]), CAST(:o_visitor AS text[]), CAST(:o_source AS text[]),
            CAST(:o_by AS bigint[]), CAST(:o_demo AS boolean[]), CAST(:o_expires AS timestamptz[]),
            CAST(:o_ship AS date[])) AS o
        RETURNING id, payment_method, total, entered_by
    ), histories AS (
        INSERT INTO order_history (subject_id, before, after, by, at)
        SELECT id, '', 'placed', entered_by, :now FROM orders
    ), payments AS (
        INSERT INTO payment (order_id, method, state, amount, advance, created_at)
        SELECT id, payment_method, 'due', total, a.advance, :now FROM orders
            JOIN unnest(CAST(:o_id AS bigint[]), CAST(:o_advance AS bigint[])) AS a (id, advance) USING (id)
    ), lines AS (
        INSERT INTO order_line (order_id, grade_id, deal_id, item_code, product_name, grade_name, unit,
            unit_price, quantity, amount)
        SELECT * FROM unnest(CAST(:l_order AS bigint[]), CAST(:l_grade AS bigint[]),
            CAST(:l_deal AS bigint[]), CAST(:l_code AS text[]), CAST(:l_name AS text[]),
            CAST(:l_grade_name AS text[]), CAST(:l_unit AS text[]), CAST(:l_price AS bigint[]),
            CAST(:l_quantity AS bigint[]), CAST(:l_amount AS bigint[]))
    ), deals AS (
        UPDATE deal SET taken = taken + more.units
        FROM unnest(CAST(:d_id AS bigint[]), CAST(:d_units AS bigint[])) AS more (id, units)
        WHERE deal.id = more.id
    ), counters AS (
        INSERT INTO live_counter AS c (live_session_id, orders, units, gmv)
        SELECT * FROM unnest(CAST(:c_session AS bigint[]), CAST(:c_orders AS bigint[]),
            CAST(:c_units AS bigint[]), CAST(:c_gmv AS bigint[])) AS more (session, orders, units, gmv)
        ORDER BY more.session
        ON CONFLICT (live_session_id) DO UPDATE
        SET orders = c.orders + excluded.orders, units = c.units + excluded.units, gmv = c.gmv + excluded.gmv
    ), kept AS (
        INSERT INTO idempotency_key (key, body_hash, purchase_id, answer)
        SELECT key, hash, purchase, answer::jsonb
        FROM unnest(CAST(:k_key AS text[]), CAST(:k_hash AS text[]), CAST(:p_id AS bigint[]),
            CAST(:k_answer AS text[])) AS k (key, hash, purchase, answer) ORDER BY key
        ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT count(*) FROM kept
""")

ORDER_COLUMNS = (
    *("o_id", "o_code", "o_key", "o_purchase", "o_seller", "o_session", "o_pin", "o_total", "o_method"),
    *("o_name", "o_phone", "o_province", "o_commune", "o_street", "o_note", "o_visitor", "o_source"),
    *("o_by", "o_demo", "o_expires", "o_ship"),
)
LINE_COLUMNS = (
    *("l_order", "l_grade", "l_deal", "l_code", "l_name", "l_grade_name", "l_unit", "l_price"),
    *("l_quantity", "l_amount"),
)


@dataclass(slots=True)
class Rows:
    """What the batch inserts, as tuples in the order of the columns above."""

    orders: list[tuple[Any, ...]] = field(default_factory=list)
    advances: list[int] = field(default_factory=list)
    """Of each order, what is due before its parcel is packed."""
    lines: list[tuple[Any, ...]] = field(default_factory=list)
    movements: list[stock.Movement] = field(default_factory=list)


@dataclass(slots=True)
class Sold:
    """What one session sold in this batch."""

    grade_ids: set[int] = field(default_factory=set)
    order_ids: list[int] = field(default_factory=list)
    units: int = 0
    gmv: int = 0


async def write(db: AsyncConnection, taken: Sequence[Taken], facts: Facts) -> None:
    """Everything the taken baskets become. Raises `KeyTaken`."""
    by_seller = [split_by_seller(one.lines) for one in taken]
    count = {"purchases": len(taken), "orders": sum(map(len, by_seller))}
    ids = list((await db.execute(_IDS, count)).scalars())
    purchase_ids, order_ids = ids[: len(taken)], iter(ids[len(taken) :])
    rows = Rows()
    sold: defaultdict[int, Sold] = defaultdict(Sold)
    for one, purchase_id, parts in zip(taken, purchase_ids, by_seller, strict=True):
        one.answer.purchase = "PH" + random_letters(8)
        for seller, lines in parts:
            order_id = next(order_ids)
            ship_on = one.days.get(seller.id)
            order = add_order(rows, one.basket, seller, lines, order_id, purchase_id, facts, ship_on)
            one.answer.orders.append(order)
            add_sold(sold[one.basket.lineup.session_id], order_id, lines)
    values = {
        "now": facts.now,
        "p_id": purchase_ids,
        "p_code": [one.answer.purchase for one in taken],
        **columns(ORDER_COLUMNS, rows.orders),
        "o_advance": rows.advances,
        **columns(LINE_COLUMNS, rows.lines),
        **deal_columns(taken),
        **counter_columns(sold),
        "k_key": [one.basket.idempotency_key for one in taken],
        "k_hash": [one.basket.body_hash for one in taken],
        "k_answer": [msgspec.json.encode(one.answer).decode() for one in taken],
    }
    if await db.scalar(_WRITE, values) != len(taken):
        raise KeyTaken
    await stock.apply(db, rows.movements)
    await packing.write(db, facts.calendar)
    for session_id, one_sold in sorted(sold.items()):
        payload = {
            "live_session_id": session_id,
            "grade_ids": sorted(one_sold.grade_ids),
            "order_ids": one_sold.order_ids,
        }
        await outbox.emit(db, TOPIC, payload)


def columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """Rows as one array a column, which is how PostgreSQL takes many rows in one statement."""
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def deal_columns(taken: Sequence[Taken]) -> dict[str, list[int]]:
    units: Counter[int] = Counter()
    for one in taken:
        for line in one.lines:
            if line.deal is not None:
                units[line.deal.id] += line.quantity
    return {"d_id": list(units), "d_units": list(units.values())}


def counter_columns(sold: Mapping[int, Sold]) -> dict[str, list[int]]:
    return {
        "c_session": list(sold),
        "c_orders": [len(one.order_ids) for one in sold.values()],
        "c_units": [one.units for one in sold.values()],
        "c_gmv": [one.gmv for one in sold.values()],
    }


def add_sold(sold: Sold, order_id: int, lines: Iterable[Line]) -> None:
    sold.order_ids.append(order_id)
    for line in lines:
        sold.grade_ids.add(line.item.grade_id)
        sold.units += line.quantity
        sold.gmv += line.amount


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
    ship_on: date | None,
) -> OrderAnswer:
    """The rows of one order, and what its buyer is told."""
    code = f"DL{seller.commune_code}{random_letters(6)}"
    key = secrets.token_urlsafe(15)
    total = sum(line.amount for line in lines)
    advance = advance_of(basket, seller, lines, total)
    rows.advances.append(advance)
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
            total,
            basket.method.value,
            basket.buyer_name,
            basket.buyer_phone,
            basket.province_code,
            basket.commune_code,
            basket.street,
            basket.note,
            basket.visitor,
            basket.source,
            basket.entered_by,
            basket.demo,
            facts.now + HOLD if advance else None,
            ship_on,
        )
    )
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
    payment = payment_answer(basket.method, PaymentState.DUE, seller, code, key, advance, basket.public_url)
    return OrderAnswer(
        code=code,
        key=key,
        seller=seller.name,
        state=OrderState.PLACED.value,
        total=total,
        currency="VND",
        payment=payment,
        track_url=f"{basket.public_url}/orders/{code}?key={key}",
        ship_on=ship_on,
    )


def advance_of(basket: Basket, seller: SellerCard, lines: Iterable[Line], total: int) -> int:
    """What is due before the parcel is packed: all of a transfer or card payment; of cash on delivery the
    deposit that the seller asks for, to the full thousand.

    An order that a helper typed in asks for none: its buyer has not seen a page yet, and goods held for money
    that nobody knows of would be given back half an hour later.
    """
    if basket.method is not Method.COD:
        return total
    if basket.entered_by is not None or not (seller.deposit_percent or seller.deposit_fee):
        return 0
    fresh = sum(line.amount for line in lines if line.item.fresh)
    return deposit(seller, fresh, total)


def deposit(seller: SellerCard, fresh: int, total: int) -> int:
    """Of `total`, `fresh` dong of it for fresh goods. None where there is no way to pay it in advance."""
    if not (seller.bank_bin and seller.bank_account) and not seller.takes_cards:
        return 0
    asked = seller.deposit_fee + -(-fresh * seller.deposit_percent // 100)
    return min(total, -(-asked // 1_000) * 1_000)


def payment_answer(
    method: Method,
    state: PaymentState,
    seller: SellerCard,
    code: str,
    key: str,
    due: int,
    public_url: str,
) -> PaymentAnswer:
    """How to pay what is `due` now; a deposit may come either way.

    The card page is ours: it asks the card company when the buyer goes there, not before.
    """
    answer = PaymentAnswer(method.value, state.value, due_now=due)
    if due and method is not Method.CARD and seller.bank_bin and seller.bank_account:
        answer.qr = vietqr.payload(seller.bank_bin, seller.bank_account, due, code)
    if due and (method is Method.CARD or (method is Method.COD and seller.takes_cards)):
        answer.checkout_url = f"{public_url}/orders/{code}/pay?key={key}"
    return answer


def random_letters(count: int) -> str:
    number = int.from_bytes(os.urandom(8), "big")
    letters = ""
    for _ in range(count):
        number, index = divmod(number, len(ALPHABET))
        letters += ALPHABET[index]
    return letters
