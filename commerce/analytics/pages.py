"""The province's screens: all communes at once, some side by side, one commune, one session, the rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath, MultipartBody, QueryParameter, URLEncodedBody

from commerce.analytics import (
    exports,
    outlook_pages,
    outside,
    periods,
    pictures,
    queries,
    recency,
    report_pages,
    residents_pages,
    service,
    signals,
    store_pages,
    table_pages,
)
from commerce.analytics.figures import NONE, Figure, change, figures, show
from commerce.analytics.measures import ALL, BY_KEY, CURVE_S, Measure, Totals, Unit
from commerce.analytics.periods import Period
from commerce.analytics.queries import CommuneFigures, Filter, SessionFigures
from commerce.analytics.signals import Colour, Kind, Rule
from commerce.core import clock, tables
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Forbidden, Invalid, NotFound
from commerce.core.i18n import N_, translate
from commerce.core.roles import Identity, Role
from commerce.core.storage import Storage
from commerce.core.text import clean
from commerce.core.web import AnyRequest, access, page, redirect

province = access.roles(Role.PROVINCE)
readers = access.roles(*service.READERS)
reporters = access.roles(*outside.REPORTERS)

SUMMARY = ("sessions", "views", "unique_viewers", "reach", "orders", "gmv", "net_sales", "cvr")
COLUMNS = (
    *("sessions", "views", "unique_viewers", "average_watch_time", "orders", "gmv", "net_sales"),
    *("ctr", "cvr", "gpm"),
)
SESSION_COLUMNS = ("views", "unique_viewers", "pcu", "average_watch_time", "orders", "gmv", "cvr")
COMPARED = (
    *("views", "effective_views", "unique_viewers", "pcu", "acu", "average_watch_time", "ctr", "ctor", "cvr"),
    *("orders", "gmv", "gpm"),
)
PEOPLE = ("unique_viewers", "reach", "buyers", "cvr")
"""Of people, who are not counted when sessions are picked by goods: a dash, never 0."""
SPARK_WEEKS = 12
ROWS = 100  # raw rows a page
WEEKDAYS = (N_("T2"), N_("T3"), N_("T4"), N_("T5"), N_("T6"), N_("T7"), N_("CN"))

INDUSTRIES = {
    "food": N_("Thực phẩm"),
    "drink": N_("Đồ uống"),
    "medicinal": N_("Dược liệu"),
    "handicraft": N_("Thủ công"),
    "ornamental": N_("Sinh vật cảnh"),
    "tourism": N_("Du lịch"),
}

From = Annotated[str, QueryParameter(name="from")]
To = Annotated[str, QueryParameter(name="to")]
Word = Annotated[str, QueryParameter()]


# ---- the whole province


@dataclass(frozen=True, slots=True)
class Line:
    """One commune in the table, on the map and among the tiles."""

    figures: CommuneFigures
    signal: signals.Signal
    cells: dict[str, str]
    spark: str
    weeks: Sequence[int]
    """Views of each of the last 12 weeks, which the sparkline draws."""
    change: str
    per_1000: str
    """Views for 1,000 residents."""


@get("/province", opt=province)
async def home(
    request: AnyRequest,
    first: From = "",
    last: To = "",
    kind: Word = "",
    area: Word = "",
    industry: Word = "",
    product: Word = "",
    sort: Word = "signal",
    colour: Word = "",
) -> Response[str]:
    """All communes of a period: the map, the tiles, the table, and what is on air now."""
    chosen = periods.parse(first, last)
    wanted = _filter(kind, area, industry, product)
    today = clock.today()
    async with sessions.read() as db:
        people = await recency.people(db, chosen.first, chosen.last)
        now = await queries.period(db, chosen.first, chosen.last, wanted, people=people)
        earlier = chosen.before()
        before = await queries.period(db, earlier.first, earlier.last, wanted)
        rules = await signals.current_rules(db)
        weeks = await queries.weekly(db, _monday(chosen.last) - timedelta(weeks=SPARK_WEEKS - 1), chosen.last)
        drawn = await pictures.province_map(db)
    judged = signals.judge_all(now, before, rules, chosen, today)
    everyone = not (kind or area or wanted.by_goods)
    lines = [
        _line(figures, judged[figures.code], _totals(before, figures.code), weeks, chosen) for figures in now
    ]
    shown = [line for line in lines if not colour or line.signal.colour.css == colour]
    active = [figures.totals for figures in now if figures.totals.sessions]
    middle = queries.medians(active)
    if wanted.by_goods:
        middle |= dict.fromkeys(PEOPLE)
        for line in lines:
            line.cells.update((key, NONE) for key in PEOPLE if key in line.cells)
    return page(
        request,
        "province/home.html",
        period=chosen,
        quick=_quick(today),
        summary=_summary(now, before, people if everyone else None),
        counts={c: sum(line.signal.colour is c for line in lines) for c in Colour},
        lines=_sorted(shown, sort),
        by_code={line.figures.code: line for line in lines},
        columns=[BY_KEY[key] for key in COLUMNS],
        medians={key: show(BY_KEY[key].unit, middle[key], short=True) for key in COLUMNS},
        map=drawn,
        live=await _live(request),
        sort=sort,
        wanted={
            "kind": kind,
            "area": area,
            "industry": wanted.industry,
            "product": wanted.product,
            "colour": colour,
        },
        areas=sorted({figures.former_province for figures in now} | ({area} if area else set())),
        industries={key: translate(name) for key, name in INDUSTRIES.items()},
        with_residents=any(figures.residents for figures in now),
    )


def _filter(kind: str, area: str, industry: str, product: str) -> Filter:
    known = industry if industry in INDUSTRIES else ""
    return Filter(kind=kind, former_province=area, industry=known, product=clean(product)[:80])


def _line(
    figures: CommuneFigures, signal: signals.Signal, before: Totals, weeks: Any, period: Period
) -> Line:
    cells = {key: show(BY_KEY[key].unit, BY_KEY[key].of(figures.totals), short=True) for key in COLUMNS}
    monday = _monday(period.last)
    series = [
        row.views if (row := weeks.get((figures.code, monday - timedelta(weeks=n)))) else 0
        for n in reversed(range(SPARK_WEEKS))
    ]
    per = figures.totals.views * 1000 / figures.residents if figures.residents else None
    return Line(
        figures=figures,
        signal=signal,
        cells=cells,
        spark=pictures.sparkline(series) if any(series) else "",
        weeks=series,
        change=change(figures.totals.views, before.views),
        per_1000=show(Unit.PEOPLE, per),
    )


def _summary(
    now: Sequence[CommuneFigures], before: Sequence[CommuneFigures], people: Any
) -> list[tuple[Figure, str]]:
    """The province as one, each figure with its change."""
    total, was = queries.together(now, people), queries.together(before)
    keys = [key for key in SUMMARY if people is not None or key not in ("unique_viewers", "reach", "cvr")]
    people_keys = ("unique_viewers", "reach", "cvr")
    return [
        (
            Figure.of(BY_KEY[key], total),
            "" if key in people_keys else change(BY_KEY[key].of(total), BY_KEY[key].of(was)),
        )
        for key in keys
    ]


def _totals(communes: Sequence[CommuneFigures], code: str) -> Totals:
    return next((figures.totals for figures in communes if figures.code == code), Totals())


def _sorted(lines: list[Line], sort: str) -> list[Line]:
    """By a measure, largest first (`-views`: smallest first), by name, or by need."""
    if sort == "name":
        return sorted(lines, key=lambda line: line.figures.sort_key)
    measure = BY_KEY.get(sort.removeprefix("-"))
    if measure is None:
        return sorted(lines, key=lambda line: (-line.signal.colour, line.figures.sort_key))
    rising = sort.startswith("-")

    def key(line: Line) -> tuple[bool, float]:
        value = measure.of(line.figures.totals)
        return value is None, (value or 0) if rising else -(value or 0)

    return sorted(lines, key=key)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _quick(today: date) -> list[tuple[str, Period]]:
    names = {7: N_("7 ngày"), 28: N_("28 ngày"), 91: N_("3 tháng"), 364: N_("1 năm")}
    return [(translate(name), periods.last_days(days, today)) for days, name in names.items()]


async def _live(request: AnyRequest) -> list[dict[str, Any]]:
    """Sessions on air, with the viewers that the gateways count now."""
    async with sessions.read() as db:
        rows = await queries.live_now(db)
    viewers: dict[str, int | None] = {}
    if rows:
        try:
            viewers = await request.app.state.bus.viewers([row.code for row in rows])
        except Exception:  # the wire may be away; orders and money come from the database
            viewers = {}
    return [
        {
            "code": row.code,
            "title": row.title,
            "commune": row.commune,
            "started_at": row.started_at,
            "viewers": viewers.get(row.code),
            "orders": row.orders,
            "gmv": show(Unit.VND, row.gmv, short=True),
        }
        for row in rows
    ]


@get("/province/live", opt=province)
async def live(request: AnyRequest) -> Response[str]:
    """The fragment that the page asks for every few seconds."""
    return page(request, "province/live.html", live=await _live(request))


# ---- files


@get("/province/{name:str}", opt=province)
async def export(
    request: AnyRequest,
    name: FromPath[str],
    first: From = "",
    last: To = "",
    kind: Word = "",
    area: Word = "",
    industry: Word = "",
    product: Word = "",
) -> Response[bytes]:
    """`export` (communes), `sessions` or `PTNT_OCOP`, as .csv or .xlsx."""
    what, _, ending = name.partition(".")
    if what not in ("export", "sessions", "PTNT_OCOP") or ending not in ("csv", "xlsx"):
        raise NotFound
    chosen = periods.parse(first, last)
    wanted = _filter(kind, area, industry, product)
    async with sessions.read() as db:
        if what == "sessions":
            table = await exports.sessions(db, chosen.first, chosen.last)
        elif what == "PTNT_OCOP":
            table = await exports.ptnt_ocop(db, chosen.last.year, clock.today())
        else:
            table = await _communes_table(db, chosen, wanted)
    return await tables.file([table], ending, f"{table.name}-{chosen.first}-{chosen.last}")


async def _communes_table(db: Any, chosen: Period, wanted: Filter) -> tables.Table:
    now = await queries.period(db, chosen.first, chosen.last, wanted)
    earlier = chosen.before()
    before = await queries.period(db, earlier.first, earlier.last, wanted)
    judged = signals.judge_all(now, before, await signals.current_rules(db), chosen, clock.today())
    colours = {code: (signal.colour.word, signal.words) for code, signal in judged.items()}
    return exports.communes(now, colours, without=PEOPLE if wanted.by_goods else ())


# ---- some side by side


@get("/province/compare", opt=province)
async def compare(
    request: AnyRequest,
    c: Annotated[list[str] | None, QueryParameter()] = None,
    first: From = "",
    last: To = "",
) -> Response[str]:
    """Two to five communes."""
    chosen = periods.parse(first, last)
    codes = list(dict.fromkeys(c or ()))
    async with sessions.read() as db:
        found = await queries.period(db, chosen.first, chosen.last)
        weeks = await queries.weekly(db, chosen.first, chosen.last)
    by_code = {figures.code: figures for figures in found}
    picked = [by_code[code] for code in codes if code in by_code]
    if not 2 <= len(picked) <= 5:
        raise Invalid(FieldError("c", N_("Xin chọn từ hai đến năm xã, phường để so sánh.")))
    middle = queries.medians([figures.totals for figures in found if figures.totals.sessions])
    mondays = [
        _monday(chosen.first) + timedelta(weeks=n)
        for n in range((_monday(chosen.last) - _monday(chosen.first)).days // 7 + 1)
    ]
    return page(
        request,
        "province/compare.html",
        period=chosen,
        picked=picked,
        rows=[_compared(measure, picked, middle[measure.key]) for measure in ALL],
        fair=_fair(picked, [figures for figures in found if figures.totals.sessions]),
        series=_multiples(picked, weeks, mondays),
        mondays=mondays,
    )


def _fair(picked: Sequence[CommuneFigures], active: Sequence[CommuneFigures]) -> list[dict[str, Any]]:
    """What compares large with small: for each session, and for 1,000 residents where they are known."""
    rows = [_per(picked, active, key, "session") for key in FAIR]
    if any(one.residents for one in picked):
        rows += [_per(picked, active, key, "residents") for key in FAIR]
    return rows


FAIR = ("views", "orders", "gmv")
FAIR_NAMES = {"session": N_("{measure} mỗi phiên"), "residents": N_("{measure} trên 1.000 dân")}


def _per(
    picked: Sequence[CommuneFigures], active: Sequence[CommuneFigures], key: str, divisor: str
) -> dict[str, Any]:
    measure = BY_KEY[key]

    def value(one: CommuneFigures) -> float | None:
        by = one.totals.sessions if divisor == "session" else (one.residents or 0) / 1000
        counted = measure.of(one.totals)
        return counted / by if by and counted is not None else None

    def words(found: float | None) -> str:
        return show(Unit.VND if measure.unit is Unit.VND else Unit.PEOPLE, found, short=True)

    values = [value(one) for one in picked]
    known = [one for one in values if one is not None]
    best = max(known) if len(set(known)) > 1 else None
    everybody = [found for one in active if (found := value(one)) is not None]
    return {
        "name": translate(FAIR_NAMES[divisor]).format(measure=measure.label()),
        "cells": [(words(one), one is not None and one == best) for one in values],
        "median": words(median(everybody) if everybody else None),
    }


def _compared(measure: Measure, picked: Sequence[CommuneFigures], middle: Any) -> dict[str, Any]:
    values = [measure.of(figures.totals) for figures in picked]
    known = [value for value in values if value is not None]
    best = max(known) if len(set(known)) > 1 else None
    return {
        "measure": measure,
        "cells": [
            (show(measure.unit, value, short=True), best is not None and value == best) for value in values
        ],
        "median": show(measure.unit, middle, short=True),
    }


def _multiples(picked: Sequence[CommuneFigures], weeks: Any, mondays: list[date]) -> list[dict[str, Any]]:
    """Small multiples on one scale: weekly views of each."""
    series = {
        figures.code: [row.views if (row := weeks.get((figures.code, day))) else 0 for day in mondays]
        for figures in picked
    }
    top = max((max(values) for values in series.values()), default=0) or 1
    return [
        {
            "figures": figures,
            "views": series[figures.code],
            "line": _scaled(series[figures.code], top),
            "top": top,
        }
        for figures in picked
    ]


def _scaled(values: Sequence[int], top: int, width: int = 300, height: int = 80) -> str:
    step = width / max(1, len(values) - 1)
    return " ".join(
        f"{round(n * step, 1)},{round(height - value / top * height, 1)}" for n, value in enumerate(values)
    )


# ---- one commune


@get("/province/communes/{code:str}", opt=readers)
async def commune(
    request: AnyRequest,
    identity: NamedDependency[Identity],
    code: FromPath[str],
    first: From = "",
    last: To = "",
) -> Response[str]:
    """One commune's figures, why it has its colour, and its sessions."""
    if not service.may_read(identity, code):
        raise Forbidden
    chosen = periods.parse(first, last)
    only = Filter(communes=frozenset({code}))
    async with sessions.read() as db:
        found = await queries.period(db, chosen.first, chosen.last, only)
        if not found:
            raise NotFound
        earlier = chosen.before()
        before = await queries.period(db, earlier.first, earlier.last, only)
        rules = await signals.current_rules(db)
        rows = await queries.sessions_of(db, code, chosen.first, chosen.last)
    signal = signals.judge(found[0], before[0].totals, rules, chosen, clock.today())
    return page(
        request,
        "province/commune.html",
        area=service.area(identity),
        period=chosen,
        quick=_quick(clock.today()),
        commune=found[0],
        signal=signal,
        figures=[
            (figure, change(figure.value, BY_KEY[figure.key].of(before[0].totals)))
            for figure in figures(found[0].totals)
        ],
        sessions=[(row, figures(queries.totals_of(row), SESSION_COLUMNS)) for row in rows],
        columns=[BY_KEY[key] for key in SESSION_COLUMNS],
        by_weekday=_by_weekday(rows),
    )


