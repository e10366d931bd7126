"""Green, yellow or red for each commune, by rules the province sets, each colour with its reasons in words.

Three kinds of rules: a measure `below` a threshold, a measure that fell since the stretch of days before
(`trend`), and `silence`: days since the last session. The worst rule decides the colour. A measure that does
not exist (a ratio without a divisor) is not judged; a commune that never had a session is red by silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import IntEnum, StrEnum
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.analytics.figures import show
from commerce.analytics.measures import BY_KEY, Totals, Unit
from commerce.analytics.models import SignalRule
from commerce.analytics.periods import Period
from commerce.analytics.queries import CommuneFigures
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Forbidden, Invalid
from commerce.core.i18n import N_, translate
from commerce.core.roles import Identity, Role


class Colour(IntEnum):
    """In order of need; letters stand for those who do not see the colour."""

    GREEN = 0
    YELLOW = 1
    RED = 2

    @property
    def css(self) -> str:
        return self.name.lower()

    @property
    def letter(self) -> str:
        """Of the Vietnamese word: xanh, vàng, đỏ."""
        return "XVĐ"[self]

    @property
    def word(self) -> str:
        return translate((N_("Xanh"), N_("Vàng"), N_("Đỏ"))[self])


class Kind(StrEnum):
    BELOW = "below"
    TREND = "trend"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Rule:
    """`yellow` and `red` are in the measure's own unit, a share of the fall (0.25), or days."""

    kind: Kind
    measure: str
    yellow: float
    red: float


DEFAULTS = (
    Rule(Kind.SILENCE, "sessions", 14, 30),
    Rule(Kind.TREND, "views", 0.25, 0.5),
    Rule(Kind.TREND, "orders", 0.25, 0.5),
    Rule(Kind.BELOW, "average_watch_time", 60, 30),
    Rule(Kind.BELOW, "cvr", 0.01, 0.004),
)
ENOUGH_VIEWS = 100
"""A fall is judged only from a stretch with at least so many views: small numbers jump."""


@dataclass(frozen=True, slots=True)
class Reason:
    colour: Colour
    text: str


@dataclass(frozen=True, slots=True)
class Signal:
    colour: Colour
    reasons: tuple[Reason, ...]
    """Worst first; empty when every rule is met."""

    @property
    def words(self) -> str:
        return " ".join(reason.text for reason in self.reasons) or translate(N_("Đạt mọi mốc của tỉnh."))


def judge(now: CommuneFigures, before: Totals, rules: Sequence[Rule], period: Period, today: date) -> Signal:
    """One commune in `period`, against the stretch `before` it."""
    reasons = []
    for rule in rules:
        if rule.kind is Kind.SILENCE:
            reason = _silence(rule, now.last_on, min(period.last, today))
        elif rule.kind is Kind.TREND:
            reason = _trend(rule, now.totals, before)
        else:
            reason = _below(rule, now.totals)
        if reason is not None:
            reasons.append(reason)
    reasons.sort(key=lambda reason: -reason.colour)
    return Signal(reasons[0].colour if reasons else Colour.GREEN, tuple(reasons))


def _silence(rule: Rule, last_on: date | None, as_of: date) -> Reason | None:
    if last_on is None:
        return Reason(Colour.RED, translate(N_("Chưa có phiên nào.")))
    days = (as_of - last_on).days
    colour = Colour.RED if days >= rule.red else Colour.YELLOW if days >= rule.yellow else None
    if colour is None:
        return None
    limit = rule.red if colour is Colour.RED else rule.yellow
    text = N_("{days} ngày không có phiên (mốc {limit} ngày).")
    return Reason(colour, translate(text).format(days=days, limit=round(limit)))


def _trend(rule: Rule, now: Totals, before: Totals) -> Reason | None:
    measure = BY_KEY[rule.measure]
    value, was = measure.of(now), measure.of(before)
    if value is None or not was or before.views < ENOUGH_VIEWS or now.sessions == 0:
        return None
    fall = 1 - value / was
    colour = Colour.RED if fall >= rule.red else Colour.YELLOW if fall >= rule.yellow else None
    if colour is None:
        return None
    text = N_("{measure} giảm {fall} so với kỳ trước (mốc {limit}).")
    limit = rule.red if colour is Colour.RED else rule.yellow
    shown = {"fall": show(Unit.RATIO, fall), "limit": show(Unit.RATIO, limit)}
    return Reason(colour, translate(text).format(measure=measure.label(), **shown))


def _below(rule: Rule, now: Totals) -> Reason | None:
    measure = BY_KEY[rule.measure]
    value = measure.of(now)
    if value is None or now.sessions == 0:
        return None
    colour = Colour.RED if value < rule.red else Colour.YELLOW if value < rule.yellow else None
    if colour is None:
        return None
    limit = rule.red if colour is Colour.RED else rule.yellow
    text = N_("{measure} {value}, dưới mốc {limit}.")
    shown = {"value": show(measure.unit, value), "limit": show(measure.unit, limit)}
    return Reason(colour, translate(text).format(measure=measure.label(), **shown))


def judge_all(
    now: Sequence[CommuneFigures],
    before: Sequence[CommuneFigures],
    rules: Sequence[Rule],
    period: Period,
    today: date,
) -> Mapping[str, Signal]:
    earlier = {figures.code: figures.totals for figures in before}
    return {
        figures.code: judge(figures, earlier.get(figures.code, Totals()), rules, period, today)
        for figures in now
    }


# ---- the province sets them


async def current_rules(db: AsyncSession) -> Sequence[Rule]:
    rows = (await db.scalars(select(SignalRule).order_by(SignalRule.id))).all()
    if not rows:
        return DEFAULTS
    return [Rule(Kind(row.kind), row.measure, row.yellow, row.red) for row in rows]


async def set_rules(identity: Identity, rules: Sequence[Rule]) -> None:
    """Replace all rules. Raises `Forbidden`, or `Invalid` naming each rule at fault by its number."""
    if not identity.has(Role.PROVINCE, Role.ADMIN):
        raise Forbidden
    faults = [fault for number, rule in enumerate(rules) if (fault := _fault(number, rule))]
    if not rules:
        faults.append(FieldError("rules", N_("Cần ít nhất một mốc.")))
    if faults:
        raise Invalid(*faults)
    rows: list[dict[str, Any]] = [
        {
            "kind": rule.kind.value,
            "measure": rule.measure,
            "yellow": rule.yellow,
            "red": rule.red,
            "set_by": identity.person_id,
        }
        for rule in rules
    ]
    async with sessions.begin() as db:
        await db.execute(delete(SignalRule))
        await db.execute(insert(SignalRule), rows)


def _fault(number: int, rule: Rule) -> FieldError | None:
    if rule.measure not in BY_KEY:
        return FieldError(f"measure-{number}", N_("Xin chọn chỉ số."))
    if rule.yellow <= 0 or rule.red <= 0:
        return FieldError(f"yellow-{number}", N_("Mốc phải lớn hơn 0."))
    if rule.kind is Kind.BELOW and rule.red > rule.yellow:
        return FieldError(f"red-{number}", N_("Mốc đỏ phải thấp hơn mốc vàng."))
    if rule.kind is not Kind.BELOW and rule.red < rule.yellow:
        return FieldError(f"red-{number}", N_("Mốc đỏ phải cao hơn mốc vàng."))
    return None
