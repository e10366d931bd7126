"""How long answers may take. Working days are Monday to Friday, as offices count them."""

from __future__ import annotations

from datetime import datetime, timedelta

ANSWER_DAYS = 2  # working days until somebody has to say something; printed in every order's summary
SETTLE_DAYS = 7  # working days from then until it has to be settled
SATURDAY = 5


def working_days_later(moment: datetime, days: int) -> datetime:
    """The same hour, so many working days on; from a week-end, counted from its end."""
    while days > 0:
        moment += timedelta(days=1)
        if moment.weekday() < SATURDAY:
            days -= 1
    return moment
