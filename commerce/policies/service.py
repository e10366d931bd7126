"""Publishing versions and recording who accepted them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.roles import Identity
from commerce.policies.documents import TITLES, Document, current, document, versions
from commerce.policies.models import PolicyAcceptance, PolicyVersion

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Accepted:
    policy: str
    version: str
    at: datetime
    newest: bool


async def publish() -> None:
    """Notes every version this program brings, once, with the moment; a job of the worker. A text that was
    changed after it was published is an error that somebody must see."""
    async with sessions.begin() as db:
        for policy in TITLES:
            for one in reversed(versions(policy)):
                await _note(db, one)
        known = {(row.policy, row.version): row.sha256 for row in await db.scalars(select(PolicyVersion))}
    for policy in TITLES:
        for one in versions(policy):
            if known[policy, one.version] != one.sha256:
                log.error("policy_changed_after_publishing", policy=policy, version=one.version)


async def _note(db: AsyncSession, one: Document) -> None:
    values = {"policy": one.policy, "version": one.version, "sha256": one.sha256}
    await db.execute(insert(PolicyVersion).values(**values).on_conflict_do_nothing())


async def accept(identity: Identity, policy: str, version: str, *, where: str) -> None:
    """This person's yes to this version. Raises `NotFound` for one that does not exist."""
    one = document(policy, version)
    async with sessions.begin() as db:
        await _note(db, one)
        await record(db, identity.person_id, policy, where=where, version=version)


async def record(
    db: AsyncSession, person_id: int, policy: str, *, where: str, version: str | None = None
) -> None:
    """The same within another transaction; the newest version unless one is named. A second yes changes
    nothing: the first counts."""
    values = {
        "person_id": person_id,
        "policy": policy,
        "version": version or current(policy).version,
        "where": where,
        "at": clock.now(),
    }
    await db.execute(insert(PolicyAcceptance).values(**values).on_conflict_do_nothing())


async def in_force(db: AsyncSession, policy: str, at: datetime) -> str | None:
    """The version that counted then: what a buyer who ordered at that moment agreed to."""
    found: str | None = await db.scalar(
        select(PolicyVersion.version)
        .where(PolicyVersion.policy == policy, PolicyVersion.since <= at)
        .order_by(PolicyVersion.version.desc())
        .limit(1)
    )
    return found


async def acceptances(db: AsyncSession, person_id: int) -> list[Accepted]:
    """The newest first."""
    rows = await db.scalars(
        select(PolicyAcceptance)
        .where(PolicyAcceptance.person_id == person_id)
        .order_by(PolicyAcceptance.at.desc())
    )
    return [
        Accepted(row.policy, row.version, row.at, row.version == current(row.policy).version) for row in rows
    ]