def _by_weekday(rows: Sequence[Any]) -> list[tuple[str, int, int]]:
    """(weekday, sessions, average views) of these sessions."""
    made = []
    for weekday, name in enumerate(WEEKDAYS):
        views = [row.views for row in rows if row.day.weekday() == weekday]
        made.append((translate(name), len(views), round(sum(views) / len(views)) if views else 0))
    return made


# ---- one session


@get("/province/sessions/{code:str}", opt=readers)
async def session(
    request: AnyRequest, identity: NamedDependency[Identity], code: FromPath[str]
) -> Response[str]:
    """One session: the funnel, its minutes, goods, sources, and how it stands among others."""
    shown, details, reported = await service.read_session(identity, code)
    async with sessions.read() as db:
        started = shown.started_at or clock.now()
        last = await queries.last_sessions(db, shown.commune_code, started)
        alike = await queries.sessions_of_size(db, shown) if shown.computed_at else []
    return page(
        request,
        "province/session.html",
        area=service.area(identity),
        session=shown,
        figures=figures(shown.totals),
        funnel=_funnel(shown.totals),
        details=details,
        average_viewers=[round(row.watched_ms / 60_000, 1) for row in details.minutes],
        timeline=_timeline(shown, details),
        curve=_curve(shown),
        departures=_departures(details),
        compared=_among(shown.totals, [totals for _, _, totals, _ in last], alike),
        last=last,
        alike=len(alike),
        reported=reported,
        networks=outside.NETWORKS,
        may_report=identity.may(shown.commune_code, *outside.REPORTERS),
        ratio=lambda part, whole: show(Unit.RATIO, part / whole if whole else None),
        seconds=lambda ms, views: show(Unit.SECONDS, ms / 1000 / views if views else None),
        money=lambda amount: show(Unit.VND, amount, short=True),
    )


