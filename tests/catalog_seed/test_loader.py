"""Seeding: everything in, nothing twice, and a broken file changes nothing and says where it is broken."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from catalog_seed.loader import DATA, SeedError, load, read_files, seed
from commerce.catalog.models import Bank, RegisterEntry
from commerce.communes.models import Commune
from commerce.core.db import Sessions
from commerce.core.settings import Settings
from commerce.core.text import fold, sort_key


async def counts(sessions: Sessions) -> dict[str, int]:
    async with sessions.read() as db:
        return {
            model.__tablename__: await db.scalar(select(func.count()).select_from(model)) or 0
            for model in (Commune, Bank, RegisterEntry)
        }


ALL = {"commune": 102, "bank": 61, "register_entry": 116}


async def test_everything_is_loaded_once(sessions: Sessions) -> None:
    steps: list[str] = []
    began = time.perf_counter()
    first = await seed(progress=steps.append)
    assert time.perf_counter() - began < 3, "about 0.2 s on an idle machine"
    assert (first.rows, first.changed) == (279, 279)
    assert await counts(sessions) == ALL
    assert any("102" in step for step in steps)
    again = await seed()
    assert (again.rows, again.changed) == (279, 0), "nothing is written that is already so"


async def test_communes_are_as_the_reform_made_them(sessions: Sessions) -> None:
    await seed()
    async with sessions.read() as db:
        communes = (await db.scalars(select(Commune))).all()
        ea_knuec = await db.get_one(Commune, "24505")
        boundary = await db.scalar(select(Commune.boundary).where(Commune.code == "24505"))
    kinds = [commune.kind for commune in communes]
    assert (kinds.count("xã"), kinds.count("phường")) == (88, 14)
    assert {commune.valid_from for commune in communes} == {date(2025, 7, 1)}
    assert (ea_knuec.name, ea_knuec.slug, ea_knuec.folded) == ("Xã Ea Knuếc", "ea-knuec", "ea knuec")
    assert ea_knuec.former_units[0] == {"name": "Xã Ea Kênh", "code": "24499", "split": False}
    assert boundary is not None
    assert boundary["type"] == "Polygon"
    for commune in communes:
        assert commune.folded == fold(commune.short_name)
        assert commune.sort_key == sort_key(commune.short_name)
        assert commune.slug.replace("-", "") == commune.folded.replace(" ", "")


async def test_a_corrected_file_changes_only_what_was_corrected(sessions: Sessions, tmp_path: Path) -> None:
    await seed()
    data = copy(tmp_path)
    edit(data / "communes.csv", lambda rows: rows[1].update(area_km2="77.5"))
    assert (await seed(data=data)).changed == 1
    async with sessions.read() as db:
        assert await db.scalar(select(Commune.area_km2).where(Commune.code == "22045")) == 77.5


async def test_a_renamed_bank_keeps_its_number_and_only_one_bank_has_it_now(sessions: Sessions) -> None:
    await seed()
    async with sessions.read() as db:
        banks = (await db.scalars(select(Bank).where(Bank.bin == "970449"))).all()
        unsupported = await db.get_one(Bank, "BIDC")
    assert {(bank.short_name, bank.current) for bank in banks} == {
        ("LPBank", True),
        ("LienVietPostBank", False),
    }
    assert (unsupported.bin, unsupported.takes_vietqr) == (None, False)


async def test_a_recognition_is_counted_from_the_first_day_its_report_can_mean(sessions: Sessions) -> None:
    await seed()
    async with sessions.read() as db:
        rows = await db.execute(
            select(RegisterEntry.row, RegisterEntry.reported_on, RegisterEntry.valid_until)
        )
        known = {row: (reported, until) for row, reported, until in rows}
    assert known[14] == ("2024-01-29", date(2027, 1, 28))
    assert known[57] == ("2023-12", date(2026, 11, 30)), "a month: from its first day"
    assert known[45] == ("2024", date(2026, 12, 31)), "a year: from its first day"
    assert known[83] == ("", None), "no date: never surely valid"
    assert known[1] == ("2022-12-27", None), "not recognised: never valid"


def test_the_command_line_loads_without_a_loop_of_its_own(settings: Settings) -> None:
    assert load(settings).changed == 279
    assert load(settings).changed == 0


# ---- broken files


def copy(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    shutil.copytree(DATA, data)
    return data


def edit(path: Path, change: Callable[[list[dict[str, str]]], Any]) -> None:
    with path.open(encoding="utf-8", newline="") as source:
        reader = csv.DictReader(source)
        rows = list(reader)
        header = list(reader.fieldnames or ())
    change(rows)
    with path.open("w", encoding="utf-8", newline="") as target:
        writer = csv.DictWriter(target, header)
        writer.writeheader()
        writer.writerows(rows)


def put(row: int, **cells: str) -> Callable[[list[dict[str, str]]], Any]:
    """Change cells of a row, counted as a spreadsheet does: the header is row 1."""
    return lambda rows: rows[row - 2].update(cells)


def double(row: int) -> Callable[[list[dict[str, str]]], Any]:
    return lambda rows: rows.append(dict(rows[row - 2]))


BROKEN = [
    ("communes.csv", put(14, code="2405"), "row 14, column code: must be a code of five digits, not '2405'"),
    ("communes.csv", put(9, short_name=""), "row 9, column short_name: must not be empty"),
    ("communes.csv", put(3, type="thị trấn"), "row 3, column type: must be 'xã' or 'phường', not 'thị trấn'"),
    ("communes.csv", put(3, slug="hoa-phu"), "row 3, column slug: 'hoa-phu' does not spell 'Bình Kiến'"),
    ("communes.csv", put(3, slug="Binh Kien"), "row 3, column slug: must be lower-case"),
    ("communes.csv", put(5, area_km2="lớn"), "row 5, column area_km2: must be a number from 0.1 to 5000"),
    ("communes.csv", put(5, area_km2="nan"), "row 5, column area_km2: must be a number"),
    ("communes.csv", put(5, label_lat="108.19"), "row 5, column label_lat: must be a number from 12 to 14"),
    ("communes.csv", put(5, name="Xã Khác"), "row 5, column name: must be the kind and the short name"),
    ("communes.csv", put(5, province_code="67"), "row 5, column province_code: must be '66', not '67'"),
    ("communes.csv", put(5, legacy_units="Xã Một"), "row 5, column legacy_units: 'Xã Một' is not like"),
    ("communes.csv", double(2), "row 104, column code: '22015' is already in row 2"),
    ("communes.csv", lambda rows: rows.pop(), "boundary of"),
    ("bank_bins.csv", put(4, bin="97o436"), "row 4, column bin: must be a number of six digits"),
    ("bank_bins.csv", put(3, bin=""), "row 3, column bin: must not be empty for a bank with VietQR"),
    ("bank_bins.csv", put(4, bin="422589"), "row 4, column bin: '422589' is already in row 3"),
    ("bank_bins.csv", put(4, vietqr_status="YES"), "row 4, column vietqr_status: must be"),
    (
        "ocop_register.csv",
        put(20, stars="6"),
        "row 20, column stars: must be empty, '3', '4' or '5', not '6'",
    ),
    ("ocop_register.csv", put(20, stars=""), "row 20, column stars: must not be empty for a recognised"),
    ("ocop_register.csv", put(20, event_date="29/01/2024"), "row 20, column event_date: must be a date"),
    ("ocop_register.csv", put(20, event_date="2024-02-30"), "row 20, column event_date: must be a date"),
    ("ocop_register.csv", put(20, new_commune_code="99999"), "column new_commune_code: '99999' is not in"),
    ("ocop_register.csv", put(20, new_commune_name="Xã Ea Kly"), "column new_commune_name: must be"),
    ("ocop_register.csv", put(20, evidence_status="sure"), "row 20, column evidence_status: must be"),
    ("ocop_register.csv", put(20, source=""), "row 20, column source: must not be empty"),
    ("ocop_register.csv", double(5), "row 118, column row: '4' is already in row 5"),
]


@pytest.mark.parametrize(("name", "change", "sentence"), BROKEN, ids=[f"{b[0]}:{b[2][:40]}" for b in BROKEN])
async def test_a_broken_file_names_row_and_column_and_changes_nothing(
    sessions: Sessions, tmp_path: Path, name: str, change: Callable[[Any], Any], sentence: str
) -> None:
    data = copy(tmp_path)
    edit(data / name, change)
    with pytest.raises(SeedError) as refused:
        await seed(data=data)
    assert any(sentence in fault for fault in refused.value.faults), refused.value.faults
    assert await counts(sessions) == dict.fromkeys(ALL, 0)


def replace(path: Path, old: bytes, new: bytes) -> None:
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, 1))


FILES: list[tuple[str, Callable[[Path], Any], str]] = [
    ("communes.csv", Path.unlink, "communes.csv: cannot be read (No such file"),
    (
        "communes.csv",
        lambda p: replace(p, "Ea Knuếc".encode(), b"Ea Knu\xe9c"),
        "is not UTF-8 text (byte 0xe9)",
    ),
    ("communes.csv", lambda p: replace(p, b",slug,", b",slag,"), "row 1: column slug is missing"),
    ("communes.csv", lambda p: replace(p, b",slug,", b",slag,"), "row 1: unknown column 'slag'"),
    ("communes.csv", lambda p: p.write_bytes(b""), "row 1: column code is missing"),
    ("bank_bins.csv", lambda p: replace(p, b"422589,", b"422589,,,"), "row 3: has 11 cells where the header"),
    ("bank_bins.csv", lambda p: replace(p, b"\n422589", b'\n"422589'), "not readable as CSV"),
    ("communes_small.geojson", lambda p: p.write_text("{"), "is not a GeoJSON collection"),
    ("communes_small.geojson", lambda p: p.write_text("[]"), "is not a GeoJSON collection"),
]


@pytest.mark.parametrize(("name", "breaks", "sentence"), FILES, ids=[f"{b[0]}:{b[2][:40]}" for b in FILES])
async def test_a_file_that_is_no_such_file_at_all(
    sessions: Sessions, tmp_path: Path, name: str, breaks: Callable[[Path], Any], sentence: str
) -> None:
    data = copy(tmp_path)
    breaks(data / name)
    with pytest.raises(SeedError) as refused:
        await seed(data=data)
    assert any(name in fault and sentence in fault for fault in refused.value.faults), refused.value.faults
    assert await counts(sessions) == dict.fromkeys(ALL, 0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f[0].update(geometry={"type": "Point", "coordinates": [108, 12.5]}), "not 'Point'"),
        (lambda f: f[0]["geometry"]["coordinates"][0].pop(), "ends where it begins"),
        (
            lambda f: f[0]["geometry"].update(coordinates=[[[0, 0]] * 4]),
            "the point 0, 0 is not in the province",
        ),
        (lambda f: f[0]["geometry"].update(coordinates=5), "not a geometry"),
        (lambda f: f.append(f[0]), "the code is there twice"),
        (lambda f: f.pop(0), "'22015' has no boundary"),
    ],
)
def test_a_boundary_that_is_none(tmp_path: Path, change: Callable[[Any], Any], sentence: str) -> None:
    data = copy(tmp_path)
    path = data / "communes_small.geojson"
    document = json.loads(path.read_text())
    change(document["features"])
    path.write_text(json.dumps(document))
    with pytest.raises(SeedError) as refused:
        read_files(data)
    assert any(sentence in fault for fault in refused.value.faults), refused.value.faults


async def test_all_faults_of_all_files_are_told_at_once(sessions: Sessions, tmp_path: Path) -> None:
    data = copy(tmp_path)
    edit(data / "communes.csv", put(14, code="2405", area_km2="x"))
    edit(data / "bank_bins.csv", put(4, name=""))
    edit(data / "ocop_register.csv", put(20, stars="9"))
    with pytest.raises(SeedError) as refused:
        await seed(data=data)
    told = "\n".join(refused.value.faults)
    for place in (
        "communes.csv, row 14, column code",
        "communes.csv, row 14, column area_km2",
        "bank_bins.csv, row 4, column name",
        "ocop_register.csv, row 20, column stars",
    ):
        assert place in told


async def test_a_failure_while_writing_leaves_what_was_there(sessions: Sessions, tmp_path: Path) -> None:
    """The second table cannot be written; the first one's change must be gone as well."""
    await seed()
    async with sessions.begin() as db:
        await db.execute(text("ALTER TABLE bank ADD CONSTRAINT no_more CHECK (name <> 'Ngân hàng Mới')"))
    data = copy(tmp_path)
    edit(data / "communes.csv", put(3, area_km2="99"))
    edit(data / "bank_bins.csv", put(4, name="Ngân hàng Mới"))
    with pytest.raises(Exception, match="no_more"):
        await seed(data=data)
    async with sessions.read() as db:
        assert await db.scalar(select(Commune.area_km2).where(Commune.code == "22045")) != 99
