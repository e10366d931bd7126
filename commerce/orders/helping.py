"""The helper's desk: comment orders confirmed by one key, orders seen elsewhere typed in, traders noted.

Every act is a form that works without scripts. With scripts the same form is sent in the background and its
part of the page (`HX-Request`) comes back, so that the list under a helper's thumbs does not jump.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, URLEncodedBody

from commerce.communes import provinces
from commerce.communes.queries import all_communes
from commerce.core.db import sessions
from commerce.core.errors import Busy, Invalid, MarketError, NotFound
from commerce.core.i18n import current_language, translate
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.live import candidates, queries
from commerce.live.comment_orders import Doubt
from commerce.live.home import session_card
from commerce.live.models import LiveState
from commerce.live.queries import Line, of_staff
from commerce.live.rooms import rooms
from commerce.live.service import STAFF, hide_comment
from commerce.orders import entering, wholesale, words
from commerce.orders.errors import SoldOut
from commerce.orders.pages import FIELDS, commune_code
from commerce.orders.wholesale import Enquiry
from commerce.orders.wire import AddressRequest, BuyerRequest, OrderRequest, PurchaseAnswer
from streaming.protocol import Comment

HELPERS = access.roles(*STAFF)
SHOWN = 40  # candidates on the page; the rest move up as these are settled

Form = dict[str, str]


@get("/helper", opt=access.roles(Role.HELPER), include_in_schema=False)
async def helper(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """Where a helper finds the session to help in."""
    async with sessions.read() as db:
        mine = await of_staff(db, identity.communes(Role.HELPER, Role.ADMIN))
    return page(
        request,
        "helper/index.html",
        live=[one for one in mine if one.state == LiveState.LIVE],
        coming=[session_card(one, 0) for one in mine if one.state == LiveState.SCHEDULED],
    )


@get("/helper/{code:str}", opt=HELPERS, include_in_schema=False)
async def desk(
    request: AnyRequest,
    code: FromPath[str],
    identity: NamedDependency[Identity],
    part: Annotated[str, QueryParameter()] = "",
) -> Response[str]:
    """The desk of one session; `part=candidates` answers what waits, alone."""
    return await _answer(request, identity, code, part)


# ---- comment orders


@post("/helper/{code:str}/confirm", opt=HELPERS, include_in_schema=False)
async def confirm(
    request: AnyRequest,
    code: FromPath[str],
    data: URLEncodedBody[Form],
    settings: NamedDependency[Settings],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """One buyer's comments become an order."""
    try:
        order = await _order(data)
        placed = await entering.confirm_comments(settings, identity, code, _ids(data), order)
    except MarketError as error:
        return await _answer(request, identity, code, "candidates", error=error, edited=data)
    return await _answer(request, identity, code, "candidates", placed=placed, done=True)


@post("/helper/{code:str}/dismiss", opt=HELPERS, include_in_schema=False)
async def dismiss(
    request: AnyRequest, code: FromPath[str], data: URLEncodedBody[Form], identity: NamedDependency[Identity]
) -> Response[str]:
    """These comments are no order."""
    await candidates.dismiss(identity, code, _ids(data))
    return await _answer(request, identity, code, "candidates", done=True)


@post("/helper/{code:str}/hide", opt=HELPERS, include_in_schema=False)
async def hide(
    request: AnyRequest, code: FromPath[str], data: URLEncodedBody[Form], identity: NamedDependency[Identity]
) -> Response[str]:
    """Take these comments off every screen."""
    for comment_id in _ids(data):
        await hide_comment(identity, code, comment_id)
    rooms.forget(code)
    return await _answer(request, identity, code, _part(data), done=True)


@post("/helper/{code:str}/mute", opt=HELPERS, include_in_schema=False)
async def mute(
    request: AnyRequest, code: FromPath[str], data: URLEncodedBody[Form], identity: NamedDependency[Identity]
) -> Response[str]:
    """Hear no more of whoever wrote these comments."""
    for comment_id in _ids(data)[:1]:
        await candidates.mute(identity, code, comment_id)
    rooms.forget(code)
    return await _answer(request, identity, code, _part(data), done=True)


