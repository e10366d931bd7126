"""The comment desk: what viewers say, stored in batches and told to every screen.

Comments of all sessions that arrive together are committed together (core.batching); the row of news goes
into the same transaction, and the worker sends them out in batches. Text is stored as it was typed, without
control characters; whoever shows it escapes it. A comment order is recognised here and only noted.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog.models import Grade, Product
from commerce.core import clock
from commerce.core.batching import Batcher
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_
from commerce.core.limits import RateLimit
from commerce.core.outbox import emit
from commerce.core.text import clean
from commerce.live.comment_orders import read
from commerce.live.errors import SessionEnded, SessionNotFound, SessionNotLive, SessionTakenDown
from commerce.live.models import Comment, LineupItem, LiveSession, LiveState, Mute
from commerce.live.networks import Heard

TEXT_MOST = 500
NAME_MOST = 40
NOBODY = "Khách"
TICK = timedelta(seconds=1)
"""Networks tell the time of a comment in whole seconds, rounded down."""

# A quick thumb sends a comment every two seconds; whole villages share one address of a mobile network.
per_visitor = RateLimit(per_second=0.5, burst=5)
per_address = RateLimit(per_second=20, burst=200)


@dataclass(frozen=True, slots=True)
class Said:
    """A comment that was checked and waits to be stored."""

    session: str
    visitor: str
    name: str
    text: str


def limit(visitor: str, address: str) -> None:
    """Raises `TooMany`. Our own machine is not limited: a demo market's crowd talks from there."""
    per_visitor.take(visitor)
    if address not in ("", "127.0.0.1", "::1"):
        per_address.take(address)


async def say(session_code: str, visitor: str, name: str, text: str) -> int:
    """Store a comment; returns its id once it is committed.

    Raises `Invalid`, `SessionNotFound`, `SessionNotLive`, `SessionEnded`, `Busy`.
    """
    return await _desk.submit(check(session_code, visitor, name, text))


def check(session_code: str, visitor: str, name: str, text: str) -> Said:
    """Raises `Invalid` with every field at fault."""
    name = " ".join(clean(name).split()) or NOBODY
    text = " ".join(clean(text).split())
    faults = []
    if len(name) > NAME_MOST:
        faults.append(FieldError("name", N_("Tên dài nhất {most} ký tự."), {"most": NAME_MOST}))
    if not _can_be_seen(text):
        faults.append(FieldError("text", N_("Xin viết gì đó rồi gửi.")))
    if len(text) > TEXT_MOST:
        message = N_("Bình luận dài nhất {most} ký tự; bạn vừa viết {length}.")
        faults.append(FieldError("text", message, {"most": TEXT_MOST, "length": len(text)}))
    if faults:
        raise Invalid(*faults)
    return Said(session_code.upper(), visitor, name, text)


def _can_be_seen(text: str) -> bool:
    """Whether there is a letter, digit, sign or picture in it, not only things nobody sees."""
    return any(unicodedata.category(char)[0] in "LNPS" for char in text)


async def _write(batch: Sequence[Said]) -> list[int | Exception]:
    """One transaction for all of them; each is answered with its id or with why it was not taken."""
    async with sessions.begin() as db:
        rooms = await _rooms(db, {said.session for said in batch})
        answers: list[int | Exception] = [_refusal(rooms.get(said.session), said) or 0 for said in batch]
        taken = [i for i, answer in enumerate(answers) if answer == 0]
        if not taken:
            return answers
        muted = await _muted(db, [room.session.id for room in rooms.values()])
        rows = [_row(batch[i], rooms[batch[i].session], muted) for i in taken]
        ids = await db.scalars(insert(Comment).returning(Comment.id, sort_by_parameter_order=True), rows)
        news: defaultdict[int, list[int]] = defaultdict(list)
        for i, row, comment_id in zip(taken, rows, ids, strict=True):
            answers[i] = comment_id
            if row["hidden_at"] is None:
                news[row["live_session_id"]].append(comment_id)
        for session_id, new in news.items():
            await emit(db, "live.changed", {"live_session_id": session_id, "comments": new})
    return answers


