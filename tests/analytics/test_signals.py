"""The heat map: which rule gives which colour, with which words; and who may set the rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from commerce.analytics import signals
from commerce.analytics.measures import Totals
from commerce.analytics.periods import Period
from commerce.analytics.queries import CommuneFigures
from commerce.analytics.signals import Colour, Kind, Rule
from commerce.core.db import Sessions
from commerce.core.errors import Forbidden, Invalid
from commerce.core.roles import Identity, Role
from tests import factories

TODAY = date(2026, 11, 23)
PERIOD = Period(date(2026, 10, 27), TODAY)
GOOD = Totals(sessions=4, views=1000, viewers=800, watched_ms=200_000_000, orders=50, buyers=40)
COMMUNE = CommuneFigures(
    code="24505",
    name="Xã Ea Knuếc",
    short_name="Ea Knuếc",
    slug="ea-knuec",
    kind="xã",
    former_province="Đắk Lắk",
    sort_key="",
    totals=GOOD,
    last_on=TODAY,
    residents=None,
)


def person(*roles: Role) -> Identity:
    return Identity(1, 1, "Cán bộ", "0900000005", frozenset((role, None) for role in roles))


def judged(rules: list[Rule], before: Totals = GOOD, **changes: object) -> signals.Signal:
    return signals.judge(replace(COMMUNE, **changes), before, rules, PERIOD, TODAY)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("last_on", "colour"),
    [
        (date(2026, 11, 10), Colour.GREEN),
        (date(2026, 11, 9), Colour.YELLOW),
        (date(2026, 10, 25), Colour.YELLOW),
        (date(2026, 10, 24), Colour.RED),
        (None, Colour.RED),
    ],
)
def test_silence_is_counted_in_days(last_on: date | None, colour: Colour) -> None:
    assert judged([Rule(Kind.SILENCE, "sessions", 14, 30)], last_on=last_on).colour is colour


@pytest.mark.parametrize(
    ("views", "colour"),
    [
        (751, Colour.GREEN),
        (750, Colour.YELLOW),
        (501, Colour.YELLOW),
        (500, Colour.RED),
        (2000, Colour.GREEN),
    ],
)
def test_a_fall_is_judged_against_the_stretch_before(views: int, colour: Colour) -> None:
    signal = judged([Rule(Kind.TREND, "views", 0.25, 0.5)], totals=replace(GOOD, views=views))
    assert signal.colour is colour


def test_a_fall_from_very_little_is_not_judged() -> None:
    rules = [Rule(Kind.TREND, "views", 0.25, 0.5)]
    assert judged(rules, Totals(views=99), totals=replace(GOOD, views=10)).colour is Colour.GREEN


def test_what_does_not_exist_is_not_judged() -> None:
    rules = [Rule(Kind.BELOW, "cvr", 0.01, 0.004)]
    assert judged(rules, totals=Totals(sessions=1)).colour is Colour.GREEN


def test_the_worst_rule_decides_and_every_reason_is_said_in_words() -> None:
    rules = [
        Rule(Kind.BELOW, "cvr", 0.1, 0.01),
        Rule(Kind.SILENCE, "sessions", 14, 30),
        Rule(Kind.BELOW, "average_watch_time", 60, 30),
    ]
    signal = judged(rules, last_on=date(2026, 10, 1))
    assert signal.colour is Colour.RED
    assert [reason.colour for reason in signal.reasons] == [Colour.RED, Colour.YELLOW]
    assert signal.words == "53 ngày không có phiên (mốc 30 ngày). Tỷ lệ mua 5,0 %, dưới mốc 10,0 %."


def test_a_green_commune_says_so() -> None:
    assert judged(list(signals.DEFAULTS)).words == "Đạt mọi mốc của tỉnh."


async def test_the_province_sets_the_rules(sessions: Sessions) -> None:
    async with sessions.read() as db:
        assert await signals.current_rules(db) == signals.DEFAULTS
    wanted = [Rule(Kind.SILENCE, "sessions", 7, 21), Rule(Kind.BELOW, "orders", 5, 2)]
    async with sessions.begin() as db:
        someone = await factories.person(db)
    await signals.set_rules(replace(person(Role.ADMIN), person_id=someone), wanted[:1])
    await signals.set_rules(replace(person(Role.PROVINCE), person_id=someone), wanted)
    async with sessions.read() as db:
        assert await signals.current_rules(db) == wanted


async def test_nobody_else_sets_them(sessions: Sessions) -> None:
    with pytest.raises(Forbidden):
        await signals.set_rules(person(Role.OFFICER), list(signals.DEFAULTS))


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (Rule(Kind.BELOW, "cvr", 0.01, 0.02), "red-0"),
        (Rule(Kind.TREND, "views", 0.5, 0.25), "red-0"),
        (Rule(Kind.SILENCE, "sessions", 0, 10), "yellow-0"),
        (Rule(Kind.BELOW, "luck", 2, 1), "measure-0"),
    ],
)
async def test_rules_that_contradict_themselves_are_refused_by_field(rule: Rule, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        await signals.set_rules(person(Role.PROVINCE), [rule])
    assert [fault.field for fault in caught.value.errors] == [field]
