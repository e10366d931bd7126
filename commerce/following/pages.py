"""Calendar files: of one session, and of a commune's channel to subscribe to."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from commerce.communes.queries import commune_by_slug
from commerce.core.db import sessions
from commerce.core.errors import NotFound
from commerce.core.settings import Settings
from commerce.core.web import access
from commerce.following.ics import calendar
from commerce.live import queries as live
from commerce.live.models import LiveState


def _file(body: bytes, name: str) -> Response[bytes]:
    headers = {"Content-Disposition": f'inline; filename="{name}.ics"', "Cache-Control": "no-store"}
    return Response(body, media_type="text/calendar; charset=utf-8", headers=headers)


@get("/live/{code:str}/calendar.ics", opt=access.public, include_in_schema=False)
async def session_calendar(code: FromPath[str], settings: NamedDependency[Settings]) -> Response[bytes]:
    """The session as an event with an alarm 15 minutes before."""
    async with sessions.read() as db:
        found = await live.by_code(db, code)
    if found.rehearsal:
        raise NotFound
    return _file(calendar(settings, found.title, [found]), found.code)


@get("/c/{slug:str}/calendar.ics", opt=access.public, include_in_schema=False)
async def channel_calendar(slug: FromPath[str], settings: NamedDependency[Settings]) -> Response[bytes]:
    """What the commune has planned; a phone that subscribes to it keeps itself up to date."""
    async with sessions.read() as db:
        commune = await commune_by_slug(db, slug)
        coming = await live.listed(db, state=LiveState.SCHEDULED, commune=commune.code)
    return _file(calendar(settings, commune.name, coming), commune.slug)


ROUTES = [session_calendar, channel_calendar]