def _funnel(totals: Totals) -> list[dict[str, Any]]:
    """Each step with its share of the step before and its width of the widest."""
    keys = ("reach", "views", "clicks", "baskets", "orders", "paid")
    steps = figures(totals, keys)
    top = max((int(step.value or 0) for step in steps), default=0) or 1
    made: list[dict[str, Any]] = []
    for number, step in enumerate(steps):
        value, before = int(step.value or 0), int(steps[number - 1].value or 0) if number else 0
        made.append(
            {
                "figure": step,
                "width": round(value / top * 100, 1),
                "share": show(Unit.RATIO, value / before if before else None) if number else "",
            }
        )
    return made


def _timeline(shown: SessionFigures, details: queries.Details) -> dict[str, Any]:
    """What the chart draws: minutes, and what was pinned and discounted when."""
    return {
        "at": [int(row.at.timestamp() * 1000) for row in details.minutes],
        "peak": [row.peak for row in details.minutes],
        "average": [round(row.watched_ms / 60_000, 1) for row in details.minutes],
        "came": [row.came for row in details.minutes],
        "left": [row.left for row in details.minutes],
        "orders": [row.orders for row in details.minutes],
        "gmv": [row.gmv for row in details.minutes],
        "pins": [{"at": int(pin.at.timestamp() * 1000), "code": pin.item_code} for pin in details.pins],
        "deals": [
            {
                "at": int(deal.at.timestamp() * 1000),
                "until": int(deal.until.timestamp() * 1000),
                "code": deal.item_code,
                "price": deal.price,
            }
            for deal in details.deals
        ],
        "words": {
            "viewers": translate(N_("Người xem")),
            "orders": translate(N_("Đơn")),
            "gmv": translate(N_("Giá trị đặt hàng")),
            "left": translate(N_("Lượt rời đi")),
            "pin": translate(N_("Ghim")),
            "deal": translate(N_("Ưu đãi")),
        },
    }


