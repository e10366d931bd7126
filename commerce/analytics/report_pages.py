"""Reports on screen: the list, one report with its whole way, and its files."""

from __future__ import annotations

import asyncio
from datetime import date

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody

from commerce.analytics import papers, periods, reminders, reports, service
from commerce.analytics.figures import change, show
from commerce.analytics.measures import ALL, BY_KEY
from commerce.analytics.models import ReportState
from commerce.core import clock, tables
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid, NotFound
from commerce.core.i18n import N_, translate
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access, page, redirect

readers = access.roles(*service.READERS)
writers = access.roles(*reports.WRITERS)
province = access.roles(Role.PROVINCE)

KIND_NAMES = {"week": N_("Tuần"), "month": N_("Tháng"), "campaign": N_("Đợt")}

REMINDER_NAMES = {
    "before": N_("nhắc trước hạn một ngày"),
    "due": N_("nhắc đúng ngày hạn"),
    "late": N_("nhắc vì quá hạn ba ngày"),
}


class Ask(msgspec.Struct):
    kind: str = ""
    first: str = ""
    last: str = ""
    title: str = ""
    due_on: str = ""


class Words(msgspec.Struct):
    words: str = ""
    send: str = ""
    """Any text: hand in; empty: only keep the words."""


class Decision(msgspec.Struct):
    verdict: str = ""
    remark: str = ""


@get("/province/reports", opt=readers)
async def index(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """Everybody's for the province, their own for the people of a commune."""
    async with sessions.read() as db:
        found = await reports.listed(db, service.readable(identity))
    return page(
        request,
        "province/reports.html",
        area=service.area(identity),
        reports=found,
        states=reports.STATE_NAMES,
        counts={state: sum(one.state is state for one in found) for state in ReportState},
        late=[one for one in found if one.late],
        may_ask=identity.has(Role.PROVINCE, Role.ADMIN),
        kinds={key: translate(name) for key, name in KIND_NAMES.items()},
        last_week=periods.last_days(7),
    )


@get("/province/reports/due", opt=readers)
async def due(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """Fragment for the places of a commune: what should be handed in now."""
    own = frozenset(code for code in identity.communes(*reports.WRITERS) if code is not None)
    async with sessions.read() as db:
        found = await reminders.due(db, own, clock.today()) if own else []
    return page(request, "province/due.html", reports=found, today=clock.today())


@post("/province/reports", opt=province)
async def ask(identity: NamedDependency[Identity], data: URLEncodedBody[Ask]) -> Response[str]:
    first, last = _day(data.first, "first"), _day(data.last, "last")
    due_on = _day(data.due_on, "due_on") if data.due_on else None
    await reports.ask_for(identity, data.kind, first, last, title=data.title, due_on=due_on)
    return redirect("/province/reports")


@post("/province/reports/combine", opt=province)
async def combine(identity: NamedDependency[Identity], data: URLEncodedBody[Ask]) -> Response[str]:
    made = await reports.combine(identity, _day(data.first, "first"), _day(data.last, "last"), data.title)
    return redirect(f"/province/reports/{made}")


def _day(text: str, field: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError as error:
        raise Invalid(FieldError(field, N_("Ngày viết theo mẫu 2025-08-24."))) from error


@get("/province/reports/{number:int}", opt=readers)
async def one(
    request: AnyRequest, identity: NamedDependency[Identity], number: FromPath[int]
) -> Response[str]:
    opened = await reports.opened(identity, number)
    report = opened.report
    async with sessions.read() as db:
        reminded = await reminders.of_report(db, number)
    own = report.commune_code is not None and identity.may(report.commune_code, *reports.WRITERS)
    now, before = report.figures["measures"], report.figures["before"]
    return page(
        request,
        "province/report.html",
        area=service.area(identity),
        opened=opened,
        report=report,
        state=ReportState(report.state),
        states=reports.STATE_NAMES,
        may_write=own and report.state in reports.OPEN,
        may_decide=identity.has(Role.PROVINCE, Role.ADMIN) and report.state == ReportState.SUBMITTED,
        rows=[
            (
                measure,
                show(measure.unit, now.get(measure.key)),
                show(measure.unit, before.get(measure.key)),
                change(now.get(measure.key), before.get(measure.key)),
            )
            for measure in ALL
        ],
        parts=report.figures.get("sessions") or report.figures.get("communes") or [],
        part_measures=[BY_KEY[key] for key in papers.ROW_KEYS],
        corrections=[
            (c.measure, show(c.measure.unit, c.reported), show(c.measure.unit, c.now))
            for c in opened.corrections
        ],
        show=show,
        reminded=reminded,
        reminder_names={key: translate(name) for key, name in REMINDER_NAMES.items()},
    )


@post("/province/reports/{number:int}/words", opt=writers)
async def write(
    identity: NamedDependency[Identity], number: FromPath[int], data: URLEncodedBody[Words]
) -> Response[str]:
    """Keep the words, or hand the report in."""
    act = reports.submit if data.send else reports.write
    await act(identity, number, data.words)
    return redirect(f"/province/reports/{number}")


@post("/province/reports/{number:int}/decision", opt=province)
async def decide(
    identity: NamedDependency[Identity], number: FromPath[int], data: URLEncodedBody[Decision]
) -> Response[str]:
    if data.verdict == "approve":
        await reports.approve(identity, number)
    else:
        await reports.send_back(identity, number, data.remark)
    return redirect(f"/province/reports/{number}")


@get("/province/reports/{number:int}/{name:str}", opt=readers)
async def paper(
    identity: NamedDependency[Identity],
    settings: NamedDependency[Settings],
    number: FromPath[int],
    name: FromPath[str],
) -> Response[bytes]:
    """`bao-cao.pdf` or `bao-cao.xlsx`."""
    opened = await reports.opened(identity, number)
    if name == "bao-cao.pdf":
        body = await asyncio.to_thread(papers.as_pdf, opened, demo=settings.demo)
        kind = tables.PDF
    elif name == "bao-cao.xlsx":
        body, kind = await asyncio.to_thread(papers.as_workbook, opened), tables.XLSX
    else:
        raise NotFound
    ending = name.rpartition(".")[2]
    place = opened.report.commune_code or "toan-tinh"
    file = f"bao-cao-{place}-{opened.report.first}-{opened.report.last}-b{opened.report.version}.{ending}"
    return tables.attachment(body, file, kind, shown=True)


ROUTES = [index, due, ask, combine, one, write, decide, paper]
