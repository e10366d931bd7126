"""Figures as people read them: 3,4 %, 2 phút 05, 1,2 tỷ ₫; a dash for what does not exist."""

from __future__ import annotations

from dataclasses import dataclass

from commerce.analytics.measures import BY_KEY, Measure, Totals, Unit, Value
from commerce.core.html import number
from commerce.core.i18n import N_, translate

NONE = "–"


def show(unit: Unit, value: Value, *, short: bool = False) -> str:
    """In the reader's language; `short` for cells and tiles, where large money is rounded to millions."""
    if value is None:
        return NONE
    if unit is Unit.RATIO:
        percent = value * 100
        return f"{number(round(percent, 1 if percent >= 1 else 2))} %"
    if unit is Unit.SECONDS:
        return _time(value)
    if unit is Unit.VND:
        return _money(round(value), short=short)
    if unit is Unit.PEOPLE:
        return number(round(value, 1))
    return number(round(value) if float(value).is_integer() else round(value, 1))


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return translate(N_("{seconds} giây")).format(seconds=rest)
    return translate(N_("{minutes} phút {seconds:02}")).format(minutes=minutes, seconds=rest)


def _money(amount: int, *, short: bool) -> str:
    if short and abs(amount) >= 1_000_000_000:
        return translate(N_("{amount} tỷ")).format(amount=number(round(amount / 1e9, 1)))
    if short and abs(amount) >= 1_000_000:
        return translate(N_("{amount} triệu")).format(amount=number(round(amount / 1e6, 1)))
    return f"{number(amount)} ₫"


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure with a value, ready for a template."""

    key: str
    name: str
    english: str
    definition: str
    rows: str
    value: Value
    text: str
    short: str

    @classmethod
    def of(cls, measure: Measure, totals: Totals) -> Figure:
        value = measure.of(totals)
        return cls(
            key=measure.key,
            name=measure.label(),
            english=measure.english,
            definition=translate(measure.definition),
            rows=translate(measure.rows),
            value=value,
            text=show(measure.unit, value),
            short=show(measure.unit, value, short=True),
        )


EVERY = tuple(BY_KEY)


def figures(totals: Totals, keys: tuple[str, ...] = EVERY) -> list[Figure]:
    return [Figure.of(BY_KEY[key], totals) for key in keys]


def change(now: Value, before: Value) -> str:
    """`+12 %`, `-3 %`; a dash without a value to compare with."""
    if now is None or not before:
        return NONE
    percent = round((now / before - 1) * 100)
    sign = "+" if percent > 0 else "-" if percent < 0 else ""
    return f"{sign}{number(abs(percent))} %"
