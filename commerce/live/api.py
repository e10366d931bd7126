"""Live sessions over JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
from litestar import Litestar, get, patch, post, put
from litestar.di import NamedDependency
from litestar.handlers import delete
from litestar.params import FromPath, JSONBody, QueryParameter

from commerce.accounts.api import client_address
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Forbidden, Invalid
from commerce.core.i18n import N_, translate
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access
from commerce.live import beacons, broadcast, comments, queries, service, wire
from commerce.live.beacons import Beacon
from commerce.live.checklist import checklist
from commerce.live.models import LiveState
from commerce.live.rooms import read_room, rooms
from commerce.live.visitors import live_url, source_of, staff_url
from commerce.live.wire import (
    ChecklistOut,
    CommentOut,
    CommentRequest,
    DealOut,
    DealRequest,
    EditRequest,
    LineOut,
    LineupOut,
    LineupRequest,
    PinRequest,
    ReasonRequest,
    ScheduleRequest,
    SessionDetail,
    SessionOut,
    TakedownRequest,
    Ticket,
)

staff = access.roles(*service.STAFF)
authorities = access.roles(*service.AUTHORITIES)


# ---- for everybody


@get("/live-sessions", opt=access.public)
async def list_sessions(
    wanted: Annotated[str, QueryParameter(name="state")] = "",
    commune: Annotated[str, QueryParameter()] = "",
) -> list[SessionOut]:
    """On air first, then coming, then over; `state` and `commune` (its code) narrow."""
    if wanted and wanted not in queries.LISTED:
        text = N_("Trạng thái là một trong: scheduled, live, ended.")
        raise Invalid(FieldError("state", text))
    async with sessions.read() as db:
        state = LiveState(wanted) if wanted else None
        found = await queries.listed(db, state=state, commune=commune or None)
    return [SessionOut.of(session) for session in found]


@get("/live-sessions/{code:str}", opt=access.public)
async def show(
    request: AnyRequest,
    code: FromPath[str],
    settings: NamedDependency[Settings],
    visitor: NamedDependency[str],
    viewer: NamedDependency[Identity | None],
    staff: Annotated[bool, QueryParameter()] = False,
) -> SessionDetail:
    """One session with its snapshot, at most a second old. `staff=1`: the socket of those who run it."""
    room = await rooms.get(request.app.state.bus, code)
    return wire.detail(
        room.session,
        room.lines,
        room.snapshot,
        live_url=_socket(request, settings, room.session, visitor, viewer, staff=staff),
        playback_url=absolute(settings, queries.playback_url(room.session)),
    )


def absolute(settings: Settings, path: str | None) -> str | None:
    """For programs, which have no page to be relative to; a CDN before the media is named by its address."""
    return path and settings.extra.get("MEDIA_URL", settings.public_url) + path


class Ingest(msgspec.Struct):
    url: str
    """WebSocket for numbered chunks of a recording; its ticket is fresh."""


@post("/live-sessions/{code:str}/ingest", opt=access.roles(Role.HOST, Role.HELPER), status_code=200)
async def ingest(request: AnyRequest, code: FromPath[str], identity: NamedDependency[Identity]) -> Ingest:
    """Where the host's camera sends. Ask again before every attempt to connect. 503 `no_video`."""
    return Ingest(await request.app.state.pictures.ingest_address(identity, code))


@post("/live-sessions/{code:str}/measure", opt=access.roles(Role.HOST, Role.HELPER), status_code=200)
async def measure(request: AnyRequest, code: FromPath[str], identity: NamedDependency[Identity]) -> Ingest:
    """Where a host's page measures its line, also before the session. 503 `no_video`."""
    return Ingest(await request.app.state.pictures.measure_address(identity, code))


@get("/live-sessions/{code:str}/ticket", opt=access.public)
async def ticket(
    request: AnyRequest,
    code: FromPath[str],
    settings: NamedDependency[Settings],
    visitor: NamedDependency[str],
    viewer: NamedDependency[Identity | None],
    staff: Annotated[bool, QueryParameter()] = False,
) -> Ticket:
    """A fresh address of the live socket, for a page that reconnects."""
    session = (await rooms.get(request.app.state.bus, code)).session
    return Ticket(session.state.value, _socket(request, settings, session, visitor, viewer, staff=staff))


