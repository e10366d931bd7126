"""The page where the province enters how many people live where."""

from __future__ import annotations

from datetime import date

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import URLEncodedBody

from commerce.analytics import residents
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_, current_language
from commerce.core.roles import Identity, Role
from commerce.core.web import AnyRequest, access, page, redirect

province = access.roles(Role.PROVINCE)
Form = dict[str, str]


@get("/province/residents", opt=province)
async def index(request: AnyRequest) -> Response[str]:
    return await _page(request)


@post("/province/residents", opt=province)
async def enter(
    request: AnyRequest, identity: NamedDependency[Identity], data: URLEncodedBody[Form]
) -> Response[str]:
    """`people-{commune}`, with `as_of` and `source` for those that changed."""
    try:
        people, as_of = _read(data)
        await residents.enter(identity, people, as_of=as_of, source=data.get("source", ""))
    except Invalid as error:
        lang = current_language.get()
        return await _page(request, data, {one.field: one.text(lang) for one in error.errors}, error.status)
    return redirect("/province/residents")


def _read(form: Form) -> tuple[dict[str, int | None], date | None]:
    faults = []
    people: dict[str, int | None] = {}
    for field, text in form.items():
        if not field.startswith("people-"):
            continue
        digits = text.replace(".", "").replace(" ", "").strip()
        if digits and not (digits.isascii() and digits.isdigit()):
            faults.append(FieldError(field, N_("Cần một số nguyên.")))
        else:
            people[field.removeprefix("people-")] = int(digits[:12]) if digits else None
    if faults:
        raise Invalid(*faults)
    try:
        return people, date.fromisoformat(form.get("as_of", "").strip())
    except ValueError:
        return people, None


async def _page(
    request: AnyRequest, form: Form | None = None, errors: dict[str, str] | None = None, status: int = 200
) -> Response[str]:
    async with sessions.read() as db:
        places = await residents.listed(db)
    return page(
        request,
        "province/residents.html",
        status=status,
        places=places,
        known=sum(place.people is not None for place in places),
        form=form or {},
        errors=errors or {},
    )


ROUTES = [index, enter]
