"""What people may do with figures, one function a use case."""

from __future__ import annotations

from collections.abc import Sequence

from commerce.analytics import outside, queries, rollup
from commerce.analytics.queries import Details, SessionFigures
from commerce.core.db import sessions
from commerce.core.errors import Forbidden
from commerce.core.roles import Identity, Role

OF_A_COMMUNE = (Role.HOST, Role.OFFICER, Role.HELPER)
READERS = (Role.PROVINCE, *OF_A_COMMUNE)


def may_read(identity: Identity, commune_code: str) -> bool:
    """The province reads everything, the people of a commune their own."""
    return identity.has(Role.PROVINCE) or identity.may(commune_code, *OF_A_COMMUNE)


def readable(identity: Identity) -> frozenset[str] | None:
    """The communes whose figures this person may read; None means all."""
    if identity.has(Role.PROVINCE, Role.ADMIN):
        return None
    return frozenset(code for code in identity.communes(*OF_A_COMMUNE) if code is not None)


async def read_session(
    identity: Identity, code: str
) -> tuple[SessionFigures, Details, Sequence[outside.Reported]]:
    """What is counted of a session, its details, and what was reported from elsewhere.

    A session that has begun and that nobody has counted yet is counted now. Raises `Forbidden`,
    `SessionNotFound`.
    """
    async with sessions.read() as db:
        figures = await queries.session_figures(db, code)
    if not may_read(identity, figures.commune_code):
        raise Forbidden
    if figures.computed_at is None and figures.started_at is not None and not figures.rehearsal:
        await rollup.roll_up_session(figures.id)
    async with sessions.read() as db:
        figures = await queries.session_figures(db, code)
        details = await queries.session_details(db, figures.id)
        reported = await outside.of_session(db, figures.id)
    return figures, details, reported


def area(identity: Identity) -> str:
    """Whose place the page is shown in."""
    for role, area in ((Role.PROVINCE, "province"), (Role.ADMIN, "admin"), (Role.OFFICER, "office")):
        if identity.has(role):
            return area
    return "host" if identity.has(Role.HOST) else "helper"
