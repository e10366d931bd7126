"""Measures as programs read them: one session's, and all communes' of a period."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Self

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, QueryParameter

from commerce.analytics import measures, periods, queries, service, store
from commerce.analytics.measures import CURVE_S, Value
from commerce.analytics.queries import CommuneFigures, Details, Filter, SessionFigures
from commerce.core.db import sessions
from commerce.core.errors import NotFound
from commerce.core.roles import Identity
from commerce.core.web import access


class Minute(msgspec.Struct, frozen=True):
    at: datetime
    peak_viewers: int
    average_viewers: float
    came: int
    left: int
    impressions: int
    clicks: int
    baskets: int
    orders: int
    units: int
    gmv: int
    comments: int


class Item(msgspec.Struct, frozen=True):
    """One thing of the line-up; an order of two things counts for both."""

    code: str
    product: str
    grade: str
    impressions: int
    clicks: int
    ctr: float | None
    baskets: int
    orders: int
    units: int
    gmv: int
    net_sales: int
    ctor: float | None


class Source(msgspec.Struct, frozen=True):
    source: str
    views: int
    viewers: int
    """Somebody who came two ways counts for both."""
    average_watch_time: float | None
    orders: int
    gmv: int


class PinOut(msgspec.Struct, frozen=True):
    item: str
    at: datetime
    until: datetime | None
    orders: int
    units: int
    gmv: int


class DealOut(msgspec.Struct, frozen=True):
    """What was ordered at a deal's price."""

    item: str
    price: int
    at: datetime
    until: datetime
    orders: int
    units: int
    gmv: int


class CurvePoint(msgspec.Struct, frozen=True):
    """So many views lasted at least so many seconds."""

    seconds: int
    views: int


class OutsideOut(msgspec.Struct, frozen=True):
    """Self-reported by staff or read from the network; never part of the measures above."""

    network: str
    reach: int | None
    views: int | None
    at: datetime
    read_from_api: bool


