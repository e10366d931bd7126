"""Random small worlds, with everything that goes wrong near an edge, and their rows in the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from hypothesis import strategies as st
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.analytics.ingest import ensure_partitions
from commerce.analytics.models import PageEvent, Visit
from commerce.core import db as core_db
from commerce.core.roles import Role
from commerce.live.models import Deal, LineupItem, LiveSession, Pin
from commerce.orders.models import Order, OrderLine, Purchase
from commerce.payments.models import Payment
from tests import factories
from tests.analytics import reference as ref

START = 1_756_029_600_000
"""24 August 2025, 17:00 in Vietnam: 17 minutes past a round minute of nothing in particular."""
HOUR = 3_600_000
DAY = 24 * HOUR
ITEMS = ["A1", "A2"]
VISITORS = ["v1", "v2", "v3"]
SOURCES = ["zalo", "facebook", "qr"]
NOW = START + 2 * DAY


def moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


@dataclass(frozen=True)
class Stage:
    """What every world plays on: two sessions of one commune, A1 in both, A2 in the first only."""

    session_ids: tuple[int, int]
    grades: dict[str, int]
    items: dict[tuple[int, str], int]
    seller_id: int
    helper_id: int


async def set_stage() -> Stage:
    async with core_db.sessions.begin() as db:
        host = await factories.person(db, Role.HOST)
        seller = await factories.seller(db)
        _, grades = await factories.product(db, seller, grades={"A": (95_000, 100), "B": (70_000, 50)})
        by_code = {"A1": grades["A"], "A2": grades["B"]}
        first = await factories.live_session(db, host, by_code, state="ended")
        second = await factories.live_session(db, host, {"A1": by_code["A1"]}, state="ended")
        rows = await db.execute(LineupItem.__table__.select())
        items = {(row.live_session_id, row.code): row.id for row in rows}
    connection = await core_db.sessions.connect_raw()
    for table in ("visit", "page_event"):
        await ensure_partitions(connection, table, [moment(START + n * 20 * DAY) for n in range(-1, 3)])
    await connection.close()
    return Stage((first, second), by_code, items, seller, host)


GAPS = st.one_of(st.sampled_from([0, 1, 29_999, 30_000, 30_001, -5_000]), st.integers(-60_000, 60_000))
LENGTHS = st.one_of(st.sampled_from([0, 1, 9_999, 10_000, 10_001]), st.integers(0, 120_000))
WAITS = st.one_of(st.sampled_from([0, DAY - 1, DAY, DAY + 1]), st.integers(-60_000, 2 * DAY))


def near(*edges: int) -> st.SearchStrategy[int]:
    """A moment at or around one of these."""
    shifts = st.one_of(st.sampled_from([0, 1, -1, 59_999, 60_000]), st.integers(-90_000, 90_000))
    return st.tuples(st.sampled_from(edges), shifts).map(sum)


@st.composite
def worlds(draw: st.DrawFn, stage: Stage) -> ref.World:
    first_id, second_id = stage.session_ids
    length = draw(st.sampled_from([600_000, 3_600_000, 150_000, 60_000, 1, 0]))
    start = START + draw(st.sampled_from([0, 1, 17_345, 59_999]))
    first = ref.Session(first_id, start, start + length, ["A1", "A2"])
    later = start + draw(st.sampled_from([0, 2 * HOUR, DAY]))
    ends = draw(st.sampled_from([None, later, later + 120_000]))
    world = ref.World({first_id: first, second_id: ref.Session(second_id, later, ends, ["A1"])})
    session = st.sampled_from([first_id, first_id, second_id])
    for n in range(draw(st.integers(0, 10))):
        add_visit(draw, world, draw(session), n)
    for _ in range(draw(st.integers(0, 8))):
        add_event(draw, world, draw(session))
    for n in range(draw(st.integers(0, 6))):
        add_order(draw, world, session, n)
    return world


def end_of(session: ref.Session) -> int:
    return session.end if session.end is not None else session.start + 300_000


def add_visit(draw: st.DrawFn, world: ref.World, session_id: int, number: int) -> None:
    session = world.sessions[session_id]
    before = [v for v in world.visits if v.left is not None]
    visitor = draw(st.sampled_from(VISITORS))
    returns = draw(st.booleans())
    if before and returns:  # somebody comes back: where views continue or do not
        last = draw(st.sampled_from(before))
        session_id, visitor = last.session, last.visitor
        joined = (last.left or 0) + draw(GAPS)
    else:
        joined = draw(near(session.start, end_of(session)))
    left = draw(st.one_of(st.none(), LENGTHS.map(lambda n: joined + n), LENGTHS.map(lambda n: joined + n)))
    if left is not None and draw(st.integers(0, 9)) == 0:
        left = joined - 1  # a clock that was set back
    source = draw(st.sampled_from(SOURCES))
    world.visits.append(ref.Visit(session_id, visitor, source, joined, left, f"{session_id}-{number:02}"))


def add_event(draw: st.DrawFn, world: ref.World, session_id: int) -> None:
    if world.events and draw(st.integers(0, 3)) == 0:
        world.events.append(world.events[-1])  # the page sent it twice
        return
    session = world.sessions[session_id]
    end = end_of(session)
    kind = draw(st.sampled_from(["impression", "impression", "click", "basket"]))
    item = draw(st.sampled_from(ITEMS if kind != "impression" else [*ITEMS, ""]))
    at = draw(near(session.start, end, end + DAY))
    world.events.append(ref.Event(session_id, draw(st.sampled_from(VISITORS)), kind, item, at))


def add_order(draw: st.DrawFn, world: ref.World, session: st.SearchStrategy[int], number: int) -> None:
    through = draw(st.one_of(st.none(), session))
    visitor = draw(st.sampled_from(["", *VISITORS]))
    base = world.sessions[through if through is not None else min(world.sessions)]
    at = draw(near(base.start, end_of(base)))
    touches = [(v.session, v.visitor, v.joined if v.left is None else v.left) for v in world.visits]
    touches += [(e.session, e.visitor, e.at) for e in world.events]
    was_there = draw(st.integers(0, 3))
    if touches and was_there:  # somebody who was there
        seen_in, visitor, seen_at = draw(st.sampled_from(touches))
        through, at = seen_in if through is not None else None, seen_at + draw(WAITS)
    items = draw(st.sampled_from([["A1"], ["A2"], ["A1", "A2"]]))
    lines = [
        (item, q := draw(st.integers(1, 5)), q * draw(st.sampled_from([70_000, 95_001]))) for item in items
    ]
    order = ref.Order(
        id=0,
        session=through,
        visitor=visitor,
        phone=draw(st.sampled_from(["0901", "0902"])),
        at=at,
        lines=lines,
        state=draw(st.sampled_from(["placed", "placed", "delivered", "cancelled", "expired", "refused"])),
        source=draw(st.sampled_from(["", "page"])),
        helper=through is not None and draw(st.integers(0, 4)) == 0,
        pin=draw(st.sampled_from([None, "A1"])) if through is not None else None,
        paid=draw(st.booleans()),
    )
    if through is not None:
        order.deals = frozenset(draw(st.sets(st.sampled_from(world.sessions[through].items))))
    order.refunded = draw(st.sampled_from([0, 0, 1, order.total // 3])) if order.paid else 0
    world.orders.append(order)


async def store(db: AsyncSession, stage: Stage, world: ref.World) -> None:
    """Write the world's rows in the caller's transaction; gives the orders their ids."""
    for session in world.sessions.values():
        ends = None if session.end is None else moment(session.end)
        await db.execute(
            update(LiveSession)
            .where(LiveSession.id == session.id)
            .values(started_at=moment(session.start), ended_at=ends, state="ended" if ends else "live")
        )
    if world.visits:
        rows = [
            {
                "id": v.id,
                "joined_at": moment(v.joined),
                "left_at": None if v.left is None else moment(v.left),
                "live_session_id": v.session,
                "visitor": v.visitor,
                "source": v.source,
                "gateway": "g1",
            }
            for v in world.visits
        ]
        await db.execute(insert(Visit), rows)
    if world.events:
        events = [
            {
                "reported": n,
                "position": 0,
                "at": moment(e.at),
                "live_session_id": e.session,
                "visitor": e.visitor,
                "kind": e.kind,
                "item_code": e.item,
            }
            for n, e in enumerate(world.events)
        ]
        await db.execute(insert(PageEvent), events)
    pins = {
        (session.id, item): await db.scalar(
            insert(Pin)
            .values(
                live_session_id=session.id, item_id=stage.items[session.id, item], at=moment(session.start)
            )
            .returning(Pin.id)
        )
        for session in world.sessions.values()
        for item in session.items
    }
    deals = {
        (session.id, item): await db.scalar(
            insert(Deal)
            .values(
                live_session_id=session.id,
                item_id=stage.items[session.id, item],
                price=50_000,
                quantity=1_000,
                starts_at=moment(session.start),
                ends_at=moment(session.start + HOUR),
            )
            .returning(Deal.id)
        )
        for session in world.sessions.values()
        for item in session.items
    }
    for number, order in enumerate(world.orders):
        await _store_order(db, stage, order, number, pins, deals)


async def _store_order(
    db: AsyncSession,
    stage: Stage,
    order: ref.Order,
    number: int,
    pins: dict[tuple[int, str], int | None],
    deals: dict[tuple[int, str], int | None],
) -> None:
    purchase = await db.scalar(insert(Purchase).values(code=f"PH{number}").returning(Purchase.id))
    made = await db.scalar(
        insert(Order)
        .values(
            code=f"DL{number}",
            key="k",
            purchase_id=purchase,
            seller_id=stage.seller_id,
            live_session_id=order.session,
            pin_id=pins.get((order.session, order.pin)) if order.session and order.pin else None,
            state=order.state,
            total=order.total,
            payment_method="vietqr",
            buyer_name="Người mua",
            buyer_phone=order.phone,
            province_code="66",
            commune_code="24505",
            street="thôn 1",
            consent_at=moment(order.at),
            visitor=order.visitor,
            source=order.source,
            entered_by=stage.helper_id if order.helper else None,
            placed_at=moment(order.at),
        )
        .returning(Order.id)
    )
    assert made is not None
    order.id = made
    lines = [
        {
            "order_id": made,
            "grade_id": stage.grades[item],
            "deal_id": deals.get((order.session or 0, item)) if item in order.deals else None,
            "item_code": item,
            "product_name": "Sầu riêng",
            "grade_name": item,
            "unit": "kg",
            "unit_price": amount // quantity,
            "quantity": quantity,
            "amount": amount,
        }
        for item, quantity, amount in order.lines
    ]
    await db.execute(insert(OrderLine), lines)
    await db.execute(
        insert(Payment).values(
            order_id=made,
            method="vietqr",
            state="paid" if order.paid else "due",
            amount=order.total,
            paid=order.total if order.paid else 0,
            refunded=order.refunded,
        )
    )
