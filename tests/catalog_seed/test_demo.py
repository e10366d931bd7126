"""The demo market: complete, marked, and the same after it is made again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from catalog_seed import demo
from catalog_seed.loader import load, seed
from catalog_seed.sheet import SeedError
from commerce.accounts.models import Person, RoleGrant
from commerce.accounts.service import sign_in
from commerce.catalog import service as catalog
from commerce.catalog import stock
from commerce.catalog.forms import ARTS
from commerce.catalog.models import Grade, ListingState, Product, Recognition, Seller, Stock
from commerce.communes.models import Commune
from commerce.core import clock, db
from commerce.core.db import Sessions
from commerce.core.embedded import Engines
from commerce.core.html import STATIC
from commerce.core.roles import Role
from commerce.core.settings import Settings
from commerce.live import service as live
from commerce.live.models import LineupItem, LiveCounter, LiveSession, LiveState
from commerce.orders.desk import desk
from commerce.orders.models import Order, OrderLine
from tests.conftest import Databases

ROLES = {
    "0900000001": (Role.HOST, "24505"),
    "0900000002": (Role.HELPER, "24505"),
    "0900000003": (Role.OFFICER, "24505"),
    "0900000004": (Role.SELLER, "24505"),
    "0900000005": (Role.PROVINCE, None),
    "0900000006": (Role.ADMIN, None),
}


async def make(settings: Settings) -> None:
    await seed()
    await demo.make(settings, progress=lambda step: None)


async def count(sessions: Sessions, table: type[Any], *where: Any) -> int:
    async with sessions.read() as db:
        return await db.scalar(select(func.count()).select_from(table).where(*where)) or 0


async def session(sessions: Sessions, code: str = demo.SESSION) -> LiveSession:
    async with sessions.read() as db:
        return (await db.scalars(select(LiveSession).where(LiveSession.code == code))).one()


@pytest.fixture(scope="module")
async def made_once(databases: Databases, engines: Engines) -> AsyncIterator[str]:
    """Name of a database that holds the demo market, for the tests to clone."""
    name = databases.clone()
    db.sessions.configure(databases.named(name))
    await make(Settings.from_env(engines.environment() | {"CHOPHIEN_DATABASE_URL": databases.named(name)}))
    await db.sessions.close()
    yield name
    databases.drop(name)


@pytest.fixture
async def made(databases: Databases, made_once: str) -> AsyncIterator[Sessions]:
    """A demo market of one's own."""
    name = databases.clone(made_once)
    db.sessions.configure(databases.named(name))
    yield db.sessions
    await db.sessions.close()
    databases.drop(name)


@pytest.fixture
def market(engines: Engines, made: Sessions) -> Settings:
    return Settings.from_env(engines.environment() | {"CHOPHIEN_DATABASE_URL": made.url})


async def test_everybody_can_sign_in_with_the_demo_password(made: Sessions) -> None:
    for phone, grant in ROLES.items():
        _, identity = await sign_in(phone, "chophien-demo")
        assert identity.grants == {grant}
    async with made.read() as db:
        host = await db.scalar(select(Person).where(Person.phone == "0900000001"))
    assert host is not None
    assert host.identity_verified_at is not None


async def test_the_main_session_is_on_air_with_its_line_up(made: Sessions) -> None:
    main = await session(made)
    assert (main.state, main.commune_code, main.demo) == (LiveState.LIVE, "24505", True)
    async with made.read() as db:
        rows = await db.execute(
            select(LineupItem.code, Product.name, Grade.name, Grade.price, Seller.id, Stock.on_hand)
            .select_from(LineupItem)
            .join(Grade)
            .join(Product)
            .join(Seller)
            .join(Stock, Stock.grade_id == Grade.id)
            .where(LineupItem.live_session_id == main.id)
        )
        items = {row[0]: row[1:] for row in rows}
    durian = [items[code] for code in ("A1", "A2", "A3")]
    assert [item[1] for item in durian] == ["A", "B", "C"]
    assert {item[0] for item in durian} == {"Sầu riêng Dona"}
    assert durian[0][2] == 185_000, "two of it are the 370,000 of the contract's example"
    assert min(item[4] for item in durian) >= 100_000, "a crowd does not empty the store at once"
    others = {item[3] for code, item in items.items() if code.startswith("B")}
    assert durian[0][3] not in others
    assert len(others) >= 5
    assert min(item[4] for item in items.values()) < 100, "one thing is scarce"


