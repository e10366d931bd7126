"""Signs of life of background processes, in a row each, so that others can tell whether work is done."""

from __future__ import annotations

import os
import socket
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, sessions

EVERY_S = 5
SILENT_S = 20  # then it is not counted as alive
FORGOTTEN_S = 86_400


class Heartbeat(Base):
    __tablename__ = "heartbeat"

    name: Mapped[str] = mapped_column(primary_key=True)
    """`worker@host:pid`."""
    started_at: Mapped[CreatedAt]
    seen_at: Mapped[datetime]
    figures: Mapped[dict[str, Any]]


def own_name(kind: str) -> str:
    return f"{kind}@{socket.gethostname()}:{os.getpid()}"


async def beat(name: str, figures: dict[str, Any]) -> None:
    """Say that this process lives, with a few figures about it; forgets those long silent."""
    async with sessions.begin() as db:
        values = {"seen_at": func.now(), "figures": figures}
        row = upsert(Heartbeat).values(name=name, **values)
        await db.execute(row.on_conflict_do_update(index_elements=["name"], set_=values))
        silent = func.extract("epoch", func.now() - Heartbeat.seen_at) > FORGOTTEN_S
        await db.execute(delete(Heartbeat).where(silent))


async def alive(db: AsyncSession, kind: str) -> list[Heartbeat]:
    """Processes of this kind that were heard lately."""
    silent = func.extract("epoch", func.now() - Heartbeat.seen_at)
    found = await db.scalars(
        select(Heartbeat).where(Heartbeat.name.startswith(f"{kind}@"), silent < SILENT_S)
    )
    return list(found)
