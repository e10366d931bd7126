"""What hosts, helpers and authorities do with a live session; one function, one transaction.

Every change locks the session's row first, so taps on two phones queue up, and writes an outbox row
`live.changed` {live_session_id, parts}: the worker then reads what is true and tells every screen. A tap
that comes twice (a shaking line, a nervous thumb) finds its wish fulfilled and changes nothing.

Stock rows are locked by `catalog.stock` alone; nothing here takes them.
"""

from __future__ import annotations

import re
import secrets
from base64 import b32encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.models import Person, RoleGrant
from commerce.catalog.models import Grade, ListingState, Product, Seller, Stock
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Forbidden, Invalid
from commerce.core.i18n import N_
from commerce.core.outbox import emit
from commerce.core.roles import Identity, Role
from commerce.core.states import StateTable
from commerce.core.taps import once
from commerce.core.text import clean, fold
from commerce.live.checklist import ONE_VOICE, checklist
from commerce.live.errors import (
    DealNotLower,
    DealTooMany,
    LineupFixed,
    NotReady,
    PapersMissing,
    SessionEnded,
    SessionNotFound,
    SessionNotLive,
    SessionTakenDown,
)
from commerce.live.models import (
    Comment,
    Deal,
    LineupItem,
    LiveCounter,
    LiveSession,
    LiveSessionHistory,
    LiveState,
    Pin,
)
from commerce.policies import service as policies
from commerce.policies.documents import RULES

STATES = StateTable(
    model=LiveSession,
    history=LiveSessionHistory,
    allowed={
        LiveState.SCHEDULED: frozenset({LiveState.LIVE, LiveState.CANCELLED, LiveState.TAKEN_DOWN}),
        LiveState.LIVE: frozenset({LiveState.ENDED, LiveState.TAKEN_DOWN}),
        LiveState.ENDED: frozenset({LiveState.TAKEN_DOWN}),  # then its replay is gone as well
        LiveState.CANCELLED: frozenset(),
        LiveState.TAKEN_DOWN: frozenset(),
    },
)

STAFF = (Role.HOST, Role.HELPER)
PLANNERS = (*STAFF, Role.OFFICER)
"""Who keeps the schedule; the session itself is run by its staff."""
AUTHORITIES = (Role.HOST, Role.HELPER, Role.OFFICER, Role.PROVINCE)

TITLE_LENGTHS = (5, 120)
REASON_LENGTHS = (5, 1000)
LINEUP_MOST = 60  # what a host can still find with a thumb
DEAL_MINUTES = (1, 240)
PLANNED_AHEAD = timedelta(days=366)
TWICE = timedelta(seconds=5)  # the same deal within this time is the same tap
_CODE = re.compile(r"[A-Z][0-9]{1,2}")
_SESSION_CODE = re.compile(r"[A-Z0-9]{3,24}")


@dataclass(frozen=True, slots=True)
class Offer:
    """One line asked for in a line-up: a product's code, one of its grades, and the short code wished."""

    product: str
    grade: str = ""
    code: str | None = None


# ---- planning


async def schedule_session(
    identity: Identity,
    commune_code: str,
    *,
    title: str,
    starts_at: datetime,
    host_id: int | None = None,
    code: str | None = None,
    poster: str = "",
    rehearsal: bool = False,
) -> LiveSession:
    """Plan a session; the host is the person asking unless another host of the commune is named.

    Raises `Forbidden`, `Invalid`.
    """
    identity.must(commune_code, *PLANNERS)
    title = _title(title)
    _check_start(starts_at)
    if code is not None and not _SESSION_CODE.fullmatch(code):
        raise Invalid(FieldError("code", N_("Mã phiên gồm 3 đến 24 chữ cái in hoa không dấu và chữ số.")))
    async with sessions.begin() as db:
        commune = await db.get(Commune, commune_code)
        if commune is None:
            raise Invalid(FieldError("commune", N_("Không có xã, phường nào mang mã này.")))
        host = await _host(db, host_id if host_id is not None else identity.person_id, commune_code)
        session = await _insert_session(
            db,
            [code] if code else [_private()] if rehearsal else _codes(commune.short_name),
            commune_code=commune_code,
            host_id=host.id,
            title=title,
            state=LiveState.SCHEDULED,
            starts_at=starts_at,
            poster=poster,
            rehearsal=rehearsal,
            demo=host.demo,
        )
        await db.execute(insert(LiveCounter).values(live_session_id=session.id))
        await _told(db, session, "state")
    return session