def _socket(
    request: AnyRequest,
    settings: Settings,
    session: queries.Session,
    visitor: str,
    viewer: Identity | None,
    *,
    staff: bool,
) -> str:
    if not staff:
        return live_url(settings, session, visitor, source_of(request, settings))
    if viewer is None:
        raise Forbidden
    viewer.must(session.commune.code, *service.AUTHORITIES)
    return staff_url(settings, session, visitor)


@post("/live-sessions/{code:str}/comments", opt=access.public, status_code=202)
async def comment(
    request: AnyRequest, code: FromPath[str], data: JSONBody[CommentRequest], visitor: NamedDependency[str]
) -> CommentOut:
    """Say something; it comes back to everybody over the socket. A comment order is recognised here and waits
    for the helper: it is never an order by itself.

    422 `invalid` (empty, longer than 500 characters), 429 `too_many_requests`, 409 `not_live` and
    `session_ended`.
    """
    comments.limit(visitor, client_address(request))
    return CommentOut(str(await comments.say(code, visitor, data.name, data.text)))


@post("/live-sessions/{code:str}/events", opt=access.public, status_code=202)
async def events(
    request: AnyRequest,
    code: FromPath[str],
    data: JSONBody[list[Beacon]],
    visitor: NamedDependency[str],
    sent: Annotated[int | None, QueryParameter()] = None,
) -> None:
    """Page beacons: what was seen (`impression`), tapped (`click`), put into the basket (`basket`). Without a
    product it is about the session's own card. `sent`: Unix milliseconds by the page's clock as it sends
    them, so that a wrong clock is put right. Counting never fails for the page's eyes."""
    beacons.per_visitor.take(visitor)
    await beacons.sender(request.app.state.bus).send(beacons.check(code, visitor, data, sent))


# ---- for those who run sessions


@post("/live-sessions", opt=staff, status_code=201)
async def schedule(data: JSONBody[ScheduleRequest], identity: NamedDependency[Identity]) -> SessionOut:
    made = await service.schedule_session(
        identity,
        data.commune,
        title=data.title,
        starts_at=data.starts_at,
        host_id=data.host,
        rehearsal=data.rehearsal,
    )
    return await _out(made.code)


@patch("/live-sessions/{code:str}", opt=staff)
async def edit(
    code: FromPath[str], data: JSONBody[EditRequest], identity: NamedDependency[Identity]
) -> SessionOut:
    """Another title, or another time while it is only planned."""
    await service.edit_session(identity, code, title=data.title, starts_at=data.starts_at)
    return await _out(code)


@get("/live-sessions/{code:str}/checklist", opt=staff)
async def show_checklist(code: FromPath[str], identity: NamedDependency[Identity]) -> ChecklistOut:
    """Every condition for going live, met or not."""
    async with sessions.read() as db:
        session = await queries.by_code(db, code)
        identity.must(session.commune.code, *service.STAFF)
        conditions = await checklist(db, session.id)
    return ChecklistOut.of(conditions, {c.name: translate(c.message) for c in conditions})


@put("/live-sessions/{code:str}/lineup", opt=staff)
async def put_lineup(
    request: AnyRequest,
    code: FromPath[str],
    data: JSONBody[LineupRequest],
    identity: NamedDependency[Identity],
) -> LineupOut:
    """Replace the line-up; the answer holds the short codes."""
    offers = [service.Offer(item.product, item.grade, item.code) for item in data.items]
    await service.set_lineup(identity, code, offers)
    rooms.forget(code)
    room = await read_room(request.app.state.bus, code)
    return LineupOut([LineOut.of(line) for line in room.lines])


@post("/live-sessions/{code:str}/rules", opt=staff, status_code=200)
async def accept_rules(code: FromPath[str], identity: NamedDependency[Identity]) -> SessionOut:
    """The host accepts the rulebook of livestream selling for this session."""
    await service.accept_rules(identity, code)
    return await _out(code)


@post("/live-sessions/{code:str}/start", opt=staff, status_code=200)
async def start(code: FromPath[str], identity: NamedDependency[Identity]) -> SessionOut:
    """Go live. 409 `checklist` lists every unmet condition in `unmet`."""
    await service.start(identity, code)
    return await _out(code)


