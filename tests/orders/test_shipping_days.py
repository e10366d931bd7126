"""Fresh goods leave on a day of their season on which there are hands to pack them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from commerce.catalog import packing
from commerce.catalog.packing import Calendar, Plan
from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.settings import Settings
from commerce.orders import placing
from commerce.orders.queries import snapshots
from tests.orders.market import change, one, open_market, order_body
from tests.payments.ways import order, track
from tests.races.meeting import BRIEFLY, TWIN, Meeting
from tests.races.test_races import basket, two_desks

TODAY = date(2026, 9, 1)


def days(*offsets: int) -> list[date]:
    return [TODAY + timedelta(days=offset) for offset in offsets]


def test_the_earliest_day_with_room_for_all_of_it() -> None:
    first, second, third, fourth = days(0, 1, 2, 3)
    plans = {1: Plan(1, per_day=10), 2: Plan(2, first=second, last=third, per_day=5)}
    calendar = Calendar(TODAY, plans, {(1, first): 8, (2, second): 5})
    assert calendar.day_for({1: 2}) == first
    assert calendar.day_for({1: 3}) == second, "a day is never filled past its capacity"
    assert calendar.day_for({2: 1}) == third, "the season begins on the second, which is full"
    assert calendar.day_for({1: 1, 2: 1}) == third, "one parcel, one day"
    assert calendar.day_for({3: 99}) == first, "other goods leave on any day"
    assert calendar.day_for({2: 6}) is None
    calendar.take({2: 5}, third)
    assert calendar.day_for({2: 1}) is None, "the season is over on the fourth"
    assert calendar.room(plans[2], fourth) == 0
    assert calendar.most(1) == 10


def test_what_comes_after_noon_is_packed_the_next_day() -> None:
    morning = clock.now().astimezone(clock.VIETNAM).replace(hour=11, minute=59)
    assert packing.earliest(morning) == morning.date()
    assert packing.earliest(morning.replace(hour=12, minute=0)) == morning.date() + timedelta(days=1)


async def plan(**values: Any) -> None:
    sets = ", ".join(f"{name} = :{name}" for name in values)
    await change(f"UPDATE product SET {sets}", **values)
    snapshots.forget()


async def ask(client: httpx.AsyncClient, key: str, **lines: int) -> httpx.Response:
    return await client.post(
        "/api/v1/live-sessions/EAKNUEC/orders",
        json=order_body(payment="cod", **lines),
        headers={"Idempotency-Key": key},
    )


async def test_orders_fill_one_day_after_another(client: httpx.AsyncClient) -> None:
    await open_market(A1=100)
    await plan(capacity_per_day=5)
    first = packing.earliest(clock.now())
    made = [await order(client, "cod", A1=quantity) for quantity in (3, 3, 2, 5)]
    found = [date.fromisoformat(one["ship_on"]) - first for one in made]
    assert [gap.days for gap in found] == [0, 1, 0, 2]
    assert (await track(client, made[1]))["ship_on"] == str(first + timedelta(days=1))
    refused = await ask(client, "too-much", A1=6)
    assert (refused.status_code, refused.json()["code"]) == (409, "no_shipping_day")
    assert refused.json()["lines"][0]["left"] == 5
    assert await one("SELECT sum(units) FROM packing_day") == 13


async def test_a_cancelled_order_gives_its_day_back(client: httpx.AsyncClient) -> None:
    await open_market(A1=100)
    await plan(capacity_per_day=5)
    made = await order(client, "cod", A1=5)
    answer = await client.post(f"/api/v1/orders/{made['code']}/cancel", json={"key": made["key"]})
    assert answer.status_code == 200
    assert await one("SELECT sum(units) FROM packing_day") == 0
    assert (await order(client, "cod", A1=5))["ship_on"] == made["ship_on"]


async def test_a_season_that_is_over_or_still_to_come(client: httpx.AsyncClient) -> None:
    await open_market(A1=100)
    today = clock.today()
    await plan(harvest_from=today - timedelta(days=9), harvest_to=today - timedelta(days=1))
    refused = await ask(client, "over", A1=1)
    assert (refused.status_code, refused.json()["code"]) == (409, "no_shipping_day")
    coming = today + timedelta(days=6)
    await plan(harvest_from=coming, harvest_to=coming + timedelta(days=9))
    assert (await order(client, "cod"))["ship_on"] == str(coming)
    await plan(harvest_from=today - timedelta(days=6), harvest_to=today + timedelta(days=6))
    assert (await order(client, "cod"))["ship_on"] is None, (
        "in season, as much as there is: no day to promise"
    )


async def test_late_money_books_a_new_day_or_goes_back(client: httpx.AsyncClient, settings: Settings) -> None:
    from commerce.orders.expiry import expire_orders
    from tests.payments.ways import add_feeds, sepay, sepay_body

    market = await open_market(A1=100)
    await add_feeds(settings, market)
    await plan(capacity_per_day=5, harvest_to=packing.earliest(clock.now()))
    late, too_late = [await order(client, "vietqr", A1=2) for _ in range(2)]
    await change("UPDATE \"order\" SET expires_at = now() - interval '1 second'")
    await expire_orders()
    assert await one("SELECT sum(units) FROM packing_day") == 0
    await order(client, "cod", A1=3)
    await sepay(client, sepay_body(late["code"], 370_000))
    await sepay(client, sepay_body(too_late["code"], 370_000, number=2))
    assert (await track(client, late))["state"] == "placed"
    assert (await track(client, too_late))["state"] == "expired"
    assert await one("SELECT amount FROM refund") == 370_000
    assert await one("SELECT sum(units) FROM packing_day") == 5


# ---- two web processes, one day's hands; grades of one product share them


async def book_the_last_hands(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, patience: float = BRIEFLY
) -> list[int]:
    """Gaps between the earliest day and those of two orders, of two grades, written at once."""
    await open_market(A1=100, A2=100)
    await change("""UPDATE grade SET product_id = (SELECT min(id) FROM product),
        name = CASE WHEN id = (SELECT min(id) FROM grade) THEN 'A' ELSE 'B' END""")
    await plan(capacity_per_day=1)
    baskets = [await basket(settings, key) for key in ("a", "b")]
    baskets[1].lines = [(baskets[1].lineup.items["A2"], 1)]
    monkeypatch.setattr(placing, "write", Meeting(patience=patience).before(placing.write))
    answers = await two_desks(*baskets)
    first = packing.earliest(clock.now())
    return sorted((answer.orders[0].ship_on - first).days for answer in answers)  # type: ignore[union-attr,operator]


async def test_two_processes_never_promise_the_same_hands(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await book_the_last_hands(settings, monkeypatch) == [0, 1]


async def test_twin_without_the_lock_a_day_is_promised_twice(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        packing, "_LOCK", text("SELECT CAST(:class AS integer), CAST(:products AS integer[])")
    )
    assert await book_the_last_hands(settings, monkeypatch, TWIN) == [0, 0]


async def test_the_day_is_told_before_ordering(client: httpx.AsyncClient) -> None:
    await open_market(A1=100)
    await plan(capacity_per_day=5)
    asked = {"lines": [{"product": "A1", "quantity": 3}]}
    address = "/api/v1/live-sessions/EAKNUEC/shipping-days"
    told = (await client.post(address, json=asked)).json()
    first = packing.earliest(clock.now())
    assert told["orders"][0]["ship_on"] == str(first)
    assert f"{first:%d/%m/%Y}" in told["text"]
    await order(client, "cod", A1=4)
    told = (await client.post(address, json=asked)).json()
    assert told["orders"][0]["ship_on"] == str(first + timedelta(days=1))
    refused = await client.post(address, json={"lines": [{"product": "A1", "quantity": 6}]})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_shipping_day")
    form = {"quantity-A1": "3", "name": "Hoa", "phone": "0901234567", "province": "66", "commune": "24505"}
    form |= {"street": "thôn 1", "payment": "cod", "consent": "1", "order_key": "k1"}
    shown = await client.post("/live/EAKNUEC/orders", data=form)
    assert f"gửi hàng ngày {first + timedelta(days=1):%d/%m/%Y}" in shown.text
    await plan(capacity_per_day=None)
    assert (await client.post(address, json=asked)).json()["text"] == ""