async def test_the_market_is_alive_all_over_the_province(made: Sessions) -> None:
    async with made.read() as db:
        communes = await db.scalar(
            select(func.count(Product.commune_code.distinct())).where(Product.commune_code != "24505")
        )
        former = set(await db.scalars(select(Commune.former_province).join(Seller)))
        held = await db.scalars(select(Recognition.expires_on))
        rows = await db.execute(select(LiveSession.state, func.count()).group_by(LiveSession.state))
        states = {str(state): int(number) for state, number in rows}
    assert communes is not None
    assert communes >= 25
    assert former == {"Đắk Lắk", "Phú Yên"}, "the highlands and the coast"
    days = list(held)
    assert any(day >= clock.today() for day in days)
    assert any(day < clock.today() for day in days), "a lapsed star to see that it is not shown"
    assert states[LiveState.SCHEDULED] >= 3
    assert states[LiveState.ENDED] >= 3
    assert await count(made, Product, Product.state == ListingState.REVIEW) > 0, "work for the office"


async def test_everything_made_up_is_marked(made: Sessions) -> None:
    for table in (Person, Seller, Product, Recognition, LiveSession, Order):
        assert await count(made, table) > 0
        assert await count(made, table, table.demo.is_(False)) == 0, table.__tablename__
    assert await count(made, Person, ~Person.name.contains("(minh hoạ)")) == 0
    assert await count(made, Seller, ~Seller.name.contains("(minh hoạ)")) == 0
    assert await count(made, Seller, Seller.bank_account.op("!~")("^0+$")) == 0, "no real account"
    assert await count(made, Order, ~Order.buyer_name.contains("(minh hoạ)")) == 0


async def test_the_figures_of_past_sessions_have_their_rows(made: Sessions) -> None:
    async with made.read() as db:
        past = (await db.scalars(select(LiveSession).where(LiveSession.state == LiveState.ENDED))).all()
        for one in past:
            counted = await db.get_one(LiveCounter, one.id)
            orders, gmv = (
                await db.execute(
                    select(func.count(), func.sum(Order.total)).where(Order.live_session_id == one.id)
                )
            ).one()
            units = await db.scalar(
                select(func.sum(OrderLine.quantity)).join(Order).where(Order.live_session_id == one.id)
            )
            assert (counted.orders, counted.units, counted.gmv) == (orders, units, gmv)
            assert one.started_at is not None
            assert one.ended_at is not None
            assert one.started_at < one.ended_at < clock.now()
        assert await stock.rebuild_check(db) == []


async def test_made_again_nothing_is_doubled(made: Sessions, market: Settings) -> None:
    tables = (Person, RoleGrant, Seller, Product, Grade, Recognition, LiveSession, LineupItem, Order)
    before = {table: await count(made, table) for table in tables}
    began = (await session(made)).started_at
    await make(market)
    assert {table: await count(made, table) for table in tables} == before
    assert (await session(made)).started_at == began, "it was on air and stays on air"


async def test_made_again_it_goes_on_air_again_and_keeps_what_was(made: Sessions, market: Settings) -> None:
    _, host = await sign_in("0900000001", "chophien-demo")
    old = await session(made)
    await live.stop(host, demo.SESSION)
    await make(market)
    new = await session(made)
    assert new.id != old.id
    assert new.state == LiveState.LIVE
    kept = await session(made, f"{demo.SESSION}{old.id}")
    assert (kept.id, kept.state) == (old.id, LiveState.ENDED)


async def test_made_again_a_session_of_yesterday_begins_anew_and_missed_ones_move(
    made: Sessions, market: Settings
) -> None:
    yesterday = clock.now() - timedelta(days=1)
    async with made.begin() as db:
        await db.execute(
            update(LiveSession).where(LiveSession.code == demo.SESSION).values(started_at=yesterday)
        )
        await db.execute(
            update(LiveSession).where(LiveSession.state == LiveState.SCHEDULED).values(starts_at=yesterday)
        )
    await make(market)
    began = (await session(made)).started_at
    assert began is not None
    assert began > yesterday
    assert (
        await count(made, LiveSession, LiveSession.starts_at < clock.now(), LiveSession.state == "scheduled")
        == 0
    )