class SessionMeasures(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    title: str
    state: str
    commune: str
    """Official code."""
    started_at: datetime | None
    ended_at: datetime | None
    demo: bool
    computed_at: datetime | None
    """When the raw rows were last counted; none while the session has not started."""
    measures: dict[str, int | float | None]
    """By key: views, effective_views, unique_viewers, reach, pcu, acu, average_watch_time (seconds),
    impressions, clicks, ctr, baskets, orders, units, gmv, net_sales, paid, buyers, by_helper, ctor, cvr,
    gpm."""
    minutes: list[Minute]
    products: list[Item]
    sources: list[Source]
    pins: list[PinOut]
    deals: list[DealOut]
    watch_curve: list[CurvePoint]
    attribution: dict[str, int]
    """Orders by what attributed them: visit, code, helper, later."""
    outside: list[OutsideOut]

    @classmethod
    def of(cls, figures: SessionFigures, details: Details, reported: Sequence[OutsideOut]) -> Self:
        return cls(
            code=figures.code,
            title=figures.title,
            state=figures.state,
            commune=figures.commune_code,
            started_at=figures.started_at,
            ended_at=figures.ended_at,
            demo=figures.demo,
            computed_at=figures.computed_at,
            measures=measures.values(figures.totals),
            minutes=_minutes(details),
            products=_items(details),
            sources=_sources(details),
            pins=[
                PinOut(row.item_code, row.at, row.until, row.orders or 0, row.units or 0, row.gmv or 0)
                for row in details.pins
            ],
            deals=[
                DealOut(
                    row.item_code, row.price, row.at, row.until, row.orders or 0, row.units or 0, row.gmv or 0
                )
                for row in details.deals
            ],
            watch_curve=[CurvePoint(*point) for point in zip(CURVE_S, figures.curve, strict=False)],
            attribution=dict(details.how),
            outside=list(reported),
        )


def _minutes(details: Details) -> list[Minute]:
    return [
        Minute(
            at=row.at,
            peak_viewers=row.peak,
            average_viewers=round(row.watched_ms / 60_000, 2),
            came=row.came,
            left=row.left,
            impressions=row.impressions,
            clicks=row.clicks,
            baskets=row.baskets,
            orders=row.orders,
            units=row.units,
            gmv=row.gmv,
            comments=row.comments,
        )
        for row in details.minutes
    ]


def _items(details: Details) -> list[Item]:
    return [
        Item(
            code=row.item_code,
            product=row.product,
            grade=row.grade,
            impressions=row.impressions,
            clicks=row.clicks,
            ctr=_rounded(measures.ratio(row.clicks, row.impressions)),
            baskets=row.baskets,
            orders=row.orders,
            units=row.units,
            gmv=row.gmv,
            net_sales=row.net,
            ctor=_rounded(measures.ratio(row.orders, row.clicks)),
        )
        for row in details.items
    ]


def _sources(details: Details) -> list[Source]:
    return [
        Source(
            source=row.source,
            views=row.views,
            viewers=row.viewers,
            average_watch_time=_rounded(row.watched_ms / 1000 / row.views) if row.views else None,
            orders=row.orders,
            gmv=row.gmv,
        )
        for row in details.sources
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


class CommuneMeasures(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    name: str
    slug: str
    last_session_on: date | None
    residents: int | None
    measures: dict[str, int | float | None]
    """As of one session, and `sessions`; every person is counted once in the whole period."""

    @classmethod
    def of(cls, figures: CommuneFigures) -> Self:
        return cls(
            code=figures.code,
            name=figures.name,
            slug=figures.slug,
            last_session_on=figures.last_on,
            residents=figures.residents,
            measures=measures.values(figures.totals),
        )


class PeriodMeasures(msgspec.Struct, frozen=True, kw_only=True):
    first: date = msgspec.field(name="from")
    last: date = msgspec.field(name="to")
    communes: list[CommuneMeasures]
    medians: dict[str, int | float | None]
    """Of the communes listed that had a session."""


@get("/live-sessions/{code:str}", opt=access.roles(*service.READERS), summary="One session's measures")
async def session_measures(identity: NamedDependency[Identity], code: FromPath[str]) -> SessionMeasures:
    """Hosts, helpers and officers see their own commune's sessions. Rehearsals have no measures."""
    figures, details, reported = await service.read_session(identity, code)
    told = [OutsideOut(r.network, r.reach, r.views, r.at, r.by is None) for r in reported]
    return SessionMeasures.of(figures, details, told)


@get("/communes", opt=access.roles(*service.READERS), summary="Measures of every commune in a period")
async def commune_measures(
    identity: NamedDependency[Identity],
    first: Annotated[str, QueryParameter(name="from")] = "",
    last: Annotated[str, QueryParameter(name="to")] = "",
) -> PeriodMeasures:
    """Days as 2025-08-24, both included; without them the last 28 days. Sessions count once they are over."""
    chosen = periods.parse(first, last)
    async with sessions.read() as db:
        found = await queries.period(
            db, chosen.first, chosen.last, Filter(communes=service.readable(identity))
        )
    active = [figures.totals for figures in found if figures.totals.sessions]
    return PeriodMeasures(
        first=chosen.first,
        last=chosen.last,
        communes=[CommuneMeasures.of(figures) for figures in found],
        medians=_plain(queries.medians(active)),
    )


def _plain(values: dict[str, Value]) -> dict[str, int | float | None]:
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in values.items()}


class StoreRows(msgspec.Struct, frozen=True, kw_only=True):
    rows: list[dict[str, Any]]
    next: int | None
    """`start` of the next stretch; none at the end."""


@get("/{name:str}", opt=access.signature, summary="A view of the data store's star schema")
async def store_rows(
    name: FromPath[str],
    key: Annotated[str, HeaderParameter(name="X-Store-Key")] = "",
    first: Annotated[str, QueryParameter(name="from")] = "",
    last: Annotated[str, QueryParameter(name="to")] = "",
    start: Annotated[int, QueryParameter()] = 0,
) -> StoreRows:
    """dim_commune, dim_day, dim_session, dim_product, fact_session, fact_minute, fact_item, fact_source,
    fact_outside; at most 10,000 rows at once."""
    await store.check_key(key)
    if name not in (*store.DIMENSIONS, *store.FACTS) or start < 0:
        raise NotFound
    days = periods.parse(first, last) if first and last else None
    async with sessions.read() as db:
        found = await store.rows(
            db, name, days.first if days else None, days.last if days else None, start, store.MOST + 1
        )
    more = len(found) > store.MOST
    return StoreRows(rows=list(found[: store.MOST]), next=start + store.MOST if more else None)


ROUTES = [
    Router("/store", route_handlers=[store_rows], tags=["store"]),
    Router("/analytics", route_handlers=[session_measures, commune_measures], tags=["analytics"]),
]
