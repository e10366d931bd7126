"""Reports in two levels: communes hand in, the province approves, returns with a remark, or combines.

A report fills itself from the rollups, and again whenever it is opened as a draft; the secretary adds words
and hands it in. What was handed in is kept as a version. Once approved the figures stay as they are: what is
counted differently afterwards (a parcel refused, money sent back) is shown beside them as a correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.models import Person
from commerce.analytics import measures, queries, recency
from commerce.analytics.measures import ALL, Measure, Value
from commerce.analytics.models import Report, ReportHistory, ReportState, ReportVersion
from commerce.analytics.queries import Filter
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Forbidden, Invalid, NotFound, WrongState
from commerce.core.i18n import N_, translate
from commerce.core.roles import Identity, Role
from commerce.core.states import StateTable
from commerce.core.text import clean

WRITERS = (Role.HOST, Role.OFFICER)
KINDS = ("week", "month", "campaign")
DUE_AFTER = timedelta(days=3)
WORDS = 10_000

_S = ReportState
STATES: StateTable[ReportState] = StateTable(
    Report,
    ReportHistory,
    {
        _S.DRAFT: frozenset({_S.SUBMITTED}),
        _S.SUBMITTED: frozenset({_S.APPROVED, _S.RETURNED}),
        _S.RETURNED: frozenset({_S.SUBMITTED}),
        _S.APPROVED: frozenset(),
    },
)
STATE_NAMES = {
    _S.DRAFT: N_("Đang viết"),
    _S.SUBMITTED: N_("Chờ tỉnh duyệt"),
    _S.RETURNED: N_("Tỉnh trả lại"),
    _S.APPROVED: N_("Đã duyệt"),
}
OPEN = (_S.DRAFT, _S.RETURNED)


@dataclass(frozen=True, slots=True)
class Listed:
    id: int
    commune_code: str | None
    commune: str
    title: str
    first: date
    last: date
    due_on: date
    state: ReportState
    version: int
    late: bool


@dataclass(frozen=True, slots=True)
class Step:
    before: str
    after: str
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Correction:
    measure: Measure
    reported: Value
    now: Value


@dataclass(frozen=True, slots=True)
class Version:
    """What was handed in, or combined, at one time."""

    number: int
    words: str
    by: str
    at: datetime
    changes: Sequence[tuple[Measure, Value, Value]]
    """(measure, in the version before, in this one) where they differ."""


@dataclass(frozen=True, slots=True)
class Opened:
    report: Report
    commune: str
    steps: Sequence[Step]
    versions: Sequence[Version]
    """Oldest first."""
    corrections: Sequence[Correction]
    """What is counted differently by now, of an approved report."""


# ---- reading


async def commune_names(db: AsyncSession) -> dict[str | None, str]:
    return {row.code: row.name for row in await db.execute(select(Commune.code, Commune.name))}


async def listed(
    db: AsyncSession,
    communes: frozenset[str] | None,
    *,
    states: Sequence[ReportState] = tuple(ReportState),
    most: int = 500,
) -> list[Listed]:
    """Newest period first; `communes` None: everybody's and the province's own."""
    query = (
        select(Report, Commune.name)
        .outerjoin(Commune, Commune.code == Report.commune_code)
        .order_by(Report.first.desc(), Report.last, Commune.sort_key)
        .limit(most)
    )
    query = query.where(Report.state.in_(states))
    if communes is not None:
        query = query.where(Report.commune_code.in_(communes))
    today = clock.today()
    return [_listed(report, name, today) for report, name in (await db.execute(query)).all()]


def _listed(report: Report, name: str | None, today: date) -> Listed:
    state = ReportState(report.state)
    return Listed(
        id=report.id,
        commune_code=report.commune_code,
        commune=name or translate(N_("Toàn tỉnh")),
        title=report.title,
        first=report.first,
        last=report.last,
        due_on=report.due_on,
        state=state,
        version=report.version,
        late=state in OPEN and report.due_on < today,
    )


async def opened(identity: Identity, report_id: int) -> Opened:
    """A report with its whole way; a draft is filled anew. Raises `NotFound`, `Forbidden`."""
    async with sessions.begin() as db:
        report = await _found(db, report_id)
        _may_read(identity, report)
        fresh = await _figures(db, report)
        if report.state in OPEN:
            report.figures = fresh
        name = await db.scalar(select(Commune.name).where(Commune.code == report.commune_code))
        steps = (
            await db.execute(
                select(ReportHistory, Person.name)
                .outerjoin(Person, Person.id == ReportHistory.by)
                .where(ReportHistory.subject_id == report.id)
                .order_by(ReportHistory.id)
            )
        ).all()
        kept = (
            await db.execute(
                select(ReportVersion, Person.name)
                .outerjoin(Person, Person.id == ReportVersion.by)
                .where(ReportVersion.report_id == report.id)
                .order_by(ReportVersion.version)
            )
        ).all()
    return Opened(
        report=report,
        commune=name or translate(N_("Toàn tỉnh")),
        steps=[Step(h.before, h.after, who or "", h.reason, h.at) for h, who in steps],
        versions=_versions([(row, who or "") for row, who in kept]),
        corrections=_corrections(report, fresh) if report.state == ReportState.APPROVED else [],
    )


def _versions(kept: Sequence[tuple[ReportVersion, str]]) -> list[Version]:
    made = []
    before: dict[str, Any] | None = None
    for row, who in kept:
        changes = _differences(before, row.figures) if before is not None else []
        made.append(Version(row.version, row.words, who, row.at, changes))
        before = row.figures
    return made


def _differences(then: dict[str, Any], now: dict[str, Any]) -> list[tuple[Measure, Value, Value]]:
    """(measure, then, now) of two reports' figures where they differ."""
    was, is_now = then["measures"], now["measures"]
    return [
        (measure, was.get(measure.key), is_now.get(measure.key))
        for measure in ALL
        if was.get(measure.key) != is_now.get(measure.key)
    ]


