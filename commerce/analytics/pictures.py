"""What is drawn on the server: the map's outlines and sparklines, as SVG path data.

The outlines change only with a law, so each process projects them once: longitude and latitude onto a grid of
about 1,000 units, which keeps borders shared, since equal points stay equal, and a third of the bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.communes.models import Commune

WIDTH = 1000


@dataclass(frozen=True, slots=True)
class Outline:
    path: str
    x: int
    y: int
    """Where a label goes."""
    size: int
    """Square root of the area on the grid: how much of a label fits."""


@dataclass(frozen=True, slots=True)
class Map:
    width: int
    height: int
    outlines: Mapping[str, Outline]


_made: Map | None = None


async def province_map(db: AsyncSession) -> Map:
    """Of all communes there are; made once a process."""
    global _made
    if _made is None:
        rows = (await db.execute(select(Commune.code, Commune.boundary, Commune.lat, Commune.lon))).all()
        shapes = {row.code: (row.boundary, row.lon, row.lat) for row in rows if _rings(row.boundary)}
        if len(shapes) < 102:
            return _project(shapes)  # a market that is still being seeded
        _made = _project(shapes)
    return _made


def _rings(boundary: Mapping[str, Any]) -> list[list[list[float]]]:
    polygons = boundary.get("coordinates", [])
    if boundary.get("type") == "Polygon":
        polygons = [polygons]
    return [ring for polygon in polygons for ring in polygon]


def _project(shapes: Mapping[str, tuple[Mapping[str, Any], float, float]]) -> Map:
    points = [point for boundary, _, _ in shapes.values() for ring in _rings(boundary) for point in ring]
    if not points:
        return Map(WIDTH, WIDTH, {})
    west, east = min(p[0] for p in points), max(p[0] for p in points)
    south, north = min(p[1] for p in points), max(p[1] for p in points)
    # A degree of longitude is shorter than one of latitude, here by 2.5 %.
    squeeze = math.cos(math.radians((south + north) / 2))
    scale = WIDTH / ((east - west) * squeeze)

    def grid(lon: float, lat: float) -> tuple[int, int]:
        return round((lon - west) * squeeze * scale), round((north - lat) * scale)

    outlines = {}
    for code, (boundary, lon, lat) in shapes.items():
        rings = [_thin([grid(*point) for point in ring]) for ring in _rings(boundary)]
        rings = [ring for ring in rings if len(ring) > 3]  # islets smaller than a step of the grid
        x, y = grid(lon, lat)
        area = sum(abs(_area(ring)) for ring in rings)
        outlines[code] = Outline(_path(rings), x, y, round(math.sqrt(area)))
    return Map(WIDTH, round((north - south) * scale), outlines)


def _thin(ring: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without points that fell onto their neighbour."""
    return [point for n, point in enumerate(ring) if n == 0 or point != ring[n - 1]]


def _area(ring: list[tuple[int, int]]) -> float:
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring)) / 2


def _path(rings: list[list[tuple[int, int]]]) -> str:
    """Relative steps, which are short numbers."""
    parts = []
    for ring in rings:
        x, y = ring[0]
        steps = []
        for nx, ny in ring[1:]:
            steps.append(f"{nx - x} {ny - y}")
            x, y = nx, ny
        parts.append(f"M{ring[0][0]} {ring[0][1]}l{' '.join(steps)}z")
    return "".join(parts)


def sparkline(values: Sequence[float | None], width: int = 100, height: int = 24) -> str:
    """Points of a polyline; where a value is missing the line goes on from the next one there is."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    top = max(known) or 1
    step = width / max(1, len(values) - 1)
    return " ".join(
        f"{round(n * step, 1)},{round(height - 2 - value / top * (height - 4), 1)}"
        for n, value in enumerate(values)
        if value is not None
    )