LEFT_LEAST = 5  # views that left in a minute before it is spoken of
LEFT_SHOWN = 3


def _departures(details: queries.Details) -> list[dict[str, Any]]:
    """The minutes in which the largest part of the views that were open left, in order of time, with what was
    going on. Open in a minute: those that had come and not left before it, and those that came in it.

    The last minute is left out: there everybody leaves. A minute is told when at least half again as large a
    part left as in the middle minute.
    """
    minutes = details.minutes[:-1]
    shares, still_there = [], 0
    for row in minutes:
        open_views = still_there + row.came
        shares.append(row.left / max(1, open_views))
        still_there = open_views - row.left
    if not shares:
        return []
    usual = median(shares)
    told = [
        (share, row)
        for share, row in zip(shares, minutes, strict=True)
        if row.left >= LEFT_LEAST and share >= usual * 1.5
    ]
    told.sort(key=lambda one: -one[0])
    return [
        {"row": row, "share": show(Unit.RATIO, share), "usual": show(Unit.RATIO, usual)}
        | {"happened": _happened(details, row.at)}
        for share, row in sorted(told[:LEFT_SHOWN], key=lambda one: one[1].at)
    ]


def _happened(details: queries.Details, at: datetime) -> list[str]:
    """What began or ended from a minute before this minute to its end."""
    since, until = at - timedelta(minutes=1), at + timedelta(minutes=1)
    words = {
        "pin": N_("vừa ghim {code}"),
        "begun": N_("ưu đãi {code} bắt đầu"),
        "over": N_("ưu đãi {code} vừa hết"),
    }
    found = [("pin", pin.item_code) for pin in details.pins if since <= pin.at < until]
    found += [("begun", deal.item_code) for deal in details.deals if since <= deal.at < until]
    found += [("over", deal.item_code) for deal in details.deals if since <= deal.until < until]
    return [translate(words[what]).format(code=code) for what, code in found]


