"""The measures once more, slowly, from lists: written from the definitions alone, to check the SQL against.

Times are whole milliseconds. Nothing here is shared with commerce.analytics.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

S30 = 30_000
H24 = 24 * 3_600_000
CURVE = (0, 10, 30, 60, 120, 180, 300, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200)


@dataclass
class Visit:
    session: int
    visitor: str
    source: str
    joined: int
    left: int | None
    id: str = ""


@dataclass
class Event:
    session: int
    visitor: str
    kind: str
    item: str
    at: int


@dataclass
class Order:
    id: int
    session: int | None
    visitor: str
    phone: str
    at: int
    lines: list[tuple[str, int, int]]
    """item, quantity, amount"""
    state: str = "placed"
    source: str = ""
    helper: bool = False
    pin: str | None = None
    """The item pinned when it was placed."""
    deals: frozenset[str] = frozenset()
    """Items at a deal's price."""
    paid: bool = False
    refunded: int = 0

    @property
    def total(self) -> int:
        return sum(amount for _, _, amount in self.lines)

    @property
    def units(self) -> int:
        return sum(quantity for _, quantity, _ in self.lines)

    @property
    def net(self) -> int:
        return 0 if self.state in ("cancelled", "expired", "refused") else self.total - self.refunded


@dataclass
class Session:
    id: int
    start: int
    end: int | None
    items: list[str]


@dataclass
class World:
    sessions: dict[int, Session]
    visits: list[Visit] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)


def covered(spans: Iterable[tuple[int, int]]) -> int:
    """Length of the union."""
    total, reached = 0, None
    for begin, end in sorted(spans):
        start = begin if reached is None else max(begin, reached)
        total += max(0, end - start)
        reached = end if reached is None else max(reached, end)
    return total


def on_air(world: World, session: Session, now: int) -> list[Visit]:
    end = now if session.end is None else session.end
    found = []
    for v in world.visits:
        left = end if v.left is None else max(v.left, v.joined)
        if v.session == session.id and v.joined <= end and left >= session.start:
            begins, ends = max(v.joined, session.start), min(left, end)
            found.append(Visit(v.session, v.visitor, v.source, begins, ends, v.id))
    return sorted(found, key=lambda v: (v.joined, v.left or 0, v.id))


def views(stays: list[Visit]) -> list[list[Visit]]:
    """Each view as the visits it is made of, in order."""
    made: list[list[Visit]] = []
    open_views: dict[str, list[Visit]] = {}
    for stay in stays:
        view = open_views.get(stay.visitor)
        if view is not None and stay.joined - max(v.left or 0 for v in view) <= S30:
            view.append(stay)
        else:
            open_views[stay.visitor] = view = [stay]
            made.append(view)
    return made


def present(stays: list[Visit], at: int) -> int:
    return len({v.visitor for v in stays if v.joined <= at < (v.left or 0)})


def beacons(world: World, session: Session, now: int) -> set[tuple[str, str, str, int]]:
    until = (now if session.end is None else session.end) + H24
    return {
        (e.visitor, e.kind, e.item, e.at) for e in world.events if e.session == session.id and e.at <= until
    }


def last_touch(world: World, session: int, visitor: str, at: int) -> int | None:
    """When this visitor was last seen in the session, up to `at`."""
    if not visitor:
        return None
    seen = [
        min(at if v.left is None else max(v.left, v.joined), at)
        for v in world.visits
        if v.session == session and v.visitor == visitor and v.joined <= at
    ]
    seen += [e.at for e in world.events if e.session == session and e.visitor == visitor and e.at <= at]
    return max(seen, default=None)


def belongs(world: World, order: Order) -> tuple[int, str] | None:
    """(session, how) or nothing."""
    if order.session is not None:
        if order.helper:
            return order.session, "helper"
        touch = last_touch(world, order.session, order.visitor, order.at)
        if touch is None:
            return order.session, "code"
        return (order.session, "visit") if order.at - touch <= H24 else None
    best: tuple[int, int] | None = None
    wanted = {item for item, _, _ in order.lines}
    for session in world.sessions.values():
        if not wanted & set(session.items) or session.start > order.at:
            continue
        if session.end is not None and order.at - session.end > H24:
            continue
        touch = last_touch(world, session.id, order.visitor, order.at)
        if touch is not None and order.at - touch <= H24:
            best = max(best or (touch, session.id), (touch, session.id))
    return (best[1], "later") if best else None


def source_of(world: World, order: Order, session: int) -> str:
    if order.helper:
        return "helper"
    seen = [
        (v.joined, v.id, v.source)
        for v in world.visits
        if v.session == session and order.visitor and v.visitor == order.visitor and v.joined <= order.at
    ]
    return max(seen)[2] if seen else order.source or "direct"


def sales(world: World, session: Session) -> list[tuple[Order, str]]:
    found = []
    for order in world.orders:
        where = belongs(world, order)
        if where is not None and where[0] == session.id:
            found.append((order, where[1]))
    return found


