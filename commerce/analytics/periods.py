"""Stretches of days, as people choose them: both ends included, Vietnamese days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from commerce.core import clock
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_

DAYS = 28
"""Without a choice: four whole weeks, so that each weekday counts four times."""
LONGEST = 800


@dataclass(frozen=True, slots=True)
class Period:
    first: date
    last: date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    def before(self) -> Period:
        """The stretch of the same length just before."""
        return Period(self.first - timedelta(days=self.days), self.first - timedelta(days=1))


def last_days(days: int = DAYS, until: date | None = None) -> Period:
    until = until or clock.today()
    return Period(until - timedelta(days=days - 1), until)


def parse(first: str, last: str) -> Period:
    """From `2025-08-01` and `2025-08-31`; either may be empty. Raises `Invalid` naming `from` or `to`."""
    faults: list[FieldError] = []
    until = _day(last, "to", faults) or clock.today()
    since = _day(first, "from", faults) or until - timedelta(days=DAYS - 1)
    if not faults and since > until:
        faults.append(FieldError("from", N_("Ngày đầu phải trước ngày cuối.")))
    if not faults and (until - since).days >= LONGEST:
        faults.append(FieldError("from", N_("Khoảng dài nhất là {days} ngày."), {"days": LONGEST}))
    if faults:
        raise Invalid(*faults)
    return Period(since, until)


def _day(text: str, field: str, faults: list[FieldError]) -> date | None:
    if not text.strip():
        return None
    try:
        found = date.fromisoformat(text.strip())
    except ValueError:
        found = None
    if found is None or not 2020 <= found.year <= 2100:
        faults.append(FieldError(field, N_("Ngày viết theo mẫu 2025-08-24.")))
        return None
    return found
