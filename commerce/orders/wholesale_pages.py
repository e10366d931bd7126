"""The form for those who want tonnes, and the commune's list of whom to call back."""

from __future__ import annotations

from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody

from commerce.accounts.api import client_address
from commerce.accounts.queries import office_commune
from commerce.catalog import queries as catalog
from commerce.core.db import sessions
from commerce.core.errors import Invalid
from commerce.core.i18n import current_language
from commerce.core.limits import RateLimit
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.live.rooms import rooms
from commerce.live.visitors import source_of
from commerce.orders import wholesale
from commerce.orders.wholesale import Enquiry

limit = RateLimit(per_second=0.05, burst=10)
OFFICE = access.roles(Role.OFFICER, Role.HOST, Role.HELPER)
Form = dict[str, str]


@get("/live/{code:str}/wholesale", opt=access.public, include_in_schema=False)
async def session_form(request: AnyRequest, code: FromPath[str]) -> Response[str]:
    return await _session_page(request, code, {})


@post("/live/{code:str}/wholesale", opt=access.public, include_in_schema=False, status_code=200)
async def session_enquiry(
    request: AnyRequest, code: FromPath[str], data: URLEncodedBody[Form], settings: NamedDependency[Settings]
) -> Response[str]:
    limit.take(client_address(request))
    try:
        await wholesale.ask_in_session(code, _enquiry(data, source_of(request, settings)))
    except Invalid as error:
        return await _session_page(request, code, data, error)
    return await _session_page(request, code, {}, done=True)


@get("/p/{code:str}/wholesale", opt=access.public, include_in_schema=False)
async def product_form(request: AnyRequest, code: FromPath[str]) -> Response[str]:
    return await _product_page(request, code, {})


@post("/p/{code:str}/wholesale", opt=access.public, include_in_schema=False, status_code=200)
async def product_enquiry(
    request: AnyRequest, code: FromPath[str], data: URLEncodedBody[Form], settings: NamedDependency[Settings]
) -> Response[str]:
    limit.take(client_address(request))
    try:
        await wholesale.ask_for_product(code, _enquiry(data, source_of(request, settings)))
    except Invalid as error:
        return await _product_page(request, code, data, error)
    return await _product_page(request, code, {}, done=True)


@get("/office/enquiries", opt=OFFICE, include_in_schema=False)
async def enquiries(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """Whom to call back, those who wait longest unanswered at the end of the first group."""
    communes = {code for code in identity.communes(*wholesale.CALLERS) if code}
    communes = communes or {await office_commune(identity)}
    async with sessions.read() as db:
        found = await wholesale.of_communes(db, communes)
    return page(request, "office/enquiries.html", enquiries=found)


@post("/office/enquiries/{enquiry:int}/called", opt=OFFICE, include_in_schema=False)
async def called(enquiry: FromPath[int], identity: NamedDependency[Identity]) -> Response[str]:
    await wholesale.called(identity, enquiry)
    return redirect("/office/enquiries")


def _enquiry(data: Form, source: str) -> Enquiry:
    typed = {name: data.get(name, "") for name in ("name", "phone", "quantity", "product", "note")}
    return Enquiry(**typed, unit=data.get("unit", "tonne"), source=source, consent=data.get("consent") == "1")


async def _session_page(
    request: AnyRequest, code: str, form: Form, error: Invalid | None = None, *, done: bool = False
) -> Response[str]:
    room = await rooms.get(request.app.state.bus, code)
    offers = [
        (line.code, f"{line.code} · {line.product}{f' {line.grade}' if line.grade else ''}")
        for line in room.lines
    ]
    about = {"name": room.session.title, "commune": room.session.commune.name}
    return _page(request, f"/live/{room.session.code}", about, offers, form, error, done)


async def _product_page(
    request: AnyRequest, code: str, form: Form, error: Invalid | None = None, *, done: bool = False
) -> Response[str]:
    async with sessions.read() as db:
        found = await catalog.product_page(db, code)
    about = {"name": found.product.name, "commune": found.product.commune.name}
    return _page(request, f"/p/{found.product.code}", about, [], form, error, done)


def _page(
    request: AnyRequest,
    back: str,
    about: dict[str, str],
    offers: list[tuple[str, str]],
    form: Form,
    error: Invalid | None,
    done: bool,
) -> Response[str]:
    language = current_language.get()
    context: dict[str, Any] = {
        "back": back,
        "about": about,
        "offers": offers,
        "form": form,
        "errors": {one.field: one.text(language) for one in error.errors} if error else {},
        "done": done,
    }
    return page(request, "market/wholesale.html", status=error.status if error else 200, **context)


ROUTES = [session_form, session_enquiry, product_form, product_enquiry, enquiries, called]