def _corrections(report: Report, fresh: dict[str, Any]) -> list[Correction]:
    return [Correction(*one) for one in _differences(report.figures, fresh)]


async def _found(db: AsyncSession, report_id: int, *, lock: bool = False) -> Report:
    query = select(Report).where(Report.id == report_id)
    report = await db.scalar(query.with_for_update() if lock else query)
    if report is None:
        raise NotFound
    return report


def _may_read(identity: Identity, report: Report) -> None:
    if identity.has(Role.PROVINCE, Role.ADMIN):
        return
    if report.commune_code is None or not identity.may(report.commune_code, *WRITERS, Role.HELPER):
        raise Forbidden


# ---- figures


async def _figures(db: AsyncSession, report: Report) -> dict[str, Any]:
    """The measures of its period and of the one before, and its sessions (of the province: its communes)."""
    length = (report.last - report.first).days + 1
    before = (report.first - timedelta(days=length), report.first - timedelta(days=1))
    if report.commune_code is None:
        return await _province_figures(db, report, before)
    only = Filter(communes=frozenset({report.commune_code}))
    now = await queries.period(db, report.first, report.last, only)
    then = await queries.period(db, *before, only)
    held = await queries.sessions_of(db, report.commune_code, report.first, report.last)
    return {
        "measures": measures.values(now[0].totals),
        "before": measures.values(then[0].totals),
        "sessions": [
            {
                "code": row.code,
                "title": row.title,
                "day": row.day.isoformat(),
                "measures": measures.values(queries.totals_of(row)),
            }
            for row in reversed(held)
        ],
    }


async def _province_figures(db: AsyncSession, report: Report, before: tuple[date, date]) -> dict[str, Any]:
    """Together with what each commune was approved with."""
    now = await queries.period(db, report.first, report.last)
    then = await queries.period(db, *before)
    people = await recency.people(db, report.first, report.last)
    people_then = await recency.people(db, *before)
    approved = await db.execute(
        select(Report.commune_code, Report.figures, Commune.name)
        .join(Commune, Commune.code == Report.commune_code)
        .where(Report.first == report.first, Report.last == report.last, Report.state == ReportState.APPROVED)
        .order_by(Commune.sort_key)
    )
    return {
        "measures": measures.values(queries.together(now, people)),
        "before": measures.values(queries.together(then, people_then)),
        "communes": [
            {"code": row.commune_code, "name": row.name, "measures": row.figures["measures"]}
            for row in approved
        ],
        "active": sum(1 for figures in now if figures.totals.sessions),
    }


# ---- use cases


async def ask_for(
    identity: Identity, kind: str, first: date, last: date, *, title: str = "", due_on: date | None = None
) -> int:
    """The province asks every commune for a report of these days; returns how many were new."""
    if not identity.has(Role.PROVINCE, Role.ADMIN):
        raise Forbidden
    faults = []
    if kind not in KINDS:
        faults.append(FieldError("kind", N_("Xin chọn tuần, tháng hoặc đợt.")))
    if not first <= last or (last - first).days > 400:
        faults.append(FieldError("first", N_("Ngày đầu phải trước ngày cuối, dài nhất 400 ngày.")))
    if due_on is not None and due_on < last:
        faults.append(FieldError("due_on", N_("Hạn nộp phải sau ngày cuối kỳ.")))
    if faults:
        raise Invalid(*faults)
    async with sessions.begin() as db:
        return await _open_drafts(db, kind, first, last, clean(title)[:200], due_on)


async def _open_drafts(
    db: AsyncSession, kind: str, first: date, last: date, title: str, due_on: date | None
) -> int:
    codes = (await db.scalars(select(Commune.code))).all()
    made = await db.execute(
        upsert(Report)
        .values(
            [
                {
                    "commune_code": code,
                    "kind": kind,
                    "title": title or _title(kind, first, last),
                    "first": first,
                    "last": last,
                    "due_on": due_on or last + DUE_AFTER,
                    "state": ReportState.DRAFT,
                    "figures": {"measures": {}, "before": {}, "sessions": []},
                }
                for code in codes
            ]
        )
        .on_conflict_do_nothing()
        .returning(Report.id)
    )
    return len(made.all())


