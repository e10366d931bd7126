"""The session page for everybody; planning and the console for those who run sessions.

The public page is rendered and compressed once a second for each session and language (live.rooms); what
belongs to one visitor (the ticket, the key of the order form) is put into the finished text (core.spliced).
So the page costs a visitor a lookup and a checksum, however many come at once.
"""

from __future__ import annotations

import contextlib
import html
import secrets
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any

import msgspec
from litestar import MediaType, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, URLEncodedBody

from commerce.accounts.api import client_address
from commerce.catalog.models import SellerKind
from commerce.communes import provinces
from commerce.communes.queries import all_communes
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid, MarketError, NotFound
from commerce.core.html import render
from commerce.core.i18n import N_, current_language, translate
from commerce.core.money import Money, format_money
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.spliced import Spliced
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.live import broadcast, comments, queries, replays, service
from commerce.live.checklist import checklist
from commerce.live.errors import NotReady
from commerce.live.models import LiveState
from commerce.live.queries import Line, SellerFacts, Session
from commerce.live.rooms import Room, read_room, rooms
from commerce.live.visitors import live_url, source_of, staff_url

staff = access.roles(*service.STAFF)

# Stand in the shared text for what is each visitor's own. Nobody can type them into a comment: they are new
# with each process and never sent.
LIVE_URL = secrets.token_hex(16)
ORDER_KEY = secrets.token_hex(16)

KIND_NAMES = {
    SellerKind.HOUSEHOLD: N_("hộ gia đình"),
    SellerKind.COOPERATIVE: N_("hợp tác xã"),
    SellerKind.COMPANY: N_("công ty"),
}


# ---- the public page


@get("/live/{code:str}", opt=access.public)
async def session_page(
    request: AnyRequest,
    code: FromPath[str],
    settings: NamedDependency[Settings],
    visitor: NamedDependency[str],
    viewer: NamedDependency[Identity | None],
    again: Annotated[str, QueryParameter()] = "",
) -> Response[bytes]:
    """A session that is coming, on air, or over; 410 when it was taken down. `again`: `A1.2,B1.1` is put into
    the basket."""
    room = await rooms.get(request.app.state.bus, code)
    wanted = basket_of(again)
    if viewer is not None or wanted:  # the head of the page shows the name, the form what was wanted
        form: dict[str, Any] = {"form": {"quantity": wanted}} if wanted else {}
        return await session_response(request, settings, room, visitor, **form)
    language = current_language.get()
    async with room.rendering:  # once, however many come while it is done
        body = room.bodies.get(language)
        if body is None:
            text = render(request, "market/session.html", **await _context(room, settings))
            body = room.bodies[language] = Spliced(text, (LIVE_URL, ORDER_KEY))
    return _answer(request, settings, room, visitor, body)


def basket_of(again: str) -> dict[str, int]:
    """`A1.2,B1.1` as quantities by code; what is not understood is left out."""
    wanted = {}
    for part in again[:400].split(","):
        code, _, quantity = part.partition(".")
        if quantity.isdecimal() and len(quantity) < 5 and code.isalnum() and int(quantity):
            wanted[code.upper()] = int(quantity)
    return wanted


async def session_response(
    request: AnyRequest,
    settings: Settings,
    room: Room,
    visitor: str,
    *,
    status: int | None = None,
    **form: Any,
) -> Response[bytes]:
    """The page made for this request alone; `form`, `errors`, `problem` of an order that was not taken."""
    text = render(request, "market/session.html", **(await _context(room, settings) | form))
    body = Spliced(text, (LIVE_URL, ORDER_KEY))
    return _answer(request, settings, room, visitor, body, status)


