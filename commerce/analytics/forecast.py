"""What the next session may bring, from the ones before: plain, with an interval, or "not enough data".

Audiences multiply rather than add, so everything happens in logarithms. A session's expected value is its
commune's level, times what its kind of hour and day usually does in the whole province:

    log(1 + value)  =  level of the commune  +  effect of (time of day, weekend)  +  noise

The effects are least squares over all communes' sessions (each measured from its commune's own mean); a level
is the exponentially weighted mean of the commune's past values without their effects. The interval holds the
middle 80 % of the errors the same model made on past sessions. Baselines: the last value (naive), and the
last value at the same hour and kind of day (seasonal naive). `backtest` rolls through time: it only ever
knows what came before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.core import clock

ENOUGH = 6
"""Sessions of a commune, or weeks of a product, below which nothing is said."""
WEIGHT = 0.25
"""Of the newest value in a level: the mean age of what counts is then four sessions."""
SHRINK = 20.0
"""An effect seen in so few sessions counts half."""
SLOTS = 6  # morning, afternoon, evening; each on weekdays and at weekends
KINDS = ("views", "orders", "units")

Floats = NDArray[np.float64]


class Past(NamedTuple):
    """One session that was, or is to be told. A tuple: there are many of them."""

    commune: str
    at: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Outlook:
    expected: float
    low: float
    high: float
    sessions: int
    """How many it rests on."""


@lru_cache(maxsize=50_000)
def slot(at: datetime) -> int:
    """Time of day and kind of day: 0-2 weekday morning, afternoon, evening; 3-5 the same at weekends."""
    local = clock.local(at)
    part = 0 if local.hour < 12 else 1 if local.hour < 17 else 2
    return part + (3 if local.weekday() >= 5 else 0)


def effects(past: Sequence[Past]) -> Floats:
    """What each slot adds to the logarithm, towards 0 where little is known. The mean over sessions is 0."""
    logs = np.log1p([one.value for one in past])
    slots = np.array([slot(one.at) for one in past], dtype=np.int64)
    communes = np.unique([one.commune for one in past], return_inverse=True)[1]
    made = np.zeros(SLOTS)
    if not len(past):
        return made
    # Communes' means and slots' effects in turn: the least squares of two crossed factors.
    for _ in range(20):
        rest = logs - made[slots]
        means = np.bincount(communes, rest) / np.bincount(communes)
        rest = logs - means[communes]
        counts = np.bincount(slots, minlength=SLOTS)
        made = np.bincount(slots, rest, minlength=SLOTS) / (counts + SHRINK)
        made -= np.average(made, weights=counts)
    return made


def level(values: Floats) -> float:
    """Exponentially weighted mean, oldest first; begins as a plain mean so that the first does not rule."""
    return float(_weights(len(values)) @ values)


@lru_cache(maxsize=1_000)
def _weights(count: int) -> Floats:
    """What each of so many values counts in their level: `mean += (value - mean) * share`, unrolled."""
    weights = np.zeros(count)
    for n in range(1, count + 1):
        share = max(WEIGHT, 1 / n)
        weights *= 1 - share
        weights[n - 1] = share
    return weights


def bare(past: Sequence[Past], known: Floats) -> Floats:
    """Logarithms of the values, without the effects of their slots."""
    logs: Floats = np.log1p([one.value for one in past])
    return logs - known[[slot(one.at) for one in past]]


def interval(errors: Floats) -> tuple[float, float]:
    """What eight of ten errors (in logarithms) lay between; with few of them a factor of two either way."""
    if len(errors) < 20:
        return -0.7, 0.7
    low, high = np.quantile(errors, [0.1, 0.9])
    return float(low), float(high)


def foretell(
    past: Sequence[Past], at: datetime, known: Floats, spread: tuple[float, float]
) -> Outlook | None:
    """The next value of the commune whose sessions `past` are, oldest first; None: not enough data.

    `known`: effects of slots; `spread`: the `interval` of past errors.
    """
    if len(past) < ENOUGH:
        return None
    centre = level(bare(past, known)) + known[slot(at)]
    low, high = spread
    return Outlook(
        expected=max(0.0, float(np.expm1(centre))),
        low=max(0.0, float(np.expm1(centre + low))),
        high=max(0.0, float(np.expm1(centre + high))),
        sessions=len(past),
    )


# ---- how good it is


@dataclass(frozen=True, slots=True)
class Score:
    """Mean absolute errors: in logarithms (a factor), and as a share of all that came (WAPE)."""

    model: str
    log_error: float
    wape: float
    inside: float | None = None
    """Share of values that fell into the 80 % interval."""
    cases: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """One session told from those before it, and what came."""

    at: datetime
    real: float
    outlook: Outlook
    naive: float
    """The commune's last value."""
    seasonal: float
    """Its last value in this slot, else its last."""


