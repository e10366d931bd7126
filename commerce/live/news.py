"""Telling every screen what has changed, in frames that hold what is true now.

News says only *that* something of a session changed; what it is now is read from PostgreSQL at the moment of
telling. So the same news told twice, or late, does no harm, and news of one session that came together is
told once. Reading and telling are one act, taken in turn by all workers (core.leader.Turn).

When the wire is away nothing waits for it: the session is remembered, and what the wire shows is brought
into line with what is true (`restate`) as soon as the wire is back. The same is done for a room that the
wire does not know.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nlargest

import structlog

from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.leader import Turn
from commerce.core.outbox import Message
from commerce.live import queries
from commerce.live.queries import Session
from streaming import protocol
from streaming.bus import Bus, BusAway, staff_room
from streaming.protocol import AnyFrame, Comment, Snapshot

TURN = 6_600_201  # an advisory lock's number; see core.migrate for another
TRY_EVERY_S = 0.5
SETTLED_MS = 10_000  # after this a comment has long been told, or its news was lost
ORDERS_SHOWN = 20  # of those that came at once; a host reads no more

log = structlog.get_logger()


@dataclass(slots=True)
class News:
    """What changed in one session."""

    parts: set[str] = field(default_factory=set)
    comments: set[int] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)
    orders: set[int] = field(default_factory=set)


class Newsroom:
    """The worker's part that speaks to rooms. `changed` and `ordered` are functions for the outbox."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.turn = Turn(TURN)
        self._unsaid: set[int] = set()
        self._wake = asyncio.Event()

    async def changed(self, messages: Sequence[Message]) -> None:
        """Topic `live.changed`: {live_session_id, parts: [state | pin | deal | stock], comments, hidden}."""
        await self.tell(_collect(messages))

    async def ordered(self, messages: Sequence[Message]) -> None:
        """Topic `live.ordered`: {live_session_id, order_ids}; orders were placed, or given back."""
        await self.tell(_collect(messages, "stock", "deal"))

    async def tell(self, news: dict[int, News]) -> None:
        """Publish what is true now of everything named. What the wire does not take is restated later."""
        async with self.turn:
            rows = await self._sessions(news)
            for session in rows:
                try:
                    complete = await self._publish(session, await self._frames(session, news[session.id]))
                except BusAway as error:
                    self._later(session.id, error)
                    continue
                if not complete:
                    await self._restate(session)

    async def restate(self, live_session_ids: Iterable[int]) -> None:
        """Bring what the wire shows of these rooms into line with what is true."""
        async with self.turn:
            for session in await self._sessions(live_session_ids):
                await self._restate(session)

    async def mend(self) -> None:
        """For ever: restate what could not be said, once the wire is back."""
        while True:
            await self._wake.wait()
            try:
                await self.bus.ping()
                unsaid, self._unsaid = self._unsaid, set()
                self._wake.clear()
                await self._restate_or_remember(unsaid)
            except BusAway:
                await asyncio.sleep(TRY_EVERY_S)
            except Exception as error:  # PostgreSQL is away as well
                log.warning("not_restated", error=repr(error)[:200])
                await asyncio.sleep(TRY_EVERY_S)

    async def _restate_or_remember(self, unsaid: set[int]) -> None:
        try:
            await self.restate(unsaid)
        except BaseException:
            self._unsaid |= unsaid
            self._wake.set()
            raise

    async def _restate(self, session: Session) -> None:
        """Compare what the wire shows with what is true, and tell what differs. A room that is not known is
        laid down as a whole."""
        room = session.code
        try:
            # The order matters: what is published after this seq stays on top of the snapshot.
            as_of = await self.bus.seq(room)
            shown = await self.bus.get_snapshot(room)
            async with sessions.read() as db:
                session = await queries.by_code(db, room)
                truth = await queries.snapshot(db, session)
            if shown is None:
                await self.bus.put_snapshot(room, truth, as_of)
                return
            for frame in _differences(shown, truth):
                await self.bus.publish(room, frame)
        except BusAway as error:
            self._later(session.id, error)

    def _later(self, live_session_id: int, error: BusAway) -> None:
        if not self._unsaid:
            log.warning("wire_away", error=str(error)[:200])
        self._unsaid.add(live_session_id)
        self._wake.set()

    async def _sessions(self, ids: Iterable[int]) -> list[Session]:
        async with sessions.read() as db:
            return await queries.by_ids(db, list(ids))

    async def _frames(self, session: Session, news: News) -> list[tuple[str, AnyFrame]]:
        """(room, frame) in the order in which they are told."""
        frames: list[tuple[str, AnyFrame]] = []
        room = session.code
        async with sessions.read() as db:
            # Read again: telling the sessions before this one may have taken a while.
            session = await queries.by_code(db, room)
            if "state" in news.parts:
                reason = session.taken_down_reason or None
                frames.append((room, protocol.Status(state=session.room_state, reason=reason)))
            if news.parts & {"pin", "deal", "stock"}:
                frames += [(room, frame) for frame in await self._goods(db, session, news.parts)]
            if news.comments or news.hidden:
                comments = await queries.comments_by_ids(db, news.comments)
                hidden = [str(one) for one in sorted(news.hidden)]
                frames.append((room, protocol.Comments(comments=comments, hidden=hidden)))
            if news.orders:
                newest = await queries.recent_orders(db, session.id, ids=nlargest(ORDERS_SHOWN, news.orders))
                frames += [(staff_room(room), _order_frame(order)) for order in reversed(newest)]
        return frames

    async def _goods(self, db: queries.Db, session: Session, parts: set[str]) -> list[AnyFrame]:
        lines = await queries.lineup(db, session)
        frames: list[AnyFrame] = []
        if "pin" in parts:
            frames.append(protocol.Pin(pinned=queries.pinned_card(lines)))
        if "deal" in parts:
            frames.append(protocol.Deal(deals=queries.deal_cards(lines)))
        if "stock" in parts:
            stock = queries.stock_left(lines)
            frames.append(protocol.Stock(stock=stock, orders=session.orders, units=session.units))
        return frames

    async def _publish(self, session: Session, frames: list[tuple[str, AnyFrame]]) -> bool:
        """False: the wire has no snapshot of the room."""
        complete = True
        for room, frame in frames:
            complete &= (await self.bus.publish(room, frame)).complete
        return complete


