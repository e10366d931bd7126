"""The provincial data store: its programs read the star schema (views in schema `store`) with a key.

A key is shown once, when it is made; its hash is kept. Keys read; nothing is ever written with them.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.service import hash_token
from commerce.analytics.models import StoreKey
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Forbidden, Invalid, MarketError
from commerce.core.i18n import N_
from commerce.core.roles import Identity, Role
from commerce.core.tables import Table
from commerce.core.text import clean

DIMENSIONS = ("dim_commune", "dim_day", "dim_session", "dim_product")
FACTS = ("fact_session", "fact_minute", "fact_item", "fact_source", "fact_outside")
MOST = 10_000
MOST_IN_A_FILE = 200_000
GRAINS = {
    "dim_commune": N_("Một xã, phường."),
    "dim_day": N_("Một ngày, có tuần, tháng, quý, thứ."),
    "dim_session": N_("Một phiên đã xong và được tính."),
    "dim_product": N_("Một món hàng đã duyệt, với số sao còn hiệu lực."),
    "fact_session": N_("Số đếm của một phiên."),
    "fact_minute": N_("Số đếm của một phút trong một phiên."),
    "fact_item": N_("Số đếm của một mã hàng trong một phiên."),
    "fact_source": N_("Số đếm của một nguồn người xem trong một phiên."),
    "fact_outside": N_("Số tự báo cáo của một mạng khác về một phiên; không cộng với số của chợ."),
}
"""What one row of each view is."""
_ORDER = {
    "dim_commune": "commune_code",
    "dim_day": "day",
    "dim_session": "started_at, session_code",
    "dim_product": "product_code",
    "fact_session": "day, session_code",
    "fact_minute": "day, session_code, at",
    "fact_item": "day, session_code, item_code",
    "fact_source": "day, session_code, source",
    "fact_outside": "day, session_code, network",
}


class KeyNeeded(MarketError):
    code = "store_key_needed"
    status = 401
    title = N_("Cần khoá của kho dữ liệu")
    detail = N_("Gửi khoá trong đầu mục X-Store-Key. Tỉnh cấp khoá ở trang Kho dữ liệu.")


async def check_key(key: str) -> None:
    """Raises `KeyNeeded`. Notes when the key was last used."""
    async with sessions.begin() as db:
        found = await db.scalar(
            update(StoreKey)
            .where(StoreKey.key_hash == hash_token(key), StoreKey.revoked_at.is_(None))
            .values(last_used_at=clock.now())
            .returning(StoreKey.id)
        )
    if not key or found is None:
        raise KeyNeeded


async def rows(
    db: AsyncSession, name: str, first: date | None, last: date | None, start: int, most: int
) -> Sequence[dict[str, Any]]:
    """A stretch of a view's rows in a stable order; days narrow what has a day."""
    with_day = name in FACTS or name in ("dim_day", "dim_session")
    where = []
    values: dict[str, Any] = {"start": start, "most": most}
    if with_day and first is not None:
        where.append("day >= :first")
        values["first"] = first
    if with_day and last is not None:
        where.append("day <= :last")
        values["last"] = last
    condition = f"WHERE {' AND '.join(where)}" if where else ""
    # The name and the order come from the tables above, never from outside.
    query = f"SELECT * FROM store.{name} {condition} ORDER BY {_ORDER[name]} LIMIT :most OFFSET :start"  # noqa: S608
    return [dict(row) for row in (await db.execute(text(query), values)).mappings()]


@dataclass(frozen=True, slots=True)
class View:
    """One table of the star, as its page describes it."""

    name: str
    grain: str
    columns: Sequence[tuple[str, str]]
    """(name, PostgreSQL type)"""


_COLUMNS = text("""
    SELECT table_name, column_name, data_type FROM information_schema.columns
    WHERE table_schema = 'store' ORDER BY table_name, ordinal_position
""")


async def described(db: AsyncSession) -> list[View]:
    """Dimensions first, as the database has them."""
    columns: dict[str, list[tuple[str, str]]] = {}
    for row in await db.execute(_COLUMNS):
        columns.setdefault(row.table_name, []).append((row.column_name, row.data_type))
    return [View(name, GRAINS[name], columns[name]) for name in (*DIMENSIONS, *FACTS)]


async def table(db: AsyncSession, name: str, first: date, last: date) -> Table:
    """A view's rows of these days as a file's table. Raises `Invalid` when they are too many for one."""
    found = await rows(db, name, first, last, 0, MOST_IN_A_FILE + 1)
    if len(found) > MOST_IN_A_FILE:
        message = N_("Khoảng này có hơn {most} dòng. Xin chọn ít ngày hơn, hoặc đọc bằng khoá.")
        raise Invalid(FieldError("from", message, {"most": MOST_IN_A_FILE}))
    columns = next(view.columns for view in await described(db) if view.name == name)
    return Table(name, [column for column, _ in columns], [list(row.values()) for row in found])


# ---- the province gives keys out


async def keys(db: AsyncSession) -> Sequence[StoreKey]:
    return (await db.scalars(select(StoreKey).order_by(StoreKey.id.desc()))).all()


async def make_key(identity: Identity, name: str) -> str:
    """Returns the key; it is not kept and cannot be shown again."""
    _must(identity)
    name = clean(name)
    if not 3 <= len(name) <= 100:
        raise Invalid(FieldError("name", N_("Xin ghi tên chương trình dùng khoá, từ 3 đến 100 ký tự.")))
    key = f"kho_{secrets.token_urlsafe(32)}"
    async with sessions.begin() as db:
        await db.execute(insert(StoreKey).values(name=name, key_hash=hash_token(key), by=identity.person_id))
    return key


async def revoke_key(identity: Identity, key_id: int) -> None:
    _must(identity)
    async with sessions.begin() as db:
        await db.execute(
            update(StoreKey)
            .where(StoreKey.id == key_id, StoreKey.revoked_at.is_(None))
            .values(revoked_at=clock.now())
        )


def _must(identity: Identity) -> None:
    if not identity.has(Role.PROVINCE, Role.ADMIN):
        raise Forbidden