async def rehearse(identity: Identity, code: str) -> LiveSession:
    """A rehearsal of this session: private, with the same goods on the table, ready to begin.

    Raises `Forbidden`, `SessionNotFound`.
    """
    async with sessions.read() as db:
        planned = await db.scalar(select(LiveSession).where(LiveSession.code == code.upper()))
        if planned is None:
            raise SessionNotFound(code=code[:24])
        rows = await db.execute(
            select(Product.code, Grade.name, LineupItem.code)
            .join(Grade, Grade.product_id == Product.id)
            .join(LineupItem, LineupItem.grade_id == Grade.id)
            .where(LineupItem.live_session_id == planned.id, LineupItem.removed_at.is_(None))
            .order_by(LineupItem.position)
        )
        offers = [Offer(product, grade, item) for product, grade, item in rows]
    made = await schedule_session(
        identity,
        planned.commune_code,
        title=planned.title,
        starts_at=clock.now(),
        host_id=planned.host_id,
        rehearsal=True,
    )
    await set_lineup(identity, made.code, offers)
    return made


async def edit_session(
    identity: Identity, code: str, *, title: str | None = None, starts_at: datetime | None = None
) -> LiveSession:
    """Another title (until the end) or another time (until it begins). Raises `Forbidden`, `Invalid`."""
    async with sessions.begin() as db:
        session = await _locked(db, code, identity, PLANNERS)
        _refuse_over(session)
        if title is not None:
            session.title = _title(title)
        if starts_at is not None:
            if session.state != LiveState.SCHEDULED:
                raise Invalid(FieldError("starts_at", N_("Phiên đang lên sóng nên không đổi giờ được.")))
            _check_start(starts_at)
            session.starts_at = starts_at
        await _told(db, session, "state")
    return session


async def accept_rules(identity: Identity, code: str) -> LiveSession:
    """The host accepts the rulebook of livestream selling; nobody can do it in the host's name."""
    async with sessions.begin() as db:
        session = await _locked(db, code, identity, STAFF)
        if identity.person_id != session.host_id:
            raise Forbidden
        if session.rules_accepted_at is None:
            session.rules_accepted_at = clock.now()
            await policies.record(db, identity.person_id, RULES, where=f"/host/{session.code}")
    return session


async def cancel(identity: Identity, code: str, reason: str = "") -> LiveSession:
    """Call off a planned session."""
    async with sessions.begin() as db:
        session = await _locked(db, code, identity, PLANNERS)
        if session.state == LiveState.CANCELLED:
            return session
        await _move(db, session, LiveState.CANCELLED, identity, reason=clean(reason)[: REASON_LENGTHS[1]])
    return session


# ---- the line-up


async def set_lineup(identity: Identity, code: str, offers: Sequence[Offer]) -> list[LineupItem]:
    """Replace the line-up by `offers`, in this order; short codes that are not given are proposed
    (a letter a product, a number a grade: A1, A2, B1).

    Only approved products of the commune's approved sellers. On air, codes keep their meaning: an item
    that goes keeps its code, and comes back under it. Raises `Invalid` with every offer at fault,
    `LineupFixed`.
    """
    async with sessions.begin() as db:
        session = await _locked(db, code, identity, STAFF)
        _refuse_over(session)
        grades = await _resolve(db, session, offers)
        before = await _items(db, session)
        if session.state == LiveState.SCHEDULED:
            # Nobody has heard a code yet: the line-up is simply written anew.
            await db.execute(delete(LineupItem).where(LineupItem.live_session_id == session.id))
            before = {}
        codes = _assign_codes(offers, grades, before)
        items = await _write_lineup(db, session, grades, codes, before)
        left = {item.id for item in items}
        if session.pinned_id is not None and session.pinned_id not in left:
            await _unpin(db, session)
        await _stop_deals(db, session, Deal.item_id.not_in(left))
        await _told(db, session, "pin", "deal", "stock")
    return items