def _curve(shown: SessionFigures) -> list[tuple[str, int, float]]:
    """(how long, views that lasted so long, their share)."""
    if not shown.curve or not shown.curve[0]:
        return []
    return [
        (show(Unit.SECONDS, seconds), views, views / shown.curve[0])
        for seconds, views in zip(CURVE_S, shown.curve, strict=False)
    ]


def _among(totals: Totals, last: Sequence[Totals], alike: Sequence[Totals]) -> list[dict[str, Any]]:
    """Each measure beside the median of the commune's last five and of sessions of this size."""
    own, same = queries.medians(last), queries.medians(alike)
    return [
        {
            "figure": figure,
            "last": show(BY_KEY[figure.key].unit, own[figure.key], short=True),
            "last_change": change(figure.value, own[figure.key]),
            "alike": show(BY_KEY[figure.key].unit, same[figure.key], short=True),
            "alike_change": change(figure.value, same[figure.key]),
        }
        for figure in figures(totals, COMPARED)
    ]


@get("/province/sessions/{code:str}/still/{minute:int}", opt=readers)
async def still(
    request: AnyRequest,
    identity: NamedDependency[Identity],
    code: FromPath[str],
    minute: FromPath[int],
) -> Response[bytes]:
    """The picture on air at a minute (whole minutes since 1970), or shortly before it."""
    async with sessions.read() as db:
        shown = await queries.session_figures(db, code)
    if not service.may_read(identity, shown.commune_code):
        raise Forbidden
    found = await request.app.state.pictures.still(shown.code, minute) if shown.has_picture else None
    if found is None:
        raise NotFound
    # While the session runs the minute's own picture may still come.
    headers = {"Cache-Control": f"private, max-age={86_400 if shown.ended_at else 20}"}
    return Response(found, media_type="image/jpeg", headers=headers)


