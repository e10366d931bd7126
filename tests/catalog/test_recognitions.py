"""OCOP recognitions: a history, of which only the one that holds today is shown."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from commerce.accounts.errors import SmsUnavailable
from commerce.catalog import queries, recognitions, renewals, service
from commerce.catalog.errors import RecognitionNotFound
from commerce.catalog.forms import RecognitionFields
from commerce.catalog.models import Product, Recognition
from commerce.catalog.queries import Search
from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.errors import Forbidden, Invalid
from commerce.core.roles import Identity, Role
from tests import factories

GRANTED = date(2024, 1, 29)
ENDS = date(2027, 1, 28)


@pytest.mark.parametrize(
    ("granted", "last"),
    [
        (GRANTED, ENDS),
        (date(2024, 2, 29), date(2027, 2, 27)),  # 28/02/2027 would be the anniversary
        (date(2023, 3, 1), date(2026, 2, 28)),
        (date(2025, 12, 31), date(2028, 12, 30)),
        (date(2025, 1, 1), date(2027, 12, 31)),
    ],
)
def test_thirty_six_months_end_on_the_day_before(granted: date, last: date) -> None:
    assert recognitions.last_day(granted) == last


def of(**values: object) -> Recognition:
    return Recognition(
        **{"id": 1, "stars": 3, "granted_on": GRANTED, "expires_on": ENDS, "withdrawn_on": None} | values
    )


def test_it_holds_from_the_day_of_the_decision_to_the_last_day() -> None:
    held = of()
    day = timedelta(days=1)
    assert [recognitions.holds(held, on) for on in (GRANTED - day, GRANTED, ENDS, ENDS + day)] == [
        False,
        True,
        True,
        False,
    ]


def test_a_withdrawn_one_holds_to_the_day_before() -> None:
    taken_back = of(withdrawn_on=date(2025, 6, 1))
    assert recognitions.holds(taken_back, date(2025, 5, 31))
    assert not recognitions.holds(taken_back, date(2025, 6, 1))


def test_the_latest_decision_that_holds_is_shown() -> None:
    old = of(id=1, stars=3, granted_on=date(2023, 5, 1), expires_on=date(2026, 4, 30))
    new = of(id=2, stars=4, granted_on=date(2025, 5, 1), expires_on=date(2028, 4, 30))
    assert recognitions.current([new, old], date(2025, 4, 30)) is old
    assert recognitions.current([old, new], date(2025, 5, 1)) is new
    assert recognitions.current([old], date(2026, 5, 1)) is None
    withdrawn = of(
        id=2,
        stars=4,
        granted_on=date(2025, 5, 1),
        expires_on=date(2028, 4, 30),
        withdrawn_on=date(2025, 9, 1),
    )
    assert recognitions.current([old, withdrawn], date(2025, 9, 1)) is old


def test_renewal_opens_180_days_before_the_end() -> None:
    assert not recognitions.renewal_due(of(), ENDS - timedelta(days=181))
    assert recognitions.renewal_due(of(), ENDS - timedelta(days=180))
    assert not recognitions.renewal_due(of(), ENDS + timedelta(days=1))


@pytest.mark.parametrize(
    ("stars", "score", "fits"),
    [
        (3, 49.9, False),
        (3, 50, True),
        (3, 70, False),
        (4, 70, True),
        (5, 90, True),
        (5, 100, True),
        (5, 101, False),
    ],
)
def test_points_and_stars(stars: int, score: float, fits: bool) -> None:
    assert recognitions.points_fit(stars, score) is fits


# ---- on a real product


@pytest.fixture
async def product(sessions: Sessions) -> str:
    async with sessions.begin() as db:
        seller = await factories.seller(db)
        product_id, _ = await factories.product(db, seller, name="Cà phê rang")
        return (await db.get_one(Product, product_id)).code


@pytest.fixture
async def officer(sessions: Sessions) -> Identity:
    async with sessions.begin() as db:
        person = await factories.person(db, Role.OFFICER)
    return Identity(person, 0, "Cán bộ", "0900000003", frozenset({(Role.OFFICER, factories.EA_KNUEC)}))


def form(**values: object) -> RecognitionFields:
    given = {
        "stars": 3,
        "decision": "12/QĐ-UBND",
        "issuer": "UBND tỉnh Đắk Lắk",
        "granted_on": GRANTED,
    } | values
    return RecognitionFields(**given)  # type: ignore[arg-type]


async def shown(sessions: Sessions, code: str, on: date) -> int | None:
    async with sessions.read() as db:
        page = await queries.product_page(db, code, on=on)
        listed = (await queries.search_products(db, Search(), on=on)).items[0].stars
    by_page = page.recognition.stars if page.recognition else None
    assert by_page == listed == page.product.stars, "every place says the same"
    return listed


async def test_only_the_current_one_is_shown_on_each_day(
    sessions: Sessions, product: str, officer: Identity
) -> None:
    await service.record_recognition(officer, product, form())
    await service.record_recognition(
        officer, product, form(stars=4, score=75, decision="99/QĐ-UBND", granted_on=date(2026, 3, 1))
    )
    days = {
        date(2024, 1, 28): None,
        GRANTED: 3,
        date(2026, 2, 28): 3,
        date(2026, 3, 1): 4,
        ENDS + timedelta(days=1): 4,
        date(2029, 2, 28): 4,
        date(2029, 3, 1): None,
    }
    assert {day: await shown(sessions, product, day) for day in days} == days


async def test_a_search_by_stars_looks_at_the_current_one_alone(
    sessions: Sessions, product: str, officer: Identity
) -> None:
    await service.record_recognition(officer, product, form())
    async with sessions.read() as db:
        assert (await queries.search_products(db, Search(stars=3), on=ENDS)).total == 1
        assert (await queries.search_products(db, Search(stars=3), on=ENDS + timedelta(days=1))).total == 0
        assert (await queries.search_products(db, Search(stars=4), on=ENDS)).total == 0


async def test_a_withdrawn_one_is_never_shown_again(
    sessions: Sessions, product: str, officer: Identity
) -> None:
    held = await service.record_recognition(officer, product, form())
    today = clock.today()
    assert await shown(sessions, product, today) == 3
    await service.withdraw_recognition(officer, product, held.id, "Không giữ được tiêu chuẩn")
    assert await shown(sessions, product, today) is None
    async with sessions.read() as db:
        [line] = await queries.recognition_history(db, officer, product)
    assert (line.withdrawn_on, line.current) == (today, False)
    with pytest.raises(RecognitionNotFound):
        await service.withdraw_recognition(officer, product, held.id + 1, "Không có lần này")
    with pytest.raises(Invalid):
        await service.withdraw_recognition(officer, product, held.id, "")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"stars": 2}, "stars"),
        ({"stars": 6}, "stars"),
        ({"score": 95.0}, "score"),
        ({"decision": " "}, "decision"),
        ({"issuer": ""}, "issuer"),
        ({"granted_on": clock.today() + timedelta(days=1)}, "granted_on"),
        ({"expires_on": date(2023, 1, 1)}, "expires_on"),
    ],
)
async def test_what_cannot_be_a_decision(
    product: str, officer: Identity, values: dict[str, object], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await service.record_recognition(officer, product, form(**values))
    assert [fault.field for fault in refused.value.errors] == [field]


async def test_the_same_decision_counts_once(product: str, officer: Identity) -> None:
    await service.record_recognition(officer, product, form())
    with pytest.raises(Invalid) as refused:
        await service.record_recognition(officer, product, form())
    assert refused.value.errors[0].field == "decision"


async def test_only_the_office_and_the_province_record(sessions: Sessions, product: str) -> None:
    async with sessions.begin() as db:
        person = await factories.person(db, Role.SELLER)
    for role, commune, may in [
        (Role.SELLER, factories.EA_KNUEC, False),
        (Role.HOST, factories.EA_KNUEC, False),
        (Role.OFFICER, "24490", False),
        (Role.PROVINCE, None, True),
    ]:
        who = Identity(person, 0, "Ai đó", "0900000009", frozenset({(role, commune)}))
        if may:
            await service.record_recognition(who, product, form())
        else:
            with pytest.raises(Forbidden):
                await service.record_recognition(who, product, form())


class Phone:
    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        self.down = False

    async def send(self, phone: str, text: str) -> None:
        if self.down:
            raise SmsUnavailable
        self.messages.append((phone, text))


@pytest.mark.parametrize(("days", "told"), [(180, True), (1, True), (181, False), (-1, False)])
async def test_a_seller_is_told_once_when_the_renewal_opens(
    sessions: Sessions, days: int, told: bool
) -> None:
    async with sessions.begin() as db:
        made, _ = await factories.product(db, await factories.seller(db, phone="0905000999"), name="Cà phê")
        db.add(
            Recognition(
                product_id=made,
                stars=4,
                decision="1/QĐ",
                issuer="UBND tỉnh",
                granted_on=clock.today() - timedelta(days=900),
                expires_on=clock.today() + timedelta(days=days),
            )
        )
    phone = Phone()
    phone.down = True
    await renewals.warn(phone)  # the network is down: nobody counts as told
    phone.down = False
    await renewals.warn(phone)
    await renewals.warn(phone)
    assert [number for number, _ in phone.messages] == (["0905000999"] if told else [])
    if told:
        assert f"còn {days} ngày" in phone.messages[0][1]