@dataclass(frozen=True, slots=True)
class _Wanted:
    grade_id: int
    product_id: int


async def _resolve(db: AsyncSession, session: LiveSession, offers: Sequence[Offer]) -> list[_Wanted]:
    """The grade of each offer. Raises `Invalid` with every fault."""
    if len(offers) > LINEUP_MOST:
        raise Invalid(FieldError("items", N_("Mỗi phiên có nhiều nhất {most} món."), {"most": LINEUP_MOST}))
    rows = await db.execute(
        select(Product.code, Grade.name, Grade.id, Product.id, Product.commune_code)
        .join(Grade, Grade.product_id == Product.id)
        .join(Seller, Seller.id == Product.seller_id)
        .where(
            Product.code.in_([offer.product for offer in offers]),
            Grade.active,
            Product.state == ListingState.APPROVED,
            Seller.state == ListingState.APPROVED,
        )
    )
    known = {(row[0], row[1]): row for row in rows}
    found: list[_Wanted] = []
    faults: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, offer in enumerate(offers):
        key = (offer.product, offer.grade)
        where = f"items[{index}]"
        if key not in known:
            text = N_("Không có sản phẩm {product} loại “{grade}” đã được xã duyệt.")
            faults.append(
                FieldError(f"{where}.product", text, {"product": offer.product, "grade": offer.grade})
            )
            continue
        _, _, grade_id, product_id, commune_code = known[key]
        if commune_code != session.commune_code:
            faults.append(FieldError(f"{where}.product", N_("Sản phẩm này thuộc xã khác.")))
        if key in seen:
            faults.append(FieldError(f"{where}.product", N_("Món này đã có trong danh sách.")))
        seen.add(key)
        found.append(_Wanted(grade_id, product_id))
    if faults:
        raise Invalid(*faults)
    return found


async def _items(db: AsyncSession, session: LiveSession) -> dict[int, LineupItem]:
    rows = await db.scalars(select(LineupItem).where(LineupItem.live_session_id == session.id))
    return {item.grade_id: item for item in rows}


def _assign_codes(
    offers: Sequence[Offer], wanted: Sequence[_Wanted], before: dict[int, LineupItem]
) -> list[str]:
    """One short code an offer: its old one, the one given, or the next free one of its product's letter."""
    taken = {item.code: grade_id for grade_id, item in before.items()}
    codes: list[str | None] = []
    faults: list[FieldError] = []
    for index, (offer, want) in enumerate(zip(offers, wanted, strict=True)):
        old = before.get(want.grade_id)
        given = offer.code.strip().upper() if offer.code else None
        if given and not _CODE.fullmatch(given):
            text = N_("Mã gồm một chữ cái và một hoặc hai chữ số, ví dụ A1.")
            faults.append(FieldError(f"items[{index}].code", text))
        if old is not None and given not in (None, old.code):
            raise LineupFixed(item=old.code)
        code = old.code if old else given
        if code is not None:
            owner = taken.setdefault(code, want.grade_id)
            if owner != want.grade_id:
                if owner in before:
                    raise LineupFixed(item=code)
                faults.append(
                    FieldError(f"items[{index}].code", N_("Mã {code} bị dùng hai lần."), {"code": code})
                )
        codes.append(code)
    if faults:
        raise Invalid(*faults)
    return _propose(codes, wanted, set(taken))


