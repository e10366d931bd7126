"""Loads what every market starts with: 102 communes with boundaries, banks, the OCOP register; and the demo.

All files are read and checked first, every fault is reported at once, and only then one transaction writes.
Rows are matched by their natural key and written only where they differ, so loading again changes nothing
and loading a corrected file changes just what was corrected. What stands on the rows (products, orders) is
never touched; a row that disappears from a file stays.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Result, literal_column, or_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from catalog_seed.sheet import Row, SeedError, Sheet, read_text
from commerce.catalog.models import Bank, RegisterEntry
from commerce.catalog.recognitions import last_day
from commerce.communes.models import Commune
from commerce.core.db import Base, sessions
from commerce.core.settings import Settings
from commerce.core.text import fold, search_text, sort_key

__all__ = ["DATA", "Loaded", "SeedError", "load", "seed"]

DATA = Path(__file__).parent / "data"
PROVINCE = "66"
VALID_FROM = date(2025, 7, 1)
"""The reform that made the 102 units; their codes meant other units before."""

COMMUNE_COLUMNS = """
    code name short_name type name_ascii slug province_code former_province former_province_code
    former_districts former_district_codes legacy_units area_km2 label_lat label_lon centroid_lat
    centroid_lon source"""
BANK_COLUMNS = "bin code short_name name vietqr_status lookup_supported swift deprecated source"
REGISTER_COLUMNS = """
    row product_name producer producer_kind stars evidence_status score_as_reported year event_date
    old_commune old_district old_province new_commune_code new_commune_name group_derived source note"""
INDUSTRIES = {"": "", "Thực phẩm": "food", "Đồ uống": "drink"}
EVIDENCE = ("recognised", "assessed_pass", "registered", "assessed_result_unknown", "ocop_star_unknown")
FORMER_UNIT = re.compile(r"(.+) \((\d{5})\)(\*?)")

# Wherever in Đắk Lắk one stands: islands and all. A point outside was typed wrongly.
LAT = (12.0, 14.0)
LON = (107.3, 109.7)

Values = dict[str, Any]
Progress = Callable[[str], None]


def silent(_step: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows in the files, and how many of them were new or different."""

    rows: int
    changed: int


def load(settings: Settings, *, demo: bool = False, progress: Progress = silent, data: Path = DATA) -> Loaded:
    """Bring the market of `settings` to the data files, and with `demo` build the demo market.

    For a process without an event loop of its own. Raises `SeedError` with every fault of the files, in which
    case nothing was changed.
    """

    async def main() -> Loaded:
        sessions.configure(settings.database_url)
        try:
            loaded = await seed(progress=progress, data=data)
            if demo:
                from catalog_seed import (
                    demo as demo_market,
                )  # it needs the whole market's code; seeding does not

                await demo_market.make(settings, progress=progress)
            return loaded
        finally:
            await sessions.close()

    return asyncio.run(main())


async def seed(*, progress: Progress = silent, data: Path = DATA) -> Loaded:
    """The same on the running loop and the configured `sessions`, without the demo."""
    progress("reading the data files")
    tables = read_files(data)
    changed = 0
    async with sessions.begin() as db:
        for model, rows in tables.items():
            progress(f"{model.__tablename__}: {len(rows)} rows")
            changed += await store(db, model, rows)
    return Loaded(sum(map(len, tables.values())), changed)


async def store(db: AsyncSession, model: type[Base], rows: Sequence[Values]) -> int:
    """Insert or update where different, by primary key; returns how many rows were new or different."""
    if not rows:
        return 0
    key = [column.name for column in model.__table__.primary_key]
    new = insert(model).values(list(rows))
    rest = {name: new.excluded[name] for name in rows[0] if name not in key}
    different = or_(*(model.__table__.c[name].is_distinct_from(value) for name, value in rest.items()))
    written: Result[Any] = await db.execute(
        new.on_conflict_do_update(index_elements=key, set_=rest, where=different).returning(
            literal_column("1")
        )
    )
    return len(written.all())


# ---- reading and checking


