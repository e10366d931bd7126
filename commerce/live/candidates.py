"""Candidates: what viewers ordered by comment, one for each buyer, until a helper confirms or dismisses it.

Two helpers look at the same list, and thumbs tap twice. Before an order is placed its comments are claimed:
their rows are locked and marked with one idempotency key, which they keep. Whoever claims any of them later
gets the same key, so the order desk places one order however often and from wherever it is asked.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.outbox import emit
from commerce.core.roles import Identity
from commerce.core.text import mask_phone, mask_phones
from commerce.live.comment_orders import Doubt, Reading, ReadLine, join
from commerce.live.errors import CommentsSettled, SessionNotFound
from commerce.live.models import HERE, Comment, LiveSession, Mute
from commerce.live.service import STAFF

ORDERED = "ordered"
DISMISSED = "dismissed"
READ_MOST = 2_000  # comments looked at; older ones wait until newer ones are settled


@dataclass(frozen=True, slots=True)
class SaidLine:
    id: int
    text: str
    """With telephone numbers masked."""
    at: datetime


@dataclass(frozen=True, slots=True)
class Candidate:
    name: str
    comments: list[SaidLine]
    lines: list[ReadLine]
    phone: str
    """Masked; empty when none was said."""
    sure: bool
    doubts: list[str]
    origin: str = ""
    """The other network it was said on (`facebook`, `youtube`); empty for the session's own page."""

    @property
    def ids(self) -> str:
        return ",".join(str(comment.id) for comment in self.comments)


@dataclass(frozen=True, slots=True)
class Claim:
    """Comments about to become an order: under which key, by whom, and what they were read as."""

    key: str
    ids: list[int]
    visitor: str
    name: str
    reading: Reading
    origin: str
    """As of a `Candidate`."""


async def candidates(db: AsyncSession, session_id: int) -> list[Candidate]:
    """What waits: what is sure first, then what has a doubt, questions last; the oldest first in each."""
    rows = await db.scalars(
        select(Comment)
        .where(
            Comment.live_session_id == session_id,
            Comment.reading.is_not(None),
            Comment.settled_at.is_(None),
            Comment.hidden_at.is_(None),
        )
        .order_by(Comment.id)
        .limit(READ_MOST)
    )
    by_buyer: defaultdict[str, list[Comment]] = defaultdict(list)
    for row in rows:
        by_buyer[row.visitor].append(row)
    before = await _ordered_before(db, session_id, list(by_buyer))
    found = [_candidate(said, before.get(visitor, [])) for visitor, said in by_buyer.items()]
    return sorted((one for one in found if one is not None), key=_rank)


def _rank(one: Candidate) -> tuple[int, int]:
    asks = not one.phone and (Doubt.QUESTION in one.doubts or Doubt.REFUSAL in one.doubts)
    return (0 if one.sure else 2 if asks else 1), one.comments[0].id


def _candidate(said: Sequence[Comment], before: Sequence[Reading]) -> Candidate | None:
    reading = _joined(said, before)
    if reading is None or not (reading.lines or reading.doubts):
        return None  # a phone alone is kept for the order that may follow
    return Candidate(
        name=said[-1].name,
        comments=[SaidLine(row.id, mask_phones(row.text), row.at) for row in said],
        lines=reading.lines,
        phone=mask_phone(reading.phone) if reading.phone else "",
        sure=reading.sure,
        doubts=reading.doubts,
        origin=_origin(said[0]),
    )


def _origin(row: Comment) -> str:
    return "" if row.source == HERE else row.source


def _joined(said: Sequence[Comment], before: Sequence[Reading]) -> Reading | None:
    """One buyer's comments as one order. `before`: what became an order of theirs already; its phone still
    holds, and the same again without a word of more (`thêm`) is most often the same comment twice."""
    readings = [_reading(row) for row in said]
    phones = [Reading(phone=one.phone) for one in before[-1:] if one.phone]
    found = join([*phones, *readings])
    if found is None or not before or any(reading.more for reading in readings):
        return found
    had = {(line.code, line.quantity) for one in before for line in one.lines}
    if any((line.code, line.quantity) in had for line in found.lines):
        doubts = sorted({*found.doubts, Doubt.ORDERED_BEFORE.value})
        return msgspec.structs.replace(found, sure=False, doubts=doubts)
    return found


def _reading(row: Comment) -> Reading:
    return msgspec.convert(row.reading, Reading)