def _propose(codes: Sequence[str | None], wanted: Sequence[_Wanted], taken: set[str]) -> list[str]:
    # Without I and O, which are heard and read as digits, and X, which means "times" in comments.
    letters = {want.product_id: code[0] for want, code in zip(wanted, codes, strict=True) if code}
    free = (letter for letter in "ABCDEGHKLMNPQRSTUVYFJWZ" if letter not in {c[0] for c in taken})
    done: list[str] = []
    for want, code in zip(wanted, codes, strict=True):
        if code is None:
            if want.product_id not in letters:
                letters[want.product_id] = next(free, "Z")
            letter = letters[want.product_id]
            code = next(f"{letter}{n}" for n in range(1, 1000) if f"{letter}{n}" not in taken)
            taken.add(code)
        done.append(code)
    return done


async def _write_lineup(
    db: AsyncSession,
    session: LiveSession,
    wanted: Sequence[_Wanted],
    codes: Sequence[str],
    before: dict[int, LineupItem],
) -> list[LineupItem]:
    items: list[LineupItem] = []
    for position, (want, code) in enumerate(zip(wanted, codes, strict=True)):
        item = before.get(want.grade_id)
        if item is None:
            item = LineupItem(
                live_session_id=session.id, grade_id=want.grade_id, code=code, position=position
            )
            db.add(item)
        item.position, item.removed_at = position, None
        items.append(item)
    kept = {want.grade_id for want in wanted}
    for grade_id, item in before.items():
        if grade_id not in kept and item.removed_at is None:
            item.removed_at = clock.now()
    await db.flush()
    return items


# ---- on air


async def start(identity: Identity, code: str) -> LiveSession:
    """Go live. Raises `NotReady` with every unmet condition; starting what is live changes nothing."""
    try:
        async with sessions.begin() as db:
            session = await _locked(db, code, identity, STAFF)
            if session.state == LiveState.LIVE:
                return session
            _refuse_over(session)
            unmet = [(c.name, c.message) for c in await checklist(db, session.id) if not c.met]
            if unmet:
                raise NotReady(unmet)
            counter = upsert(LiveCounter).values(live_session_id=session.id).on_conflict_do_nothing()
            await db.execute(counter)
            await _move(db, session, LiveState.LIVE, identity, started_at=clock.now())
    except IntegrityError as error:
        if "uq_live_session_commune_code_live" not in str(error.orig):
            raise
        # Two sessions of one commune were started in the same moment and the other one won.
        raise NotReady([(ONE_VOICE.name, ONE_VOICE.message)]) from None
    return session


async def stop(identity: Identity, code: str, reason: str = "") -> LiveSession:
    """End the session: the pin and the deals end with it. Stopping what has ended changes nothing."""
    async with sessions.begin() as db:
        session = await _locked(db, code, identity, STAFF)
        if session.state == LiveState.ENDED:
            return session
        if session.state == LiveState.SCHEDULED:
            raise SessionNotLive
        _refuse_over(session)
        await _wind_up(db, session)
        await _move(
            db,
            session,
            LiveState.ENDED,
            identity,
            reason=clean(reason)[: REASON_LENGTHS[1]],
            ended_at=clock.now(),
        )
    return session


async def takedown(identity: Identity, code: str, reason: str, issuer: str = "") -> LiveSession:
    """Stop and remove at once, as the law allows authorities; reason, issuer and time are kept.

    Raises `Invalid` without a reason; a second takedown changes nothing.
    """
    reason = clean(reason)
    if not REASON_LENGTHS[0] <= len(reason) <= REASON_LENGTHS[1]:
        text = N_("Xin ghi lý do gỡ phiên, từ {least} đến {most} ký tự.")
        values = {"least": REASON_LENGTHS[0], "most": REASON_LENGTHS[1]}
        raise Invalid(FieldError("reason", text, values))
    async with sessions.begin() as db:
        session = await _locked(db, code, identity, AUTHORITIES)
        if session.state == LiveState.TAKEN_DOWN:
            return session
        await _wind_up(db, session)
        await _move(
            db,
            session,
            LiveState.TAKEN_DOWN,
            identity,
            reason=reason,
            ended_at=session.ended_at or clock.now(),
            taken_down_reason=reason,
            taken_down_issuer=clean(issuer)[:200] or identity.name,
        )
    return session


