"""A person's requests about their own data, and the list of those who answer."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, URLEncodedBody

from commerce.accounts.api import client_address
from commerce.accounts.errors import WrongCode
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import Invalid
from commerce.core.i18n import current_language
from commerce.core.limits import RateLimit
from commerce.core.roles import Identity
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.privacy import service
from commerce.privacy.models import Wish

limit = RateLimit(per_second=0.02, burst=8)
proving = RateLimit(per_second=0.2, burst=10)
OFFICE = access.roles(*service.ANSWERERS)
Form = dict[str, str]


@get("/privacy/request", opt=access.public, include_in_schema=False)
async def request_page(request: AnyRequest) -> Response[str]:
    return _request_page(request, {})


def _request_page(request: AnyRequest, form: Form, error: Invalid | None = None) -> Response[str]:
    errors = {one.field: one.text(current_language.get()) for one in error.errors} if error else {}
    status = error.status if error else 200
    return page(
        request, "privacy/request.html", status=status, form=form, errors=errors, wishes=[*map(str, Wish)]
    )


@post("/privacy/request", opt=access.public, include_in_schema=False, status_code=200)
async def ask(request: AnyRequest, data: URLEncodedBody[Form]) -> Response[str]:
    """Sends a code to the number; without messages the office answers."""
    limit.take(client_address(request))
    try:
        asked = await service.ask(
            data.get("phone", ""), data.get("wish", ""), data.get("words", ""), request.app.state.sms
        )
    except Invalid as error:
        return _request_page(request, data, error)
    return page(
        request,
        "privacy/prove.html",
        code=asked.code,
        sent=asked.sent,
        error=None,
        phone=data.get("phone", ""),
    )


@post("/privacy/request/mine", opt=access.signed_in, include_in_schema=False)
async def ask_mine(data: URLEncodedBody[Form], identity: NamedDependency[Identity]) -> Response[str]:
    """Whoever is signed in has proved the number already."""
    return _shown_at(await service.ask_as(identity, data.get("wish", "")))


@post("/privacy/request/{code:str}", opt=access.public, include_in_schema=False, status_code=200)
async def prove(request: AnyRequest, code: FromPath[str], data: URLEncodedBody[Form]) -> Response[str]:
    proving.take(client_address(request))
    try:
        token = await service.prove(code, data.get("code", ""))
    except WrongCode as error:
        said = error.detail_text(current_language.get())
        return page(
            request, "privacy/prove.html", status=error.status, code=code, sent=True, error=said, phone=""
        )
    return _shown_at(token)


def _shown_at(token: str) -> Response[str]:
    return redirect(f"/privacy/data?{urlencode({'key': token})}")


@get("/privacy/data", opt=access.public, include_in_schema=False)
async def data_page(request: AnyRequest, key: FromQuery[str] = "") -> Response[str]:
    """All that is kept about the number, for half an hour."""
    asked, found = await service.show(key)
    return page(request, "privacy/data.html", key=key, data=found, wish=asked.wish, erased=None)


@get("/privacy/data.json", opt=access.public, include_in_schema=False)
async def data_file(key: FromQuery[str] = "") -> Response[bytes]:
    """The same as a file to take away."""
    _, found = await service.show(key)
    headers = {
        "Content-Disposition": 'attachment; filename="du-lieu-cua-toi.json"',
        "Cache-Control": "no-store",
    }
    body = msgspec.json.format(msgspec.json.encode(found), indent=2)
    return Response(body, media_type="application/json", headers=headers)


@post("/privacy/data/erase", opt=access.public, include_in_schema=False, status_code=200)
async def erase(request: AnyRequest, data: URLEncodedBody[Form]) -> Response[str]:
    key = data.get("key", "")
    erased = await service.erase(key) if data.get("sure") == "1" else None
    asked, found = await service.show(key)
    return page(request, "privacy/data.html", key=key, data=found, wish=asked.wish, erased=erased)


# ---- who answers


@get("/office/data-requests", opt=OFFICE, include_in_schema=False)
async def requests_page(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    return await _requests(request, identity)


@post("/office/data-requests/{code:str}", opt=OFFICE, include_in_schema=False, status_code=200)
async def answer(
    request: AnyRequest,
    code: FromPath[str],
    data: URLEncodedBody[Form],
    identity: NamedDependency[Identity],
) -> Response[str]:
    try:
        await service.answer(identity, code, how=data.get("how", ""), words=data.get("words", ""))
    except Invalid as error:
        faults = {one.field: one.text(current_language.get()) for one in error.errors}
        return await _requests(request, identity, status=error.status, at=code, errors=faults)
    return redirect("/office/data-requests")


async def _requests(
    request: AnyRequest, identity: Identity, *, status: int = 200, at: str = "", errors: Form | None = None
) -> Response[str]:
    async with sessions.read() as db:
        found = await service.open_requests(db, identity)
    now = clock.now()
    shown: list[dict[str, Any]] = [
        {
            "code": one.code,
            "phone": one.phone,
            "wish": one.wish,
            "words": one.words,
            "proved": one.state == "proved",
            "asked_at": one.asked_at,
            "due_at": one.due_at,
            "late": one.due_at < now,
            "hours": max(0, int((one.due_at - now).total_seconds() // 3600)),
        }
        for one in found
    ]
    return page(request, "privacy/requests.html", status=status, requests=shown, at=at, errors=errors or {})


ROUTES = [request_page, ask, ask_mine, prove, data_page, data_file, erase, requests_page, answer]
