"""Where a point lies, what is near, and the parts of the home page that come of it."""

from __future__ import annotations

import httpx
import pytest

from catalog_seed.loader import seed
from commerce.communes import places
from commerce.communes.places import commune_at, contains, distance_km
from commerce.communes.queries import all_communes
from commerce.core.db import Sessions

SQUARE = {
    "type": "Polygon",
    "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]],
}


def test_a_point_is_inside_outside_or_in_a_hole() -> None:
    assert contains(SQUARE, lat=3, lon=3)
    assert not contains(SQUARE, lat=1.5, lon=1.5)
    assert not contains(SQUARE, lat=5, lon=3)
    two = {
        "type": "MultiPolygon",
        "coordinates": [SQUARE["coordinates"], [[[9, 9], [10, 9], [10, 10], [9, 9]]]],
    }
    assert contains(two, lat=9.4, lon=9.8)


def test_kilometres_over_the_ground() -> None:
    assert distance_km((12.69, 108.2), (12.69, 108.2)) == 0
    assert distance_km((12.0, 108.0), (13.0, 108.0)) == pytest.approx(111.2, abs=0.1)


@pytest.fixture
async def province(sessions: Sessions) -> None:
    await seed()


async def test_the_middle_of_every_commune_lies_in_a_commune_nearby(
    province: None, sessions: Sessions
) -> None:
    async with sessions.read() as db:
        for commune in (await all_communes(db))[::9]:
            assert await commune_at(db, commune.lat, commune.lon) == commune.code, commune.name
        assert await commune_at(db, 10.77, 106.7) is None  # Ho Chi Minh City
    assert places.REACH_KM > 0


async def test_near_by_choice_and_by_position(
    province: None, client: httpx.AsyncClient, sessions: Sessions
) -> None:
    part = {"HX-Request": "true"}
    chosen = await client.get("/near", params={"commune": "24505"}, headers=part)
    assert 'data-here="24505"' in chosen.text
    assert "<html" not in chosen.text
    here = await client.get("/near", params={"lat": "12.69", "lon": "108.20"}, headers=part)
    assert "data-here=" in here.text
    away = await client.get("/near", params={"lat": "21.03", "lon": "105.85"})
    assert "<html" in away.text  # the same as a page, without scripts
    assert "ngoài Đắk Lắk" in away.text
    assert (await client.get("/near", params={"lat": "x", "lon": "nan"})).status_code == 200


async def test_followed_communes_are_those_that_exist(province: None, client: httpx.AsyncClient) -> None:
    answer = await client.get("/followed", params={"communes": "24505,00000,'"})
    assert answer.text.count("/c/") == 1