def walk(past: Sequence[Past], first: date, *, refit_days: int = 28) -> list[Case]:
    """Through the sessions from `first` on, in order of time, each told only from those before it; effects
    are fitted anew every `refit_days`.
    """
    ordered = sorted(past, key=lambda one: (one.at, one.commune))
    before: dict[str, list[Past]] = {}
    errors: list[float] = []
    cases: list[Case] = []
    known, fitted = np.zeros(SLOTS), None
    for index, one in enumerate(ordered):
        day = clock.local(one.at).date()
        own = before.setdefault(one.commune, [])
        if day >= first and len(own) >= ENOUGH:
            if fitted is None or (day - fitted).days >= refit_days:
                known, fitted = effects(ordered[:index]), day
            outlook = foretell(own, one.at, known, interval(np.array(errors[-2000:])))
            assert outlook is not None
            alike = [prior.value for prior in own if slot(prior.at) == slot(one.at)]
            cases.append(
                Case(one.at, one.value, outlook, own[-1].value, alike[-1] if alike else own[-1].value)
            )
            errors.append(float(np.log1p(one.value) - np.log1p(outlook.expected)))
        own.append(one)
    return cases


def backtest(past: Sequence[Past], first: date, *, refit_days: int = 28) -> list[Score]:
    """Our model, naive and seasonal naive on the same cases, in this order."""
    cases = walk(past, first, refit_days=refit_days)
    if not cases:
        return []
    real = [case.real for case in cases]
    inside = float(np.mean([case.outlook.low <= case.real <= case.outlook.high for case in cases]))
    return [
        score("model", real, [case.outlook.expected for case in cases], inside),
        score("naive", real, [case.naive for case in cases]),
        score("seasonal naive", real, [case.seasonal for case in cases]),
    ]


def score(model: str, came: Sequence[float], told: Sequence[float], inside: float | None = None) -> Score:
    """How far what was told lay from what came."""
    real, guess = np.array(came), np.array(told)
    return Score(
        model=model,
        log_error=float(np.mean(np.abs(np.log1p(real) - np.log1p(guess)))),
        wape=float(np.sum(np.abs(real - guess)) / max(1.0, float(np.sum(real)))),
        inside=inside,
        cases=len(came),
    )


# ---- from the rollups

_PAST = text("""
    SELECT r.commune_code, r.started_at, r.views, r.orders, r.units
    FROM session_rollup r JOIN live_session s ON s.id = r.live_session_id
    WHERE s.ended_at IS NOT NULL AND NOT s.rehearsal AND s.state <> 'taken_down'
        AND r.day BETWEEN :first AND :last
    ORDER BY r.started_at
""")
_WEEKS = text("""
    SELECT p.code, p.name, p.commune_code, date_trunc('week', r.day)::date AS week,
        sum(i.units)::bigint AS units
    FROM item_rollup i JOIN session_rollup r USING (live_session_id)
    JOIN live_session s ON s.id = i.live_session_id
    JOIN grade g ON g.id = i.grade_id JOIN product p ON p.id = g.product_id
    WHERE s.ended_at IS NOT NULL AND NOT s.rehearsal AND s.state <> 'taken_down'
        AND r.day BETWEEN :first AND :last
    GROUP BY 1, 2, 3, 4
""")


async def past_sessions(db: AsyncSession, last: date, days: int = 400) -> dict[str, list[Past]]:
    """By kind (views, orders, units): every counted session up to `last`, oldest first."""
    rows = await db.execute(_PAST, {"first": last - timedelta(days=days), "last": last})
    made: tuple[list[Past], ...] = ([], [], [])
    for commune, at, *values in rows:
        for one, value in zip(made, values, strict=True):
            one.append(Past(commune, at, value))
    return dict(zip(KINDS, made, strict=True))


def next_sessions(
    past: Mapping[str, Sequence[Past]], planned: Mapping[str, datetime], today: date
) -> dict[str, dict[str, Outlook | None]]:
    """commune -> kind -> outlook of its next session, at the planned hour or else at its last one's."""
    made: dict[str, dict[str, Outlook | None]] = {}
    for kind, everything in past.items():
        known = effects(everything)
        by_commune: dict[str, list[Past]] = {}
        for one in everything:
            by_commune.setdefault(one.commune, []).append(one)
        spread = interval(recent_errors(bare(own[-70:], known) for own in by_commune.values()))
        for commune, own in by_commune.items():
            at = planned.get(commune, own[-1].at)
            made.setdefault(commune, {})[kind] = foretell(own[-60:], at, known, spread)
    return made


