"""Which commune a point lies in, and which are near: boundaries do not change while a process runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.communes.models import Commune

EARTH_KM = 6371.0
REACH_KM = 60.0  # farther from every commune's middle is outside the province, whatever the map's coarseness

Ring = Sequence[Sequence[float]]


def distance_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Between two points (latitude, longitude in degrees), over the ground."""
    (lat1, lon1), (lat2, lon2) = ([math.radians(degree) for degree in point] for point in (one, other))
    a = math.sin((lat2 - lat1) / 2) ** 2
    a += math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(a))


async def commune_at(db: AsyncSession, lat: float, lon: float) -> str | None:
    """Code of the commune the point lies in; near the borders, which are simplified, or just outside the
    province the one with the nearest middle; none far away."""
    rows = (await db.execute(select(Commune.code, Commune.lat, Commune.lon))).all()
    nearest = sorted(rows, key=lambda row: distance_km((lat, lon), (row.lat, row.lon)))[:12]
    if not nearest or distance_km((lat, lon), (nearest[0].lat, nearest[0].lon)) > REACH_KM:
        return None
    codes: list[str] = [row.code for row in nearest]
    found = await db.execute(select(Commune.code, Commune.boundary).where(Commune.code.in_(codes)))
    inside: list[str] = [code for code, boundary in found if contains(boundary, lat, lon)]
    return min(inside, key=codes.index, default=codes[0])


def contains(geometry: dict[str, Any], lat: float, lon: float) -> bool:
    """Whether a GeoJSON Polygon or MultiPolygon holds the point."""
    shapes = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    return any(
        bool(rings)
        and _in_ring(rings[0], lat, lon)
        and not any(_in_ring(hole, lat, lon) for hole in rings[1:])
        for rings in shapes
    )


def _in_ring(ring: Ring, lat: float, lon: float) -> bool:
    """Counts how often a line to the east crosses the ring."""
    inside = False
    for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if (y1 > lat) != (y2 > lat) and lon < (x2 - x1) * (lat - y1) / (y2 - y1) + x1:
            inside = not inside
    return inside