async def test_made_again_shelves_are_full_and_decisions_stand(made: Sessions, market: Settings) -> None:
    _, admin = await sign_in("0900000006", "chophien-demo")
    async with made.begin() as db:
        rows = (await db.execute(select(Product.code, Grade.id).select_from(Product).join(Grade))).all()
        durian = next(grade for code, grade in rows if code.startswith("sau-rieng-dona"))
        basket = next(code for code, _ in rows if code.startswith("gui-tre"))
        free = (await stock.lock(db, [durian]))[durian].free
        await stock.reserve(db, {durian: free}, order_id=None)
    await catalog.pause_product(admin, basket, "Người đan nghỉ lễ")
    _, host = await sign_in("0900000001", "chophien-demo")
    await live.stop(host, demo.SESSION)
    await make(market)
    async with made.begin() as db:
        assert (await stock.lock(db, [durian]))[durian].free == free
        assert await stock.rebuild_check(db) == []
        state = await db.scalar(select(Product.state).where(Product.code == basket))
    assert state == ListingState.PAUSED, "the demo does not overrule a person"
    assert (await session(made)).state == LiveState.LIVE, "and goes on air without it"


@pytest.mark.parametrize("moment", [3, 140, 390])
async def test_a_run_that_was_cut_off_is_finished_by_the_next(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """The process dies at the n-th transaction; the next run completes the market."""

    class CutError(BaseException):
        pass

    begin, left = Sessions.begin, moment

    def counted(self: Sessions) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise CutError
        return begin(self)

    await seed()
    monkeypatch.setattr(Sessions, "begin", counted)
    with pytest.raises(BaseException) as cut:
        await demo.make(settings, progress=lambda step: None)
    assert cut.group_contains(CutError) if isinstance(cut.value, BaseExceptionGroup) else cut.type is CutError
    monkeypatch.undo()
    await desk.close()
    await make(settings)
    assert (await session(sessions)).state == LiveState.LIVE
    assert await count(sessions, LiveSession) == len(demo.PLANNED) + 1
    assert await count(sessions, Product) == len(demo.read_goods())
    assert await count(sessions, Product, Product.state == ListingState.DRAFT) == 0
    assert await count(sessions, LiveSession, LiveSession.state == LiveState.LIVE) == 1
    async with sessions.read() as db:
        assert await stock.rebuild_check(db) == []


async def test_never_into_a_production_market(sessions: Sessions, settings: Settings) -> None:
    await seed()
    with pytest.raises(SeedError, match="production"):
        await demo.make(replace(settings, environment="production"), progress=lambda step: None)
    assert await count(sessions, Person) == 0


async def test_never_over_a_real_account(sessions: Sessions, settings: Settings) -> None:
    await seed()
    async with sessions.begin() as db:
        db.add(Person(phone="0900000003", name="Người thật"))
    with pytest.raises(SeedError, match="0900000003"):
        await demo.make(settings, progress=lambda step: None)
    assert await count(sessions, Person) == 1


def test_the_command_line_makes_it(settings: Settings) -> None:
    steps: list[str] = []
    load(settings, demo=True, progress=steps.append)
    assert any("EAKNUEC" in step for step in steps)


def test_goods_that_cannot_be_read(tmp_path: Path) -> None:
    broken = tmp_path / "demo_goods.csv"
    text = demo.GOODS.read_text(encoding="utf-8")
    broken.write_text(text.replace("cooperative", "club", 1).replace("A:185000", "A:cheap"), encoding="utf-8")
    with pytest.raises(SeedError) as refused:
        demo.read_goods(broken)
    assert [fault.split(":")[0] for fault in refused.value.faults] == [
        "demo_goods.csv, row 2, column grades",
        "demo_goods.csv, row 2, column kind",
    ]


def test_the_drawings_exist() -> None:
    drawn = {path.stem for path in (STATIC / "art").glob("*.svg")}
    assert drawn.issuperset(ARTS)
    assert {goods.fields.art for goods in demo.read_goods()} <= set(ARTS)
    assert drawn.issuperset({plan.poster for plan in demo.PLANNED} | {"orchard"})
