"""What is true of live sessions now: for pages, the API, and the frames the worker sends.

`snapshot()` is the whole truth of one room, read from PostgreSQL in a handful of statements; only the
number of viewers comes from elsewhere (presence, by the bus). Functions take `db` and write nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import and_, case, column, func, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.models import Person
from commerce.catalog.models import Grade, ListingState, Photo, Product, Recognition, Seller, Stock
from commerce.catalog.recognitions import holding
from commerce.catalog.views import Picture
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.text import mask_name, mask_phones
from commerce.live.errors import SessionNotFound
from commerce.live.models import HERE, Comment, Deal, LineupItem, LiveCounter, LiveSession, LiveState
from streaming import protocol
from streaming.protocol import RECENT_COMMENTS, Card, Snapshot, State

Db = AsyncSession

LISTED = (LiveState.SCHEDULED, LiveState.LIVE, LiveState.ENDED)
LISTED_MOST = 200
SOON = timedelta(hours=24)  # how long before a session its page already waits at a socket
LATE = timedelta(hours=12)  # and how long after the hour it was planned for


class Place(msgspec.Struct, frozen=True):
    code: str
    name: str
    slug: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session as cards, pages and programs see it."""

    id: int
    code: str
    state: LiveState
    title: str
    commune: Place
    host_id: int
    host: str
    host_verified: bool
    starts_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    poster: str
    """Name of the drawing shown while there is no picture."""
    playback: str
    orders: int
    units: int
    gmv: int
    pinned_id: int | None
    rehearsal: bool
    demo: bool
    taken_down_reason: str
    rules_accepted_at: datetime | None

    @property
    def has_room(self) -> bool:
        """Whether there is anything to hear: on air, or about to be."""
        soon = clock.now() - LATE <= self.starts_at <= clock.now() + SOON
        return self.state == LiveState.LIVE or (self.state == LiveState.SCHEDULED and soon)

    @property
    def room_state(self) -> State:
        """As the wire knows it: a session that was called off is over for whoever waits for it."""
        return State.ENDED if self.state == LiveState.CANCELLED else State(self.state.value)


class DealNow(msgspec.Struct, frozen=True, kw_only=True):
    price: int
    left: int
    ends_at: datetime
    per_buyer: int | None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a line-up."""

    item_id: int
    grade_id: int
    code: str
    product_code: str
    product: str
    grade: str
    unit: str
    price: int
    deal: DealNow | None
    stock: int
    seller_id: int
    seller: str
    stars: int | None
    picture: Picture | None
    art: str
    origin: str
    shelf_life: str
    pinnable: bool
    """Approved, with checked papers."""
    pinned: bool

    @property
    def price_now(self) -> int:
        return self.deal.price if self.deal else self.price


class RecentOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as a host may see it: no phone, no address, the name masked."""

    id: int
    code: str
    name: str
    total: int
    placed_at: datetime
    lines: list[Card]
    """[{"code": "A1", "product": "Sầu riêng", "grade": "A", "unit": "kg", "quantity": 2}]"""


# ---- sessions


def _sessions() -> Any:
    return (
        select(LiveSession, Commune, Person, LiveCounter)
        .join(Commune, Commune.code == LiveSession.commune_code)
        .join(Person, Person.id == LiveSession.host_id)
        .outerjoin(LiveCounter, LiveCounter.live_session_id == LiveSession.id)
    )


def _session(row: Any) -> Session:
    session, commune, host, counter = row
    return Session(
        id=session.id,
        code=session.code,
        state=LiveState(session.state),
        title=session.title,
        commune=Place(commune.code, commune.name, commune.slug),
        host_id=session.host_id,
        host=host.name,
        host_verified=host.identity_verified_at is not None,
        starts_at=session.starts_at,
        started_at=session.started_at,
        ended_at=session.ended_at,
        poster=session.poster,
        playback=session.playback,
        orders=counter.orders if counter else 0,
        units=counter.units if counter else 0,
        gmv=counter.gmv if counter else 0,
        pinned_id=session.pinned_id,
        rehearsal=session.rehearsal,
        demo=session.demo,
        taken_down_reason=session.taken_down_reason,
        rules_accepted_at=session.rules_accepted_at,
    )


