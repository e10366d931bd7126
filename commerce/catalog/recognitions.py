"""OCOP recognitions: how long they last, and which one of a product's history is the current one.

Decision 26/2026/QĐ-TTg: 3 stars for 50 to under 70 points, 4 for 70 to under 90, 5 for 90 to 100; valid for
36 months; renewal opens 180 days before the end; may be withdrawn.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable
from datetime import date, timedelta

from sqlalchemy import ColumnElement, and_, or_

from commerce.catalog.models import Recognition

MONTHS = 36
RENEWAL_OPENS = timedelta(days=180)
POINTS = {3: (50, 70), 4: (70, 90), 5: (90, 100)}


def last_day(granted_on: date, months: int = MONTHS) -> date:
    """The last day of `months` months from `granted_on`: 29/01/2024 -> 28/01/2027."""
    year, month = divmod(granted_on.year * 12 + granted_on.month - 1 + months, 12)
    anniversary = min(granted_on.day, calendar.monthrange(year, month + 1)[1])
    return date(year, month + 1, anniversary) - timedelta(days=1)


def points_fit(stars: int, score: float) -> bool:
    low, high = POINTS[stars]
    return low <= score < high or (stars == 5 and score == high)


def holds(recognition: Recognition, on: date) -> bool:
    """Whether it counts on that day: granted, not yet lapsed, not withdrawn."""
    return recognition.granted_on <= on <= recognition.expires_on and not (
        recognition.withdrawn_on and recognition.withdrawn_on <= on
    )


def holding(on: date) -> ColumnElement[bool]:
    """`holds`, as a condition in SQL."""
    return and_(
        Recognition.granted_on <= on,
        Recognition.expires_on >= on,
        or_(Recognition.withdrawn_on.is_(None), Recognition.withdrawn_on > on),
    )


def current(history: Iterable[Recognition], on: date) -> Recognition | None:
    """The one that is shown: of those that hold, the latest decision (it replaces the earlier ones)."""
    holding_ones = [recognition for recognition in history if holds(recognition, on)]
    return max(holding_ones, key=lambda r: (r.granted_on, r.id), default=None)


def renewal_due(recognition: Recognition, on: date) -> bool:
    """Whether it is time to apply again."""
    return holds(recognition, on) and recognition.expires_on - RENEWAL_OPENS <= on