def _collect(messages: Sequence[Message], *parts: str) -> dict[int, News]:
    news: defaultdict[int, News] = defaultdict(News)
    for message in messages:
        payload = message.payload
        one = news[payload["live_session_id"]]
        one.parts.update(parts, payload.get("parts", ()))
        one.comments.update(payload.get("comments", ()))
        one.hidden.update(payload.get("hidden", ()))
        one.orders.update(payload.get("order_ids", ()))
    return news


def _differences(shown: Snapshot, truth: Snapshot) -> list[AnyFrame]:
    frames: list[AnyFrame] = []
    if (shown.state, shown.reason) != (truth.state, truth.reason):
        frames.append(protocol.Status(state=truth.state, reason=truth.reason))
    if shown.pinned != truth.pinned:
        frames.append(protocol.Pin(pinned=truth.pinned))
    if shown.deals != truth.deals:
        frames.append(protocol.Deal(deals=truth.deals))
    if shown.stock != truth.stock:
        frames.append(protocol.Stock(stock=truth.stock, orders=truth.orders, units=truth.units))
    if talk := _talk_difference(shown.comments, truth.comments):
        frames.append(talk)
    return frames


def _talk_difference(shown: list[Comment], truth: list[Comment]) -> protocol.Comments | None:
    """What readers lack, and what they see though it is hidden. Comments of the last moments are left out:
    their own news is under way."""
    here, there = {c.id for c in shown}, {c.id for c in truth}
    oldest = max(_age(shown), _age(truth))
    settled = protocol.now_ms() - SETTLED_MS
    missing = [c for c in truth if c.id not in here and c.at < settled and (not shown or _key(c) >= oldest)]
    hidden = [c.id for c in shown if c.id not in there and c.at < settled and _key(c) >= oldest]
    return protocol.Comments(comments=missing, hidden=hidden) if missing or hidden else None


def _key(comment: Comment) -> int:
    return int(comment.id)


def _age(comments: list[Comment]) -> int:
    """Up to here one side knows nothing, for it keeps only so many."""
    return min(map(_key, comments), default=0)


def _order_frame(order: queries.RecentOrder) -> protocol.Order:
    return protocol.Order(
        code=order.code,
        name=order.name,
        lines=order.lines,
        total=order.total,
        at=clock.unix_ms(order.placed_at),
    )
