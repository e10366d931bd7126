"""The rollups against an independent slow reference, for random histories; and what measures say of them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from commerce.analytics import measures, recency
from commerce.analytics.measures import Totals
from commerce.analytics.rollup import roll_up
from commerce.core import clock
from commerce.core.db import Sessions
from tests.analytics import reference as ref
from tests.analytics import worlds

Rows = list[dict[str, Any]]


async def stored(db: Any, table: str, session_id: int) -> Rows:
    query = text(f"SELECT * FROM {table} WHERE live_session_id = :id")
    return [dict(row) for row in (await db.execute(query, {"id": session_id})).mappings()]


def only(row: dict[str, Any], names: Any) -> dict[str, Any]:
    return {name: row[name] for name in names}


async def check(db: Any, world: ref.World) -> None:
    """Every rollup row of every session of the world is what the reference says, and there are no others."""
    for session in world.sessions.values():
        wanted = ref.session_row(world, session, worlds.NOW)
        (row,) = await stored(db, "session_rollup", session.id)
        assert only(row, wanted) == wanted

        minutes = ref.minute_rows(world, session, worlds.NOW)
        found = {
            int(row["at"].timestamp()) // 60: row for row in await stored(db, "minute_rollup", session.id)
        }
        assert {at: only(row, minutes[at]) for at, row in found.items() if at in minutes} == minutes
        assert found.keys() == minutes.keys()

        for table, key, rows in (
            ("item_rollup", "item_code", ref.item_rows(world, session, worlds.NOW)),
            ("source_rollup", "source", ref.source_rows(world, session, worlds.NOW)),
        ):
            got = {row[key]: row for row in await stored(db, table, session.id)}
            assert {name: only(row, rows.get(name, row)) for name, row in got.items()} == rows

        attributed = {row["order_id"]: row["how"] for row in await stored(db, "attribution", session.id)}
        assert attributed == {order.id: how for order, how in ref.sales(world, session)}


async def check_pins_and_deals(db: Any, world: ref.World) -> None:
    query = """
        SELECT i.code, r.orders, r.units, r.gmv FROM {0}_rollup r
        JOIN {0} x ON x.id = r.{0}_id JOIN lineup_item i ON i.id = x.item_id WHERE r.live_session_id = :id
    """
    for table, wanted in (("pin", ref.pin_rows), ("deal", ref.deal_rows)):
        for session in world.sessions.values():
            rows = (await db.execute(text(query.format(table)), {"id": session.id})).mappings()
            found = {row["code"]: only(dict(row), ("orders", "units", "gmv")) for row in rows}
            assert found == wanted(world, session), table


async def check_people(db: Any, world: ref.World) -> None:
    """Whatever the period, everybody is counted once; sessions that still run are not in it."""
    await recency.refresh(db, "24505")
    over = {
        s.id: clock.local(worlds.moment(s.start)).date() for s in world.sessions.values() if s.end is not None
    }
    first = min(over.values())
    for a in (first - timedelta(1), first, first + timedelta(1)):
        for b in (a, a + timedelta(1), a + timedelta(5)):
            got = await recency.people(db, a, b)
            within = {id for id, day in over.items() if a <= day <= b}
            for kind in ("viewer", "reach", "buyer"):
                assert got.get(("24505", kind), 0) == ref.people(world, within, kind, worlds.NOW), kind


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_rollups_agree_with_the_slow_reference(
    data: st.DataObject, sessions: Sessions, stages: dict[str, worlds.Stage]
) -> None:
    if sessions.url not in stages:
        stages[sessions.url] = await worlds.set_stage()
    stage = stages[sessions.url]
    world = data.draw(worlds.worlds(stage))
    async with sessions.read() as db:  # never committed: each world begins with an empty stage
        await worlds.store(db, stage, world)
        await roll_up(db, stage.session_ids, now=worlds.moment(worlds.NOW))
        await check(db, world)
        await check_pins_and_deals(db, world)
        await check_people(db, world)


@pytest.fixture
def stages() -> dict[str, worlds.Stage]:
    return {}


def test_ratios_do_not_exist_without_a_divisor() -> None:
    values = measures.values(Totals())
    for key in ("ctr", "ctor", "cvr", "gpm", "acu", "average_watch_time"):
        assert values[key] is None, key
    assert values["views"] == 0


def test_formulas_are_the_words_of_the_definitions() -> None:
    values = measures.values(
        Totals(
            views=3000, viewers=2000, watched_ms=360_000_000, air_ms=3_600_000,
            impressions=10_000, clicks=400, orders=50, buyers=40, gmv=9_000_000,
        )
    )  # fmt: skip
    assert values["ctr"] == 0.04
    assert values["ctor"] == 0.125
    assert values["cvr"] == 0.02
    assert values["gpm"] == 3_000_000
    assert values["average_watch_time"] == 120
    assert values["acu"] == 100


def test_money_is_rounded_to_whole_dong_half_up() -> None:
    assert measures.values(Totals(views=2000, gmv=3))["gpm"] == 2
    assert measures.values(Totals(views=2000, gmv=1))["gpm"] == 1
    assert measures.values(Totals(views=3000, gmv=1))["gpm"] == 0


def test_every_measure_is_named_defined_and_unique() -> None:
    keys = [measure.key for measure in measures.ALL]
    assert len(keys) == len(set(keys))
    assert all(m.name and m.english and m.definition.endswith(".") and m.rows for m in measures.ALL)


async def one_session(
    sessions: Sessions,
    visits: list[tuple[int, int]],
    order_at: int | None = None,
    *,
    through_session: bool = True,
) -> tuple[dict[str, Any], Rows]:
    """Rollup and attribution of a session in which one visitor came and went at these milliseconds."""
    stage = await worlds.set_stage()
    first, second = stage.session_ids
    start = worlds.START
    world = ref.World(
        {
            first: ref.Session(first, start, start + 600_000, ["A1", "A2"]),
            second: ref.Session(second, start, start, ["A1"]),
        }
    )
    for n, (came, left) in enumerate(visits):
        world.visits.append(ref.Visit(first, "v1", "zalo", start + came, start + left, str(n)))
    if order_at is not None:
        through = first if through_session else None
        world.orders.append(ref.Order(0, through, "v1", "0901", start + order_at, [("A1", 1, 95_000)]))
    async with sessions.read() as db:
        await worlds.store(db, stage, world)
        await roll_up(db, [first], now=worlds.moment(worlds.NOW))
        await check(db, ref.World({first: world.sessions[first]}, world.visits, [], world.orders))
        (row,) = await stored(db, "session_rollup", first)
        return row, await stored(db, "attribution", first)


@pytest.mark.parametrize(("gap_ms", "views"), [(29_999, 1), (30_000, 1), (30_001, 2)])
async def test_a_return_within_thirty_seconds_continues_the_view(
    sessions: Sessions, gap_ms: int, views: int
) -> None:
    row, _ = await one_session(sessions, [(0, 5_000), (5_000 + gap_ms, 11_000 + gap_ms)])
    assert (row["views"], row["watched_ms"], row["viewers"], row["pcu"]) == (views, 11_000, 1, 1)
    assert row["effective_views"] == (1 if views == 1 else 0)
    assert row["day"] == date(2025, 8, 24)


@pytest.mark.parametrize(("watched_ms", "effective"), [(9_999, 0), (10_000, 1)])
async def test_ten_seconds_make_a_view_effective(sessions: Sessions, watched_ms: int, effective: int) -> None:
    row, _ = await one_session(sessions, [(1_000, 1_000 + watched_ms)])
    assert row["effective_views"] == effective


@pytest.mark.parametrize(("late_ms", "orders"), [(0, 1), (1, 0)])
async def test_an_order_belongs_to_the_session_for_24_hours_after_the_visit(
    sessions: Sessions, late_ms: int, orders: int
) -> None:
    row, attributed = await one_session(sessions, [(0, 60_000)], 60_000 + worlds.DAY + late_ms)
    assert (row["orders"], len(attributed)) == (orders, orders)


@pytest.mark.parametrize(("late_ms", "orders"), [(0, 1), (1, 0)])
async def test_an_order_elsewhere_on_the_market_belongs_for_24_hours_too(
    sessions: Sessions, late_ms: int, orders: int
) -> None:
    """Ordered from the channel, not the session, by somebody who had been there and seen it."""
    at = 60_000 + worlds.DAY + late_ms
    row, attributed = await one_session(sessions, [(0, 60_000)], at, through_session=False)
    assert row["orders"] == orders
    assert [one["how"] for one in attributed] == ["later"] * orders


async def test_two_tabs_are_one_viewer(sessions: Sessions) -> None:
    row, _ = await one_session(sessions, [(0, 60_000), (20_000, 40_000), (50_000, 70_000)])
    assert (row["views"], row["pcu"], row["watched_ms"]) == (1, 1, 70_000)


async def test_a_basket_over_two_sessions_is_split(sessions: Sessions) -> None:
    """Bought on the market by somebody who had been in both: what only the first sold is the first's, though
    the second was visited last; what both sold is the second's.
    """
    stage = await worlds.set_stage()
    first, second = stage.session_ids
    start = worlds.START
    world = ref.World(
        {
            first: ref.Session(first, start, start + 600_000, ["A1", "A2"]),
            second: ref.Session(second, start, start + 600_000, ["A1"]),
        }
    )
    world.visits.append(ref.Visit(first, "v1", "zalo", start, start + 60_000, "1"))
    world.visits.append(ref.Visit(second, "v1", "qr", start + 70_000, start + 90_000, "2"))
    for item in ("A1", "A2"):
        world.orders.append(ref.Order(0, None, "v1", "0901", start + 100_000, [(item, 1, 95_000)]))
    async with sessions.read() as db:
        await worlds.store(db, stage, world)
        await roll_up(db, stage.session_ids, now=worlds.moment(worlds.NOW))
        await check(db, world)
        both, only_first = (order.id for order in world.orders)
        for session_id, order_id in ((first, only_first), (second, both)):
            assert [row["order_id"] for row in await stored(db, "attribution", session_id)] == [order_id]
