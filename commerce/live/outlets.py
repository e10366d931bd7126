"""A session's other ways in and out: the stream key for OBS and Larix, and the networks it is sent on to.

The video processes act on what the wire says. What is true stands here, and every change is news
(`live.outlets`) that the worker carries to the wire; so a change survives whatever is away just then.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec
from cryptography.fernet import InvalidToken
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.core import seal
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_
from commerce.core.outbox import emit
from commerce.core.roles import Identity
from commerce.core.settings import Settings
from commerce.core.text import clean
from commerce.live.errors import OutletNotFound, SessionEnded, SessionNotFound
from commerce.live.models import LiveSession, LiveState, Outlet
from commerce.live.service import STAFF
from streaming.video.restream import MOST_TARGETS, Target
from streaming.video.tickets import IngestTickets

PURPOSE = "outlet"
TOPIC = "live.outlets"
LONGEST = 500
OVER = (LiveState.ENDED, LiveState.CANCELLED, LiveState.TAKEN_DOWN)


class Place(msgspec.Struct, frozen=True):
    """Where a network takes the picture. It is only ever stored sealed."""

    address: str
    key: str

    def __repr__(self) -> str:
        return "Place(…)"


@dataclass(frozen=True, slots=True)
class OutletView:
    """An outlet as the console shows it: never with its key."""

    id: int
    name: str
    host: str
    paused: bool


# ---- in


async def rotate_stream_key(identity: Identity, code: str) -> int:
    """A new key; the one before opens nothing any more. Returns its generation. Raises `SessionEnded`."""
    async with sessions.begin() as db:
        session = await _session(db, identity, code)
        session.stream_key += 1
        await emit(db, TOPIC, {"live_session_id": session.id})
    return session.stream_key


def stream_key(settings: Settings, code: str, generation: int) -> str:
    """For the screen of who runs the session; empty when none was asked for. Never to be logged."""
    return IngestTickets(settings.secret_key).stream_key(code, generation) if generation else ""


def rtmp_address(settings: Settings) -> str:
    """What a person types into OBS as the server."""
    host = urlsplit(settings.public_url).hostname or "127.0.0.1"
    return settings.extra.get("RTMP_URL") or f"rtmp://{host}:{settings.rtmp_port}/live"


# ---- out


async def add_outlet(
    identity: Identity, settings: Settings, code: str, *, name: str, address: str, key: str
) -> int:
    """Send the session on to another network; the same one twice is one. Raises `Invalid` with every field at
    fault, `SessionEnded`."""
    name, address, key = " ".join(clean(name).split()), address.strip(), key.strip()
    _check(name, address, key)
    async with sessions.begin() as db:
        session = await _session(db, identity, code)
        place = Place(address, key)
        known = await _of(db, session.id)
        for one in known:
            if one.name == name and _open(settings, one) == place:
                return one.id  # a tap that came twice
        if len(known) >= MOST_TARGETS:
            text = N_("Mỗi phiên phát sang nhiều nhất {most} kênh. Xin bỏ bớt một kênh.")
            raise Invalid(FieldError("name", text, {"most": MOST_TARGETS}))
        outlet = Outlet(
            live_session_id=session.id,
            name=name,
            sealed=seal.seal(settings.secret_key, PURPOSE, msgspec.json.encode(place).decode()),
            by=identity.person_id,
        )
        db.add(outlet)
        await db.flush()
        await emit(db, TOPIC, {"live_session_id": session.id})
    return outlet.id


async def pause_outlet(identity: Identity, code: str, outlet_id: int, *, paused: bool) -> None:
    """Raises `OutletNotFound`, `SessionEnded`."""
    async with sessions.begin() as db:
        outlet = await _outlet(db, identity, code, outlet_id)
        outlet.paused = paused
        await emit(db, TOPIC, {"live_session_id": outlet.live_session_id})


async def remove_outlet(identity: Identity, code: str, outlet_id: int) -> None:
    """Address and key are forgotten. Raises `OutletNotFound`, `SessionEnded`."""
    async with sessions.begin() as db:
        outlet = await _outlet(db, identity, code, outlet_id)
        await db.delete(outlet)
        await emit(db, TOPIC, {"live_session_id": outlet.live_session_id})


async def outlets(db: AsyncSession, settings: Settings, live_session_id: int) -> list[OutletView]:
    rows = await _of(db, live_session_id)
    return [OutletView(row.id, row.name, _host(settings, row), row.paused) for row in rows]


async def targets(db: AsyncSession, settings: Settings, live_session_id: int) -> list[Target]:
    """What the video process is to send to now."""
    rows = [row for row in await _of(db, live_session_id) if not row.paused]
    places = [(row.id, _open(settings, row)) for row in rows]
    return [Target(str(number), place.address, place.key) for number, place in places if place]


def _check(name: str, address: str, key: str) -> None:
    faults = []
    if not 1 <= len(name) <= 60:
        faults.append(FieldError("name", N_("Xin đặt tên kênh, ví dụ: Facebook của xã.")))
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("rtmp", "rtmps") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or len(address) > LONGEST or not address.isprintable():
        text = N_("Địa chỉ bắt đầu bằng rtmp:// hoặc rtmps://, chép từ trang phát trực tiếp của kênh đó.")
        faults.append(FieldError("address", text))
    if not 1 <= len(key) <= LONGEST or not key.isprintable():
        text = N_("Xin dán khoá phát (stream key), chép từ trang phát trực tiếp của kênh đó.")
        faults.append(FieldError("key", text))
    if faults:
        raise Invalid(*faults)


async def _of(db: AsyncSession, live_session_id: int) -> list[Outlet]:
    query = select(Outlet).where(Outlet.live_session_id == live_session_id).order_by(Outlet.id)
    return list(await db.scalars(query))


def _open(settings: Settings, outlet: Outlet) -> Place | None:
    """None when the market's key has changed since: the network has to be entered again."""
    try:
        return msgspec.json.decode(seal.unseal(settings.secret_key, PURPOSE, outlet.sealed), type=Place)
    except InvalidToken:
        return None


def _host(settings: Settings, outlet: Outlet) -> str:
    place = _open(settings, outlet)
    return urlsplit(place.address).hostname or "" if place else ""


async def _session(db: AsyncSession, identity: Identity, code: str) -> LiveSession:
    """The session, locked, once `identity` may run it and it is not over."""
    found: LiveSession | None = await db.scalar(
        select(LiveSession).where(LiveSession.code == code.upper()).with_for_update(key_share=True)
    )
    if found is None:
        raise SessionNotFound(code=code[:24])
    identity.must(found.commune_code, *STAFF)
    if found.state in OVER:
        raise SessionEnded
    return found


async def _outlet(db: AsyncSession, identity: Identity, code: str, outlet_id: int) -> Outlet:
    session = await _session(db, identity, code)
    found: Outlet | None = await db.scalar(
        select(Outlet).where(Outlet.id == outlet_id, Outlet.live_session_id == session.id)
    )
    if found is None:
        raise OutletNotFound
    return found
