"""Reading the rollups: one session, a period of all communes, and what lies behind a figure.

Nothing here reads raw visits or beacons except `rows_behind`, which shows a page of one session's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from statistics import median
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.analytics import recency
from commerce.analytics.measures import ALL, Measure, Totals, Value
from commerce.core.text import fold
from commerce.live.errors import SessionNotFound

COUNTED = "s.ended_at IS NOT NULL AND NOT s.rehearsal AND s.state <> 'taken_down'"
"""Sessions that make a period's figures: over, real, and not taken down."""

_FIELDS = {field.name for field in fields(Totals)} - {"sessions"}


def totals_of(row: Any) -> Totals:
    """From a row of `session_rollup`."""
    values = row._mapping
    return Totals(sessions=1, **{name: values[name] for name in _FIELDS})


# ---- one session


@dataclass(frozen=True, slots=True)
class SessionFigures:
    id: int
    code: str
    title: str
    state: str
    commune_code: str
    commune: str
    host: str
    started_at: datetime | None
    ended_at: datetime | None
    demo: bool
    rehearsal: bool
    has_picture: bool
    """Whether a camera sent pictures of it."""
    totals: Totals
    curve: list[int]
    computed_at: datetime | None
    """None: nothing has been counted yet."""


_SESSION = text("""
    SELECT s.id, s.code, s.title, s.state, s.commune_code, c.name AS commune, p.name AS host, s.started_at,
        s.ended_at, s.demo, s.rehearsal, s.playback <> '' AS has_picture, to_jsonb(r) AS rollup, r.computed_at
    FROM live_session s JOIN commune c ON c.code = s.commune_code JOIN person p ON p.id = s.host_id
    LEFT JOIN session_rollup r ON r.live_session_id = s.id
    WHERE s.code = :code
""")


async def session_figures(db: AsyncSession, code: str) -> SessionFigures:
    """Raises `SessionNotFound`."""
    row = (await db.execute(_SESSION, {"code": code.upper()})).one_or_none()
    if row is None:
        raise SessionNotFound(code=code[:40])
    rollup = row.rollup or {}
    totals = Totals(sessions=1, **{name: rollup[name] for name in _FIELDS}) if rollup else Totals()
    return SessionFigures(
        id=row.id,
        code=row.code,
        title=row.title,
        state=row.state,
        commune_code=row.commune_code,
        commune=row.commune,
        host=row.host,
        started_at=row.started_at,
        ended_at=row.ended_at,
        demo=row.demo,
        rehearsal=row.rehearsal,
        has_picture=row.has_picture,
        totals=totals,
        curve=rollup.get("curve", []),
        computed_at=row.computed_at,
    )


_MINUTES = text("SELECT * FROM minute_rollup WHERE live_session_id = :id ORDER BY at")
_SOURCES = text(
    "SELECT * FROM source_rollup WHERE live_session_id = :id ORDER BY views DESC, orders DESC, source"
)
_ITEMS = text("""
    SELECT r.*, coalesce(p.name, r.item_code) AS product, coalesce(g.name, '') AS grade,
        coalesce(p.unit, '') AS unit, p.code AS product_code
    FROM item_rollup r LEFT JOIN grade g ON g.id = r.grade_id LEFT JOIN product p ON p.id = g.product_id
    WHERE r.live_session_id = :id ORDER BY r.gmv DESC, r.clicks DESC, r.item_code
""")
_PINS = text("""
    SELECT p.id, p.at, p.until, i.code AS item_code, r.orders, r.units, r.gmv
    FROM pin p JOIN lineup_item i ON i.id = p.item_id LEFT JOIN pin_rollup r ON r.pin_id = p.id
    WHERE p.live_session_id = :id ORDER BY p.at
""")
_DEALS = text("""
    SELECT d.starts_at AS at, least(d.ends_at, coalesce(d.stopped_at, d.ends_at)) AS until,
        i.code AS item_code, d.price, d.quantity, r.orders, r.units, r.gmv
    FROM deal d JOIN lineup_item i ON i.id = d.item_id LEFT JOIN deal_rollup r ON r.deal_id = d.id
    WHERE d.live_session_id = :id ORDER BY d.starts_at
""")
_HOW = text("""
    SELECT how, count(*) AS orders FROM attribution WHERE live_session_id = :id GROUP BY how ORDER BY 2 DESC
""")


