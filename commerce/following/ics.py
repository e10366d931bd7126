"""Sessions as a calendar file (RFC 5545): reminds phones without push, and those who refuse it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from commerce.core import clock
from commerce.core.i18n import N_, translate
from commerce.core.settings import Settings
from commerce.live.models import LiveState
from commerce.live.queries import Session

LASTS = timedelta(hours=1)  # shown in the calendar; nobody knows how long a session will really be
ALARM = "-PT15M"
LINE_MOST = 75  # bytes, without the line break


def calendar(settings: Settings, name: str, sessions: Iterable[Session]) -> bytes:
    """A whole file. Subscribed to, it stays true: the same session keeps its UID, a cancelled one says so."""
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Cho Phien//Lich phien//VI",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        f"X-WR-CALNAME:{_text(name)}",
    ]
    for session in sessions:
        lines += _event(settings, session)
    lines.append("END:VCALENDAR")
    return b"".join(_folded(line) for line in lines)


def _event(settings: Settings, session: Session) -> list[str]:
    address = f"{settings.public_url}/live/{session.code}?s=calendar"
    cancelled = session.state == LiveState.CANCELLED
    words = translate(N_("Xem và đặt hàng tại {address}")).format(address=address)
    host = settings.public_url.split("://")[-1]
    lines = [
        "BEGIN:VEVENT",
        f"UID:{session.code}@{host}",
        f"DTSTAMP:{_moment(clock.now())}",
        f"DTSTART:{_moment(session.starts_at)}",
        f"DTEND:{_moment(session.starts_at + LASTS)}",
        f"SUMMARY:{_text(session.title)} · {_text(session.commune.name)}",
        f"DESCRIPTION:{_text(words)}",
        f"URL:{address}",
        f"LOCATION:{_text(session.commune.name)}",
        f"STATUS:{'CANCELLED' if cancelled else 'CONFIRMED'}",
    ]
    if not cancelled:
        lines += [
            "BEGIN:VALARM",
            "ACTION:DISPLAY",
            f"DESCRIPTION:{_text(session.title)}",
            f"TRIGGER:{ALARM}",
            "END:VALARM",
        ]
    return [*lines, "END:VEVENT"]


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _text(text: str) -> str:
    """Line breaks, commas and semicolons mean something in the format."""
    plain = text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    return "\\n".join(plain.splitlines())


def _folded(line: str) -> bytes:
    """At most 75 bytes a line, continued after a space, never within a letter."""
    pieces, rest = [], line
    most = LINE_MOST
    while len(rest.encode()) > most:
        cut = most
        while len(rest[:cut].encode()) > most:
            cut -= 1
        pieces.append(rest[:cut])
        rest, most = rest[cut:], LINE_MOST - 1
    return ("\r\n ".join([*pieces, rest]) + "\r\n").encode()