@post("/live-sessions/{code:str}/stop", opt=staff, status_code=200)
async def stop(
    code: FromPath[str], identity: NamedDependency[Identity], data: JSONBody[ReasonRequest | None] = None
) -> SessionOut:
    await service.stop(identity, code, data.reason if data else "")
    return await _out(code)


@post("/live-sessions/{code:str}/cancel", opt=staff, status_code=200)
async def cancel(
    code: FromPath[str], identity: NamedDependency[Identity], data: JSONBody[ReasonRequest | None] = None
) -> SessionOut:
    """Call off a planned session."""
    await service.cancel(identity, code, data.reason if data else "")
    return await _out(code)


@post("/live-sessions/{code:str}/takedown", opt=authorities, status_code=200)
async def takedown(
    code: FromPath[str], data: JSONBody[TakedownRequest], identity: NamedDependency[Identity]
) -> SessionOut:
    """Stop and remove at once; reason, issuer and time are kept."""
    await service.takedown(identity, code, data.reason, data.issuer)
    return await _out(code)


@post("/live-sessions/{code:str}/pin", opt=staff, status_code=200)
async def pin(
    code: FromPath[str], data: JSONBody[PinRequest], identity: NamedDependency[Identity]
) -> SessionOut:
    """Show a product now; null takes the pin away. 409 `papers_missing`."""
    if data.product is None:
        await service.unpin(identity, code)
    else:
        await service.pin(identity, code, data.product)
    return await _out(code)


@post("/live-sessions/{code:str}/deals", opt=staff, status_code=201)
async def open_deal(
    code: FromPath[str], data: JSONBody[DealRequest], identity: NamedDependency[Identity]
) -> DealOut:
    """A lower price for some minutes and units. 409 `deal_not_lower`, `deal_too_many`."""
    deal = await service.open_deal(
        identity,
        code,
        data.product,
        price=data.price,
        quantity=data.quantity,
        minutes=data.minutes,
        per_buyer=data.per_buyer,
        tap=data.tap,
    )
    rooms.forget(code)
    return DealOut(
        product=data.product.upper(),
        price=deal.price,
        quantity=deal.quantity,
        ends_at=deal.ends_at,
        per_buyer=deal.per_buyer,
    )


@delete("/live-sessions/{code:str}/deals/{product:str}", opt=staff)
async def stop_deal(code: FromPath[str], product: FromPath[str], identity: NamedDependency[Identity]) -> None:
    await service.stop_deal(identity, code, product)
    rooms.forget(code)


@post("/live-sessions/{code:str}/comments/{comment_id:int}/hide", opt=authorities, status_code=202)
async def hide_comment(
    code: FromPath[str], comment_id: FromPath[int], identity: NamedDependency[Identity]
) -> None:
    """Take a comment off every screen."""
    await service.hide_comment(identity, code, comment_id)
    rooms.forget(code)


@post("/live-sessions/{code:str}/comments/{comment_id:int}/show", opt=authorities, status_code=202)
async def show_comment(
    code: FromPath[str], comment_id: FromPath[int], identity: NamedDependency[Identity]
) -> None:
    """Put a hidden comment back."""
    await service.hide_comment(identity, code, comment_id, hidden=False)
    rooms.forget(code)


async def _out(code: str) -> SessionOut:
    """The session after a change."""
    rooms.forget(code)
    async with sessions.read() as db:
        return SessionOut.of(await queries.by_code(db, code))


@asynccontextmanager
async def memory(_: Litestar) -> AsyncIterator[None]:
    """What was remembered of rooms belongs to one running application."""
    try:
        yield
    finally:
        rooms.clear()


LIFESPANS = [memory]
ROUTES = [
    list_sessions,
    show,
    ingest,
    measure,
    ticket,
    comment,
    events,
    schedule,
    edit,
    show_checklist,
    put_lineup,
    accept_rules,
    start,
    stop,
    cancel,
    takedown,
    pin,
    open_deal,
    stop_deal,
    hide_comment,
    show_comment,
    *broadcast.API,
]
