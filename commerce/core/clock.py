"""Time: stored in UTC, shown in Vietnam's."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

VIETNAM = ZoneInfo("Asia/Ho_Chi_Minh")


def now() -> datetime:
    """This moment, with its zone (UTC)."""
    return datetime.now(UTC)


def local(moment: datetime) -> datetime:
    """The same moment on a wall clock in Vietnam."""
    return moment.astimezone(VIETNAM)


def today() -> date:
    """The calendar day in Vietnam, which is what harvest windows and expiry dates mean."""
    return local(now()).date()


def unix_ms(moment: datetime | None = None) -> int:
    return int((moment or now()).timestamp() * 1000)