def recent_errors(series: Iterable[Floats]) -> Floats:
    """Errors of telling the last ten values of each series (logarithms) from those before."""
    errors = []
    for logs in series:
        for n in range(max(ENOUGH, len(logs) - 10), len(logs)):
            errors.append(logs[n] - level(logs[max(0, n - 60) : n]))
    return np.array(errors)


# ---- products by the week


def next_week(weeks: Sequence[float] | Floats, spread: tuple[float, float]) -> Outlook | None:
    """A product's units in the coming week; `weeks`: those before, oldest first; None: not enough data."""
    if len(weeks) < ENOUGH:
        return None
    centre = level(np.log1p(weeks))
    low, high = (max(0.0, float(np.expm1(centre + error))) for error in spread)
    return Outlook(max(0.0, float(np.expm1(centre))), low, high, len(weeks))


def backtest_weeks(series: Iterable[Sequence[float]], last: int) -> list[Score]:
    """The last so many weeks of every product, each told from those before it: our model, the week before
    again (naive), and the mean of four weeks.
    """
    logs = [np.log1p(weeks) for weeks in series]
    longest = max(map(len, logs), default=0)
    real, told, naive, mean = [], [], [], []
    inside = []
    for back in range(last, 0, -1):  # weeks from the end: the newest of all series are the same week
        known = [weeks[: len(weeks) - back] for weeks in logs if len(weeks) - back >= ENOUGH]
        came = [weeks[len(weeks) - back] for weeks in logs if len(weeks) - back >= ENOUGH]
        if longest - back < ENOUGH:
            continue
        spread = interval(recent_errors(known))
        for before, value in zip(known, came, strict=True):
            units = np.expm1(before)
            outlook = next_week(units, spread)
            assert outlook is not None
            real.append(float(np.expm1(value)))
            told.append(outlook.expected)
            naive.append(float(units[-1]))
            mean.append(float(np.mean(units[-4:])))
            inside.append(outlook.low - 0.5 <= real[-1] <= outlook.high + 0.5)  # units are whole
    if not real:
        return []
    share = float(np.mean(inside))
    return [
        score("model", real, told, share),
        score("naive", real, naive),
        score("mean of four weeks", real, mean),
    ]


async def weeks_of_products(db: AsyncSession, today: date) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """By product: units of each whole week from its first sale to the last Sunday, weeks without sales as 0;
    and what each product is.
    """
    monday = today - timedelta(days=today.weekday())
    found = await db.execute(_WEEKS, {"first": monday - timedelta(weeks=26), "last": monday - timedelta(1)})
    sold: dict[str, dict[date, int]] = {}
    about: dict[str, Any] = {}
    for row in found:
        sold.setdefault(row.code, {})[row.week] = row.units
        about[row.code] = row
    weeks = {}
    for code, units in sold.items():
        length = (monday - min(units)).days // 7
        weeks[code] = [float(units.get(monday - timedelta(weeks=n), 0)) for n in range(length, 0, -1)]
    return weeks, about


async def products_next_week(db: AsyncSession, today: date) -> list[dict[str, Any]]:
    """Each product's units in the coming week, from the weeks before."""
    weeks, about = await weeks_of_products(db, today)
    spread = interval(recent_errors(np.log1p(units) for units in weeks.values()))
    return [
        {
            "product": about[code].name,
            "commune": about[code].commune_code,
            "outlook": next_week(units, spread),
        }
        for code, units in weeks.items()
    ]


def advice(past: Sequence[Past]) -> tuple[int, int, float] | None:
    """(best slot, usual slot, times as many views) for one commune's sessions, if the difference is plain:
    at least three sessions in each and half as many views again.
    """
    by_slot: dict[int, list[float]] = {}
    for one in past:
        by_slot.setdefault(slot(one.at), []).append(one.value)
    means = {number: float(np.mean(values)) for number, values in by_slot.items() if len(values) >= 3}
    if len(means) < 2:
        return None
    usual = max(means, key=lambda number: len(by_slot[number]))
    best = max(means, key=lambda number: means[number])
    if best == usual or means[usual] <= 0 or means[best] < 1.5 * means[usual]:
        return None
    return best, usual, means[best] / means[usual]
