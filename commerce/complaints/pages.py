"""Complaints on screen: opening one, following it by its key, and the desk of the seller and the office."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, URLEncodedBody
from sqlalchemy import ColumnElement, false, select

from commerce.accounts.api import client_address
from commerce.accounts.queries import office_commune
from commerce.catalog import photos
from commerce.catalog.errors import PhotoNotFound
from commerce.complaints import queries, service, words
from commerce.complaints.models import Complaint, ComplaintMessage, Reason
from commerce.core.db import sessions
from commerce.core.errors import Invalid, MarketError, NotFound
from commerce.core.i18n import current_language, translate
from commerce.core.limits import RateLimit
from commerce.core.roles import Identity, Role
from commerce.core.storage import Storage
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.live.models import LiveSession
from commerce.orders.queries import order_by_key
from commerce.orders.selling import own_seller

BOTH = access.roles(Role.SELLER, Role.OFFICER)
BODY = service.MOST_PHOTOS * photos.MOST_BYTES + 256 * 1024
KeyQuery = Annotated[str, QueryParameter(name="key")]
Form = dict[str, str]

opening = RateLimit(per_second=1 / 60, burst=8)
"""Of one address: enough for a family on one line, too little for a flood."""


# ---- the complainant


@get("/orders/{code:str}/complain", opt=access.public, include_in_schema=False)
async def about_order(request: AnyRequest, code: FromPath[str], key: KeyQuery = "") -> Response[str]:
    return await _order_form(request, code, key)


@post(
    "/orders/{code:str}/complain",
    opt=access.public,
    include_in_schema=False,
    status_code=303,
    request_max_body_size=BODY,
)
async def complain(
    request: AnyRequest, code: FromPath[str], storage: NamedDependency[Storage]
) -> Response[str]:
    """Reason, words and up to three photos."""
    opening.take(client_address(request))
    data, pictures = await _read(request)
    key = data.get("key", "")
    try:
        made = await service.complain(
            storage, code, key, data.get("reason", ""), data.get("words", ""), pictures
        )
    except NotFound:
        raise
    except MarketError as error:
        return await _order_form(request, code, key, error, data)
    return redirect(_own_page(made))


@get("/live/{code:str}/complain", opt=access.public, include_in_schema=False)
async def about_session(request: AnyRequest, code: FromPath[str]) -> Response[str]:
    return await _session_form(request, code)


@post(
    "/live/{code:str}/complain",
    opt=access.public,
    include_in_schema=False,
    status_code=303,
    request_max_body_size=BODY,
)
async def complain_of_session(
    request: AnyRequest, code: FromPath[str], storage: NamedDependency[Storage]
) -> Response[str]:
    """By a viewer, who need not have bought anything, during or after the session."""
    opening.take(client_address(request))
    data, pictures = await _read(request)
    try:
        made = await service.complain_of_session(
            storage,
            code,
            data.get("name", ""),
            data.get("phone", ""),
            data.get("reason", ""),
            data.get("words", ""),
            pictures,
        )
    except NotFound:
        raise
    except MarketError as error:
        return await _session_form(request, code, error, data)
    return redirect(_own_page(made))


@get("/complaints/{code:str}", opt=access.public, include_in_schema=False)
async def own_page(request: AnyRequest, code: FromPath[str], key: KeyQuery = "") -> Response[str]:
    """The complaint, for whoever holds its key."""
    return await _own(request, code, key)


@post(
    "/complaints/{code:str}/add",
    opt=access.public,
    include_in_schema=False,
    status_code=303,
    request_max_body_size=BODY,
)
async def add(request: AnyRequest, code: FromPath[str], storage: NamedDependency[Storage]) -> Response[str]:
    opening.take(client_address(request))
    data, pictures = await _read(request)
    key = data.get("key", "")
    try:
        await service.add(storage, code, key, data.get("words", ""), pictures)
    except NotFound:
        raise
    except MarketError as error:
        return await _own(request, code, key, error, data)
    return await _back(code, key)


@post("/complaints/{code:str}/withdraw", opt=access.public, include_in_schema=False, status_code=303)
async def withdraw(code: FromPath[str], data: URLEncodedBody[Form]) -> Response[str]:
    await service.withdraw(code, data.get("key", ""))
    return await _back(code, data.get("key", ""))


@get("/complaints/{code:str}/photos/{name:str}", opt=access.public, include_in_schema=False)
async def photo(
    code: FromPath[str],
    name: FromPath[str],
    viewer: NamedDependency[Identity | None],
    storage: NamedDependency[Storage],
    key: KeyQuery = "",
) -> Response[bytes]:
    """One of its pictures, for the complainant, the seller and the office alone."""
    async with sessions.read() as db:
        if key:
            complaint = await service.by_key(db, code, key)
        else:
            found = await db.scalar(select(Complaint).where(Complaint.code == code.upper()))
            if found is None or viewer is None:
                raise NotFound
            await service.side_of(db, viewer, found)
            complaint = found
        kept = await db.scalars(
            select(ComplaintMessage.photos).where(ComplaintMessage.complaint_id == complaint.id)
        )
        names = {f"{one['sha256']}-{width}.webp" for many in kept for one in many for width in one["widths"]}
    stored = await storage.get(f"{service.FOLDER}/{name}") if name in names else None
    if stored is None:
        raise PhotoNotFound
    return Response(stored[0], media_type="image/webp", headers={"Cache-Control": "private, no-store"})


# ---- the desk


class Word(msgspec.Struct):
    words: Annotated[str, msgspec.Meta(max_length=3_000)] = ""
    outcome: str = ""
    amount: Annotated[str, msgspec.Meta(max_length=20)] = ""


@get("/seller/complaints", opt=access.roles(Role.SELLER), include_in_schema=False)
async def of_seller(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    async with sessions.read() as db:
        seller = await own_seller(db, identity)
    return await _list(request, "seller", Complaint.seller_id == seller.id if seller else false())


@get("/office/complaints", opt=access.roles(Role.OFFICER), include_in_schema=False)
async def of_office(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """Of the commune's sellers and sessions; what is overdue stands out."""
    return await _list(request, "office", Complaint.commune_code == await office_commune(identity))


