"""The market's pages that know both goods and what is on air: home, channels, products, search.

They live here because the catalogue, which is below, knows nothing of live sessions.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Collection
from datetime import datetime, time
from typing import Annotated, Any

import segno
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog import queries as catalog
from commerce.catalog import words
from commerce.catalog.models import Grade, Product
from commerce.catalog.notices import notices
from commerce.catalog.queries import Search
from commerce.catalog.views import ProductView, RegisterView, SellerCard
from commerce.communes import queries as communes
from commerce.communes.models import Commune
from commerce.communes.places import commune_at, distance_km
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import NotFound
from commerce.core.html import redirect
from commerce.core.i18n import N_, translate
from commerce.core.ranking import Criterion, Ranking
from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access, page
from commerce.live import queries as live
from commerce.live.models import LineupItem, LiveCounter, LiveSession, LiveState, Pin
from commerce.live.queries import Session
from streaming.bus import Bus, BusAway

ON_AIR_MOST = 24
COMING_MOST = 8
REPLAYS_MOST = 6
IN_SEASON = 12
OTHERS = 4
REGISTER_SHOWN = 6

MOMENTS_MOST = 5  # of one product in one replay
NEIGHBOURS = 7  # communes shown as near, one's own among them
NEAR_PRODUCTS = 6
QR_MOST = 200  # characters of an address; longer ones make a picture too fine to scan from a screen
FOLLOWED_MOST = 102

ON_AIR = Ranking(
    "on_air",
    N_("Phiên đang phát"),
    ties=N_("Bằng điểm thì phiên lên sóng sau đứng trước."),
    criteria={"viewers": Criterion(N_("Mỗi người đang xem"), 1)},
)
COMING = Ranking("coming", N_("Phiên sắp tới"), ties=N_("Phiên bắt đầu sớm hơn đứng trước."))
REPLAYS = Ranking("replays", N_("Phiên xem lại"), ties=N_("Phiên mới hơn đứng trước."))
NEAR = Ranking(
    "near",
    N_("Gần bạn"),
    ties=N_("Cách bằng nhau thì xếp theo vần."),
    criteria={"km": Criterion(N_("Mỗi ki-lô-mét từ trung tâm xã bạn chọn"), -1)},
)

Card = dict[str, Any]


@get("/", opt=access.public, include_in_schema=False)
async def home(request: AnyRequest) -> Response[str]:
    """What is on air and coming, what is in season, and the 102 channels."""
    async with sessions.read() as db:
        sessions_now = await _sessions(db)
        season = await catalog.in_season(db, IN_SEASON)
        counts = await catalog.product_counts(db)
        all_communes = await communes.all_communes(db)
        selling = await _selling_now(db)
        totals = await _totals(db)
    on_air = {session.commune.code for session in sessions_now[LiveState.LIVE]}
    return page(
        request,
        "market/home.html",
        **await _session_cards(request, sessions_now),
        in_season=[_product_card(product, selling) for product in season],
        communes=[_commune_card(commune, on_air, counts) for commune in all_communes],
        totals=totals,
    )


@get("/near", opt=access.public, include_in_schema=False)
async def near(
    request: AnyRequest, commune: FromQuery[str] = "", lat: FromQuery[str] = "", lon: FromQuery[str] = ""
) -> Response[str]:
    """What is on air, planned and on sale around a commune: the one chosen, else the one at the position,
    which is used for this answer only and kept nowhere."""
    point = _point(lat, lon)
    async with sessions.read() as db:
        known = {one.code: one for one in await communes.all_communes(db)}
        code = commune if commune in known else None
        if code is None and point:
            code = await commune_at(db, *point)
        around = _around(known[code], list(known.values())) if code else []
        codes = [one.code for one, _ in around]
        sessions_now = await _sessions(db, codes) if codes else {}
        products = await catalog.products_near(db, codes, NEAR_PRODUCTS)
        selling = await _selling_now(db)
    cards: dict[str, Any] = await _session_cards(request, sessions_now) if sessions_now else {}
    return page(
        request,
        "market/near_shown.html" if request.headers.get("HX-Request") else "market/near.html",
        here=known[code] if code else None,
        asked=bool(commune or point),
        around=[{"name": one.name, "slug": one.slug, "km": km} for one, km in around],
        communes=[(one.code, one.name) for one in known.values()],
        on_air=cards.get("on_air", []),
        coming=cards.get("coming", []),
        products=[_product_card(product, selling) for product in products],
    )


def _point(lat: str, lon: str) -> tuple[float, float] | None:
    try:
        point = (float(lat), float(lon))
    except ValueError:
        return None
    return point if abs(point[0]) <= 90 and abs(point[1]) <= 180 else None


def _around(here: Commune, everywhere: list[Commune]) -> list[tuple[Commune, int]]:
    """The commune and its neighbours with the kilometres from its middle, in the order of `NEAR`."""
    away = [(one, distance_km((here.lat, here.lon), (one.lat, one.lon))) for one in everywhere]
    away.sort(key=lambda pair: (-NEAR.points(km=pair[1]), pair[0].sort_key))
    return [(one, round(km)) for one, km in away[:NEIGHBOURS]]


@get("/followed", opt=access.public, include_in_schema=False)
async def followed(
    request: AnyRequest, communes_: Annotated[str, QueryParameter(name="communes")] = ""
) -> Response[str]:
    """A part of the home page: the communes this device follows, as its script names them."""
    wanted = communes_.split(",")[:FOLLOWED_MOST]
    async with sessions.read() as db:
        known = [one for one in await communes.all_communes(db) if one.code in wanted]
        groups = await _sessions(db, [one.code for one in known])
    on_air = {session.commune.code for session in groups[LiveState.LIVE]}
    cards = await _session_cards(request, groups)
    return page(
        request,
        "market/followed.html",
        on_air=cards["on_air"],
        coming=cards["coming"],
        communes=[_commune_card(one, on_air, {}) for one in known],
    )


@get("/c/{slug:str}", opt=access.public, include_in_schema=False)
async def channel(request: AnyRequest, slug: FromPath[str]) -> Response[str]:
    """A commune's channel; a near spelling of its address leads to the right one."""
    async with sessions.read() as db:
        commune = await communes.commune_by_slug(db, slug)
        if commune.slug != slug:
            return redirect(f"/c/{commune.slug}", status=301)
        sessions_now = await _sessions(db, commune.code)
        products = await catalog.products_of_commune(db, commune.code)
        sellers = await catalog.sellers_of_commune(db, commune.code)
        register = await catalog.search_register(db, Search(commune=commune.code))
        selling = await _selling_now(db)
    on_air = {session.commune.code for session in sessions_now[LiveState.LIVE]}
    return page(
        request,
        "market/commune.html",
        **await _session_cards(request, sessions_now),
        commune={
            **_commune_card(commune, on_air, {}),
            "short_name": commune.short_name,
            "former_units": [unit["name"] for unit in commune.former_units],
            "area_km2": commune.area_km2,
        },
        products=[_product_card(product, selling) for product in products],
        sellers=[_seller_card(seller) for seller in sellers],
        register=[_register_card(entry) for entry in register.items],
    )