async def _ordered_before(
    db: AsyncSession, session_id: int, visitors: Sequence[str]
) -> dict[str, list[Reading]]:
    rows = await db.scalars(
        select(Comment)
        .where(
            Comment.live_session_id == session_id,
            Comment.visitor.in_(visitors),
            Comment.settled == ORDERED,
            Comment.reading.is_not(None),
        )
        .order_by(Comment.id)
    )
    found: defaultdict[str, list[Reading]] = defaultdict(list)
    for row in rows:
        found[row.visitor].append(_reading(row))
    return found


# ---- what helpers do


async def claim(identity: Identity, code: str, ids: Sequence[int]) -> Claim:
    """Take these comments for one order. Raises `Forbidden`, `CommentsSettled`."""
    async with sessions.begin() as db:
        session = await _session(db, identity, code)
        rows = await _waiting(db, session, ids)
        if not rows or len({row.visitor for row in rows}) > 1:
            raise CommentsSettled
        keys = [row.order_key for row in rows if row.order_key]
        key = keys[0] if keys else f"comments-{rows[0].id}-{secrets.token_hex(6)}"
        for row in rows:
            row.order_key = key
        before = await _ordered_before(db, session.id, [rows[0].visitor])
        reading = _joined(rows, before.get(rows[0].visitor, [])) or Reading()
        return Claim(key, [row.id for row in rows], rows[0].visitor, rows[-1].name, reading, _origin(rows[0]))


async def settle(identity: Identity, claimed: Claim) -> None:
    """The claimed comments have become an order. Comments another helper claimed with them are let go."""
    async with sessions.begin() as db:
        mine = Comment.order_key == claimed.key
        now = {"settled": ORDERED, "settled_at": clock.now(), "settled_by": identity.person_id}
        await db.execute(
            update(Comment).where(mine, Comment.id.in_(claimed.ids), Comment.settled == "").values(**now)
        )
        await db.execute(
            update(Comment)
            .where(mine, Comment.id.not_in(claimed.ids), Comment.settled == "")
            .values(order_key=None)
        )


async def dismiss(identity: Identity, code: str, ids: Sequence[int]) -> None:
    """No order: the comments leave the desk and stay on the screens. Dismissing twice changes nothing."""
    async with sessions.begin() as db:
        session = await _session(db, identity, code)
        for row in await _waiting(db, session, ids, all_or_nothing=False):
            row.settled, row.settled_at, row.settled_by = DISMISSED, clock.now(), identity.person_id


async def mute(identity: Identity, code: str, comment_id: int) -> None:
    """Whoever wrote this is heard no more in this session: what they said and will say is hidden."""
    async with sessions.begin() as db:
        session = await _session(db, identity, code)
        visitor = await db.scalar(
            select(Comment.visitor).where(Comment.id == comment_id, Comment.live_session_id == session.id)
        )
        if visitor is None:
            raise CommentsSettled
        values = {"live_session_id": session.id, "visitor": visitor, "by": identity.person_id}
        await db.execute(upsert(Mute).values(**values).on_conflict_do_nothing())
        hidden = await db.scalars(
            update(Comment)
            .where(
                Comment.live_session_id == session.id,
                Comment.visitor == visitor,
                Comment.hidden_at.is_(None),
            )
            .values(hidden_at=clock.now(), hidden_by=identity.person_id)
            .returning(Comment.id)
        )
        news: dict[str, Any] = {"live_session_id": session.id, "parts": [], "hidden": sorted(hidden)}
        await emit(db, "live.changed", news)


async def _session(db: AsyncSession, identity: Identity, code: str) -> LiveSession:
    session = await db.scalar(select(LiveSession).where(LiveSession.code == code.upper()))
    if session is None:
        raise SessionNotFound(code=code)
    identity.must(session.commune_code, *STAFF)
    return session


async def _waiting(
    db: AsyncSession, session: LiveSession, ids: Sequence[int], *, all_or_nothing: bool = True
) -> Sequence[Comment]:
    """The comments, locked in id order. Raises `CommentsSettled` when one of them waits no more."""
    rows = (
        await db.scalars(
            select(Comment)
            .where(Comment.live_session_id == session.id, Comment.id.in_(ids))
            .order_by(Comment.id)
            .with_for_update()
        )
    ).all()
    waiting = [row for row in rows if not row.settled]
    if all_or_nothing and len(waiting) != len(set(ids)):
        raise CommentsSettled
    return waiting