@dataclass(frozen=True, slots=True)
class Details:
    """Rows of a session's rollups, as the tables have them."""

    minutes: Sequence[Row[Any]]
    sources: Sequence[Row[Any]]
    items: Sequence[Row[Any]]
    pins: Sequence[Row[Any]]
    deals: Sequence[Row[Any]]
    how: Mapping[str, int]
    """Orders by what attributed them."""


async def session_details(db: AsyncSession, session_id: int) -> Details:
    found = [
        (await db.execute(query, {"id": session_id})).all()
        for query in (_MINUTES, _SOURCES, _ITEMS, _PINS, _DEALS, _HOW)
    ]
    minutes, sources, items, pins, deals, how = found
    return Details(minutes, sources, items, pins, deals, {row.how: row.orders for row in how})


_LAST = text(f"""
    SELECT s.code, s.title, r.* FROM session_rollup r JOIN live_session s ON s.id = r.live_session_id
    WHERE r.commune_code = :commune AND r.started_at < :before AND {COUNTED}
    ORDER BY r.started_at DESC LIMIT :most
""")  # noqa: S608 - our own words
_SIZE = text(f"""
    SELECT r.* FROM session_rollup r JOIN live_session s ON s.id = r.live_session_id
    WHERE r.pcu BETWEEN :low AND :high AND r.live_session_id <> :id AND {COUNTED}
        AND r.started_at > CAST(:at AS timestamptz) - make_interval(days => 365)
    ORDER BY r.started_at DESC LIMIT 500
""")  # noqa: S608


async def last_sessions(
    db: AsyncSession, commune_code: str, before: datetime, most: int = 5
) -> list[tuple[str, str, Totals, datetime]]:
    """(code, title, totals, start) of the commune's sessions before that moment, newest first."""
    rows = await db.execute(_LAST, {"commune": commune_code, "before": before, "most": most})
    return [(row.code, row.title, totals_of(row), row.started_at) for row in rows]