@get("/p/{code:str}", opt=access.public, include_in_schema=False)
async def product(request: AnyRequest, code: FromPath[str]) -> Response[str]:
    """One product, and the session that sells it now."""
    async with sessions.read() as db:
        found = await catalog.product_page(db, code)
        selling = await _selling_now(db)
        on_air_code, offer_code = selling.get(code, (None, None))
        on_air = await live.by_code(db, on_air_code) if on_air_code else None
        replays = await _shown_in(db, code)
        moments = await _moments(db, code, [session.id for session in replays])
        planned = await live.listed(
            db, state=LiveState.SCHEDULED, commune=found.product.commune.code, limit=1
        )
        coming = session_card(planned[0], 0) if planned else None
        others = await _others(db, found.product)
    view = found.product
    return page(
        request,
        "market/product.html",
        product={
            "code": view.code,
            "name": view.name,
            "description": found.description,
            "pictures": found.pictures,
            "art": view.art,
            "unit": view.unit,
            "industry_name": words.industry(view.industry),
            "origin": found.origin,
            "shelf_life": found.shelf_life,
            "fresh": view.fresh,
            "harvest_from": found.harvest_from,
            "harvest_to": found.harvest_to,
            "stars": view.stars,
            "papers_checked": found.papers_checked,
        },
        grades=view.grades,
        seller=_seller_card(found.seller),
        commune=view.commune,
        recognition=found.recognition,
        on_air=session_card(on_air, 0) if on_air else None,
        offer_code=offer_code,
        shown_in=[session_card(session, 0) | {"moments": moments.get(session.id, [])} for session in replays],
        notices=[translate(one) for one in notices(view.industry, view.name)],
        bells={"commune_code": view.commune.code, "coming": coming},
        others=[_product_card(other, selling) for other in others],
    )


