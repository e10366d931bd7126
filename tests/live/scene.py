"""A commune with people, goods and a session that is ready to go live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, text

from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.outbox import Message
from commerce.core.roles import Identity, Role
from commerce.live import service
from commerce.live.models import LiveSession
from commerce.live.service import Offer
from tests import factories

PRICE = 95_000


def identity(person_id: int, *grants: tuple[Role, str | None], name: str = "Người thử") -> Identity:
    return Identity(person_id, 0, name, "0900000000", frozenset(grants))


@dataclass
class Scene:
    """`durian` has grades A and B (100 units each), `coffee` one grade without a name (50)."""

    commune: str
    host: Identity
    helper: Identity
    officer: Identity
    province: Identity
    admin: Identity
    stranger: Identity
    """Host of another commune."""
    durian: str
    coffee: str
    grades: dict[str, int]
    """Grade ids: A, B of durian, "" of coffee."""
    code: str = ""
    """Of the session that was planned."""


async def people_and_goods(
    sessions: Sessions, commune: str = factories.EA_KNUEC, *, demo: bool = False
) -> Scene:
    async with sessions.begin() as db:
        host = await factories.person(db, Role.HOST, commune_code=commune, demo=demo, name="Bí thư")
        helper = await factories.person(db, Role.HELPER, commune_code=commune)
        officer = await factories.person(db, Role.OFFICER, commune_code=commune)
        province = await factories.person(db, Role.PROVINCE, commune_code=commune)
        admin = await factories.person(db, Role.ADMIN, commune_code=commune)
        stranger = await factories.person(db, Role.HOST, commune_code="24121")
        seller = await factories.seller(db, commune_code=commune)
        durian, grades = await factories.product(
            db, seller, name="Sầu riêng", grades={"A": (PRICE, 100), "B": (70_000, 100)}, commune_code=commune
        )
        coffee, plain = await factories.product(
            db, seller, name="Cà phê", grades={"": (150_000, 50)}, commune_code=commune
        )
        codes = {
            row.id: row.code
            for row in await db.execute(
                text("SELECT id, code FROM product WHERE id = ANY(:ids)"), {"ids": [durian, coffee]}
            )
        }
    return Scene(
        commune=commune,
        host=identity(host, (Role.HOST, commune), name="Bí thư"),
        helper=identity(helper, (Role.HELPER, commune)),
        officer=identity(officer, (Role.OFFICER, commune)),
        province=identity(province, (Role.PROVINCE, None)),
        admin=identity(admin, (Role.ADMIN, None)),
        stranger=identity(stranger, (Role.HOST, "24121")),
        durian=codes[durian],
        coffee=codes[coffee],
        grades=grades | plain,
    )


async def planned(sessions: Sessions, commune: str = factories.EA_KNUEC) -> Scene:
    """Everything the checklist asks for is there; `start` would go through. Line-up: A1, A2, B1."""
    scene = await people_and_goods(sessions, commune)
    session = await service.schedule_session(
        scene.host, commune, title="Sầu riêng cắt trong ngày", starts_at=clock.now() + timedelta(minutes=10)
    )
    scene.code = session.code
    offers = [Offer(scene.durian, "A"), Offer(scene.durian, "B"), Offer(scene.coffee)]
    await service.set_lineup(scene.host, scene.code, offers)
    await service.accept_rules(scene.host, scene.code)
    return scene


async def on_air(sessions: Sessions, commune: str = factories.EA_KNUEC) -> Scene:
    scene = await planned(sessions, commune)
    await service.start(scene.host, scene.code)
    return scene


async def session_row(sessions: Sessions, code: str) -> LiveSession:
    async with sessions.read() as db:
        return (await db.scalars(select(LiveSession).where(LiveSession.code == code))).one()


async def clear_news(sessions: Sessions) -> None:
    async with sessions.begin() as db:
        await db.execute(text("DELETE FROM outbox"))


async def nowhere(_: Sequence[Message]) -> None:
    """For tests without a video side."""
