"""`GET /communes`, `GET /communes/{code}`."""

from __future__ import annotations

from datetime import date
from typing import Any, Self

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from commerce.communes import queries
from commerce.communes.models import Commune
from commerce.core import access
from commerce.core.db import sessions
from commerce.core.settings import Settings


class FormerUnit(msgspec.Struct, frozen=True):
    name: str
    code: str
    split: bool
    """Only a part of it came here: an old address there names no single commune of today."""


class CommuneOut(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    """Reused from older units: it means this commune only from `valid_from` on."""
    name: str
    short_name: str
    kind: str
    slug: str
    channel: str
    """Path of the commune's channel; `channel_url` is its whole address."""
    channel_url: str
    valid_from: date
    former_province: str
    former_districts: list[str]
    former_units: list[FormerUnit]
    area_km2: float
    lat: float
    lon: float

    @classmethod
    def of(cls, commune: Commune, settings: Settings, **more: Any) -> Self:
        channel = f"/c/{commune.slug}"
        return cls(
            code=commune.code,
            name=commune.name,
            short_name=commune.short_name,
            kind=commune.kind,
            slug=commune.slug,
            channel=channel,
            channel_url=settings.public_url + channel,
            valid_from=commune.valid_from,
            former_province=commune.former_province,
            former_districts=commune.former_districts,
            former_units=[FormerUnit(**unit) for unit in commune.former_units],
            area_km2=commune.area_km2,
            lat=commune.lat,
            lon=commune.lon,
            **more,
        )


class CommuneDetail(CommuneOut, frozen=True, kw_only=True):
    boundary: dict[str, Any]
    """GeoJSON geometry, simplified."""
    source: str


@get("/", opt=access.public, summary="All communes, or those that `q` finds")
async def list_communes(settings: NamedDependency[Settings], q: FromQuery[str] = "") -> list[CommuneOut]:
    """In the order of the alphabet; with `q`, own names before former units. Tones and case don't matter."""
    async with sessions.read() as db:
        found = await (queries.search_communes(db, q) if q.strip() else queries.all_communes(db))
    return [CommuneOut.of(commune, settings) for commune in found]


@get("/{code:str}", opt=access.public, summary="One commune, with its boundary")
async def one_commune(settings: NamedDependency[Settings], code: FromPath[str]) -> CommuneDetail:
    async with sessions.read() as db:
        found = await queries.commune_by_code(db, code)
    return CommuneDetail.of(found, settings, boundary=found.boundary, source=found.source)


ROUTES = [Router("/communes", route_handlers=[list_communes, one_commune], tags=["communes"])]
