"""Finding goods: words without tones, filters, pages, and the register that is not for sale."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from catalog_seed.loader import seed
from commerce.catalog import queries
from commerce.catalog.models import Recognition
from commerce.catalog.queries import LAST_PAGE, PAGE_SIZE, QUERY_LENGTH, Search
from commerce.catalog.views import RegisterView, SearchPage
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.errors import Invalid
from commerce.core.text import search_text
from tests import factories

GOODS = [  # commune, seller, product
    ("24505", "HTX Đất Đỏ", "Sầu riêng Dona"),
    ("24505", "Nhà rang Gió", "Cà phê Robusta"),
    ("24259", "HTX Cư M’gar Xanh", "Hồ tiêu đỏ"),
    ("24259", "HTX Cư M’gar Xanh", "Cà phê bột"),
    ("24175", "Bếp ca cao", "Sô-cô-la đen"),  # of Hòa Phú
    ("22240", "HTX Phú Hòa", "Gạo đài thơm"),
]


@pytest.fixture
async def market(sessions: Sessions) -> Sessions:
    """Six products of four communes."""
    await seed()
    async with sessions.begin() as db:
        sellers: dict[str, int] = {}
        for commune, seller, product in GOODS:
            if seller not in sellers:
                sellers[seller] = await factories.seller(db, commune_code=commune, name=seller)
            name = (await db.get_one(Commune, commune)).name
            await factories.product(
                db,
                sellers[seller],
                name=product,
                commune_code=commune,
                search=search_text(product, seller, name),
            )
    return sessions


async def find(sessions: Sessions, **wanted: object) -> list[str]:
    async with sessions.read() as db:
        page = await queries.search_products(db, Search(**wanted))  # type: ignore[arg-type]
    assert page.total == len(page.items)
    return [item.name for item in page.items]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("ca phe", ["Cà phê bột", "Cà phê Robusta"]),
        ("CÀ PHÊ", ["Cà phê bột", "Cà phê Robusta"]),
        ("cà  phê,", ["Cà phê bột", "Cà phê Robusta"]),
        ("cu mgar", ["Cà phê bột", "Hồ tiêu đỏ"]),
        ("cư m'gar", ["Cà phê bột", "Hồ tiêu đỏ"]),
        ("cu m gar", ["Cà phê bột", "Hồ tiêu đỏ"]),
        ("tieu cu mgar", ["Hồ tiêu đỏ"]),
        ("hoa phu", ["Gạo đài thơm", "Sô-cô-la đen"]),
        ("phú hoà", ["Gạo đài thơm", "Sô-cô-la đen"]),
        ("dat do", ["Sầu riêng Dona"]),
        ("so co la", ["Sô-cô-la đen"]),
        ("sau rieng ea knuec", ["Sầu riêng Dona"]),
        ("phe", ["Cà phê bột", "Cà phê Robusta"]),
        ("he", []),  # words are found from their beginning
        ("zzz", []),
        ("%", [product for _, _, product in GOODS]),
    ],
)
async def test_words_without_tones(market: Sessions, typed: str, found: list[str]) -> None:
    assert sorted(await find(market, q=typed)) == sorted(found)


async def test_what_is_named_so_comes_before_who_is(market: Sessions) -> None:
    """`ca` begins "Cà phê"; the chocolate is found by its seller, "Bếp ca cao"."""
    assert await find(market, q="ca") == ["Cà phê bột", "Cà phê Robusta", "Sô-cô-la đen"]


async def test_words_in_the_order_typed_come_before_the_same_words_elsewhere(market: Sessions) -> None:
    assert await find(market, q="hoa phu") == ["Sô-cô-la đen", "Gạo đài thơm"]
    assert await find(market, q="phu hoa") == ["Gạo đài thơm", "Sô-cô-la đen"]


async def test_in_the_order_of_the_alphabet(market: Sessions) -> None:
    assert await find(market) == [
        "Cà phê bột",
        "Cà phê Robusta",
        "Gạo đài thơm",
        "Hồ tiêu đỏ",
        "Sầu riêng Dona",
        "Sô-cô-la đen",
    ]


async def test_filters(market: Sessions) -> None:
    assert await find(market, commune="24505") == ["Cà phê Robusta", "Sầu riêng Dona"]
    assert await find(market, commune="24505", q="ca phe") == ["Cà phê Robusta"]
    async with market.read() as db:
        page = await queries.search_products(db, Search(q="ca phe bot"))
    assert await find(market, seller=page.items[0].seller.id) == ["Cà phê bột", "Hồ tiêu đỏ"]
    assert await find(market, seller=10**17) == []
    with pytest.raises(Invalid) as refused:
        await find(market, commune="99999")
    assert refused.value.errors[0].field == "commune"


@pytest.mark.parametrize("state", ["draft", "review", "refused", "paused"])
async def test_what_is_not_approved_is_not_found(sessions: Sessions, state: str) -> None:
    async with sessions.begin() as db:
        await factories.product(db, await factories.seller(db), state=state)
        await factories.product(db, await factories.seller(db, state=state))
    assert await find(sessions) == []


async def test_pages(sessions: Sessions) -> None:
    count = 2 * PAGE_SIZE + 1
    async with sessions.begin() as db:
        seller = await factories.seller(db)
        for number in range(count):
            await factories.product(db, seller, name=f"Cà phê {number:03}")
    seen: list[str] = []
    async with sessions.read() as db:
        for number, size in [(1, PAGE_SIZE), (2, PAGE_SIZE), (3, 1), (4, 0), (LAST_PAGE, 0)]:
            page = await queries.search_products(db, Search(q="ca phe", page=number))
            assert (len(page.items), page.total, page.page, page.pages) == (size, count, number, 3)
            seen += [item.code for item in page.items]
            assert page.next == (f"/api/v1/products?q=ca+phe&page={number + 1}" if number < 3 else None)
    assert len(set(seen)) == len(seen) == count, "every product on one page and one only"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("q", "x" * (QUERY_LENGTH + 1)),
        ("commune", "Ea Knuếc"),
        ("commune", "2450"),
        ("commune", "24505\0"),
        ("commune", "٢٤٥٠٥"),
        ("stars", "2"),
        ("stars", "6"),
        ("stars", "ba"),
        ("seller", "-1"),
        ("seller", "1" * 30),
        ("seller", "abc"),
        ("page", "0"),
        ("page", "-1"),
        ("page", "1.5"),
        ("page", "9" * 20),
        ("page", str(LAST_PAGE + 1)),
    ],
)
def test_a_question_that_makes_no_sense(field: str, value: str) -> None:
    with pytest.raises(Invalid) as refused:
        Search.parse(**{field: value})
    assert [fault.field for fault in refused.value.errors] == [field]


def test_empty_fields_narrow_nothing() -> None:
    assert Search.parse(q="", commune="", stars="", seller="", page="") == Search()
    with pytest.raises(Invalid) as refused:
        Search.parse(commune="x", stars="9", seller="y", page="0")
    assert [fault.field for fault in refused.value.errors] == ["commune", "stars", "seller", "page"]


# ---- in season


async def test_the_home_page_shows_one_of_each_commune_that_is_ripe_and_there(sessions: Sessions) -> None:
    today = clock.today()
    ripe: dict[str, Any] = {"harvest_from": today - timedelta(days=5), "harvest_to": today}
    over: dict[str, Any] = {
        "harvest_from": today - timedelta(days=50),
        "harvest_to": today - timedelta(days=1),
    }
    async with sessions.begin() as db:
        seller = await factories.seller(db)
        await factories.product(db, seller, name="Một", **ripe)
        await factories.product(db, seller, name="Hai", **ripe)
        other = await factories.seller(db, commune_code="24490")
        await factories.product(db, other, name="Hết mùa", commune_code="24490", **over)
        await factories.product(
            db, other, name="Hết hàng", commune_code="24490", grades={"": (50_000, 0)}, **ripe
        )
        recognised = await factories.seller(db, commune_code="24529")
        star, _ = await factories.product(db, recognised, name="Có sao", commune_code="24529")
        db.add(
            Recognition(
                product_id=star,
                stars=3,
                decision="1",
                issuer="x",
                granted_on=today - timedelta(days=9),
                expires_on=today,
            )
        )
    async with sessions.read() as db:
        names = {item.name for item in await queries.in_season(db, 12)}
        assert len(names) == 2
        assert "Có sao" in names
        assert names & {"Một", "Hai"}
        draws = {
            tuple(item.name for item in await queries.in_season(db, 12, on=today - timedelta(days=day)))
            for day in range(5)
        }
    assert len(draws) > 1, "drawn anew every day"


# ---- the register


async def test_the_register_shows_stars_only_where_they_surely_hold(sessions: Sessions) -> None:
    await seed()
    days = {
        date(2026, 11, 23): {"recognised, with a day": 3, "lapsed": None, "without a date": None},
        date(2027, 1, 29): {"recognised, with a day": None, "lapsed": None, "without a date": None},
    }
    rows = {"recognised, with a day": 14, "lapsed": 62, "without a date": 83}
    async with sessions.read() as db:
        for day, stars in days.items():
            known: dict[int, RegisterView] = {}
            for page in range(1, 7):
                found = await queries.search_register(db, Search(page=page), on=day)
                known |= {entry.row: entry for entry in found.items}
            assert len(known) == 116 == found.total
            assert {name: known[row].stars for name, row in rows.items()} == stars
            for entry in known.values():
                assert entry.for_sale is False
                assert entry.source
                if entry.stars is not None:
                    assert entry.evidence_status == "recognised"
                    assert entry.valid_until is not None
                    assert entry.valid_until >= day


async def test_the_register_is_searched_like_the_goods(sessions: Sessions) -> None:
    await seed()
    async with sessions.read() as db:
        macca = await queries.search_register(db, Search(q="hat macca", commune="24505"))
        assert macca.total == 2
        assert (await queries.search_register(db, Search(stars=4), on=date(2026, 11, 23))).total == 1
        assert await queries.search_products(db, Search(q="macca")) == SearchPage(
            items=[], total=0, page=1, pages=1, next=None
        )


# ---- over HTTP


async def test_the_api_answers_and_refuses(client: httpx.AsyncClient, market: Sessions) -> None:
    answer = (await client.get("/api/v1/products?q=ca phe&commune=&stars=&seller=&page=")).json()
    assert [item["name"] for item in answer["items"]] == ["Cà phê bột", "Cà phê Robusta"]
    assert (answer["total"], answer["page"], answer["pages"], answer["next"]) == (2, 1, 1, None)
    first = answer["items"][0]
    assert first["commune"]["code"] == "24259"
    assert first["grades"][0]["price"] == first["price"] == 95_000
    assert first["stars"] is None
    one = (await client.get(f"/api/v1/products/{first['code']}")).json()
    assert one["seller"]["registration"] == "6001234567"
    assert (await client.get("/api/v1/register?q=macca&commune=24505")).json()["total"] == 3

    for query, field in [
        ("stars=9", "stars"),
        ("page=x", "page"),
        ("commune=1", "commune"),
        ("commune=99999", "commune"),
        ("seller=%00", "seller"),
        ("q=" + "x" * 101, "q"),
    ]:
        refused = await client.get(f"/api/v1/products?{query}")
        assert refused.status_code == 422, query
        assert refused.json()["code"] == "invalid"
        assert [fault["field"] for fault in refused.json()["errors"]] == [field]
    for path in ("products/khong-co", "products/%00", "products/%FF", "sellers/0", f"sellers/{10**30}"):
        missing = await client.get(f"/api/v1/{path}")
        assert missing.status_code == 404, path
        assert missing.headers["content-type"] == "application/problem+json"


async def test_the_pages_answer(client: httpx.AsyncClient, market: Sessions) -> None:
    home = await client.get("/")
    assert home.status_code == 200
    assert "/c/ea-knuec" in home.text
    found = await client.get("/search?q=cu mgar")
    assert "Hồ tiêu đỏ" in found.text
    assert "/c/cu-m-gar" in found.text, "the commune of that name as well"
    channel = await client.get("/c/ea-knuec")
    assert "Sầu riêng Dona" in channel.text
    assert "Hạt macca sấy" in channel.text, "what the press reported"
    async with market.read() as db:
        code = (await queries.search_products(db, Search(q="dona"))).items[0].code
    product = await client.get(f"/p/{code}")
    assert "6001234567" in product.text, "the law: the seller's number before one buys"
    for path, status in [("/p/khong-co", 404), ("/c/khong-co", 404), ("/search?page=0", 422)]:
        assert (await client.get(path, headers={"Accept": "text/html"})).status_code == status
    script = await client.get("/search", params={"q": "<script>alert(1)</script>"})
    assert "<script>alert" not in script.text