@get("/complaints/{code:str}/desk", opt=BOTH, include_in_schema=False)
async def desk(
    request: AnyRequest, code: FromPath[str], identity: NamedDependency[Identity]
) -> Response[str]:
    return await _desk(request, identity, code)


@post("/complaints/{code:str}/desk", opt=BOTH, include_in_schema=False, status_code=303)
async def act(
    request: AnyRequest,
    code: FromPath[str],
    data: URLEncodedBody[Word],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """Answer, or settle when an outcome was chosen."""
    digits = "".join(c for c in data.amount if c.isdigit()) or "0"
    try:
        if data.outcome:
            await service.resolve(identity, code, data.outcome, data.words, int(digits))
        else:
            await service.answer(identity, code, data.words)
    except MarketError as error:
        if not isinstance(error, Invalid) and error.status != 409:
            raise
        return await _desk(request, identity, code, error, data)
    return redirect(f"/complaints/{code.upper()}/desk")


# ---- what pages show


def _own_page(complaint: Complaint) -> str:
    return f"/complaints/{complaint.code}?key={complaint.key}"


async def _back(code: str, key: str) -> Response[str]:
    async with sessions.read() as db:
        return redirect(_own_page(await service.by_key(db, code, key)))


async def _read(request: AnyRequest) -> tuple[Form, Sequence[bytes]]:
    """Fields, and files that are not empty."""
    data: Form = {}
    pictures = []
    for name, value in (await request.form()).multi_items():
        if not isinstance(value, UploadFile):
            data[name] = str(value)
        elif body := await value.read():
            pictures.append(body)
    return data, pictures


def _faults(error: MarketError | None) -> dict[str, Any]:
    """What was wrong: by field, and as a sentence when it is about no field of the form."""
    if error is None:
        return {"errors": {}, "problem": "", "status": 200}
    lang = current_language.get()
    if isinstance(error, Invalid):
        return {
            "errors": {one.field: one.text(lang) for one in error.errors},
            "problem": "",
            "status": error.status,
        }
    return {"errors": {}, "problem": error.detail_text(lang), "status": error.status}


def _choices() -> list[tuple[str, str]]:
    return [(reason.value, translate(words.REASON[reason])) for reason in Reason]


async def _order_form(
    request: AnyRequest, code: str, key: str, error: MarketError | None = None, data: Form | None = None
) -> Response[str]:
    async with sessions.read() as db:
        found = await order_by_key(db, code, key)
        earlier = await queries.of_order(db, found.order.id)
    return page(
        request,
        "market/complain.html",
        order=found.order,
        session=None,
        seller=found.seller.name,
        lines=found.lines,
        earlier=earlier,
        reasons=_choices(),
        form=data or {},
        most_photos=service.MOST_PHOTOS,
        **_faults(error),
    )


async def _session_form(
    request: AnyRequest, code: str, error: MarketError | None = None, data: Form | None = None
) -> Response[str]:
    async with sessions.read() as db:
        session = await db.scalar(select(LiveSession).where(LiveSession.code == code.upper()))
    if session is None:
        raise NotFound
    return page(
        request,
        "market/complain.html",
        order=None,
        session=session,
        seller="",
        lines=[],
        earlier=[],
        reasons=_choices(),
        form=data or {},
        most_photos=service.MOST_PHOTOS,
        **_faults(error),
    )


async def _own(
    request: AnyRequest, code: str, key: str, error: MarketError | None = None, data: Form | None = None
) -> Response[str]:
    async with sessions.read() as db:
        complaint = await service.by_key(db, code, key)
        opened = await queries.open_one(db, complaint)
    return page(
        request,
        "market/complaint.html",
        opened=opened,
        key=key,
        form=data or {},
        most_photos=service.MOST_PHOTOS,
        **_faults(error),
    )


async def _list(request: AnyRequest, area: str, whose: ColumnElement[bool]) -> Response[str]:
    async with sessions.read() as db:
        rows = await queries.listed(db, whose)
    return page(request, "seller/complaints.html", area=area, rows=rows)


async def _desk(
    request: AnyRequest,
    identity: Identity,
    code: str,
    error: MarketError | None = None,
    data: Word | None = None,
) -> Response[str]:
    async with sessions.read() as db:
        complaint = await db.scalar(select(Complaint).where(Complaint.code == code.upper()))
        if complaint is None:
            raise NotFound
        side = await service.side_of(db, identity, complaint)
        opened = await queries.open_one(db, complaint)
    return page(
        request,
        "seller/complaint.html",
        area=side,
        opened=opened,
        form=data or Word(),
        **_faults(error),
    )


ROUTES = [
    about_order,
    complain,
    about_session,
    complain_of_session,
    own_page,
    add,
    withdraw,
    photo,
    of_seller,
    of_office,
    desk,
    act,
]
