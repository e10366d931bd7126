"""The forecast in a rolling back-test on made years, against two naive ways; and what it won't say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pytest

from catalog_seed.year import Year
from commerce.analytics import forecast
from commerce.analytics.forecast import Past
from commerce.core import clock

MONDAY_EVENING = datetime(2025, 8, 25, 12, 30, tzinfo=UTC)
"""19:30 in Vietnam."""


def made_year(seed: int) -> list[Past]:
    """Views of a made year's sessions, planned without a database; the one giant left out."""
    communes: Any = [{"code": f"{24000 + n}", "short_name": f"Xã {n}"} for n in range(101)]
    communes.append({"code": "24505", "short_name": "Ea Knuếc"})
    year = Year(cast(Any, None), seed, lambda _: None)
    shows = year._plan(communes, 5_000)
    year._share_out(shows, 2_000_000, 30_000)
    return [Past(show.commune, show.starts, show.visits) for show in shows if show.visits < 100_000]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_beats_both_naive_ways_on_half_a_year_it_has_not_seen(seed: int) -> None:
    past = made_year(seed)
    model, naive, seasonal = forecast.backtest(past, clock.today() - timedelta(days=182))
    assert model.cases > 1_500
    assert model.log_error < 0.9 * seasonal.log_error < seasonal.log_error < naive.log_error
    assert model.wape < 0.9 * seasonal.wape < seasonal.wape < naive.wape
    assert model.inside is not None
    assert 0.75 < model.inside < 0.85, "eight of ten fall into the interval"


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
