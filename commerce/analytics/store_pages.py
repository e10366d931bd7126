"""The page where the province gives out keys to the data store and takes them back."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, URLEncodedBody

from commerce.analytics import periods, store
from commerce.core import tables
from commerce.core.db import sessions
from commerce.core.errors import NotFound
from commerce.core.roles import Identity, Role
from commerce.core.web import AnyRequest, access, page, redirect

province = access.roles(Role.PROVINCE)

From = Annotated[str, QueryParameter(name="from")]
To = Annotated[str, QueryParameter(name="to")]


class KeyForm(msgspec.Struct):
    name: str = ""


async def _page(request: AnyRequest, made: str = "") -> Response[str]:
    async with sessions.read() as db:
        found = await store.keys(db)
        views = await store.described(db)
    return page(
        request, "province/store.html", keys=found, made=made, views=views, period=periods.last_days()
    )


@get("/province/store", opt=province)
async def index(request: AnyRequest) -> Response[str]:
    return await _page(request)


@get("/province/store/{name:str}", opt=province)
async def file(name: FromPath[str], first: From = "", last: To = "") -> Response[bytes]:
    """Any table of the star, `fact_session.csv` or `.xlsx`, of a stretch of days."""
    what, _, ending = name.partition(".")
    if what not in store.GRAINS or ending not in ("csv", "xlsx"):
        raise NotFound
    chosen = periods.parse(first, last)
    async with sessions.read() as db:
        made = await store.table(db, what, chosen.first, chosen.last)
    return await tables.file([made], ending, f"{what}-{chosen.first}-{chosen.last}")


@post("/province/store", opt=province, status_code=200)
async def make(
    request: AnyRequest, identity: NamedDependency[Identity], data: URLEncodedBody[KeyForm]
) -> Response[str]:
    """The answer is the page with the new key on it, this once."""
    return await _page(request, await store.make_key(identity, data.name))


@post("/province/store/{number:int}/revoke", opt=province)
async def revoke(identity: NamedDependency[Identity], number: FromPath[int]) -> Response[str]:
    await store.revoke_key(identity, number)
    return redirect("/province/store")


ROUTES = [index, file, make, revoke]
