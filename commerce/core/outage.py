"""Telling an engine that is away for a moment from a fault of ours."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# By name: whoever asks need not have imported every engine's client.
_NAMES = frozenset(
    {
        "AdminShutdownError",
        "BusAway",
        "CannotConnectNowError",
        "ConnectionDoesNotExistError",
        "StorageUnavailable",
        "TimeoutError",
    }
)


def is_outage(error: BaseException) -> bool:
    """An engine that is away for a moment: answered 503, never 500."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout | ConnectionError):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or "shutting down" in str(error) or "starting up" in str(error)
    return type(error).__name__ in _NAMES