# ---- orders seen elsewhere


@post("/helper/{code:str}/read", opt=HELPERS, include_in_schema=False, status_code=200)
async def read_pasted(
    request: AnyRequest, code: FromPath[str], data: URLEncodedBody[Form], identity: NamedDependency[Identity]
) -> Response[str]:
    """The form again, filled in from the pasted comment; what was typed by hand stays."""
    async with sessions.read() as db:
        session = await queries.by_code(db, code)
        identity.must(session.commune.code, *STAFF)
        lines = await queries.lineup(db, session)
    read = entering.take_apart(data.get("pasted", ""), {line.code: line.unit for line in lines})
    found = {"lines": read.lines, "phone": read.phone, "name": read.name, "street": read.street}
    entry = data | {name: value for name, value in found.items() if value}
    return await _answer(request, identity, code, "entry", entry=entry, doubts=read.doubts)


@post("/helper/{code:str}/orders", opt=HELPERS, include_in_schema=False)
async def enter(
    request: AnyRequest,
    code: FromPath[str],
    data: URLEncodedBody[Form],
    settings: NamedDependency[Settings],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """An order seen or heard outside. The form's own key makes a second tap the same order."""
    try:
        order = await _order(data)
        placed = await entering.enter_order(
            settings, identity, code, order, source=data.get("source", ""), key=data.get("order_key", "")
        )
    except MarketError as error:
        return await _answer(request, identity, code, "entry", error=error, entry=data)
    fresh = {"source": data.get("source", "")}
    return await _answer(request, identity, code, "entry", placed=placed, entry=fresh, done=True)


@post("/helper/{code:str}/address", opt=HELPERS, include_in_schema=False)
async def address(
    request: AnyRequest, code: FromPath[str], data: URLEncodedBody[Form], identity: NamedDependency[Identity]
) -> Response[str]:
    """The address of an order that was entered without one."""
    try:
        await entering.add_address(identity, data.get("order", ""), await _address(data))
    except Invalid as error:
        return await _answer(request, identity, code, "entry", error=error, addressed=data)
    return await _answer(request, identity, code, "entry", done=True)


@post("/helper/{code:str}/enquiries", opt=HELPERS, include_in_schema=False)
async def enquire(
    request: AnyRequest, code: FromPath[str], data: URLEncodedBody[Form], identity: NamedDependency[Identity]
) -> Response[str]:
    """A trader wants tonnes."""
    try:
        await wholesale.note_enquiry(identity, code, _enquiry(data), data.get("key", ""))
    except Invalid as error:
        return await _answer(request, identity, code, "enquiries", error=error, enquiry=data)
    return await _answer(request, identity, code, "enquiries", done=True)


def _enquiry(data: Form) -> Enquiry:
    return Enquiry(
        name=data.get("name", ""),
        phone=data.get("phone", ""),
        quantity=data.get("quantity", ""),
        product=data.get("product", ""),
        note=data.get("note", ""),
        source=data.get("source", ""),
    )


# ---- reading the forms


def _part(data: Form) -> str:
    """Which list the tap came from: the comment orders, or all that is said."""
    return "talk" if data.get("from") == "talk" else "candidates"


def _ids(data: Form) -> list[int]:
    return [int(one) for one in data.get("ids", "").split(",")[:500] if one.isdecimal() and len(one) < 19]


async def _order(data: Form) -> OrderRequest:
    """Raises `Invalid`."""
    return OrderRequest(
        lines=entering.lines_of(data.get("lines", "")),
        buyer=BuyerRequest(data.get("name", ""), data.get("phone", "")),
        address=await _address(data),
        note=data.get("note", ""),
    )


async def _address(data: Form) -> AddressRequest:
    """A commune without a province is one of ours."""
    commune = data.get("commune", "").strip()
    province = data.get("province", "") or (provinces.OURS if commune else "")
    return AddressRequest(province, await commune_code(province, commune), data.get("street", ""))


# ---- the page


async def _answer(
    request: AnyRequest,
    identity: Identity,
    code: str,
    part: str,
    *,
    error: MarketError | None = None,
    placed: PurchaseAnswer | None = None,
    edited: Form | None = None,
    entry: Form | None = None,
    enquiry: Form | None = None,
    addressed: Form | None = None,
    doubts: list[str] | None = None,
    done: bool = False,
) -> Response[str]:
    """The part that was asked for when a script asks, the way back to the desk when it was done, the whole
    page otherwise."""
    if isinstance(error, Busy | NotFound):
        raise error
    scripted = bool(request.headers.get("HX-Request"))
    if done and not scripted:
        return redirect(f"/helper/{code.upper()}#{part}")
    async with sessions.read() as db:
        session = await queries.by_code(db, code)
        identity.must(session.commune.code, *STAFF)
        lines = await queries.lineup(db, session)
        waiting = await candidates.candidates(db, session.id)
        entered = await entering.entered_orders(db, session.id)
        said = await queries.last_comments(db, session)
        traders = await wholesale.of_session(db, session.id)
        communes = [one.name for one in await all_communes(db)]
    errors, problem = _problem(error)
    name = f"helper/{part}.html" if scripted and part in PARTS else "helper/desk.html"
    return page(
        request,
        name,
        status=error.status if error and not scripted else 200,
        session={"code": session.code, "title": session.title, "state": session.state.value},
        lineup=lines,
        waiting=[_card(one, lines) for one in waiting[:SHOWN]],
        more=max(0, len(waiting) - SHOWN),
        entered=entered,
        traders=traders,
        communes=communes,
        provinces=provinces.choices(),
        sources=[{"value": one, "label": translate(words.SOURCE[one])} for one in entering.OUTSIDE],
        source_names={source: translate(label) for source, label in words.SOURCE.items()},
        part=part,
        errors=errors,
        problem=problem,
        placed=placed,
        edited=edited,
        entry=entry or {},
        entry_key=(entry or {}).get("order_key") or secrets.token_urlsafe(16),
        entry_doubts=_doubts(doubts or []),
        enquiry=enquiry or {},
        tap_key=secrets.token_urlsafe(9),
        said=[_said(one) for one in reversed(said)],
        addressed=addressed or {},
    )


def _said(one: Comment) -> dict[str, Any]:
    """A comment as everybody sees it, with where it was said."""
    return {
        "id": one.id,
        "name": one.name,
        "text": one.text,
        "at": datetime.fromtimestamp(one.at / 1000, UTC),
        "origin": one.origin,
    }


PARTS = ("candidates", "entry", "enquiries", "talk")


def _card(one: candidates.Candidate, lines: list[Line]) -> dict[str, Any]:
    """A candidate with what it comes to at today's prices."""
    known = {line.code: line for line in lines}
    wanted = [(known[line.code], line.quantity) for line in one.lines if line.code in known]
    return {
        "ids": one.ids,
        "name": one.name,
        "origin": one.origin,
        "comments": one.comments,
        "phone": one.phone,
        "sure": one.sure,
        "doubts": _doubts(one.doubts),
        "wanted": wanted,
        "lines": ", ".join(f"{line.code} {quantity}" for line, quantity in wanted),
        "total": sum(line.price_now * quantity for line, quantity in wanted),
        "ready": bool(wanted and one.phone),
    }


def _doubts(names: list[str]) -> list[str]:
    return [translate(words.DOUBT[Doubt(name)]) for name in names]


def _problem(error: MarketError | None) -> tuple[dict[str, str], dict[str, Any] | None]:
    """Sentences by field, and the whole as one sentence with what cannot be shown at a field."""
    if error is None:
        return {}, None
    language = current_language.get()
    errors: dict[str, str] = {}
    if isinstance(error, Invalid):
        for one in error.errors:
            field = "lines" if one.field.startswith("lines") else FIELDS.get(one.field, one.field)
            errors.setdefault(field, one.text(language))
    short = {line.product: line.left for line in error.lines} if isinstance(error, SoldOut) else {}
    detail = " ".join(errors.values()) or error.detail_text(language)
    return errors, {"title": error.title_text(language), "detail": detail, "short": short}


ROUTES = [
    helper,
    desk,
    confirm,
    dismiss,
    hide,
    mute,
    read_pasted,
    enter,
    address,
    enquire,
]
