"""The office connects the commune's Page and channel; desks see how reading them goes."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, URLEncodedBody

from commerce.accounts.queries import office_commune
from commerce.communes.models import Commune
from commerce.core.db import sessions
from commerce.core.errors import NotFound
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.live import outside, queries
from commerce.live.networks.settings import NAMES, http_client, networks
from commerce.live.service import STAFF

OFFICE = access.roles(Role.OFFICER)
DESKS = access.roles(*STAFF)

Word = Annotated[str, QueryParameter()]


class Choice(msgspec.Struct):
    choice: str = ""


def _back_to(settings: Settings, network: str) -> str:
    """Registered with the network as where owners come back to."""
    return f"{settings.public_url}/office/networks/{network}/back"


@get("/office/networks", opt=OFFICE, include_in_schema=False)
async def index(
    request: AnyRequest, identity: NamedDependency[Identity], settings: NamedDependency[Settings]
) -> Response[str]:
    """What is connected, what has run out, and how to connect."""
    code = await office_commune(identity)
    async with sessions.read() as db:
        commune = await db.get_one(Commune, code)
        connected = await outside.connected(db, code)
    async with http_client() as client:
        ready = set(networks(settings, client))
    return page(
        request, "office/networks.html", commune=commune, names=NAMES, connected=connected, ready=ready
    )


@get("/office/networks/{network:str}/connect", opt=OFFICE, include_in_schema=False)
async def connect(
    identity: NamedDependency[Identity], settings: NamedDependency[Settings], network: FromPath[str]
) -> Response[str]:
    """On to the network's own page, where the owner says yes. Nothing is changed here, and the page's policy
    lets a link lead elsewhere, but no form."""
    commune = await office_commune(identity)
    async with http_client() as client:
        url = outside.set_out(
            settings.secret_key,
            networks(settings, client),
            identity,
            commune,
            network,
            _back_to(settings, network),
        )
    return Response("", status_code=303, headers={"Location": url, "Cache-Control": "no-store"})


@get("/office/networks/{network:str}/back", opt=OFFICE, include_in_schema=False)
async def back(
    request: AnyRequest,
    identity: NamedDependency[Identity],
    settings: NamedDependency[Settings],
    network: FromPath[str],
    code: Word = "",
    way: Annotated[str, QueryParameter(name="state")] = "",
) -> Response[str]:
    """The owner comes back; with several Pages one is to be chosen."""
    if network not in NAMES:
        raise NotFound
    async with http_client() as client:
        offered = await outside.come_back(
            settings.secret_key,
            networks(settings, client),
            identity,
            network,
            state=way,
            code=code,
            back_to=_back_to(settings, network),
        )
    if not offered:
        return redirect("/office/networks")
    return page(request, "office/networks_choose.html", network=network, name=NAMES[network], offered=offered)


@post("/office/networks/{network:str}/choose", opt=OFFICE, include_in_schema=False)
async def choose(
    identity: NamedDependency[Identity],
    settings: NamedDependency[Settings],
    network: FromPath[str],
    data: URLEncodedBody[Choice],
) -> Response[str]:
    await outside.choose(settings.secret_key, identity, network, data.choice)
    return redirect("/office/networks")


@post("/office/networks/{network:str}/disconnect", opt=OFFICE, include_in_schema=False)
async def disconnect(identity: NamedDependency[Identity], network: FromPath[str]) -> Response[str]:
    if network not in NAMES:
        raise NotFound
    await outside.disconnect(identity, await office_commune(identity), network)
    return redirect("/office/networks")


@get("/helper/{code:str}/networks", opt=DESKS, include_in_schema=False)
async def status(
    request: AnyRequest, identity: NamedDependency[Identity], code: FromPath[str]
) -> Response[str]:
    """The line on desks that says what is read from where; asked for again every few seconds."""
    async with sessions.read() as db:
        session = await queries.by_code(db, code)
        identity.must(session.commune.code, *STAFF)
        found = await outside.status(db, code)
    return page(request, "helper/networks.html", networks=found, names=NAMES)


ROUTES = [index, connect, back, choose, disconnect, status]