def read_files(data: Path) -> dict[type[Base], list[Values]]:
    """The rows of every table, ready to store. Raises `SeedError` with every fault of every file."""
    faults: list[str] = []
    boundaries = read_boundaries(data / "communes_small.geojson", faults)
    communes = read_communes(data / "communes.csv", boundaries, faults)
    banks = read_banks(data / "bank_bins.csv", faults)
    register = read_register(data / "ocop_register.csv", communes, faults)
    if faults:
        raise SeedError(faults)
    return {Commune: communes, Bank: banks, RegisterEntry: register}


def read_communes(path: Path, boundaries: dict[str, Any], faults: list[str]) -> list[Values]:
    sheet = Sheet(path, COMMUNE_COLUMNS, faults)
    for column in ("code", "name", "short_name", "slug"):
        sheet.unique(column)
    _unique_folded(sheet)
    communes = [_commune(row, boundaries) for row in sheet.rows]
    codes = {commune["code"] for commune in communes}
    if codes:
        faults.extend(
            f"communes_small.geojson: boundary of {code}, which is not in {path.name}"
            for code in sorted(boundaries.keys() - codes)
        )
    return communes


def _commune(row: Row, boundaries: dict[str, Any]) -> Values:
    kind = row.choice("type", ("xã", "phường"))
    short_name = row.needed("short_name")
    row.matching("name", re.escape(f"{kind.capitalize()} {short_name}"), "the kind and the short name")
    row.choice("province_code", (PROVINCE,))
    code = row.matching("code", r"\d{5}", "a code of five digits")
    if code not in boundaries:
        row.fault("code", f"{code!r} has no boundary in communes_small.geojson")
    slug = row.matching("slug", r"[a-z0-9]+(-[a-z0-9]+)*", "lower-case letters, digits and single hyphens")
    if slug.replace("-", "") != fold(short_name).replace(" ", ""):
        row.fault("slug", f"{slug!r} does not spell {short_name!r}")
    units = _former_units(row)
    return {
        "code": code,
        "name": row.text("name"),
        "short_name": short_name,
        "kind": kind,
        "slug": slug,
        "folded": fold(short_name),
        "search": search_text(row.text("name"), *(unit["name"] for unit in units)),
        "sort_key": sort_key(short_name),
        "former_province": row.needed("former_province"),
        "former_districts": [part for part in row.text("former_districts").split(";") if part],
        "former_units": units,
        "area_km2": row.decimal("area_km2", 0.1, 5_000),
        "lat": row.decimal("label_lat", *LAT),
        "lon": row.decimal("label_lon", *LON),
        "boundary": boundaries.get(code, {}),
        "valid_from": VALID_FROM,
        "source": row.needed("source"),
    }


def _former_units(row: Row) -> list[Values]:
    units: list[Values] = []
    for part in row.needed("legacy_units").split(";"):
        found = FORMER_UNIT.fullmatch(part.strip())
        if found:
            units.append({"name": found[1], "code": found[2], "split": bool(found[3])})
        elif part:
            row.fault("legacy_units", f"{part!r} is not like 'Xã Ea Kênh (24499)' or 'Phường 9 (22024)*'")
    return units


def _unique_folded(sheet: Sheet) -> None:
    """Two communes that fold to the same key could not be told apart in a search."""
    first: dict[str, int] = {}
    for row in sheet.rows:
        key = fold(row.text("short_name")).replace(" ", "")
        if key and key in first:
            row.fault(
                "short_name", f"{row.text('short_name')!r} reads the same as row {first[key]} when folded"
            )
        first.setdefault(key, row.number)


def read_boundaries(path: Path, faults: list[str]) -> dict[str, Any]:
    """GeoJSON geometries by commune code."""
    text = read_text(path, faults)
    if text is None:
        return {}
    try:
        document = msgspec.json.decode(text)
        features = [(feature["properties"]["code"], feature["geometry"]) for feature in document["features"]]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        faults.append(f"{path.name}: is not a GeoJSON collection of features with a code ({error})")
        return {}
    boundaries: dict[str, Any] = {}
    for number, (code, geometry) in enumerate(features, start=1):
        where = f"{path.name}, feature {number} ({code})"
        if code in boundaries:
            faults.append(f"{where}: the code is there twice")
        if wrong := _geometry_fault(geometry):
            faults.append(f"{where}: {wrong}")
        boundaries[str(code)] = geometry
    return boundaries