async def sessions_of_size(db: AsyncSession, figures: SessionFigures) -> list[Totals]:
    """Sessions of the last year whose peak was between half and twice this one's."""
    pcu = figures.totals.pcu
    values = {"low": (pcu + 1) // 2, "high": max(pcu * 2, 1), "id": figures.id, "at": figures.started_at}
    return [totals_of(row) for row in await db.execute(_SIZE, values)]


# ---- a period


@dataclass(frozen=True, slots=True)
class Filter:
    """Which communes and which sessions of them; empty means all."""

    communes: frozenset[str] | None = None
    kind: str = ""
    """`xã` or `phường`"""
    former_province: str = ""
    industry: str = ""
    """Only sessions that offered something of this OCOP industry; people are then not counted."""
    product: str = ""
    """Only sessions that had something of this name, or of one that holds it; tone marks do not matter."""

    @property
    def by_goods(self) -> bool:
        return bool(self.industry or self.product)


@dataclass(frozen=True, slots=True)
class CommuneFigures:
    code: str
    name: str
    short_name: str
    slug: str
    kind: str
    former_province: str
    sort_key: str
    totals: Totals
    last_on: date | None
    """Day of the last session up to the period's end."""
    residents: int | None


_SUMS = ", ".join(
    f"coalesce(sum(r.{name}), 0)::bigint AS {name}"
    for name in sorted(_FIELDS - {"pcu", "viewers", "reach", "buyers"})
)
_SOLD = """
    AND EXISTS (SELECT 1 FROM item_rollup i JOIN grade g ON g.id = i.grade_id
        JOIN product p ON p.id = g.product_id
        WHERE i.live_session_id = r.live_session_id AND (:industry = '' OR p.industry = :industry)
            AND position(:product IN p.folded) > 0)
"""
_PERIOD = """
    SELECT c.code, c.name, c.short_name, c.slug, c.kind, c.former_province, c.sort_key, n.people AS residents,
        t.*, l.last_on
    FROM commune c
    LEFT JOIN (
        SELECT r.commune_code, count(*) AS sessions, coalesce(max(r.pcu), 0) AS pcu, {sums}
        FROM session_rollup r JOIN live_session s ON s.id = r.live_session_id
        WHERE r.day BETWEEN :first AND :last AND {counted} {sold}
        GROUP BY r.commune_code
    ) t ON t.commune_code = c.code
    LEFT JOIN LATERAL (
        SELECT r.day AS last_on FROM session_rollup r JOIN live_session s ON s.id = r.live_session_id
        WHERE r.commune_code = c.code AND r.day <= :last AND {counted} ORDER BY r.day DESC LIMIT 1
    ) l ON true
    LEFT JOIN residents n ON n.commune_code = c.code
    ORDER BY c.sort_key
"""
_PERIODS = {
    sold: text(_PERIOD.format(sums=_SUMS, counted=COUNTED, sold=_SOLD if sold else ""))
    for sold in (False, True)
}


People = Mapping[tuple[str, str], int]


async def period(
    db: AsyncSession, first: date, last: date, wanted: Filter = Filter(), *, people: People | None = None
) -> list[CommuneFigures]:
    """Every commune's figures of the days `first` to `last`, both included, in the order of the alphabet.

    `people`: of the same days, where the caller has asked `recency.people` already.
    """
    values: dict[str, Any] = {"first": first, "last": last}
    if wanted.by_goods:
        values |= {"industry": wanted.industry, "product": fold(wanted.product)}
    rows = (await db.execute(_PERIODS[wanted.by_goods], values)).all()
    if wanted.by_goods:
        people = {}
    elif people is None:
        people = await recency.people(db, first, last)
    return [_commune_figures(row, people) for row in rows if _is_wanted(row, wanted)]


def _is_wanted(row: Row[Any], wanted: Filter) -> bool:
    return (
        (wanted.communes is None or row.code in wanted.communes)
        and wanted.kind in ("", row.kind)
        and wanted.former_province in ("", row.former_province)
    )


def _commune_figures(row: Row[Any], people: People) -> CommuneFigures:
    values = row._mapping
    counts = {name: values[name] or 0 for name in _FIELDS - {"viewers", "reach", "buyers"}}
    return CommuneFigures(
        code=row.code,
        name=row.name,
        short_name=row.short_name,
        slug=row.slug,
        kind=row.kind,
        former_province=row.former_province,
        sort_key=row.sort_key,
        totals=Totals(
            sessions=row.sessions or 0,
            viewers=people.get((row.code, "viewer"), 0),
            reach=people.get((row.code, "reach"), 0),
            buyers=people.get((row.code, "buyer"), 0),
            **counts,
        ),
        last_on=row.last_on,
        residents=row.residents,
    )


def together(communes: Iterable[CommuneFigures], people: People | None = None) -> Totals:
    """All of them as one. Without `people` of the whole province nobody is counted twice over communes:
    viewers, reach and buyers stay 0.
    """
    total: dict[str, int] = dict.fromkeys((field.name for field in fields(Totals)), 0)
    for commune in communes:
        for name in total:
            value = getattr(commune.totals, name)
            total[name] = max(total[name], value) if name == "pcu" else total[name] + value
    for name, kind in (("viewers", "viewer"), ("reach", "reach"), ("buyers", "buyer")):
        total[name] = (people or {}).get((recency.PROVINCE, kind), 0)
    return Totals(**total)


def medians(figures: Sequence[Totals], measures: Sequence[Measure] = ALL) -> dict[str, Value]:
    """The middle value of each measure among those that have one."""
    made: dict[str, Value] = {}
    for measure in measures:
        known = [value for totals in figures if (value := measure.of(totals)) is not None]
        made[measure.key] = median(known) if known else None
    return made


def without_people(totals: Totals) -> Totals:
    return replace(totals, viewers=0, reach=0, buyers=0)


_OF_COMMUNE = text(f"""
    SELECT s.code, s.title, r.* FROM session_rollup r JOIN live_session s ON s.id = r.live_session_id
    WHERE r.commune_code = :commune AND r.day BETWEEN :first AND :last AND {COUNTED}
    ORDER BY r.started_at DESC LIMIT 400
""")  # noqa: S608


async def sessions_of(db: AsyncSession, commune_code: str, first: date, last: date) -> Sequence[Row[Any]]:
    """A commune's counted sessions of a period: rollup rows with `code` and `title`, newest first."""
    values = {"commune": commune_code, "first": first, "last": last}
    return (await db.execute(_OF_COMMUNE, values)).all()


_SERIES = text(f"""
    SELECT r.commune_code, date_trunc('week', r.day)::date AS week, count(*) AS sessions,
        sum(r.views)::bigint AS views, sum(r.orders)::bigint AS orders, sum(r.gmv)::bigint AS gmv
    FROM session_rollup r JOIN live_session s ON s.id = r.live_session_id
    WHERE r.day BETWEEN :first AND :last AND {COUNTED}
    GROUP BY 1, 2
""")  # noqa: S608


async def weekly(db: AsyncSession, first: date, last: date) -> dict[tuple[str, date], Row[Any]]:
    """(commune, Monday) -> sessions, views, orders, gmv of that week."""
    rows = await db.execute(_SERIES, {"first": first, "last": last})
    return {(row.commune_code, row.week): row for row in rows}


# ---- behind a figure

# A visitor's name is another one in each session: rows can be told apart, nobody can be followed.
_BEHIND = {
    "visits": """
        SELECT v.joined_at AS at, left(md5(v.live_session_id || v.visitor), 8) AS visitor, v.source,
            coalesce(v.left_at, d.at) AS until
        FROM visit v LEFT JOIN gateway_death d
            ON d.gateway = v.gateway AND d.live_session_id = v.live_session_id
        WHERE v.live_session_id = :id ORDER BY v.joined_at, v.id LIMIT :most OFFSET :start
    """,
    "events": """
        SELECT at, left(md5(live_session_id || visitor), 8) AS visitor, kind, item_code FROM page_event
        WHERE live_session_id = :id ORDER BY at, reported, position LIMIT :most OFFSET :start
    """,
    "orders": """
        SELECT o.placed_at AS at, o.code, o.state, o.total, a.how, a.source, o.payment_method AS payment
        FROM attribution a JOIN "order" o ON o.id = a.order_id
        WHERE a.live_session_id = :id ORDER BY o.placed_at, o.id LIMIT :most OFFSET :start
    """,
}


async def rows_behind(
    db: AsyncSession, session_id: int, what: str, start: int, most: int
) -> Sequence[Row[Any]]:
    """A page of the raw rows: `visits`, `events` or `orders`."""
    query = text(_BEHIND[what])
    return (await db.execute(query, {"id": session_id, "start": start, "most": most})).all()


_LIVE = text("""
    SELECT s.id, s.code, s.title, s.commune_code, c.short_name AS commune, s.started_at, s.demo,
        coalesce(n.orders, 0) AS orders, coalesce(n.units, 0) AS units, coalesce(n.gmv, 0) AS gmv
    FROM live_session s JOIN commune c ON c.code = s.commune_code
    LEFT JOIN live_counter n ON n.live_session_id = s.id
    WHERE s.state = 'live' AND NOT s.rehearsal ORDER BY s.started_at
""")


async def live_now(db: AsyncSession) -> Sequence[Row[Any]]:
    return (await db.execute(_LIVE)).all()
