"""Plain functions that put one valid thing into the database; every argument has a sensible default."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from typing import Any

from sqlalchemy import insert
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.models import Person, RoleGrant, SignIn
from commerce.accounts.service import SIGN_IN_LASTS, hash_token
from commerce.catalog.models import Grade, Product, Seller, Stock
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.roles import Role
from commerce.core.text import fold, search_text, slugify, sort_key
from commerce.live.models import LineupItem, LiveCounter, LiveSession

_numbers = itertools.count(1)
EA_KNUEC = "24505"


async def commune(db: AsyncSession, code: str = EA_KNUEC, short_name: str = "Ea Knuếc") -> str:
    """Code of a commune; made if it is not there yet."""
    values: dict[str, Any] = {
        "code": code,
        "name": f"Xã {short_name}",
        "short_name": short_name,
        "kind": "xã",
        "slug": slugify(short_name),
        "folded": fold(short_name),
        "search": search_text(short_name),
        "sort_key": sort_key(short_name),
        "former_province": "Đắk Lắk",
        "former_districts": [],
        "former_units": [],
        "area_km2": 122.4,
        "lat": 12.69,
        "lon": 108.2,
        "boundary": {"type": "Polygon", "coordinates": []},
        "valid_from": date(2025, 7, 1),
        "source": "test",
    }
    await db.execute(upsert(Commune).values(**values).on_conflict_do_nothing())
    return code


async def person(db: AsyncSession, *roles: Role, commune_code: str | None = EA_KNUEC, **values: Any) -> int:
    """Id of a person, verified, with these roles in the commune."""
    number = next(_numbers)
    if commune_code is not None:
        await commune(db, commune_code, "Ea Knuếc" if commune_code == EA_KNUEC else f"Xã {commune_code}")
    defaults = {"phone": f"09{number:08d}", "name": f"Người {number}", "identity_verified_at": clock.now()}
    made: int | None = await db.scalar(insert(Person).values(**defaults | values).returning(Person.id))
    assert made is not None
    for role in roles:
        where = None if role in (Role.PROVINCE, Role.ADMIN) else commune_code
        await db.execute(insert(RoleGrant).values(person_id=made, role=role, commune_code=where))
    return made


async def token(db: AsyncSession, person_id: int) -> str:
    """A bearer token of this person."""
    made = f"token-{next(_numbers)}"
    await db.execute(
        insert(SignIn).values(
            token_hash=hash_token(made), person_id=person_id, expires_at=clock.now() + SIGN_IN_LASTS
        )
    )
    return made


async def seller(
    db: AsyncSession, *, commune_code: str = EA_KNUEC, name: str | None = None, **values: Any
) -> int:
    await commune(db, commune_code, "Ea Knuếc" if commune_code == EA_KNUEC else f"Xã {commune_code}")
    name = name or f"HTX {next(_numbers)}"
    defaults = {
        "commune_code": commune_code,
        "kind": "cooperative",
        "name": name,
        "folded": fold(name),
        "sort_key": sort_key(name),
        "phone": "0905000111",
        "address": "thôn 1",
        "registration": "6001234567",
        "bank_bin": "970436",
        "bank_account": "1012345678",
        "bank_holder": "HTX",
        "identity_verified_at": clock.now(),
        "state": "approved",
    }
    made: int | None = await db.scalar(insert(Seller).values(**defaults | values).returning(Seller.id))
    assert made is not None
    return made


async def product(
    db: AsyncSession,
    seller_id: int,
    *,
    name: str | None = None,
    grades: dict[str, tuple[int, int]] | None = None,
    commune_code: str = EA_KNUEC,
    **values: Any,
) -> tuple[int, dict[str, int]]:
    """(product id, {grade name: grade id}); `grades` is name -> (price in dong, units on hand)."""
    number = next(_numbers)
    name = name or f"Sầu riêng {number}"
    defaults = {
        "code": f"P{number:05d}",
        "seller_id": seller_id,
        "commune_code": commune_code,
        "name": name,
        "folded": fold(name),
        "search": search_text(name),
        "sort_key": sort_key(name),
        "unit": "kg",
        "industry": "food",
        "origin": "Xã Ea Knuếc",
        "shelf_life": "5 ngày",
        "art": "durian",
        "state": "approved",
        "papers_checked_at": clock.now(),
    }
    made: int | None = await db.scalar(insert(Product).values(**defaults | values).returning(Product.id))
    assert made is not None
    ids: dict[str, int] = {}
    for position, (grade, (price, on_hand)) in enumerate((grades or {"A": (95_000, 100)}).items()):
        grade_id = await db.scalar(
            insert(Grade)
            .values(product_id=made, name=grade, price=price, position=position)
            .returning(Grade.id)
        )
        assert grade_id is not None
        await db.execute(insert(Stock).values(grade_id=grade_id, on_hand=on_hand))
        ids[grade] = grade_id
    return made, ids


async def live_session(
    db: AsyncSession,
    host_id: int,
    items: dict[str, int],
    *,
    code: str | None = None,
    state: str = "live",
    commune_code: str = EA_KNUEC,
    **values: Any,
) -> int:
    """Id of a session; `items` is short code -> grade id."""
    now = clock.now()
    defaults = {
        "code": code or f"PHIEN{next(_numbers)}",
        "commune_code": commune_code,
        "host_id": host_id,
        "title": "Phiên sầu riêng",
        "state": state,
        "starts_at": now,
        "started_at": now - timedelta(minutes=5) if state != "scheduled" else None,
        "rules_accepted_at": now,
    }
    made: int | None = await db.scalar(
        insert(LiveSession).values(**defaults | values).returning(LiveSession.id)
    )
    assert made is not None
    for position, (short, grade_id) in enumerate(items.items()):
        await db.execute(
            insert(LineupItem).values(live_session_id=made, grade_id=grade_id, code=short, position=position)
        )
    await db.execute(insert(LiveCounter).values(live_session_id=made))
    return made