def _answer(
    request: AnyRequest,
    settings: Settings,
    room: Room,
    visitor: str,
    body: Spliced,
    status: int | None = None,
) -> Response[bytes]:
    address = live_url(settings, room.session, visitor, source_of(request, settings))
    values = {LIVE_URL: html.escape(address), ORDER_KEY: secrets.token_urlsafe(18)}
    gone = room.session.state == LiveState.TAKEN_DOWN
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding, Accept-Language, Cookie"}
    small = "gzip" in request.headers.get("accept-encoding", "")
    if small:
        headers["Content-Encoding"] = "gzip"
    return Response(
        body.gzip(values) if small else body.plain(values),
        media_type=MediaType.HTML,
        status_code=status or (410 if gone else 200),
        headers=headers,
    )


@post("/live/{code:str}/comments", opt=access.public)
async def comment_form(
    request: AnyRequest,
    code: FromPath[str],
    data: URLEncodedBody[dict[str, str]],
    visitor: NamedDependency[str],
) -> Response[str]:
    """A comment without scripts; leads back to the page."""
    comments.limit(visitor, client_address(request))
    await comments.say(code, visitor, data.get("name", ""), data.get("text", ""))
    return redirect(f"/live/{code.upper()}#talk")


async def _context(room: Room, settings: Settings) -> dict[str, Any]:
    session = room.session
    async with sessions.read() as db:
        communes = [(c.code, c.name) for c in await all_communes(db)]
        replay = await replays.replay(db, session.id) if session.state == LiveState.ENDED else None
    return {
        "session": _session(session, settings),
        "replay": msgspec.to_builtins(broadcast.replay_out(settings, session, replay)) if replay else None,
        "snapshot": msgspec.to_builtins(room.snapshot),
        "lineup": _goods(room.lines, room.sellers),
        "live_url": LIVE_URL if room.session.has_room else "",
        "provinces": provinces.choices(),
        "communes": communes,
        "payments": _ways_to_pay(list(room.sellers.values())),
        "order_key": ORDER_KEY,
        "form": {},
        "errors": {},
        "problem": None,
    }


def _session(session: Session, settings: Settings | None = None) -> dict[str, Any]:
    """`settings`: for who also shows the picture."""
    base = broadcast.media_base(settings, session.code) if settings else ""
    playback = f"{base}index.m3u8" if base and queries.playback_url(session) else None
    return {
        "code": session.code,
        "title": session.title,
        "state": session.state.value,
        "commune": session.commune.name,
        "commune_code": session.commune.code,
        "commune_slug": session.commune.slug,
        "host": session.host,
        "host_verified": session.host_verified,
        "starts_at": session.starts_at,
        "started_at": session.started_at,
        "ended_at": session.ended_at,
        "picture_url": f"{base}poster.jpg" if playback else None,
        "art": session.poster,
        "playback_url": playback if session.state == LiveState.LIVE else None,
        "replay_url": playback if session.state == LiveState.ENDED else None,
        "reason": session.taken_down_reason,
        "rehearsal": session.rehearsal,
    }


def _goods(lines: Sequence[Line], sellers: dict[int, SellerFacts]) -> list[dict[str, Any]]:
    """The line-up by product, each with its grades as offers."""
    goods: dict[str, dict[str, Any]] = {}
    for line in lines:
        seller = sellers[line.seller_id]
        entry = goods.setdefault(
            line.product_code,
            {
                "product": {
                    "code": line.product_code,
                    "name": line.product,
                    "picture": msgspec.to_builtins(line.picture),
                    "art": line.art,
                    "stars": line.stars,
                    "origin": line.origin,
                    "shelf_life": line.shelf_life,
                    "unit": line.unit,
                },
                "seller": {
                    "id": seller.id,
                    "name": seller.name,
                    "kind_name": translate(KIND_NAMES[SellerKind(seller.kind)]),
                    "address": seller.address,
                    "phone": seller.phone,
                    "registration": seller.registration,
                },
                "offers": [],
            },
        )
        entry["offers"].append(
            {
                "code": line.code,
                "grade": line.grade,
                "price": line.price,
                "deal_price": line.deal.price if line.deal else None,
            }
        )
    return list(goods.values())