async def by_code(db: AsyncSession, code: str) -> Session:
    """Raises `SessionNotFound`."""
    row = (await db.execute(_sessions().where(LiveSession.code == code.upper()))).first()
    if row is None:
        raise SessionNotFound(code=code[:24])
    return _session(row)


async def by_ids(db: AsyncSession, ids: Collection[int]) -> list[Session]:
    rows = await db.execute(_sessions().where(LiveSession.id.in_(ids)))
    return [_session(row) for row in rows]


async def listed(
    db: AsyncSession,
    *,
    state: LiveState | None = None,
    commune: str | Collection[str] | None = None,
    limit: int = LISTED_MOST,
) -> list[Session]:
    """What the public may see: on air first (newest first), then coming (soonest first), then over.
    `commune`: a code, or several."""
    states = LISTED if state is None else tuple({state} & set(LISTED))
    query = _sessions().where(LiveSession.state.in_(states), LiveSession.rehearsal.is_(False))
    if commune is not None:
        wanted = [commune] if isinstance(commune, str) else list(commune)
        query = query.where(LiveSession.commune_code.in_(wanted))
    rank = case({LiveState.LIVE.value: 0, LiveState.SCHEDULED.value: 1}, value=LiveSession.state, else_=2)
    soonest = case((LiveSession.state == LiveState.SCHEDULED, LiveSession.starts_at))
    newest = func.coalesce(LiveSession.ended_at, LiveSession.started_at)
    query = query.order_by(rank, soonest.asc(), newest.desc(), LiveSession.id).limit(limit)
    return [_session(row) for row in await db.execute(query)]


async def of_staff(db: AsyncSession, communes: Collection[str | None], limit: int = 100) -> list[Session]:
    """Sessions of these communes (None among them: all) in every state, for those who run them."""
    query = _sessions().order_by(
        case({LiveState.LIVE.value: 0, LiveState.SCHEDULED.value: 1}, value=LiveSession.state, else_=2),
        case((LiveSession.state == LiveState.SCHEDULED, LiveSession.starts_at)).asc(),
        LiveSession.starts_at.desc(),
    )
    if None not in communes:
        query = query.where(LiveSession.commune_code.in_(communes))
    return [_session(row) for row in await db.execute(query.limit(limit))]


def playback_url(session: Session) -> str | None:
    """Where the picture is played from; none while no picture has come."""
    return session.playback or None


# ---- what is in one