def _geometry_fault(geometry: Any) -> str | None:
    """What is wrong with an area's outline, if anything."""
    try:
        kind, coordinates = geometry["type"], geometry["coordinates"]
        if kind not in ("Polygon", "MultiPolygon"):
            return f"an area is a Polygon or MultiPolygon, not {kind!r}"
        polygons = coordinates if kind == "MultiPolygon" else [coordinates]
        rings = [ring for polygon in polygons for ring in polygon]
        for ring in rings:
            if len(ring) < 4 or ring[0] != ring[-1]:
                return "a ring needs at least four points and ends where it begins"
            for lon, lat in ring:
                if not (LON[0] <= lon <= LON[1] and LAT[0] <= lat <= LAT[1] and math.isfinite(lon + lat)):
                    return f"the point {lon}, {lat} is not in the province"
    except (KeyError, TypeError, ValueError) as error:
        return f"not a geometry ({error})"
    return None if rings else "the area has no ring"


def read_banks(path: Path, faults: list[str]) -> list[Values]:
    sheet = Sheet(path, BANK_COLUMNS, faults)
    sheet.unique("short_name")
    sheet.unique("bin", among=lambda row: not row.text("deprecated"))
    return [_bank(row) for row in sheet.rows]


def _bank(row: Row) -> Values:
    status = row.choice("vietqr_status", ("TRANSFER_SUPPORTED", "RECEIVE_ONLY", "NOT_SUPPORTED"))
    number = row.matching("bin", r"\d{6}", "a number of six digits", optional=True)
    if not number and status != "NOT_SUPPORTED":
        row.fault("bin", "must not be empty for a bank with VietQR")
    return {
        "short_name": row.needed("short_name"),
        "bin": number or None,
        "code": row.needed("code"),
        "name": row.needed("name"),
        "takes_vietqr": status != "NOT_SUPPORTED",
        "current": row.choice("deprecated", ("", "True")) == "",
        "sort_key": sort_key(row.text("short_name")),
        "source": row.needed("source"),
    }


def read_register(path: Path, communes: Sequence[Values], faults: list[str]) -> list[Values]:
    sheet = Sheet(path, REGISTER_COLUMNS, faults)
    sheet.unique("row")
    names = {commune["code"]: commune["name"] for commune in communes}
    return [_register_entry(row, names) for row in sheet.rows]


def _register_entry(row: Row, communes: dict[str, str]) -> Values:
    evidence = row.choice("evidence_status", EVIDENCE)
    stars = row.choice("stars", ("", "3", "4", "5"))
    if evidence == "recognised" and not stars:
        row.fault("stars", "must not be empty for a recognised product")
    code = row.text("new_commune_code")
    if code and communes and code not in communes:
        row.fault("new_commune_code", f"{code!r} is not in communes.csv")
    elif code and communes and row.text("new_commune_name") != communes[code]:
        row.fault("new_commune_name", f"must be {communes[code]!r}, the name of {code}")
    row.matching("year", r"20\d\d", "a year", optional=True)
    reported_on = row.text("event_date") or row.text("year")
    first_day = row.partial_date("event_date" if row.text("event_date") else "year")
    former_place = ", ".join(filter(None, map(row.text, ("old_commune", "old_district", "old_province"))))
    name = row.needed("product_name")
    return {
        "row": row.whole("row", 1, 100_000),
        "product_name": name,
        "producer": row.text("producer"),
        "producer_kind": row.choice("producer_kind", ("", "household", "cooperative", "company", "facility")),
        "stars": int(stars) if stars.isdigit() else None,
        "evidence_status": evidence,
        "reported_on": reported_on,
        "valid_until": last_day(first_day) if first_day and evidence == "recognised" else None,
        "commune_code": code or None,
        "former_place": former_place,
        "industry": INDUSTRIES.get(row.choice("group_derived", INDUSTRIES), ""),
        "search": search_text(name, row.text("producer"), communes.get(code, ""), former_place),
        "sort_key": sort_key(name),
        "source": row.needed("source"),
        "note": row.text("note"),
    }