@get("/province/sessions/{code:str}/rows", opt=readers)
async def rows(
    request: AnyRequest,
    identity: NamedDependency[Identity],
    code: FromPath[str],
    what: Word = "visits",
    start: Annotated[int, QueryParameter()] = 0,
) -> Response[str]:
    """The raw rows behind a session's figures, a page at a time."""
    if what not in ("visits", "events", "orders") or not 0 <= start <= 10_000_000:
        raise NotFound
    async with sessions.read() as db:
        shown = await queries.session_figures(db, code)
        if not service.may_read(identity, shown.commune_code):
            raise Forbidden
        found = await queries.rows_behind(db, shown.id, what, start, ROWS + 1)
    return page(
        request,
        "province/rows.html",
        area=service.area(identity),
        session=shown,
        what=what,
        columns=list(found[0]._fields) if found else [],
        rows=[[_cell(value) for value in row] for row in found[:ROWS]],
        start=start,
        next=start + ROWS if len(found) > ROWS else None,
        back=max(0, start - ROWS) if start else None,
    )


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if hasattr(value, "astimezone"):
        return clock.local(value).strftime("%d/%m %H:%M:%S")
    return str(value)


# ---- reach outside the market


class OutsideForm(msgspec.Struct):
    network: str = ""
    reach: str = ""
    views: str = ""
    note: str = ""
    proof: UploadFile | None = None


@post("/province/sessions/{code:str}/outside", opt=reporters, request_max_body_size=6 * 1024 * 1024)
async def report_outside(
    identity: NamedDependency[Identity],
    storage: NamedDependency[Storage],
    code: FromPath[str],
    data: MultipartBody[OutsideForm],
) -> Response[str]:
    await outside.report(
        identity,
        storage,
        code,
        network=data.network,
        reach=_whole(data.reach, "reach"),
        views=_whole(data.views, "views"),
        note=data.note,
        proof=await data.proof.read() if data.proof else b"",
    )
    return redirect(f"/province/sessions/{code}#h-out")