async def lineup(db: AsyncSession, session: Session) -> list[Line]:
    """The line-up in its order, with what is true of each line at this moment."""
    stars = (
        select(Recognition.stars)
        .where(Recognition.product_id == Product.id, holding(clock.today()))
        .order_by(Recognition.granted_on.desc(), Recognition.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = await db.execute(
        select(LineupItem, Grade, Product, Seller, Photo, Stock.on_hand - Stock.reserved, stars)
        .join(Grade, Grade.id == LineupItem.grade_id)
        .join(Product, Product.id == Grade.product_id)
        .join(Seller, Seller.id == Product.seller_id)
        .outerjoin(Stock, Stock.grade_id == Grade.id)
        .outerjoin(Photo, Photo.id == Product.photo_id)
        .where(LineupItem.live_session_id == session.id, LineupItem.removed_at.is_(None))
        .order_by(LineupItem.position, LineupItem.id)
    )
    running = await _running_deals(db, session)
    return [_line(row, session, running) for row in rows]


def _line(row: Any, session: Session, running: dict[int, DealNow]) -> Line:
    item, grade, product, seller, photo, free, stars = row
    return Line(
        item_id=item.id,
        grade_id=grade.id,
        code=item.code,
        product_code=product.code,
        product=product.name,
        grade=grade.name,
        unit=product.unit,
        price=grade.price,
        deal=running.get(item.id),
        stock=free or 0,
        seller_id=seller.id,
        seller=seller.name,
        stars=stars,
        picture=Picture.of(photo, product.name) if photo else None,
        art=product.art,
        origin=product.origin,
        shelf_life=product.shelf_life,
        pinnable=product.state == ListingState.APPROVED and product.papers_checked_at is not None,
        pinned=item.id == session.pinned_id,
    )


async def _running_deals(db: AsyncSession, session: Session) -> dict[int, DealNow]:
    """Item id -> its deal, by the database's clock."""
    rows = await db.scalars(
        select(Deal)
        .where(
            Deal.live_session_id == session.id,
            Deal.stopped_at.is_(None),
            Deal.ends_at > func.now(),
            Deal.taken < Deal.quantity,
        )
        .order_by(Deal.id)
    )
    return {
        deal.item_id: DealNow(
            price=deal.price,
            left=deal.quantity - deal.taken,
            ends_at=deal.ends_at,
            per_buyer=deal.per_buyer,
        )
        for deal in rows
    }


async def last_comments(db: AsyncSession, session: Session) -> list[protocol.Comment]:
    """The newest visible ones, oldest first."""
    rows = await db.execute(
        select(Comment.id, Comment.name, Comment.text, Comment.at, Comment.source)
        .where(Comment.live_session_id == session.id, Comment.hidden_at.is_(None))
        .order_by(Comment.id.desc())
        .limit(RECENT_COMMENTS)
    )
    return [wire_comment(*row) for row in reversed(rows.all())]


async def comments_by_ids(db: AsyncSession, ids: Collection[int]) -> list[protocol.Comment]:
    """Those of them that are visible, in order."""
    rows = await db.execute(
        select(Comment.id, Comment.name, Comment.text, Comment.at, Comment.source)
        .where(Comment.id.in_(ids), Comment.hidden_at.is_(None))
        .order_by(Comment.id)
    )
    return [wire_comment(*row) for row in rows]


def wire_comment(comment_id: int, name: str, text: str, at: datetime, source: str = HERE) -> protocol.Comment:
    """Telephone numbers are masked, and the names of people who spoke elsewhere: everybody reads it."""
    origin = "" if source == HERE else source
    return protocol.Comment(
        id=str(comment_id),
        name=mask_name(name) if origin else name,
        text=mask_phones(text),
        at=clock.unix_ms(at),
        origin=origin,
    )


# ---- what buyers must see before they order


class SellerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the law wants shown of a seller, and how one can pay there."""

    id: int
    name: str
    kind: str
    address: str
    phone: str
    registration: str
    takes_transfers: bool
    takes_cards: bool
    asks_deposit: bool
    """Of orders paid on delivery."""


# How a seller takes cards is the business of payments, the layer above; whether, is one column.
_card_account = table("card_account", *map(column, ("seller_id", "active")))


async def sellers(db: AsyncSession, ids: Collection[int]) -> dict[int, SellerFacts]:
    rows = await db.execute(
        select(Seller, func.coalesce(_card_account.c.active, False))
        .outerjoin(_card_account, _card_account.c.seller_id == Seller.id)
        .where(Seller.id.in_(ids))
    )
    return {
        seller.id: SellerFacts(
            id=seller.id,
            name=seller.name,
            kind=seller.kind,
            address=seller.address,
            phone=seller.phone,
            registration=seller.registration,
            takes_transfers=bool(seller.bank_bin and seller.bank_account),
            takes_cards=cards,
            asks_deposit=bool(seller.deposit_percent or seller.deposit_fee),
        )
        for seller, cards in rows
    }


# ---- what a host may put on the table


class OfferableGrade(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    price: int
    left: int
    chosen: bool
    item_code: str


class Offerable(msgspec.Struct, frozen=True, kw_only=True):
    """An approved product of the commune with its grades on sale."""

    code: str
    name: str
    unit: str
    art: str
    picture: Picture | None
    seller: str
    papers_checked: bool
    grades: list[OfferableGrade]


async def offerable(db: AsyncSession, session: Session) -> list[Offerable]:
    """Everything that may be in this session's line-up; what is in it comes first, in its order."""
    item = and_(LineupItem.grade_id == Grade.id, LineupItem.live_session_id == session.id)
    chosen = and_(LineupItem.id.is_not(None), LineupItem.removed_at.is_(None))
    rows: Any = await db.execute(
        select(Product, Seller.name, Photo, Grade, Stock.on_hand - Stock.reserved, LineupItem.code, chosen)
        .join(Seller, Seller.id == Product.seller_id)
        .join(Grade, Grade.product_id == Product.id)
        .outerjoin(Photo, Photo.id == Product.photo_id)
        .outerjoin(Stock, Stock.grade_id == Grade.id)
        .outerjoin(LineupItem, item)
        .where(
            Product.commune_code == session.commune.code,
            Product.state == ListingState.APPROVED,
            Seller.state == ListingState.APPROVED,
            Grade.active,
        )
        .order_by(
            func.min(case((chosen, LineupItem.position))).over(partition_by=Product.id).nulls_last(),
            Product.sort_key,
            Product.id,
            case((chosen, LineupItem.position)).nulls_last(),
            Grade.position,
        )
    )
    found: dict[int, Offerable] = {}
    for product, seller, photo, grade, left, code, is_chosen in rows:
        entry = found.setdefault(
            product.id,
            Offerable(
                code=product.code,
                name=product.name,
                unit=product.unit,
                art=product.art,
                picture=Picture.of(photo, product.name) if photo else None,
                seller=seller,
                papers_checked=product.papers_checked_at is not None,
                grades=[],
            ),
        )
        entry.grades.append(
            OfferableGrade(
                name=grade.name,
                price=grade.price,
                left=left or 0,
                chosen=bool(is_chosen),
                item_code=code or "",
            )
        )
    return list(found.values())


def deal_presets(price: int) -> list[tuple[int, int]]:
    """(lower price, percent off) to offer for one tap: rounded down to what people pay with."""
    presets = []
    for percent in (10, 20, 30):
        step = 1000 if price >= 20_000 else 100
        lower = price * (100 - percent) // 100 // step * step
        if 0 < lower < price:
            presets.append((lower, percent))
    return presets


# ---- the room


async def snapshot(
    db: AsyncSession,
    session: Session,
    lines: Sequence[Line] | None = None,
    *,
    viewers: int = 0,
    stale: bool = False,
    seq: int = 0,
) -> Snapshot:
    """The whole room as it is; `viewers`, `stale` and `seq` are the bus's to know."""
    if lines is None:
        lines = await lineup(db, session)
    return Snapshot(
        seq=seq,
        sent_ms=protocol.now_ms(),
        viewers=viewers,
        stale=stale,
        orders=session.orders,
        units=session.units,
        pinned=pinned_card(lines),
        deals=deal_cards(lines),
        stock=stock_left(lines),
        comments=await last_comments(db, session),
        state=session.room_state,
        reason=session.taken_down_reason or None,
    )


def pinned_card(lines: Sequence[Line]) -> Card | None:
    """What pages need to show the pinned product without asking again."""
    for line in lines:
        if line.pinned:
            return {
                "code": line.code,
                "product": line.product,
                "product_code": line.product_code,
                "grade": line.grade,
                "unit": line.unit,
                "price": line.price,
                "seller": line.seller,
                "art": line.art,
            }
    return None


def deal_cards(lines: Sequence[Line]) -> list[Card]:
    """Deals that run now; `ends_at` in Unix milliseconds."""
    return [
        {
            "code": line.code,
            "price": line.deal.price,
            "was": line.price,
            "left": min(line.deal.left, line.stock),
            "per_buyer": line.deal.per_buyer,
            "ends_at": clock.unix_ms(line.deal.ends_at),
        }
        for line in lines
        if line.deal is not None
    ]


def stock_left(lines: Sequence[Line]) -> dict[str, int]:
    return {line.code: line.stock for line in lines}


# ---- orders, as a session sees them
# Orders are the layer above; a host's screen needs no more of them than these columns.

_order = table(
    "order",
    *map(column, ("id", "code", "live_session_id", "state", "total", "buyer_name", "placed_at")),
)
_line_of_order = table(
    "order_line",
    *map(column, ("id", "order_id", "item_code", "product_name", "grade_name", "unit", "quantity")),
)


async def recent_orders(
    db: AsyncSession, live_session_id: int, *, ids: Collection[int] | None = None, limit: int = 20
) -> list[RecentOrder]:
    """The newest orders of a session, newest first (of those in `ids`, if given)."""
    query = select(_order).where(_order.c.live_session_id == live_session_id)
    if ids is not None:
        query = query.where(_order.c.id.in_(ids))
    orders = (await db.execute(query.order_by(_order.c.id.desc()).limit(limit))).all()
    lines: dict[int, list[Card]] = {order.id: [] for order in orders}
    found = await db.execute(
        select(_line_of_order).where(_line_of_order.c.order_id.in_(lines)).order_by(_line_of_order.c.id)
    )
    for row in found:
        lines[row.order_id].append(
            {
                "code": row.item_code,
                "product": row.product_name,
                "grade": row.grade_name,
                "unit": row.unit,
                "quantity": row.quantity,
            }
        )
    return [
        RecentOrder(
            id=order.id,
            code=order.code,
            name=mask_name(order.buyer_name),
            total=order.total,
            placed_at=order.placed_at,
            lines=lines[order.id],
        )
        for order in orders
    ]


# ---- the ticker


class Pulse(msgspec.Struct, frozen=True):
    """One room that is ticked: its committed counts, and its running deals, to see when they change."""

    live_session_id: int
    code: str
    live: bool
    orders: int
    units: int
    deals: tuple[int, ...]


async def pulses(db: AsyncSession) -> list[Pulse]:
    """All sessions on air, and those about to come, whose pages already count who waits; one statement."""
    deals = (
        select(func.array_agg(Deal.id))
        .where(
            Deal.live_session_id == LiveSession.id,
            Deal.stopped_at.is_(None),
            Deal.ends_at > func.clock_timestamp(),
            Deal.taken < Deal.quantity,
        )
        .correlate(LiveSession)
        .scalar_subquery()
    )
    moment = clock.now()
    soon = and_(
        LiveSession.state == LiveState.SCHEDULED, LiveSession.starts_at.between(moment - LATE, moment + SOON)
    )
    rows = await db.execute(
        select(
            LiveSession.id, LiveSession.code, LiveSession.state, LiveCounter.orders, LiveCounter.units, deals
        )
        .outerjoin(LiveCounter, LiveCounter.live_session_id == LiveSession.id)
        .where((LiveSession.state == LiveState.LIVE) | soon)
        .order_by(LiveSession.id)
    )
    return [
        Pulse(row[0], row[1], row[2] == LiveState.LIVE, row[3] or 0, row[4] or 0, tuple(sorted(row[5] or ())))
        for row in rows
    ]


async def lineup_sizes(db: AsyncSession, ids: Collection[int]) -> dict[int, int]:
    """Session id -> how many things are on its table."""
    rows = await db.execute(
        select(LineupItem.live_session_id, func.count())
        .where(LineupItem.live_session_id.in_(ids), LineupItem.removed_at.is_(None))
        .group_by(LineupItem.live_session_id)
    )
    return {row[0]: row[1] for row in rows}
