"""The page where the province gives out keys to the data store and takes them back."""

from __future__ import annotations

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody

from commerce.analytics import store
from commerce.core.db import sessions
from commerce.core.roles import Identity, Role
from commerce.core.web import AnyRequest, access, page, redirect

province = access.roles(Role.PROVINCE)


class KeyForm(msgspec.Struct):
    name: str = ""


async def _page(request: AnyRequest, made: str = "") -> Response[str]:
    async with sessions.read() as db:
        found = await store.keys(db)
    views = (*store.DIMENSIONS, *store.FACTS)
    return page(request, "province/store.html", keys=found, made=made, views=views)


@get("/province/store", opt=province)
async def index(request: AnyRequest) -> Response[str]:
    return await _page(request)


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


ROUTES = [index, make, revoke]
