"""Reading the communes: all of them, one, and by what people type."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from commerce.communes.errors import CommuneNotFound
from commerce.communes.models import Commune
from commerce.core.search import has_words
from commerce.core.text import fold


async def all_communes(db: AsyncSession) -> Sequence[Commune]:
    """The 102 in the order of the Vietnamese alphabet, without boundaries."""
    return (await db.scalars(select(Commune).order_by(Commune.sort_key))).all()


async def search_communes(db: AsyncSession, query: str, limit: int = 102) -> Sequence[Commune]:
    """Those whose name, or a unit they were made of, has the words of `query` (tones and case don't matter).

    Own names come before former units; typing the name in one word (`cumgar`) finds it as well.
    """
    joined = fold(query).replace(" ", "")
    name = func.replace(Commune.folded, " ", "")
    rank = case((name == joined, 0), (name.startswith(joined), 1), (name.contains(joined), 2), else_=3)
    found = await db.scalars(
        select(Commune)
        .where(or_(has_words(Commune.search, query), name.startswith(joined)))
        .order_by(rank, Commune.sort_key)
        .limit(limit)
    )
    return found.all()


async def commune_by_code(db: AsyncSession, code: str) -> Commune:
    """With its boundary. Raises `CommuneNotFound`."""
    query = select(Commune).where(Commune.code == code).options(undefer(Commune.boundary))
    found = await db.scalar(query) if code.isalnum() else None
    if found is None:
        raise CommuneNotFound(commune=code[:40])
    return found


async def commune_by_slug(db: AsyncSession, slug: str) -> Commune:
    """By its channel's address, however the name is spelled there (`cu-m-gar`, `cu-mgar`, `Cư M'gar`).

    The right address is the found one's `slug`; pages redirect to it. Raises `CommuneNotFound`.
    """
    joined = fold(slug).replace(" ", "")
    found = await db.scalar(select(Commune).where(func.replace(Commune.folded, " ", "") == joined))
    if found is None:
        raise CommuneNotFound(commune=slug[:40])
    return found