async def pin(identity: Identity, code: str, item_code: str) -> LiveSession:
    """Show this item now. Raises `PapersMissing`, `Invalid` for a code that is not in the line-up."""
    async with sessions.begin() as db:
        session = await _locked(db, code, identity, STAFF)
        _refuse_not_live(session)
        item = await _item(db, session, item_code)
        product = await _product(db, item)
        if product.papers_checked_at is None or product.state != ListingState.APPROVED:
            raise PapersMissing(product=product.name)
        if session.pinned_id == item.id:
            return session
        await _unpin(db, session)
        session.pinned_id = item.id
        await db.execute(
            insert(Pin).values(
                live_session_id=session.id,
                item_id=item.id,
                by=identity.person_id,
                price=select(Grade.price).where(Grade.id == item.grade_id).scalar_subquery(),
            )
        )
        await _told(db, session, "pin")
    return session


async def unpin(identity: Identity, code: str) -> LiveSession:
    async with sessions.begin() as db:
        session = await _locked(db, code, identity, STAFF)
        _refuse_not_live(session)
        if session.pinned_id is not None:
            await _unpin(db, session)
            await _told(db, session, "pin")
    return session


async def open_deal(
    identity: Identity,
    code: str,
    item_code: str,
    *,
    price: int,
    quantity: int,
    minutes: int = 10,
    per_buyer: int | None = None,
    tap: str = "",
) -> Deal:
    """A lower price for `minutes` and for `quantity` units. One deal an item: a new one ends the old.

    The same terms within a few seconds are one tap, and so is the same key `tap`. Raises `Invalid`,
    `DealNotLower`, `DealTooMany`.
    """
    _check_deal(price, quantity, minutes, per_buyer)
    async with sessions.begin() as db:
        session = await _locked(db, code, identity, STAFF)
        _refuse_not_live(session)
        item = await _item(db, session, item_code)
        if await once(db, identity.person_id, tap, item.code) is not None:
            newest = select(Deal).where(Deal.item_id == item.id).order_by(Deal.id.desc()).limit(1)
            return (await db.scalars(newest)).one()
        usual = await db.scalar(select(Grade.price).where(Grade.id == item.grade_id))
        free = await db.scalar(select(Stock.on_hand - Stock.reserved).where(Stock.grade_id == item.grade_id))
        if usual is None or price >= usual:
            raise DealNotLower(price=usual)
        if quantity > (free or 0):
            raise DealTooMany(left=free or 0)
        running = await _running_deal(db, item)
        if running is not None and _same_tap(running, price, quantity, minutes, per_buyer):
            return running
        await _stop_deals(db, session, Deal.item_id == item.id)
        moment = clock.now()
        deal = Deal(
            live_session_id=session.id,
            item_id=item.id,
            price=price,
            quantity=quantity,
            taken=0,
            per_buyer=per_buyer,
            starts_at=moment,
            ends_at=moment + timedelta(minutes=minutes),
            by=identity.person_id,
        )
        db.add(deal)
        await _told(db, session, "deal")
    return deal


async def stop_deal(identity: Identity, code: str, item_code: str) -> None:
    """End the item's deal before its time; without one there is nothing to do."""
    async with sessions.begin() as db:
        session = await _locked(db, code, identity, STAFF)
        item = await _item(db, session, item_code)
        await _stop_deals(db, session, Deal.item_id == item.id)
        await _told(db, session, "deal")


async def hide_comment(identity: Identity, code: str, comment_id: int, *, hidden: bool = True) -> None:
    """Take a comment off every screen, or put it back. Raises `Invalid` for one of another session."""
    async with sessions.begin() as db:
        session = await _locked(db, code, identity, (*STAFF, Role.OFFICER))
        changed = await db.scalar(
            update(Comment)
            .where(
                Comment.id == comment_id,
                Comment.live_session_id == session.id,
                Comment.hidden_at.is_(None) if hidden else Comment.hidden_at.is_not(None),
            )
            .values(
                hidden_at=func.now() if hidden else None, hidden_by=identity.person_id if hidden else None
            )
            .returning(Comment.id)
        )
        if changed is None:
            known = await db.scalar(
                select(Comment.id).where(Comment.id == comment_id, Comment.live_session_id == session.id)
            )
            if known is None:
                raise Invalid(FieldError("comment", N_("Không có bình luận này trong phiên.")))
            return
        await _told(
            db, session, hidden=[comment_id] if hidden else [], comments=[] if hidden else [comment_id]
        )