@get("/search", opt=access.public, include_in_schema=False)
async def search(
    request: AnyRequest,
    q: FromQuery[str] = "",
    commune: FromQuery[str] = "",
    stars: FromQuery[str] = "",
    seller: FromQuery[str] = "",
    number: Annotated[str, QueryParameter(name="page")] = "",
) -> Response[str]:
    """Products, and communes and register entries whose names fit the words."""
    wanted = Search.parse(q, commune, stars, seller, number)
    async with sessions.read() as db:
        found = await catalog.search_products(db, wanted, address="/search")
        narrowed = wanted.commune or wanted.seller or wanted.stars
        named = await communes.search_communes(db, wanted.q, 6) if wanted.q and not narrowed else []
        register = await catalog.search_register(db, Search(q=wanted.q, commune=wanted.commune))
        all_communes = await communes.all_communes(db)
        who = await catalog.seller_card(db, wanted.seller) if wanted.seller else None
        on_air = {session.commune.code for session in (await _sessions(db))[LiveState.LIVE]}
        selling = await _selling_now(db)
    return page(
        request,
        "market/results.html" if request.headers.get("HX-Request") else "market/search.html",
        query={"q": wanted.q, "commune": commune, "stars": stars, "seller": seller},
        products=[_product_card(product, selling) for product in found.items],
        found=found.total,
        page=found.page,
        last=found.pages,
        page_url=f"/search?{narrowing}&" if (narrowing := wanted.query(page=1)) else "/search?",
        communes=[(one.code, one.name) for one in all_communes],
        found_communes=[_commune_card(one, on_air, {}) for one in named],
        seller_name=who.name if who else None,
        register=[_register_card(entry) for entry in register.items[:REGISTER_SHOWN]] if wanted.q else [],
    )


@get("/qr.svg", opt=access.public, include_in_schema=False, sync_to_thread=False)
def qr(settings: NamedDependency[Settings], to: FromQuery[str] = "/") -> Response[bytes]:
    """A page of this market as a QR picture; no other address becomes one here."""
    if not to.startswith("/") or to.startswith(("//", "/\\")) or len(to) > QR_MOST:
        raise NotFound
    code = segno.make_qr(settings.public_url + to, error="m")
    drawn = io.BytesIO()
    code.save(drawn, kind="svg", scale=8, border=2, dark="#000", light="#fff", xmldecl=False)
    headers = {"Cache-Control": "public, max-age=86400"}
    return Response(drawn.getvalue(), media_type="image/svg+xml", headers=headers)


# ---- what is on air


async def _sessions(
    db: AsyncSession, commune: str | Collection[str] | None = None
) -> dict[LiveState, list[Session]]:
    """What the public may see, in the three groups the pages show."""
    return {
        LiveState.LIVE: await live.listed(db, state=LiveState.LIVE, commune=commune, limit=ON_AIR_MOST),
        LiveState.SCHEDULED: await live.listed(
            db, state=LiveState.SCHEDULED, commune=commune, limit=COMING_MOST
        ),
        LiveState.ENDED: await live.listed(db, state=LiveState.ENDED, commune=commune, limit=REPLAYS_MOST),
    }


async def _session_cards(request: AnyRequest, groups: dict[LiveState, list[Session]]) -> dict[str, Any]:
    """`on_air` (most watched first), `coming` and `replays`."""
    viewers = await _viewers(request.app.state.bus, groups[LiveState.LIVE])
    on_air = [session_card(session, viewers[session.code]) for session in groups[LiveState.LIVE]]
    return {
        "on_air": sorted(on_air, key=lambda card: ON_AIR.points(viewers=card["viewers"]), reverse=True),
        "coming": [session_card(session, 0) for session in groups[LiveState.SCHEDULED]],
        "replays": [session_card(session, 0) for session in groups[LiveState.ENDED]],
    }


async def _viewers(bus: Bus, on_air: list[Session]) -> dict[str, int]:
    """As last published in each room; 0 while the wire is away, for a card is no place for an alarm."""

    async def one(code: str) -> int:
        try:
            snapshot = await bus.get_snapshot(code)
        except BusAway:
            return 0
        return snapshot.viewers if snapshot else 0

    counts = await asyncio.gather(*(one(session.code) for session in on_air))
    return {session.code: count for session, count in zip(on_air, counts, strict=True)}


async def _selling_now(db: AsyncSession) -> dict[str, tuple[str, str]]:
    """Product code -> (code of the live session that sells it, its short code there)."""
    rows = await db.execute(
        select(Product.code, LiveSession.code, LineupItem.code)
        .join(Grade, Grade.product_id == Product.id)
        .join(LineupItem, LineupItem.grade_id == Grade.id)
        .join(LiveSession, LiveSession.id == LineupItem.live_session_id)
        .where(
            LiveSession.state == LiveState.LIVE,
            LiveSession.rehearsal.is_(False),
            LineupItem.removed_at.is_(None),
        )
        .order_by(LineupItem.position.desc())  # so that the first of a product's codes is the one kept
    )
    return {product_code: (session_code, item) for product_code, session_code, item in rows}


