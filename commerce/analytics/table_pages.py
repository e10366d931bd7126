"""What the province's screens show, as files: `{table}.csv`, or everything on a page as `….xlsx`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from commerce.analytics import exports, forecast, outlook_pages, periods, queries, reports, service
from commerce.core import clock, tables
from commerce.core.db import sessions
from commerce.core.errors import Forbidden, NotFound
from commerce.core.roles import Identity, Role
from commerce.core.tables import Table
from commerce.core.web import access

province = access.roles(Role.PROVINCE)
readers = access.roles(*service.READERS)

From = Annotated[str, QueryParameter(name="from")]
To = Annotated[str, QueryParameter(name="to")]


@get("/province/sessions/{code:str}/tables/{name:str}", opt=readers)
async def session(
    identity: NamedDependency[Identity], code: FromPath[str], name: FromPath[str]
) -> Response[bytes]:
    """`phien.xlsx`: everything counted of a session; `tung-phut.csv` and the others: one table of it."""
    figures, details, _ = await service.read_session(identity, code)
    return await _file(exports.session(figures, details), name, "phien", figures.code)


@get("/province/communes/{code:str}/tables/{name:str}", opt=readers)
async def commune(
    identity: NamedDependency[Identity],
    code: FromPath[str],
    name: FromPath[str],
    first: From = "",
    last: To = "",
) -> Response[bytes]:
    """`cac-phien`: a commune's sessions of a period."""
    if not service.may_read(identity, code):
        raise Forbidden
    chosen = periods.parse(first, last)
    async with sessions.read() as db:
        made = await exports.sessions(db, chosen.first, chosen.last, code)
    return await _file([made], name, "cac-phien", f"{code}-{chosen.first}-{chosen.last}")


@get("/province/compare/tables/{name:str}", opt=province)
async def compare(
    name: FromPath[str],
    c: Annotated[list[str] | None, QueryParameter()] = None,
    first: From = "",
    last: To = "",
) -> Response[bytes]:
    """`so-sanh`: these communes side by side, with the median of all."""
    chosen = periods.parse(first, last)
    async with sessions.read() as db:
        found = await queries.period(db, chosen.first, chosen.last)
    picked = [one for one in found if one.code in (c or ())]
    middle = queries.medians([one.totals for one in found if one.totals.sessions])
    made = exports.side_by_side(picked, middle)
    return await _file([made], name, "so-sanh", f"{chosen.first}-{chosen.last}")


@get("/province/forecast/tables/{name:str}", opt=province)
async def outlook(name: FromPath[str]) -> Response[bytes]:
    """`phien-toi`: each commune's next session; `hang-tuan-nay`: products; `du-bao.xlsx`: both."""
    today = clock.today()
    async with sessions.read() as db:
        past = await forecast.past_sessions(db, today)
        coming = await outlook_pages.planned(db)
        products = await forecast.products_next_week(db, today)
        names = await reports.commune_names(db)
    told = await asyncio.to_thread(forecast.next_sessions, past, coming, today)
    made = exports.outlooks(names, told, coming, products)
    return await _file(made, name, "du-bao", str(today))


@get("/province/reports/tables/{name:str}", opt=readers)
async def listed(identity: NamedDependency[Identity], name: FromPath[str]) -> Response[bytes]:
    """`bao-cao`: the reports that this person may read."""
    async with sessions.read() as db:
        found = await reports.listed(db, service.readable(identity))
    return await _file([exports.reports(found)], name, "bao-cao", str(clock.today()))


async def _file(made: Sequence[Table], name: str, whole: str, of: str) -> Response[bytes]:
    """One of these tables as `.csv` or `.xlsx`, by its name; `{whole}.xlsx`: all of them."""
    what, _, ending = name.partition(".")
    chosen = made if what == whole and ending == "xlsx" else [one for one in made if one.name == what]
    if not chosen or ending not in ("csv", "xlsx"):
        raise NotFound
    return await tables.file(chosen, ending, f"{what}-{of}")


ROUTES = [session, commune, compare, outlook, listed]