# ---- what they are made of


async def _locked(db: AsyncSession, code: str, identity: Identity, roles: tuple[Role, ...]) -> LiveSession:
    """The session, its row locked against other changes, once `identity` may change it here."""
    session = await db.scalar(
        # NO KEY: orders, which only refer to the session, are not held up.
        select(LiveSession).where(LiveSession.code == code.upper()).with_for_update(key_share=True)
    )
    if session is None:
        raise SessionNotFound(code=code)
    identity.must(session.commune_code, *roles)
    return session


async def _told(
    db: AsyncSession,
    session: LiveSession,
    *parts: str,
    comments: Sequence[int] = (),
    hidden: Sequence[int] = (),
) -> None:
    news: dict[str, Any] = {"live_session_id": session.id, "parts": list(parts)}
    if comments:
        news["comments"] = list(comments)
    if hidden:
        news["hidden"] = list(hidden)
    await emit(db, "live.changed", news)
    if "state" in parts:  # the video side must know too, and must not hold up the screens when it is away
        await emit(db, "live.moved", {"live_session_id": session.id})


async def _move(
    db: AsyncSession,
    session: LiveSession,
    after: LiveState,
    identity: Identity,
    *,
    reason: str = "",
    **changes: Any,
) -> None:
    before = LiveState(session.state)
    await db.flush()
    await STATES.transition(db, session.id, before, after, by=identity.person_id, reason=reason, **changes)
    await db.refresh(session)
    await _told(db, session, "state", "pin", "deal")


async def _wind_up(db: AsyncSession, session: LiveSession) -> None:
    await _unpin(db, session)
    await _stop_deals(db, session)


async def _unpin(db: AsyncSession, session: LiveSession) -> None:
    session.pinned_id = None
    await db.execute(
        update(Pin).where(Pin.live_session_id == session.id, Pin.until.is_(None)).values(until=func.now())
    )


async def _stop_deals(db: AsyncSession, session: LiveSession, *which: Any) -> None:
    running = await db.scalars(
        select(Deal.id)
        .where(
            Deal.live_session_id == session.id, Deal.stopped_at.is_(None), Deal.ends_at > func.now(), *which
        )
        .order_by(Deal.id)  # the order in which orders lock them, so that neither waits in a ring
        .with_for_update(key_share=True)
    )
    await db.execute(
        update(Deal)
        .where(Deal.id.in_(running.all()))
        .values(stopped_at=func.now())
        .execution_options(synchronize_session=False)
    )


async def _running_deal(db: AsyncSession, item: LineupItem) -> Deal | None:
    running: Deal | None = await db.scalar(
        select(Deal)
        .where(Deal.item_id == item.id, Deal.stopped_at.is_(None), Deal.ends_at > func.now())
        .order_by(Deal.id.desc())
        .limit(1)
    )
    return running


def _same_tap(deal: Deal, price: int, quantity: int, minutes: int, per_buyer: int | None) -> bool:
    return (
        deal.price == price
        and deal.quantity == quantity
        and deal.per_buyer == per_buyer
        and deal.ends_at - deal.starts_at == timedelta(minutes=minutes)
        and clock.now() - deal.starts_at < TWICE
    )


def _check_deal(price: int, quantity: int, minutes: int, per_buyer: int | None) -> None:
    faults = []
    if price <= 0:
        faults.append(FieldError("price", N_("Giá phải lớn hơn 0.")))
    if quantity <= 0:
        faults.append(FieldError("quantity", N_("Số lượng phải lớn hơn 0.")))
    if not DEAL_MINUTES[0] <= minutes <= DEAL_MINUTES[1]:
        text = N_("Ưu đãi kéo dài từ {least} đến {most} phút.")
        faults.append(FieldError("minutes", text, {"least": DEAL_MINUTES[0], "most": DEAL_MINUTES[1]}))
    if per_buyer is not None and per_buyer <= 0:
        faults.append(FieldError("per_buyer", N_("Số lượng phải lớn hơn 0.")))
    if faults:
        raise Invalid(*faults)