def _title(kind: str, first: date, last: date) -> str:
    if kind == "month":
        return translate(N_("Báo cáo tháng {month}/{year}")).format(month=first.month, year=first.year)
    text = N_("Báo cáo tuần {first:%d/%m} – {last:%d/%m/%Y}")
    return translate(text if kind == "week" else N_("Báo cáo đợt {first:%d/%m} – {last:%d/%m/%Y}")).format(
        first=first, last=last
    )


async def open_regular(today: date | None = None) -> int:
    """Drafts of last week and last month, where they are not there yet. Returns how many were made."""
    today = today or clock.today()
    monday = today - timedelta(days=today.weekday() + 7)
    month_end = today.replace(day=1) - timedelta(days=1)
    async with sessions.begin() as db:
        if not (await db.scalars(select(Commune.code).limit(1))).first():
            return 0
        weeks = await _open_drafts(db, "week", monday, monday + timedelta(days=6), "", None)
        return weeks + await _open_drafts(db, "month", month_end.replace(day=1), month_end, "", None)


async def open_regular_job() -> None:
    await open_regular()


async def write(identity: Identity, report_id: int, words: str) -> None:
    """The secretary's words; only while the report is the commune's. Raises `WrongState`."""
    async with sessions.begin() as db:
        report = await _found(db, report_id, lock=True)
        _must_write(identity, report)
        if report.state not in OPEN:
            raise WrongState(state=report.state, wanted=ReportState.DRAFT.value)
        report.words = _words(words)


async def submit(identity: Identity, report_id: int, words: str) -> None:
    """Hand in with the figures of this moment; kept as a version. Raises `WrongState`."""
    async with sessions.begin() as db:
        report = await _found(db, report_id, lock=True)
        _must_write(identity, report)
        again = report.state == ReportState.RETURNED
        figures = await _figures(db, report)
        version = report.version + 1 if again else report.version
        text = _words(words)
        await STATES.transition(
            db,
            report.id,
            ReportState(report.state),
            ReportState.SUBMITTED,
            by=identity.person_id,
            figures=figures,
            version=version,
            words=text,
        )
        await db.execute(
            insert(ReportVersion).values(
                report_id=report.id, version=version, words=text, figures=figures, by=identity.person_id
            )
        )


async def approve(identity: Identity, report_id: int) -> None:
    """From here on the figures are frozen."""
    await _decide(identity, report_id, ReportState.APPROVED, "")


async def send_back(identity: Identity, report_id: int, remark: str) -> None:
    remark = clean(remark)
    if not 3 <= len(remark) <= 2000:
        raise Invalid(FieldError("remark", N_("Xin ghi cần sửa gì, từ 3 đến 2000 ký tự.")))
    await _decide(identity, report_id, ReportState.RETURNED, remark)


async def _decide(identity: Identity, report_id: int, after: ReportState, reason: str) -> None:
    if not identity.has(Role.PROVINCE, Role.ADMIN):
        raise Forbidden
    async with sessions.begin() as db:
        report = await _found(db, report_id, lock=True)
        before = ReportState(report.state)
        await STATES.transition(db, report.id, before, after, by=identity.person_id, reason=reason)


async def combine(identity: Identity, first: date, last: date, words: str = "") -> int:
    """The province's report of the same days, approved at once; made again it becomes a new version."""
    if not identity.has(Role.PROVINCE, Role.ADMIN):
        raise Forbidden
    async with sessions.begin() as db:
        found = await db.scalar(
            select(Report)
            .where(Report.commune_code.is_(None), Report.first == first, Report.last == last)
            .with_for_update()
        )
        report = found or Report(
            commune_code=None,
            kind="campaign",
            title=_title("campaign", first, last),
            first=first,
            last=last,
            due_on=last + DUE_AFTER,
            state=ReportState.APPROVED,
            version=0,
            figures={},
        )
        report.figures = await _figures(db, report)
        if not report.figures["communes"]:
            raise Invalid(FieldError("first", N_("Chưa có báo cáo xã nào của kỳ này được duyệt.")))
        report.words, report.version = _words(words), report.version + 1
        db.add(report)
        await db.flush()
        await db.execute(
            insert(ReportVersion).values(
                report_id=report.id,
                version=report.version,
                words=report.words,
                figures=report.figures,
                by=identity.person_id,
            )
        )
    return report.id


def _must_write(identity: Identity, report: Report) -> None:
    if report.commune_code is None or not identity.may(report.commune_code, *WRITERS):
        raise Forbidden


def _words(text: str) -> str:
    words = clean(text)
    if len(words) > WORDS:
        raise Invalid(FieldError("words", N_("Lời viết dài nhất {most} ký tự."), {"most": WORDS}))
    return words
