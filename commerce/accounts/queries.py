"""Reads: devices of a person, people of a place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from commerce.accounts.models import Person, RoleGrant, SignIn
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import Forbidden
from commerce.core.roles import Identity, Role


@dataclass(frozen=True, slots=True)
class Device:
    id: int
    name: str
    since: datetime
    current: bool


@dataclass(frozen=True, slots=True)
class Account:
    id: int
    name: str
    phone: str
    roles: list[tuple[Role, str | None]]
    verified: bool
    active: bool
    demo: bool


async def devices(identity: Identity) -> list[Device]:
    """Where the person is signed in now, newest first."""
    async with sessions.read() as db:
        rows = await db.scalars(
            select(SignIn)
            .where(
                SignIn.person_id == identity.person_id,
                SignIn.revoked_at.is_(None),
                SignIn.expires_at > clock.now(),
            )
            .order_by(SignIn.id.desc())
        )
        return [
            Device(row.id, device_name(row.device), row.created_at, row.id == identity.sign_in_id)
            for row in rows
        ]


def device_name(user_agent: str) -> str:
    """A name a person recognises: `Chrome · Android`."""
    systems = {
        "Android": "Android",
        "iPhone": "iPhone",
        "iPad": "iPad",
        "Windows": "Windows",
        "Mac OS": "Mac",
    }
    browsers = {"Zalo": "Zalo", "Edg/": "Edge", "OPR/": "Opera", "Firefox": "Firefox", "Chrome": "Chrome"}
    browsers["Safari"] = "Safari"
    system = next((name for sign, name in systems.items() if sign in user_agent), "")
    browser = next((name for sign, name in browsers.items() if sign in user_agent), "")
    return " · ".join(part for part in (browser, system) if part) or user_agent[:40] or "?"


def scope(identity: Identity) -> frozenset[str] | None:
    """The communes whose accounts this person looks after; None for the whole province."""
    if identity.has(Role.ADMIN, Role.PROVINCE):
        return None
    return frozenset(code for code in identity.communes(Role.OFFICER) if code is not None)


async def accounts(identity: Identity) -> list[Account]:
    """Everybody with a role in the communes this person looks after, by name."""
    communes = scope(identity)
    async with sessions.read() as db:
        query = (
            select(
                Person,
                func.json_agg(func.json_build_array(RoleGrant.role, RoleGrant.commune_code)).label("grants"),
            )
            .join(RoleGrant, RoleGrant.person_id == Person.id)
            .group_by(Person.id)
            .order_by(Person.name)
        )
        if communes is not None:
            query = query.where(RoleGrant.commune_code.in_(communes))
        rows = (await db.execute(query)).all()
    return [
        Account(
            id=row.Person.id,
            name=row.Person.name,
            phone=row.Person.phone,
            roles=[(Role(role), commune) for role, commune in row.grants],
            verified=row.Person.identity_verified_at is not None,
            active=row.Person.active,
            demo=row.Person.demo,
        )
        for row in rows
    ]


async def office_commune(identity: Identity) -> str:
    """The commune whose office this person is; an administrator without one looks over the first shoulder.

    Raises `Forbidden` when there is none.
    """
    own = sorted(code for code in identity.communes(Role.OFFICER) if code)
    if own:
        return own[0]
    async with sessions.read() as db:
        first = await db.scalar(
            select(RoleGrant.commune_code)
            .where(RoleGrant.role == Role.OFFICER, RoleGrant.commune_code.is_not(None))
            .order_by(RoleGrant.id)
            .limit(1)
        )
    if first is None:
        raise Forbidden
    return first


async def demo_people() -> list[tuple[Role, str, str]]:
    """(role, name, phone) of the first made-up person of each role, for the sign-in page of a demo market."""
    async with sessions.read() as db:
        rows = await db.execute(
            select(RoleGrant.role, Person.name, Person.phone)
            .join(Person, Person.id == RoleGrant.person_id)
            .where(Person.demo, Person.active)
            .order_by(Person.phone)
        )
        first: dict[Role, tuple[str, str]] = {}
        for role, name, phone in rows:
            first.setdefault(Role(role), (name, phone))
    return [(role, *first[role]) for role in Role if role in first]
