"""How many people live in each commune, as the province enters it: "per 1,000 residents" is counted with it.

Nobody's figure is guessed: a commune without one has a dash where it would be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.analytics.models import Residents
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Forbidden, Invalid
from commerce.core.i18n import N_
from commerce.core.roles import Identity, Role
from commerce.core.text import clean

FEWEST, MOST = 100, 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    code: str
    name: str
    search: str
    people: int | None
    as_of: date | None
    source: str


async def listed(db: AsyncSession) -> list[Place]:
    """All communes, in the order of the alphabet."""
    rows = await db.execute(
        select(
            Commune.code, Commune.name, Commune.search, Residents.people, Residents.as_of, Residents.source
        )
        .outerjoin(Residents, Residents.commune_code == Commune.code)
        .order_by(Commune.sort_key)
    )
    return [Place(*row[:5], row.source or "") for row in rows]


async def enter(
    identity: Identity, people: Mapping[str, int | None], *, as_of: date | None, source: str
) -> int:
    """Keep the numbers that differ from what is known, all with this day and source; None forgets one.

    Returns how many changed. Raises `Forbidden`, `Invalid` naming each commune at fault (`people-24505`).
    """
    if not identity.has(Role.PROVINCE, Role.ADMIN):
        raise Forbidden
    source = clean(source)[:300]
    async with sessions.begin() as db:
        known = {place.code: place.people for place in await listed(db)}
        changed = {code: number for code, number in people.items() if code in known and known[code] != number}
        if faults := _faults(changed, as_of, source):
            raise Invalid(*faults)
        gone = [code for code, number in changed.items() if number is None]
        await db.execute(delete(Residents).where(Residents.commune_code.in_(gone)))
        rows = [
            {"commune_code": code, "people": number, "as_of": as_of, "source": source}
            | {"set_by": identity.person_id}
            for code, number in changed.items()
            if number is not None
        ]
        if rows:
            row = upsert(Residents).values(rows)
            new = {name: row.excluded[name] for name in ("people", "as_of", "source", "set_by")}
            await db.execute(row.on_conflict_do_update(index_elements=["commune_code"], set_=new))
    return len(changed)


def _faults(changed: Mapping[str, int | None], as_of: date | None, source: str) -> Sequence[FieldError]:
    faults = [
        FieldError(
            f"people-{code}", N_("Số dân từ {fewest} đến {most}."), {"fewest": FEWEST, "most": "1.000.000"}
        )
        for code, number in changed.items()
        if number is not None and not FEWEST <= number <= MOST
    ]
    if any(number is not None for number in changed.values()):
        if as_of is None or as_of > clock.today():
            faults.append(FieldError("as_of", N_("Xin ghi số dân tính đến ngày nào, không sau hôm nay.")))
        if len(source) < 3:
            faults.append(FieldError("source", N_("Xin ghi nguồn của số dân, ví dụ: Cục Thống kê tỉnh.")))
    return faults
