"""The 102 communes and wards, as they are since 1 July 2025."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import Date, Double
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base


class Commune(Base):
    """Codes are reused from older units: a code means something only together with `valid_from`."""

    __tablename__ = "commune"

    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    """Full name with its kind: `Xã Ea Knuếc`."""
    short_name: Mapped[str]
    kind: Mapped[str]
    """`xã` or `phường`."""
    slug: Mapped[str] = mapped_column(unique=True)
    folded: Mapped[str] = mapped_column(index=True)
    """`core.text.fold` of the short name."""
    search: Mapped[str]
    """Folded: the name, then the units it was made of, so that an old address finds its new commune."""
    sort_key: Mapped[str]
    former_province: Mapped[str]
    former_districts: Mapped[list[str]]
    former_units: Mapped[list[Any]]
    """[{"name": "Xã Ea Kênh", "code": "24499", "split": false}]; split: only a part of it came here."""
    area_km2: Mapped[float] = mapped_column(Double)
    lat: Mapped[float] = mapped_column(Double)
    lon: Mapped[float] = mapped_column(Double)
    boundary: Mapped[dict[str, Any]] = mapped_column(deferred=True)
    """GeoJSON geometry, simplified, shared borders kept. Loaded only where it is asked for (`undefer`)."""
    valid_from: Mapped[date] = mapped_column(Date)
    source: Mapped[str]
