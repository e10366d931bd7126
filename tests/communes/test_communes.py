"""The 102 communes: all there, found however people write them, each with its channel."""

from __future__ import annotations

import httpx
import pytest

from catalog_seed.loader import seed
from commerce.communes import queries
from commerce.communes.errors import CommuneNotFound
from commerce.core.db import Sessions

TYPED = [
    ("hoa phu", "Hòa Phú"),
    ("Hoà Phú", "Hòa Phú"),
    ("HOA PHU", "Hòa Phú"),
    ("cu mgar", "Cư M'gar"),
    ("cư m’gar", "Cư M'gar"),
    ("cu m gar", "Cư M'gar"),
    ("cumgar", "Cư M'gar"),
    ("ea hleo", "Ea H'Leo"),
    ("eahleo", "Ea H'Leo"),
    ("mdrak", "M'Drắk"),
    ("m drak", "M'Drắk"),
    ("xã ea knuếc", "Ea Knuếc"),
    ("ea knu", "Ea Knuếc"),
    ("dak lieng", "Đắk Liêng"),
    ("o loan", "Ô Loan"),
    ("  tuy   hoa ", "Tuy Hòa"),
]


@pytest.fixture
async def seeded(sessions: Sessions) -> Sessions:
    await seed()
    return sessions


@pytest.mark.parametrize(("typed", "found"), TYPED)
async def test_a_name_is_found_however_it_is_typed(seeded: Sessions, typed: str, found: str) -> None:
    async with seeded.read() as db:
        communes = await queries.search_communes(db, typed)
    assert communes[0].short_name == found


async def test_an_old_name_finds_the_new_commune_after_names_of_today(seeded: Sessions) -> None:
    async with seeded.read() as db:
        kenh = await queries.search_communes(db, "ea kenh")
        lap = await queries.search_communes(db, "tan lap")
    assert [commune.short_name for commune in kenh] == ["Ea Knuếc"]
    assert lap[0].short_name == "Tân Lập"
    assert len(lap) > 1, "others had an old unit of that name"


@pytest.mark.parametrize("typed", ["zzz", "100%", "%", "_", "'; drop table commune; --"])
async def test_nothing_is_found_for_what_is_nothing(seeded: Sessions, typed: str) -> None:
    async with seeded.read() as db:
        found = await queries.search_communes(db, typed)
    assert not found or typed in ("%", "_"), "signs alone are no words: they narrow nothing"
    assert len(found) in (0, 102)


async def test_all_are_listed_in_the_order_of_the_alphabet(seeded: Sessions) -> None:
    async with seeded.read() as db:
        names = [commune.short_name for commune in await queries.all_communes(db)]
    assert len(names) == 102
    assert names[:2] == ["Bình Kiến", "Buôn Đôn"]
    assert names.index("Dur Kmăl") < names.index("Đắk Liêng") < names.index("Ea Bá")
    assert names.index("Ea Hiao") < names.index("Ea H'Leo") < names.index("Ea Kao")


@pytest.mark.parametrize("slug", ["cu-m-gar", "cu-mgar", "Cư M'gar", "cumgar"])
async def test_a_channel_is_found_by_any_spelling_of_its_address(seeded: Sessions, slug: str) -> None:
    async with seeded.read() as db:
        assert (await queries.commune_by_slug(db, slug)).slug == "cu-m-gar"


@pytest.mark.parametrize("wrong", ["", "khong-co", "cu", "\0", "a" * 500])
async def test_no_such_commune(seeded: Sessions, wrong: str) -> None:
    async with seeded.read() as db:
        with pytest.raises(CommuneNotFound):
            await queries.commune_by_slug(db, wrong)
        with pytest.raises(CommuneNotFound):
            await queries.commune_by_code(db, wrong)


async def test_the_api_lists_102_with_code_and_channel(client: httpx.AsyncClient) -> None:
    await seed()
    answer = (await client.get("/api/v1/communes")).json()
    assert len(answer) == len({commune["code"] for commune in answer}) == 102
    ea_knuec = next(commune for commune in answer if commune["code"] == "24505")
    assert ea_knuec["name"] == "Xã Ea Knuếc"
    assert ea_knuec["channel"] == "/c/ea-knuec"
    assert ea_knuec["channel_url"].endswith("/c/ea-knuec")
    assert ea_knuec["valid_from"] == "2025-07-01"
    assert {"name": "Xã Ea Kênh", "code": "24499", "split": False} in ea_knuec["former_units"]
    assert "boundary" not in ea_knuec, "that is 100 kB for everybody who wants names"
    found = (await client.get("/api/v1/communes", params={"q": "hoa phu"})).json()
    assert found[0]["name"] == "Xã Hòa Phú"


async def test_the_api_tells_one_with_its_boundary(client: httpx.AsyncClient) -> None:
    await seed()
    answer = (await client.get("/api/v1/communes/24505")).json()
    assert answer["boundary"]["type"] == "Polygon"
    assert answer["source"]


@pytest.mark.parametrize("code", ["00000", "abc", "24505x", "%00", "%FF%FE"])
async def test_the_api_says_that_there_is_none(client: httpx.AsyncClient, code: str) -> None:
    answer = await client.get(f"/api/v1/communes/{code}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "commune_not_found"


async def test_each_channel_page_answers(client: httpx.AsyncClient) -> None:
    await seed()
    for commune in (await client.get("/api/v1/communes")).json():
        answer = await client.get(commune["channel"])
        assert answer.status_code == 200, commune["channel"]
        assert commune["short_name"].split("'")[0] in answer.text
    moved = await client.get("/c/cu-mgar")
    assert (moved.status_code, moved.headers["location"]) == (301, "/c/cu-m-gar")
    missing = await client.get("/c/khong-co")
    assert missing.status_code == 404
    assert "khong-co" in missing.text
