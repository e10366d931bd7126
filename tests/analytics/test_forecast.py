"""The forecast in a rolling back-test on made years, against two naive ways; and what it won't say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pytest

from catalog_seed.year import Show, Year
from commerce.analytics import forecast, outlook_pages
from commerce.analytics.forecast import Past
from commerce.core import clock

MONDAY_EVENING = datetime(2025, 8, 25, 12, 30, tzinfo=UTC)
"""19:30 in Vietnam."""


def planned_year(seed: int) -> tuple[Year, list[Show]]:
    """A made year's sessions, planned without a database; the one giant left out."""
    communes: Any = [{"code": f"{24000 + n}", "short_name": f"Xã {n}"} for n in range(101)]
    communes.append({"code": "24505", "short_name": "Ea Knuếc"})
    year = Year(cast(Any, None), seed, lambda _: None)
    shows = year._plan(communes, 5_000)
    year._share_out(shows, 2_000_000, 30_000)
    return year, [show for show in shows if show.visits < 100_000]


def made_year(seed: int, kind: str = "visits") -> list[Past]:
    """What its sessions drew: `visits` or `orders`."""
    _, shows = planned_year(seed)
    return [Past(show.commune, show.starts, getattr(show, kind)) for show in shows]


def weeks_of_goods(seed: int) -> list[list[float]]:
    """Units of each of three goods a commune in each of the last 26 weeks, from the first sale on: orders
    shared out and filled as the made year's are.
    """
    year, shows = planned_year(seed)
    sold = np.zeros((26, 3))
    by_commune = {show.commune: sold.copy() for show in shows}
    for show in shows:
        week = 25 - (year.last - clock.local(show.starts).date()).days // 7
        for good, orders in enumerate(year.random.multinomial(show.orders, (0.5, 0.3, 0.2))):
            if week >= 0:
                units = 1 + (year.random.random(orders) ** 3 * 8).astype(int)
                by_commune[show.commune][week, good] += units.sum()
    columns = [column for weeks in by_commune.values() for column in weeks.T if column.any()]
    return [list(column[int(np.argmax(column > 0)) :]) for column in columns]


@pytest.mark.parametrize(("seed", "kind"), [(1, "visits"), (2, "visits"), (3, "orders")])
def test_it_beats_both_naive_ways_on_half_a_year_it_has_not_seen(seed: int, kind: str) -> None:
    past = made_year(seed, kind)
    model, naive, seasonal = forecast.backtest(past, clock.today() - timedelta(days=182))
    assert model.cases > 1_500
    assert model.log_error < 0.9 * seasonal.log_error < seasonal.log_error < naive.log_error
    assert model.wape < 0.9 * seasonal.wape < seasonal.wape < naive.wape
    assert model.inside is not None
    assert 0.75 < model.inside < 0.85, "eight of ten fall into the interval"


def test_a_products_next_week_is_told_better_than_by_the_last_one() -> None:
    model, naive, mean = forecast.backtest_weeks(weeks_of_goods(5), 12)
    assert model.cases > 2_000
    assert model.log_error < 0.9 * naive.log_error
    assert model.wape < 0.9 * naive.wape
    assert model.log_error < mean.log_error
    assert model.inside is not None
    assert 0.75 < model.inside < 0.9, "eight of ten; a little more where units are few and whole"


def test_a_product_new_on_sale_is_not_guessed_at() -> None:
    assert forecast.next_week([5.0] * (forecast.ENOUGH - 1), (-0.7, 0.7)) is None
    outlook = forecast.next_week([5.0] * forecast.ENOUGH, (-0.7, 0.7))
    assert outlook is not None
    assert outlook.expected == pytest.approx(5)
    assert outlook.low < 5 < outlook.high
    assert forecast.backtest_weeks([[1.0] * forecast.ENOUGH], 4) == []


def test_the_back_test_never_looks_ahead() -> None:
    """What comes later may be anything: nothing that was told before changes."""
    past, first = made_year(4), clock.today() - timedelta(days=60)
    turn = sorted(one.at for one in past)[-150]
    otherwise = [Past(one.commune, one.at, one.value * 50) if one.at >= turn else one for one in past]
    told = [case.outlook for case in forecast.walk(past, first) if case.at < turn]
    assert len(told) > 100
    assert told == [case.outlook for case in forecast.walk(otherwise, first) if case.at < turn]


def test_too_little_is_not_guessed_from() -> None:
    past = [Past("a", MONDAY_EVENING + timedelta(days=n), 100) for n in range(forecast.ENOUGH)]
    assert forecast.foretell(past[:-1], MONDAY_EVENING, np.zeros(6), (-0.7, 0.7)) is None
    outlook = forecast.foretell(past, MONDAY_EVENING, np.zeros(6), (-0.7, 0.7))
    assert outlook is not None
    assert outlook.expected == pytest.approx(100)
    assert outlook.low < 100 < outlook.high


def test_evenings_are_learnt_from_the_whole_province() -> None:
    past = []
    for n in range(200):
        evening = n % 2 == 0
        at = MONDAY_EVENING + timedelta(days=n % 5, hours=0 if evening else -9)
        past.append(Past(f"c{n % 7}", at, 300 if evening else 100))
    known = forecast.effects(past)
    own = [Past("new", MONDAY_EVENING + timedelta(days=n, hours=-9), 50) for n in range(3)] * 2
    outlook = forecast.foretell(own, MONDAY_EVENING, known, (-0.7, 0.7))
    assert outlook is not None
    assert 100 < outlook.expected < 160, "mornings of 50 promise an evening of nearly three times as many"


def test_advice_is_given_only_when_the_difference_is_plain() -> None:
    saturday = MONDAY_EVENING + timedelta(days=5)
    usual = [Past("a", MONDAY_EVENING + timedelta(days=n), 100) for n in range(4)]
    better = [Past("a", saturday + timedelta(weeks=n), 220) for n in range(3)]
    found = forecast.advice([*usual, *better])
    assert found is not None
    assert (found[0], found[1], round(found[2], 6)) == (5, 2, 2.2)
    assert forecast.advice([*usual, *better[:2]]) is None
    assert forecast.advice([*usual, *(Past("a", one.at, 120) for one in better)]) is None


def test_advice_is_a_sentence() -> None:
    saturday = MONDAY_EVENING + timedelta(days=5, hours=-4)
    usual = [Past("a", MONDAY_EVENING + timedelta(days=n), 100) for n in range(4)]
    better = [Past("a", saturday + timedelta(weeks=n), 220) for n in range(3)]
    said = outlook_pages._advice(sorted([*usual, *better], key=lambda one: one.at))
    assert said == "Phiên chiều cuối tuần có gấp 2,2 lần lượt xem so với phiên tối ngày thường."
    assert outlook_pages._advice(usual) == ""