def _ways_to_pay(sellers: Sequence[SellerFacts]) -> list[dict[str, Any]]:
    """Cash on delivery first: it always works. Others only when every seller of the session takes them."""
    transfers = bool(sellers) and all(seller.takes_transfers for seller in sellers)
    ways = [
        {
            "value": "cod",
            "label": translate(N_("Trả tiền khi nhận hàng")),
            "note": translate(
                N_("Một số món cần đặt cọc bằng mã QR để giữ hàng.")
                if any(seller.asks_deposit for seller in sellers)
                else N_("Xem hàng rồi mới trả tiền.")
            ),
            "disabled": False,
        },
        {
            "value": "vietqr",
            "label": translate(N_("Chuyển khoản VietQR")),
            "note": translate(
                N_("Quét mã, tiền vào thẳng tài khoản người bán.")
                if transfers
                else N_("Có người bán chưa nhận chuyển khoản.")
            ),
            "disabled": not transfers,
        },
    ]
    if sellers and all(seller.takes_cards for seller in sellers):
        note = translate(N_("Visa, Mastercard, JCB."))
        ways.append({"value": "card", "label": translate(N_("Thẻ quốc tế")), "note": note, "disabled": False})
    return ways


# ---- the host's place


@get("/host", opt=staff)
async def host_index(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """The sessions of the communes one works for."""
    places = _places(identity)
    async with sessions.read() as db:
        found = await queries.of_staff(db, places)
        ready = {
            session.code: all(c.met for c in await checklist(db, session.id))
            for session in found
            if session.state == LiveState.SCHEDULED
        }
        items = await queries.lineup_sizes(db, [session.id for session in found])
        communes = await _communes(db, places)

    def card(session: Session) -> dict[str, Any]:
        return _session(session) | {
            "orders": session.orders,
            "units": session.units,
            "gmv": session.gmv,
            "ready": ready.get(session.code, False),
            "items": items.get(session.id, 0),
        }

    return page(
        request,
        "host/index.html",
        communes=[{"code": code, "name": name} for code, name in communes],
        live=[card(s) for s in found if s.state == LiveState.LIVE],
        coming=[card(s) for s in found if s.state == LiveState.SCHEDULED],
        past=[card(s) for s in found if s.state in (LiveState.ENDED, LiveState.TAKEN_DOWN)],
    )


class PlanForm(msgspec.Struct):
    commune: str = ""
    title: str = ""
    day: str = ""
    time: str = ""
    rehearsal: str = ""


@get("/host/new", opt=staff)
async def plan_page(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    soon = clock.local(clock.now()) + timedelta(hours=1)
    form = PlanForm(day=f"{soon:%Y-%m-%d}", time=f"{soon:%H}:00")
    return await _plan(request, identity, form)


@post("/host/new", opt=staff)
async def plan(
    request: AnyRequest, data: URLEncodedBody[PlanForm], identity: NamedDependency[Identity]
) -> Response[str]:
    try:
        starts_at = moment(data.day, data.time)
        made = await service.schedule_session(
            identity, data.commune, title=data.title, starts_at=starts_at, rehearsal=data.rehearsal == "1"
        )
    except Invalid as error:
        return await _plan(request, identity, data, error)
    return redirect(f"/host/{made.code}/lineup")


async def _plan(
    request: AnyRequest, identity: Identity, form: PlanForm, error: MarketError | None = None
) -> Response[str]:
    async with sessions.read() as db:
        communes = await _communes(db, _places(identity))
    return page(
        request,
        "host/new.html",
        status=error.status if error else 200,
        communes=communes,
        form=form,
        **_problem(error, {"starts_at": "time"}),
    )


@get("/host/{code:str}", opt=staff)
async def console(
    request: AnyRequest,
    code: FromPath[str],
    settings: NamedDependency[Settings],
    identity: NamedDependency[Identity],
    visitor: NamedDependency[str],
) -> Response[str]:
    """The console of one session."""
    room = await read_room(request.app.state.bus, code)
    session = room.session
    identity.must(session.commune.code, *service.STAFF)
    async with sessions.read() as db:
        orders = await queries.recent_orders(db, session.id)
        conditions = await checklist(db, session.id) if session.state == LiveState.SCHEDULED else []
    if session.state in (LiveState.SCHEDULED, LiveState.LIVE):
        news = await request.app.state.pictures.status(identity, code)
        more = await broadcast.outlets_context(settings, session, news) | {"recording": None}
    else:
        more = await broadcast.recording_context(request, settings, session)
    return page(
        request,
        "host/console.html",
        session=_session(session, settings),
        **more,
        snapshot=msgspec.to_builtins(room.snapshot),
        gmv=session.gmv,
        lineup=[_console_line(line) for line in room.lines],
        orders=[_console_order(order) for order in orders],
        checklist=[{"name": c.name, "message": translate(c.message), "met": c.met} for c in conditions],
        rules_accepted=session.rules_accepted_at is not None,
        may_accept=identity.person_id == session.host_id,
        staff_url=staff_url(settings, session, visitor),
        share_url=f"{settings.public_url}/live/{session.code}",
    )


def _console_line(line: Line) -> dict[str, Any]:
    return {
        "code": line.code,
        "name": line.product,
        "grade": line.grade,
        "unit": line.unit,
        "price": line.price,
        "art": line.art,
        "picture": msgspec.to_builtins(line.picture),
        "product": line.product_code,
        "papers_checked": line.pinnable,
        "origin": line.origin,
        "shelf_life": line.shelf_life,
        "seller": line.seller,
        "stars": line.stars,
        "presets": [
            {"price": price, "percent": percent} for price, percent in queries.deal_presets(line.price)
        ],
    }


def _console_order(order: queries.RecentOrder) -> dict[str, Any]:
    return {
        "code": order.code,
        "name": order.name,
        "lines": order.lines,
        "total": order.total,
        "at": clock.unix_ms(order.placed_at),
    }


@get("/host/{code:str}/money", opt=staff, media_type=MediaType.TEXT)
async def money(code: FromPath[str], identity: NamedDependency[Identity]) -> str:
    """What was ordered so far, as the console shows it."""
    async with sessions.read() as db:
        session = await queries.by_code(db, code)
    identity.must(session.commune.code, *service.STAFF)
    return format_money(Money(session.gmv))


@get("/host/{code:str}/lineup", opt=staff)
async def lineup_page(
    request: AnyRequest, code: FromPath[str], identity: NamedDependency[Identity]
) -> Response[str]:
    return await _lineup(request, code, identity)


@post("/host/{code:str}/lineup", opt=staff)
async def lineup_form(
    request: AnyRequest, code: FromPath[str], identity: NamedDependency[Identity]
) -> Response[str]:
    """`offer` holds product and grade, again and again; their short codes come in fields of their own."""
    form = await request.form()
    offers = []
    for value in form.getall("offer", []):
        product, _, grade = str(value).partition(":")
        offers.append(service.Offer(product, grade, str(form.get(f"code-{value}") or "") or None))
    try:
        await service.set_lineup(identity, code, offers)
    except MarketError as error:
        if isinstance(error, NotFound):
            raise
        return await _lineup(request, code, identity, error)
    rooms.forget(code)
    return redirect(f"/host/{code.upper()}")


async def _lineup(
    request: AnyRequest, code: str, identity: Identity, error: MarketError | None = None
) -> Response[str]:
    async with sessions.read() as db:
        session = await queries.by_code(db, code)
        identity.must(session.commune.code, *service.STAFF)
        products = await queries.offerable(db, session)
    return page(
        request,
        "host/lineup.html",
        status=error.status if error else 200,
        session=_session(session),
        products=msgspec.to_builtins(products),
        **_problem(error),
    )


# ---- the console's buttons, without scripts


@post("/host/{code:str}/{act:str}", opt=staff)
async def act(
    code: FromPath[str],
    act: FromPath[str],
    data: URLEncodedBody[dict[str, str]],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """One tap of the console; leads back to it. What is unmet at a start is shown there."""
    product = data.get("product", "")
    match act:
        case "start":
            with contextlib.suppress(NotReady):  # the console's checklist says what is missing
                await service.start(identity, code)
        case "stop":
            await service.stop(identity, code)
        case "cancel":
            await service.cancel(identity, code, data.get("reason", ""))
        case "pin":
            await service.pin(identity, code, product)
        case "unpin":
            await service.unpin(identity, code)
        case "deals":
            numbers = _numbers(data, "price", "quantity", "minutes")
            await service.open_deal(identity, code, product, tap=data.get("tap", ""), **numbers)
        case "stop-deal":
            await service.stop_deal(identity, code, product)
        case "rules" if data.get("accept"):
            await service.accept_rules(identity, code)
        case "rules":
            raise Invalid(FieldError("accept", N_("Xin đọc nội quy rồi đánh dấu đồng ý.")))
        case _:
            raise NotFound
    rooms.forget(code)
    return redirect(f"/host/{code.upper()}")


@post("/host/{code:str}/comments/{comment_id:int}/hide", opt=access.roles(*service.AUTHORITIES))
async def hide(
    code: FromPath[str], comment_id: FromPath[int], identity: NamedDependency[Identity]
) -> Response[str]:
    await service.hide_comment(identity, code, comment_id)
    rooms.forget(code)
    return redirect(f"/host/{code.upper()}#h-talk")


# ---- small parts


def _places(identity: Identity) -> frozenset[str | None]:
    """Communes whose sessions this person runs; None among them means all."""
    if identity.has(Role.ADMIN):
        return frozenset({None})
    return identity.communes(*service.STAFF)


async def _communes(db: queries.Db, places: frozenset[str | None]) -> list[tuple[str, str]]:
    return [(c.code, c.name) for c in await all_communes(db) if None in places or c.code in places]


def moment(day: str, at: str) -> datetime:
    """A wall clock in Vietnam. Raises `Invalid`."""
    faults = []
    try:
        on = date.fromisoformat(day)
    except ValueError:
        faults.append(FieldError("day", N_("Xin chọn ngày.")))
    try:
        hour = time.fromisoformat(at)
    except ValueError:
        faults.append(FieldError("time", N_("Xin chọn giờ.")))
    if faults:
        raise Invalid(*faults)
    return datetime.combine(on, hour.replace(tzinfo=None), clock.VIETNAM)


def _numbers(data: dict[str, str], *names: str) -> dict[str, int]:
    """Raises `Invalid` with every field that holds no whole number."""
    faults = [
        FieldError(name, N_("Cần một số nguyên."))
        for name in names
        if not data.get(name, "").strip().isdecimal()
    ]
    if faults:
        raise Invalid(*faults)
    return {name: int(data[name]) for name in names}


def _problem(error: MarketError | None, renamed: dict[str, str] | None = None) -> dict[str, Any]:
    """`errors` by field and `problem` as a whole, as the templates want them."""
    if error is None:
        return {"errors": {}, "problem": None}
    language = current_language.get()
    errors = {}
    if isinstance(error, Invalid):
        names = renamed or {}
        errors = {names.get(e.field, e.field): e.text(language) for e in error.errors}
    problem = {
        "status": error.status,
        "code": error.code,
        "title": error.title_text(language),
        "detail": error.detail_text(language),
        **error.extra(language),
    }
    return {"errors": errors, "problem": problem}


ROUTES = [
    session_page,
    comment_form,
    host_index,
    plan_page,
    plan,
    console,
    money,
    lineup_page,
    lineup_form,
    act,
    hide,
    *broadcast.PAGES,
]