_desk: Batcher[Said, int] = Batcher(_write)


async def hear(db: AsyncSession, session: LiveSession, network: str, heard: Sequence[Heard]) -> int:
    """Store what was said about a session on another network, each comment once however often it is read;
    returns how many were new. Who wrote it is known by the network's id; what was said before the session
    began is not about it.
    """
    room = (await _rooms(db, {session.code}))[session.code]
    muted = await _muted(db, [session.id])
    rows = [
        _row(said, room, muted) | {"source": network, "external_id": one.id, "at": one.at}
        for one in heard
        if session.started_at is None or one.at >= session.started_at - TICK
        for said in [_said_elsewhere(session, network, one)]
        if _can_be_seen(said.text)
    ]
    if not rows:
        return 0
    known = ("live_session_id", "source", "external_id")
    kept = await db.execute(
        upsert(Comment)
        .values(rows)
        .on_conflict_do_nothing(index_elements=known)
        .returning(Comment.id, Comment.hidden_at)
    )
    new = kept.all()
    if shown := sorted(row.id for row in new if row.hidden_at is None):
        await emit(db, "live.changed", {"live_session_id": session.id, "comments": shown})
    return len(new)


def _said_elsewhere(session: LiveSession, network: str, one: Heard) -> Said:
    name = " ".join(clean(one.name).split())[:NAME_MOST] or NOBODY
    text = " ".join(clean(one.text).split())[:TEXT_MOST]
    return Said(session.code, f"{network}:{one.author or one.id}", name, text)


@dataclass(frozen=True, slots=True)
class _Room:
    session: LiveSession
    units: dict[str, str]
    """By line-up code, what it is sold by."""


async def _rooms(db: AsyncSession, codes: set[str]) -> dict[str, _Room]:
    """The sessions commented on, with their line-ups (for reading comment orders)."""
    found = list(await db.scalars(select(LiveSession).where(LiveSession.code.in_(codes))))
    units: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for session_id, code, unit in await db.execute(
        select(LineupItem.live_session_id, LineupItem.code, Product.unit)
        .join(Grade, Grade.id == LineupItem.grade_id)
        .join(Product, Product.id == Grade.product_id)
        .where(LineupItem.live_session_id.in_([s.id for s in found]), LineupItem.removed_at.is_(None))
    ):
        units[session_id][code] = unit
    return {s.code: _Room(s, units[s.id]) for s in found}


def _refusal(room: _Room | None, said: Said) -> Exception | None:
    if room is None:
        return SessionNotFound(code=said.session[:24])
    match room.session.state:
        case LiveState.LIVE:
            return None
        case LiveState.SCHEDULED:
            return SessionNotLive()
        case LiveState.TAKEN_DOWN:
            return SessionTakenDown(reason=room.session.taken_down_reason)
        case _:
            return SessionEnded()


async def _muted(db: AsyncSession, session_ids: Sequence[int]) -> set[tuple[int, str]]:
    """(session, visitor) of those who are heard no more."""
    rows = await db.execute(
        select(Mute.live_session_id, Mute.visitor).where(Mute.live_session_id.in_(session_ids))
    )
    return {(session_id, visitor) for session_id, visitor in rows}


def _row(said: Said, room: _Room, muted: Collection[tuple[int, str]]) -> dict[str, Any]:
    reading = read(said.text, room.units)
    silent = (room.session.id, said.visitor) in muted
    return {
        "live_session_id": room.session.id,
        "visitor": said.visitor,
        "name": said.name,
        "text": said.text,
        "reading": msgspec.to_builtins(reading) if reading else None,
        "hidden_at": clock.now() if silent else None,
        "demo": room.session.demo,
    }
