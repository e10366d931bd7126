"""Calendar files that phones take: RFC 5545 by a reader of our own, strict where phones are."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx

from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.roles import Role
from tests import factories

TITLE = "Phiên sầu riêng, cà phê; hồ tiêu\\tươi của bà con buôn Ea Knuếc: cắt trong ngày, gửi đi trong ngày"


@dataclass
class Part:
    name: str
    values: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)


def read(body: bytes) -> Part:
    """The whole file; fails on anything RFC 5545 forbids."""
    assert body.endswith(b"\r\n")
    lines = body[:-2].split(b"\r\n")
    assert all(b"\r" not in line and b"\n" not in line for line in lines)
    assert max(map(len, lines)) <= 75
    whole = body[:-2].replace(b"\r\n ", b"").decode().split("\r\n")
    root = Part("")
    open_parts = [root]
    for line in whole:
        name, colon, value = line.partition(":")
        assert colon
        if name == "BEGIN":
            open_parts[-1].parts.append(Part(value))
            open_parts.append(open_parts[-1].parts[-1])
        elif name == "END":
            assert open_parts.pop().name == value
        else:
            assert name not in open_parts[-1].values
            open_parts[-1].values[name] = value
    assert open_parts == [root]
    [calendar] = root.parts
    assert calendar.name == "VCALENDAR"
    assert calendar.values["VERSION"] == "2.0"
    assert calendar.values["PRODID"]
    return calendar


def plain(text: str) -> str:
    """An escaped text as it was."""
    kept = text.replace("\\\\", "\0")
    assert ";" not in kept.replace("\\;", "")
    assert "," not in kept.replace("\\,", "")
    return kept.replace("\\;", ";").replace("\\,", ",").replace("\\n", "\n").replace("\0", "\\")


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


async def test_a_session_as_an_event_with_an_alarm(client: httpx.AsyncClient, sessions: Sessions) -> None:
    starts = (clock.now() + timedelta(days=1)).replace(microsecond=0)
    async with sessions.begin() as db:
        host = await factories.person(db, Role.HOST)
        await factories.live_session(
            db, host, {}, code="PHIEN", state="scheduled", starts_at=starts, title=TITLE
        )
        await factories.live_session(db, host, {}, code="XONG", state="ended")
    answer = await client.get("/live/phien/calendar.ics")
    assert answer.headers["content-type"].startswith("text/calendar")
    [event] = read(answer.content).parts
    assert event.name == "VEVENT"
    assert moment(event.values["DTSTART"]) == starts
    assert moment(event.values["DTEND"]) > starts
    assert plain(event.values["SUMMARY"]) == f"{TITLE} · Xã Ea Knuếc"
    assert event.values["URL"].endswith("/live/PHIEN?s=calendar")
    [alarm] = event.parts
    assert alarm.values["TRIGGER"] == "-PT15M"
    uid = event.values["UID"]

    channel = await client.get("/c/ea-knuec/calendar.ics")
    [same] = read(channel.content).parts
    assert same.values["UID"] == uid


async def test_a_cancelled_session_says_so_in_the_calendar(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    async with sessions.begin() as db:
        host = await factories.person(db, Role.HOST)
        await factories.live_session(db, host, {}, code="HOAN", state="cancelled")
        await factories.live_session(db, host, {}, code="THU", state="scheduled", rehearsal=True)
    [event] = read((await client.get("/live/HOAN/calendar.ics")).content).parts
    assert event.values["STATUS"] == "CANCELLED"
    assert not event.parts
    assert (await client.get("/live/THU/calendar.ics")).status_code == 404
