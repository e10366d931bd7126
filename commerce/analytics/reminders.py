"""Reminders of reports: the day before the deadline, on its day, and three days after, each once a person.

A reminder is written down before its message is sent, so that no crash sends it twice; one whose message
could not be handed to the network is tried again for a day. Without a provider of messages the places of the
commune still show what is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts import sms
from commerce.accounts.errors import SmsUnavailable
from commerce.accounts.models import Person
from commerce.analytics import reports
from commerce.analytics.models import Report, ReportReminder
from commerce.analytics.reports import Listed
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.i18n import N_, translate
from commerce.core.settings import Settings

WHEN = {"before": timedelta(days=-1), "due": timedelta(0), "late": timedelta(days=3)}
"""From the deadline."""
HOURS = range(7, 21)  # in Vietnam: nobody is woken for a report
TRIED_FOR = timedelta(days=1)
SOON = timedelta(days=2)
"""How long before the deadline places begin to show it."""
_WORDS = {
    "before": N_("Chợ Phiên: mai là hạn nộp “{title}” của {commune}. Xem và nộp: {link}"),
    "due": N_("Chợ Phiên: hôm nay là hạn nộp “{title}” của {commune}. Xem và nộp: {link}"),
    "late": N_("Chợ Phiên: “{title}” của {commune} đã quá hạn nộp 3 ngày. Xem và nộp: {link}"),
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reminded:
    kind: str
    people: int
    at: datetime


_WRITE = text("""
    INSERT INTO report_reminder (report_id, person_id, kind, at)
    SELECT r.id, p.id, :kind, :now
    FROM report r JOIN role_grant g ON g.commune_code = r.commune_code AND g.role = ANY(:roles)
    JOIN person p ON p.id = g.person_id
    WHERE r.state = ANY(:open) AND r.due_on + CAST(:after AS int) = CAST(:today AS date)
    GROUP BY r.id, p.id ON CONFLICT DO NOTHING
""")


async def remind(settings: Settings, *, now: datetime | None = None) -> int:
    """Write and send what is due; returns how many messages went out. A job, every few minutes."""
    now = now or clock.now()
    if clock.local(now).hour not in HOURS:
        return 0
    values = {
        "now": now,
        "today": clock.local(now).date(),
        "open": [state.value for state in reports.OPEN],
        "roles": [role.value for role in reports.WRITERS],
    }
    async with sessions.begin() as db:
        for kind, after in WHEN.items():
            await db.execute(_WRITE, values | {"kind": kind, "after": after.days})
    return await _send(settings, now)


async def _send(settings: Settings, now: datetime) -> int:
    by = sms.provider(settings)
    sent = 0
    async with sessions.read() as db:
        waiting = (
            await db.execute(
                select(ReportReminder, Report, Person.phone)
                .join(Report, Report.id == ReportReminder.report_id)
                .join(Person, Person.id == ReportReminder.person_id)
                .where(
                    ReportReminder.sent_at.is_(None),
                    ReportReminder.at > now - TRIED_FOR,
                    Report.state.in_(reports.OPEN),
                )
                .order_by(ReportReminder.id)
                .limit(200)
            )
        ).all()
        names = await reports.commune_names(db)
    for reminder, report, phone in waiting:
        words = translate(_WORDS[reminder.kind], "vi").format(
            title=report.title,
            commune=names.get(report.commune_code, ""),
            link=f"{settings.public_url}/province/reports/{report.id}",
        )
        if not await _claim(reminder.id, now):
            continue
        try:
            await by.send(phone, words)
            sent += 1
        except SmsUnavailable:
            await _release(reminder.id)
            break  # the network is away, or there is none: the rest would fare no better
    return sent


async def _claim(reminder_id: int, now: datetime) -> bool:
    async with sessions.begin() as db:
        mine = update(ReportReminder).where(
            ReportReminder.id == reminder_id, ReportReminder.sent_at.is_(None)
        )
        return bool((await db.scalars(mine.values(sent_at=now).returning(ReportReminder.id))).all())


async def _release(reminder_id: int) -> None:
    async with sessions.begin() as db:
        await db.execute(update(ReportReminder).where(ReportReminder.id == reminder_id).values(sent_at=None))


# ---- what screens show


async def of_report(db: AsyncSession, report_id: int) -> list[Reminded]:
    """Who was reminded when, the oldest first."""
    rows = await db.execute(
        select(ReportReminder.kind, func.count(), func.min(ReportReminder.at))
        .where(ReportReminder.report_id == report_id)
        .group_by(ReportReminder.kind)
        .order_by(func.min(ReportReminder.at))
    )
    return [Reminded(*row) for row in rows]


async def due(db: AsyncSession, communes: frozenset[str], today: date) -> Sequence[Listed]:
    """Reports that these communes should hand in now, the most urgent first."""
    found = await reports.listed(db, communes, states=reports.OPEN)
    return sorted((one for one in found if one.due_on <= today + SOON), key=lambda one: one.due_on)