def session_row(world: World, session: Session, now: int) -> dict[str, Any]:
    end = max(now if session.end is None else session.end, session.start)
    stays = on_air(world, session, now)
    made = views(stays)
    watched = [covered((v.joined, v.left or 0) for v in view) for view in made]
    seen = beacons(world, session, now)
    sold = sales(world, session)
    moments = sorted({v.joined for v in stays})
    shown = {v.visitor for v in world.visits if v.session == session.id} | {visitor for visitor, *_ in seen}
    return {
        "air_ms": end - session.start,
        "views": len(made),
        "effective_views": sum(1 for w in watched if w >= 10_000),
        "viewers": len({v.visitor for v in stays}),
        "reach": len(shown),
        "watched_ms": sum(watched),
        "pcu": max((present(stays, at) for at in moments), default=0),
        "impressions": sum(1 for _, kind, item, _ in seen if kind == "impression" and item),
        "clicks": sum(1 for _, kind, _, _ in seen if kind == "click"),
        "baskets": sum(1 for _, kind, _, _ in seen if kind == "basket"),
        "orders": len(sold),
        "units": sum(o.units for o, _ in sold),
        "gmv": sum(o.total for o, _ in sold),
        "net": sum(o.net for o, _ in sold),
        "paid": sum(1 for o, _ in sold if o.paid),
        "buyers": len({o.phone for o, _ in sold}),
        "by_helper": sum(1 for _, how in sold if how == "helper"),
        "curve": [sum(1 for w in watched if w >= s * 1000) for s in CURVE] if made else [],
    }


def minute_rows(world: World, session: Session, now: int) -> dict[int, dict[str, int]]:
    end = max(now if session.end is None else session.end, session.start)
    last = max(session.start, end - 1)
    stays = on_air(world, session, now)
    rows: dict[int, dict[str, int]] = {}
    for minute in range(session.start // 60_000, last // 60_000 + 1):
        begins, ends = minute * 60_000, (minute + 1) * 60_000
        moments = {begins} | {v.joined for v in stays if begins <= v.joined < ends}
        by_visitor: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for v in stays:
            by_visitor[v.visitor].append((max(v.joined, begins), min(v.left or 0, ends)))
        rows[minute] = {
            "peak": max(present(stays, at) for at in moments),
            "watched_ms": sum(covered(s for s in spans if s[1] > s[0]) for spans in by_visitor.values()),
            **dict.fromkeys(
                ("came", "left", "impressions", "clicks", "baskets", "orders", "units", "gmv"), 0
            ),
        }

    def count(at: int, column: str, n: int = 1) -> None:
        if session.start <= at <= end:
            rows[min(at, last) // 60_000][column] += n

    for view in views(stays):
        count(min(v.joined for v in view), "came")
        count(max(v.left or 0 for v in view), "left")
    for _, kind, item, at in beacons(world, session, now):
        if kind != "impression" or item:
            count(at, kind + "s")
    for order, _ in sales(world, session):
        count(order.at, "orders")
        count(order.at, "units", order.units)
        count(order.at, "gmv", order.total)
    return rows


def item_rows(world: World, session: Session, now: int) -> dict[str, dict[str, int]]:
    names = ("impressions", "clicks", "baskets", "orders", "units", "gmv", "net")
    rows: dict[str, dict[str, int]] = {item: dict.fromkeys(names, 0) for item in session.items}
    for _, kind, item, _ in beacons(world, session, now):
        if item:
            rows.setdefault(item, dict.fromkeys(names, 0))[kind + "s"] += 1
    for order, _ in sales(world, session):
        for item, quantity, amount in order.lines:
            row = rows.setdefault(item, dict.fromkeys(names, 0))
            row["orders"] += 1
            row["units"] += quantity
            row["gmv"] += amount
            row["net"] += amount * order.net // order.total
    return rows


def source_rows(world: World, session: Session, now: int) -> dict[str, dict[str, int]]:
    rows: defaultdict[str, Counter[str]] = defaultdict(Counter)
    visitors: defaultdict[str, set[str]] = defaultdict(set)
    for view in views(on_air(world, session, now)):
        row = rows[view[0].source]
        row["views"] += 1
        row["watched_ms"] += covered((v.joined, v.left or 0) for v in view)
        visitors[view[0].source].add(view[0].visitor)
    for source, who in visitors.items():
        rows[source]["viewers"] = len(who)
    for order, _ in sales(world, session):
        row = rows[source_of(world, order, session.id)]
        row["orders"] += 1
        row["gmv"] += order.total
    names = ("views", "viewers", "watched_ms", "orders", "gmv")
    return {source: {name: row[name] for name in names} for source, row in rows.items()}


def pin_rows(world: World, session: Session) -> dict[str, dict[str, int]]:
    rows = {item: {"orders": 0, "units": 0, "gmv": 0} for item in session.items}
    for order, _ in sales(world, session):
        for item, quantity, amount in order.lines:
            if order.session == session.id and item == order.pin:
                rows[item]["orders"] += 1
                rows[item]["units"] += quantity
                rows[item]["gmv"] += amount
    return rows


def deal_rows(world: World, session: Session) -> dict[str, dict[str, int]]:
    rows = {item: {"orders": 0, "units": 0, "gmv": 0} for item in session.items}
    for order, _ in sales(world, session):
        for item, quantity, amount in order.lines:
            if order.session == session.id and item in order.deals:
                rows[item]["orders"] += 1
                rows[item]["units"] += quantity
                rows[item]["gmv"] += amount
    return rows


def people(world: World, session_ids: set[int], kind: str, now: int) -> int:
    """Different viewers, reached visitors or buyers of these sessions together."""
    found: set[str] = set()
    for session in world.sessions.values():
        if session.id not in session_ids:
            continue
        if kind == "viewer":
            found |= {v.visitor for v in on_air(world, session, now)}
        elif kind == "reach":
            found |= {v.visitor for v in world.visits if v.session == session.id}
            found |= {visitor for visitor, *_ in beacons(world, session, now)}
        else:
            found |= {order.phone for order, _ in sales(world, session)}
    return len(found)