async def _item(db: AsyncSession, session: LiveSession, item_code: str) -> LineupItem:
    item: LineupItem | None = await db.scalar(
        select(LineupItem).where(
            LineupItem.live_session_id == session.id,
            LineupItem.code == item_code.strip().upper(),
            LineupItem.removed_at.is_(None),
        )
    )
    if item is None:
        text = N_("Không có mã {code} trong phiên này.")
        raise Invalid(FieldError("product", text, {"code": item_code[:10]}))
    return item


async def _product(db: AsyncSession, item: LineupItem) -> Product:
    product = await db.scalar(
        select(Product).join(Grade, Grade.product_id == Product.id).where(Grade.id == item.grade_id)
    )
    assert product is not None  # grades are never without a product: foreign key
    return product


async def _host(db: AsyncSession, person_id: int, commune_code: str) -> Person:
    host: Person | None = await db.scalar(
        select(Person).where(
            Person.id == person_id,
            Person.active,
            select(RoleGrant.id)
            .where(
                RoleGrant.person_id == Person.id,
                RoleGrant.role == Role.HOST,
                RoleGrant.commune_code == commune_code,
            )
            .exists(),
        )
    )
    if host is None:
        text = N_("Người dẫn phiên phải là người dẫn của chính xã này. Xin chọn người dẫn.")
        raise Invalid(FieldError("host", text))
    return host


async def _insert_session(db: AsyncSession, codes: Sequence[str], **values: Any) -> LiveSession:
    """Under the first of `codes` that is free."""
    for code in codes:
        added: LiveSession | None = await db.scalar(
            upsert(LiveSession)
            .values(code=code, **values)
            .on_conflict_do_nothing(index_elements=["code"])
            .returning(LiveSession)
        )
        if added is not None:
            return added
    raise Invalid(FieldError("code", N_("Mã phiên này đã có. Xin chọn mã khác.")))


def _codes(commune_name: str) -> list[str]:
    """`Ea Knuếc` -> EAKNUEC, EAKNUEC2, EAKNUEC3…: what a host can say on air."""
    stem = fold(commune_name).replace(" ", "").upper()[:18] or "PHIEN"
    return [stem, *(f"{stem}{n}" for n in range(2, 10_000))]


def _private() -> str:
    """A rehearsal's code cannot be guessed: its page and its picture are open to who knows it."""
    return "THU" + b32encode(secrets.token_bytes(10)).decode()


def _title(text: str) -> str:
    title = " ".join(clean(text).split())
    if not TITLE_LENGTHS[0] <= len(title) <= TITLE_LENGTHS[1]:
        message = N_("Tên phiên dài từ {least} đến {most} ký tự.")
        raise Invalid(FieldError("title", message, {"least": TITLE_LENGTHS[0], "most": TITLE_LENGTHS[1]}))
    return title


def _check_start(starts_at: datetime) -> None:
    moment = clock.now()
    if starts_at.tzinfo is None:
        raise Invalid(FieldError("starts_at", N_("Giờ phát cần có múi giờ.")))
    if not moment - timedelta(hours=1) <= starts_at <= moment + PLANNED_AHEAD:
        raise Invalid(FieldError("starts_at", N_("Giờ phát phải từ bây giờ đến một năm tới.")))


def _refuse_over(session: LiveSession) -> None:
    if session.state == LiveState.TAKEN_DOWN:
        raise SessionTakenDown(reason=session.taken_down_reason)
    if session.state in (LiveState.ENDED, LiveState.CANCELLED):
        raise SessionEnded


def _refuse_not_live(session: LiveSession) -> None:
    _refuse_over(session)
    if session.state != LiveState.LIVE:
        raise SessionNotLive