def _whole(text: str, field: str) -> int | None:
    digits = text.replace(".", "").replace(",", "").strip()
    if not digits:
        return None
    if not digits.isdecimal():
        raise Invalid(FieldError(field, N_("Cần một số nguyên.")))
    return int(digits)


@post("/province/sessions/{code:str}/outside/{number:int}/withdraw", opt=reporters)
async def withdraw_outside(
    identity: NamedDependency[Identity], code: FromPath[str], number: FromPath[int]
) -> Response[str]:
    await outside.withdraw(identity, code, number)
    return redirect(f"/province/sessions/{code}#h-out")


@get("/province/sessions/{code:str}/outside/{number:int}", opt=readers)
async def outside_proof(
    identity: NamedDependency[Identity],
    storage: NamedDependency[Storage],
    code: FromPath[str],
    number: FromPath[int],
) -> Response[bytes]:
    """The screenshot."""
    _, _, reported = await service.read_session(identity, code)
    found = next((one for one in reported if one.id == number), None)
    stored = await storage.get(found.proof) if found is not None else None
    if stored is None:
        raise NotFound
    return Response(stored[0], media_type=stored[1], headers={"Cache-Control": "private, max-age=3600"})


# ---- what figures mean, and the province's rules


@get("/province/definitions", opt=readers)
async def definitions(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    return page(request, "province/definitions.html", area=service.area(identity), measures=ALL)


@get("/province/rules", opt=province)
async def show_rules(request: AnyRequest) -> Response[str]:
    async with sessions.read() as db:
        rules = await signals.current_rules(db)
    return _rules_page(request, rules, {}, 200)


@post("/province/rules", opt=province)
async def set_rules(
    request: AnyRequest, identity: NamedDependency[Identity], data: URLEncodedBody[dict[str, str]]
) -> Response[str]:
    """The form's rows, numbered; a row without a measure is left out."""
    rules, faults = _read_rules(data)
    try:
        if faults:
            raise Invalid(*faults)
        await signals.set_rules(identity, rules)
    except Invalid as error:
        return _rules_page(request, rules, {fault.field: fault.text("vi") for fault in error.errors}, 422)
    return redirect("/province")


def _read_rules(form: dict[str, str]) -> tuple[list[Rule], list[FieldError]]:
    rules: list[Rule] = []
    faults: list[FieldError] = []
    for number in range(20):
        kind, measure = form.get(f"kind-{number}", ""), form.get(f"measure-{number}", "")
        if not kind or kind not in list(Kind):
            continue
        limits = []
        for name in ("yellow", "red"):
            text = form.get(f"{name}-{number}", "").replace(",", ".").strip()
            try:
                limits.append(float(text))
            except ValueError:
                faults.append(FieldError(f"{name}-{len(rules)}", N_("Xin ghi một số.")))
                limits.append(0.0)
        if kind == Kind.TREND or (kind == Kind.BELOW and _is_ratio(measure)):
            limits = [limit / 100 for limit in limits]
        rules.append(Rule(Kind(kind), "sessions" if kind == Kind.SILENCE else measure, *limits))
    return rules, faults


def _is_ratio(measure: str) -> bool:
    return measure in BY_KEY and BY_KEY[measure].unit is Unit.RATIO


def _rules_page(
    request: AnyRequest, rules: Sequence[Rule], errors: dict[str, str], status: int
) -> Response[str]:
    def plain(rule: Rule, limit: float) -> str:
        as_percent = rule.kind is Kind.TREND or _is_ratio(rule.measure)
        return f"{limit * 100 if as_percent else limit:g}"

    return page(
        request,
        "province/rules.html",
        status=status,
        rules=[
            {"rule": rule, "yellow": plain(rule, rule.yellow), "red": plain(rule, rule.red)} for rule in rules
        ],
        measures=[measure for measure in ALL if measure.key not in ("sessions", "by_helper")],
        errors=errors,
    )


ROUTES = [
    *(
        home,
        live,
        export,
        compare,
        commune,
        session,
        still,
        rows,
        report_outside,
        withdraw_outside,
        outside_proof,
    ),
    *(definitions, show_rules, set_rules),
    *report_pages.ROUTES,
    *outlook_pages.ROUTES,
    *residents_pages.ROUTES,
    *store_pages.ROUTES,
    *table_pages.ROUTES,
]