async def _shown_in(db: AsyncSession, product_code: str) -> list[Session]:
    """Sessions of the past that sold it, newest first."""
    ids = await db.scalars(
        select(LiveSession.id)
        .join(LineupItem, LineupItem.live_session_id == LiveSession.id)
        .join(Grade, Grade.id == LineupItem.grade_id)
        .join(Product, Product.id == Grade.product_id)
        .where(
            Product.code == product_code,
            LiveSession.state == LiveState.ENDED,
            LiveSession.rehearsal.is_(False),
        )
        .group_by(LiveSession.id)
        .order_by(LiveSession.ended_at.desc())
        .limit(REPLAYS_MOST)
    )
    found = await live.by_ids(db, ids.all())
    return sorted(found, key=lambda session: session.ended_at or session.starts_at, reverse=True)


async def _moments(
    db: AsyncSession, product_code: str, session_ids: list[int]
) -> dict[int, list[dict[str, Any]]]:
    """When the product was held up in each session: `at_ms` for the player, `second` of the session."""
    rows = await db.execute(
        select(Pin.live_session_id, Pin.at, LiveSession.started_at)
        .join(LiveSession, LiveSession.id == Pin.live_session_id)
        .join(LineupItem, LineupItem.id == Pin.item_id)
        .join(Grade, Grade.id == LineupItem.grade_id)
        .join(Product, Product.id == Grade.product_id)
        .where(Product.code == product_code, Pin.live_session_id.in_(session_ids))
        .order_by(Pin.at)
    )
    found: dict[int, list[dict[str, Any]]] = {}
    for session_id, at, started_at in rows:
        second = max(0, int((at - started_at).total_seconds())) if started_at else 0
        shown = found.setdefault(session_id, [])
        if len(shown) < MOMENTS_MOST:
            shown.append({"at_ms": clock.unix_ms(at), "second": second})
    return found


async def _others(db: AsyncSession, product: ProductView) -> list[ProductView]:
    """More from the same commune, the same seller's first."""
    near = await catalog.products_of_commune(db, product.commune.code)
    others = [other for other in near if other.code != product.code]
    return sorted(others, key=lambda other: other.seller.id != product.seller.id)[:OTHERS]


async def _totals(db: AsyncSession) -> dict[str, int]:
    """Communes that were on air so far, and orders of the sessions of this day."""
    went_live = LiveSession.started_at.is_not(None) & LiveSession.rehearsal.is_(False)
    communes_live = await db.scalar(select(func.count(LiveSession.commune_code.distinct())).where(went_live))
    midnight = datetime.combine(clock.today(), time(), clock.VIETNAM)
    orders = await db.scalar(
        select(func.coalesce(func.sum(LiveCounter.orders), 0))
        .join(LiveSession, LiveSession.id == LiveCounter.live_session_id)
        .where(LiveSession.started_at >= midnight, LiveSession.rehearsal.is_(False))
    )
    return {"communes_live": communes_live or 0, "orders_today": int(orders or 0)}


# ---- shapes the templates know (templates/components.html)


def session_card(session: Session, viewers: int) -> Card:
    return {
        "code": session.code,
        "title": session.title,
        "state": session.state.value,
        "commune": session.commune.name,
        "host": session.host,
        "starts_at": session.starts_at,
        "picture_url": None,
        "art": session.poster,
        "viewers": viewers,
        "replay": session.state == LiveState.ENDED and live.playback_url(session) is not None,
    }


def _product_card(product: ProductView, selling: dict[str, tuple[str, str]]) -> Card:
    return {
        "code": product.code,
        "name": product.name,
        "seller": product.seller.name,
        "commune": product.commune.short_name,
        "picture": product.picture,
        "art": product.art,
        "price": product.price,
        "price_was": None,
        "price_from": product.price_from,
        "unit": product.unit,
        "stars": product.stars,
        "on_air": product.code in selling,
        "left": product.left,
    }


def _commune_card(commune: Commune, on_air: set[str], counts: dict[str, int]) -> Card:
    return {
        "code": commune.code,
        "name": commune.name,
        "slug": commune.slug,
        "on_air": commune.code in on_air,
        "products": counts.get(commune.code, 0),
        "key": commune.search.strip(),
    }


def _seller_card(seller: SellerCard) -> Card:
    return {
        "id": seller.id,
        "name": seller.name,
        "kind_name": words.seller_kind(seller.kind),
        "address": seller.address,
        "phone": seller.phone,
        "registration": seller.registration,
        "products": seller.products,
    }


def _register_card(entry: RegisterView) -> Card:
    return {
        "name": entry.product_name,
        "producer": entry.producer,
        "commune": entry.commune.name if entry.commune else "",
        "stars": entry.stars,
        "valid_until": entry.valid_until,
    }


ROUTES = [home, near, followed, channel, product, search, qr]
