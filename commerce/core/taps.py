"""A tap that comes twice counts once: for forms that are sent again when the line broke after the first time.

The page makes up a key for each tap and keeps it until the tap was answered. `once` notes it in the
transaction that does the work, so that a repetition, even one that runs beside the first,
finds it done. Keys are kept for two days (commerce.worker).
"""

from __future__ import annotations

import re

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt

_KEY = re.compile(r"[A-Za-z0-9_-]{8,64}")


class Tap(Base):
    __tablename__ = "tap"

    person_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(primary_key=True)
    result: Mapped[str] = mapped_column(server_default="")
    """What it led to, in a word (a product's code): the answer to the repetition."""
    at: Mapped[CreatedAt]


async def once(db: AsyncSession, person_id: int, key: str, result: str = "") -> str | None:
    """None the first time; the first time's `result` when this tap was done already.

    A tap without a proper key is always a new one. Waits for a twin whose transaction is still open.
    """
    if not _KEY.fullmatch(key):
        return None
    row = upsert(Tap).values(person_id=person_id, key=key, result=result)
    if await db.scalar(row.on_conflict_do_nothing().returning(Tap.key)) is not None:
        return None
    done = await db.scalar(select(Tap.result).where(Tap.person_id == person_id, Tap.key == key))
    return done or ""
