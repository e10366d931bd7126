"""Reminders of reports: whom they reach, when, and that each comes once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from commerce.accounts import sms
from commerce.accounts.errors import SmsUnavailable
from commerce.analytics import reminders, reports
from commerce.core.db import Sessions
from commerce.core.roles import Role
from commerce.core.settings import Settings
from tests import factories
from tests.live.scene import identity

DUE = date(2025, 9, 3)
MORNING = datetime(2025, 9, 3, 2, tzinfo=UTC)  # nine o'clock in Vietnam


class Phones:
    """A provider that remembers what it was given."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []
        self.away = False

    async def send(self, phone: str, text: str) -> None:
        if self.away:
            raise SmsUnavailable
        self.got.append((phone, text))


@pytest.fixture
def phones(monkeypatch: pytest.MonkeyPatch) -> Phones:
    made = Phones()
    monkeypatch.setattr(sms, "provider", lambda _: made)
    return made


@pytest.fixture
async def asked(sessions: Sessions) -> None:
    """Ea Knuếc's host and officer owe a report; a helper and another commune's host are there too."""
    async with sessions.begin() as db:
        await factories.person(db, Role.HOST, phone="0911111111")
        await factories.person(db, Role.OFFICER, phone="0922222222")
        await factories.person(db, Role.HELPER, phone="0933333333")
        province = await factories.person(db, Role.PROVINCE, phone="0944444444")
    await reports.ask_for(
        identity(province, (Role.PROVINCE, None)), "week", date(2025, 8, 24), date(2025, 8, 30), due_on=DUE
    )


async def test_who_writes_is_reminded_once_a_day_before_on_the_day_and_when_late(
    settings: Settings, sessions: Sessions, asked: None, phones: Phones
) -> None:
    said: dict[int, list[tuple[str, str]]] = {}
    for days in range(-4, 8):
        for hour in range(3):
            await reminders.remind(settings, now=MORNING + timedelta(days=days, hours=hour))
        said[days], phones.got = phones.got, []
    told = {days: sorted(phone for phone, _ in got) for days, got in said.items() if got}
    assert told == {days: ["0911111111", "0922222222"] for days in (-1, 0, 3)}
    assert "mai là hạn" in said[-1][0][1]
    assert "hôm nay là hạn" in said[0][0][1]
    assert "quá hạn" in said[3][0][1]
    assert f"{settings.public_url}/province/reports/" in said[0][0][1]
    async with sessions.read() as db:
        report = await db.scalar(text("SELECT id FROM report"))
        shown = await reminders.of_report(db, report)
    assert [(one.kind, one.people) for one in shown] == [("before", 2), ("due", 2), ("late", 2)]


async def test_nobody_is_reminded_of_what_was_handed_in_nor_at_night(
    settings: Settings, sessions: Sessions, asked: None, phones: Phones
) -> None:
    assert await reminders.remind(settings, now=MORNING - timedelta(hours=4)) == 0  # five in the morning
    async with sessions.begin() as db:
        await db.execute(text("UPDATE report SET state = 'submitted'"))
    assert await reminders.remind(settings, now=MORNING) == 0
    async with sessions.begin() as db:
        await db.execute(text("UPDATE report SET state = 'returned'"))
    assert await reminders.remind(settings, now=MORNING) == 2


async def test_a_message_that_could_not_be_sent_is_tried_again(
    settings: Settings, sessions: Sessions, asked: None, phones: Phones
) -> None:
    phones.away = True
    assert await reminders.remind(settings, now=MORNING) == 0
    phones.away = False
    assert await reminders.remind(settings, now=MORNING + timedelta(minutes=10)) == 2
    assert await reminders.remind(settings, now=MORNING + timedelta(minutes=20)) == 0


async def test_places_show_what_is_due(app: Any, client: Any, asked: None) -> None:
    from commerce.core.db import sessions

    async with sessions.begin() as db:
        officer = await factories.token(db, await factories.person(db, Role.OFFICER))
        other = await factories.token(db, await factories.person(db, Role.OFFICER, commune_code="24121"))
    for token, there in ((officer, True), (other, False)):
        page = await client.get("/province/reports/due", headers={"Authorization": f"Bearer {token}"})
        assert page.status_code == 200
        assert ("quá hạn nộp từ 03/09/2025" in page.text) is there
