"""The demo market: made-up people, goods and sessions, all marked `demo`, made as real ones are made.

Sellers, listings, sessions and orders come about through the service functions that people's taps call, so
the demo obeys every rule of the market. Making it again adds what is missing, fills shelves up, moves
sessions that were missed into the coming days and puts `EAKNUEC` on air again.

Names are invented and carry "(minh hoạ)"; bank accounts are all zeros, so that no transfer can reach anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from catalog_seed import neighbours
from catalog_seed.demo_money import take_money
from catalog_seed.demo_rates import make_rates
from catalog_seed.sheet import Row, SeedError, Sheet
from commerce.accounts.identity import Document, Looked
from commerce.accounts.models import Person, RoleGrant
from commerce.accounts.service import hash_password
from commerce.catalog import assisting, stock
from commerce.catalog import service as catalog
from commerce.catalog.forms import (
    ARTS,
    INDUSTRIES,
    GradeFields,
    ProductFields,
    RecognitionFields,
    SellerFields,
)
from commerce.catalog.models import AssistedAct, Grade, ListingState, Product, Seller, SellerKind, Stock, Unit
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import Invalid, MarketError
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.text import fold
from commerce.live import outside
from commerce.live import service as live
from commerce.live.models import LiveSession, LiveState
from commerce.live.service import Offer
from commerce.orders import service as orders
from commerce.orders.desk import desk
from commerce.orders.models import Order, Purchase
from commerce.orders.wire import AddressRequest, BuyerRequest, LineRequest, OrderRequest

GOODS = Path(__file__).parent / "data" / "demo_goods.csv"
PASSWORD = "chophien-demo"  # noqa: S105 - printed on purpose, for made-up people only
SESSION = "EAKNUEC"
EA_KNUEC = "24505"
MARK = "(minh hoạ)"
BANK, ACCOUNT = "970436", "0000000000"
PHONE = "0900000199"
"""Of every demo seller; 0900 numbers are not given to anybody."""
AT_ONCE = 5
FRESH_FOR = timedelta(hours=6)
"""A demo session on air for longer is ended and begun anew, so that its counts mean something."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Somebody:
    phone: str
    name: str
    role: Role
    commune: str | None


PEOPLE = (
    Somebody("0900000001", f"H'Linh Êban {MARK}", Role.HOST, EA_KNUEC),
    Somebody("0900000002", f"Trợ lý Mai {MARK}", Role.HELPER, EA_KNUEC),
    Somebody("0900000003", f"Cán bộ Thủy {MARK}", Role.OFFICER, EA_KNUEC),
    Somebody("0900000004", f"Y Bên {MARK}", Role.SELLER, EA_KNUEC),
    Somebody("0900000005", f"Cán bộ tỉnh {MARK}", Role.PROVINCE, None),
    Somebody("0900000006", f"Quản trị {MARK}", Role.ADMIN, None),
)


@dataclass(frozen=True, slots=True)
class Planned:
    """A session of another commune; `days` from today, in the past for one that is over."""

    code: str
    commune: str
    host: str
    title: str
    poster: str
    days: int
    hour: int


PLANNED = (
    Planned("KRONGPAC", "krong-pac", "Ngọc Ánh", "Sầu riêng sấy và chuyện mùa vụ Krông Pắc", "durian", 1, 19),
    Planned("CUMGAR", "cu-m-gar", "Y Thuyên", "Tiêu đỏ Cư M'gar vào bao", "pepper", 1, 20),
    Planned("BUONMATHUOT", "buon-ma-thuot", "Hoàng Yến", "Một buổi thử nếm cà phê Ban Mê", "coffee", 2, 9),
    Planned("TUYHOA", "tuy-hoa", "Minh Hải", "Tàu cá ngừ vừa cập bến Tuy Hòa", "harvest", 2, 16),
    Planned("MDRAK", "m-drak", "H'Uyên", "Bò một nắng trên đồi cỏ M'Drắk", "beef", 3, 19),
    Planned("OLOAN", "o-loan", "Thanh Trúc", "Theo ghe bắt sò Đầm Ô Loan", "harvest", 5, 15),
    Planned("EAKAO", "ea-kao", "Bảo Châu", "Bơ Booth đầu mùa bên hồ Ea Kao", "avocado", -2, 19),
    Planned("LIENSONLAK", "lien-son-lak", "H'Blin", "Gạo mới bên hồ Lắk", "rice", -4, 18),
    Planned("SONGCAU", "song-cau", "Tấn Phát", "Lồng tôm hùm Vịnh Sông Cầu", "harvest", -6, 16),
    Planned("DLIEYA", "dlie-ya", "Thùy Dung", "Mắc ca Dliê Ya nứt vỏ", "macadamia", -9, 19),
)

# Short codes of the main session: the durian by grade, then the other sellers.
LINEUP = (
    Offer("sau-rieng-dona", "A", "A1"),
    Offer("sau-rieng-dona", "B", "A2"),
    Offer("sau-rieng-dona", "C", "A3"),
    Offer("ca-phe-robusta-rang-moc", "", "B1"),
    Offer("ho-tieu-den-phoi-nang", "", "B2"),
    Offer("mac-ca-say-nut-vo", "", "B3"),
    Offer("mat-ong-hoa-ca-phe", "", "B4"),
    Offer("bo-034", "A", "B5"),
    Offer("bo-034", "B", "B6"),
    Offer("khan-tho-cam-e-de", "", "B7"),
    Offer("gui-tre-dan-tay", "", "B8"),
    Offer("sau-rieng-tach-mui-cap-dong", "", "C1"),
)


async def make(settings: Settings, *, progress: Progress) -> None:
    """Build or refresh the demo market on the configured `sessions`.

    Raises `SeedError` in a production market, or when a demo phone number belongs to a real account.
    """
    if settings.production:
        raise SeedError(
            ["the demo market does not belong into a production market (CHOPHIEN_ENV=production)"]
        )
    progress("demo: people")
    people = await _people([*PEOPLE, *await _hosts()])
    admin = people["0900000006"]
    progress("demo: sellers and goods")
    await _goods(admin, people["0900000004"], settings.secret_key)
    await take_money(settings)
    await make_rates()
    progress("demo: sessions that are over, and coming ones")
    await _some_at_once(
        partial(_past_session, settings, people[_host_phone(index)], plan)
        if plan.days < 0
        else partial(_coming_session, people[_host_phone(index)], plan)
        for index, plan in enumerate(PLANNED)
    )
    await desk.close()
    await _networks(settings, people["0900000003"])
    progress(f"demo: {SESSION} goes on air")
    await _main_session(people["0900000001"])


async def _networks(settings: Settings, officer: Identity) -> None:
    """The commune's Page and channel, where stand-ins take the place of the networks."""
    if not settings.extra.get("NETWORKS_STAND_IN"):
        return
    async with sessions.read() as db:
        known = await outside.connected(db, EA_KNUEC)
    for network, account in neighbours.ACCOUNTS.items():
        if network not in known:
            await outside.connect(settings.secret_key, officer, EA_KNUEC, network, account)


# ---- people


async def _hosts() -> list[Somebody]:
    codes = await _commune_codes()
    return [
        Somebody(_host_phone(index), f"{plan.host} {MARK}", Role.HOST, codes[plan.commune])
        for index, plan in enumerate(PLANNED)
    ]


def _host_phone(index: int) -> str:
    return f"09000001{index + 1:02}"


async def _commune_codes() -> dict[str, str]:
    """Codes by slug."""
    async with sessions.read() as db:
        return {str(slug): str(code) for slug, code in await db.execute(select(Commune.slug, Commune.code))}


async def _people(wanted: Sequence[Somebody]) -> dict[str, Identity]:
    """Everybody, with the demo password and verified; who they are, by phone number."""
    password_hash = hash_password(PASSWORD)
    async with sessions.begin() as db:
        taken = await db.scalars(
            select(Person.phone).where(
                Person.phone.in_([one.phone for one in wanted]), Person.demo.is_(False)
            )
        )
        if faults := [f"the phone number {phone} of the demo belongs to a real account" for phone in taken]:
            raise SeedError(faults)
        found: dict[str, Identity] = {}
        for one in wanted:
            values = {
                "name": one.name,
                "password_hash": password_hash,
                "must_change_password": False,
                "identity_verified_at": clock.now(),
                "active": True,
                "demo": True,
            }
            new = upsert(Person).values(phone=one.phone, **values)
            person_id = await db.scalar(
                new.on_conflict_do_update(index_elements=["phone"], set_=values).returning(Person.id)
            )
            assert person_id is not None
            await db.execute(
                upsert(RoleGrant)
                .values(person_id=person_id, role=one.role, commune_code=one.commune)
                .on_conflict_do_nothing()
            )
            grants = frozenset({(one.role, one.commune)})
            found[one.phone] = Identity(person_id, 0, one.name, one.phone, grants)
    return found


# ---- goods


@dataclass(frozen=True, slots=True)
class Goods:
    """One row of the file. `grades`: (name, price, stock); `stars`: (stars, granted so many months ago)."""

    commune: str
    seller: str
    kind: str
    product: str
    fields: ProductFields
    grades: list[tuple[str, int, int]]
    stars: list[tuple[int, int]]
    approved: bool


def read_goods(path: Path = GOODS) -> list[Goods]:
    """Raises `SeedError` with every fault."""
    faults: list[str] = []
    columns = "commune seller kind product unit industry art grades season shelf_life stars description state"
    sheet = Sheet(path, columns, faults)
    goods = [one for row in sheet.rows if (one := _one(row)) is not None]
    if faults:
        raise SeedError(faults)
    return goods


def _one(row: Row) -> Goods | None:
    """None once the file is known to be faulty: then only its faults matter."""
    season = row.matching("season", r"-?\d+:-?\d+", "days before and after today: -30:40", optional=True)
    grades = row.matching("grades", r"[A-Z]?:\d+:\d+(;[A-Z]:\d+:\d+)*", "grade:price:stock;…")
    stars = row.matching("stars", r"[345]@\d+(;[345]@\d+)*", "stars@months ago;…", optional=True)
    fields = ProductFields(
        name=row.needed("product"),
        unit=row.choice("unit", list(Unit)),
        industry=row.choice("industry", INDUSTRIES),
        art=row.choice("art", ARTS),
        description=row.needed("description"),
        shelf_life=row.text("shelf_life"),
        fresh=bool(season),
    )
    kind = row.choice("kind", list(SellerKind))
    approved = row.choice("state", ("", "review")) == ""
    if row.sheet.faults:
        return None
    if season:
        first, last = (clock.today() + timedelta(days=int(day)) for day in season.split(":"))
        fields.harvest_from, fields.harvest_to = first, last
    return Goods(
        commune=row.needed("commune"),
        seller=f"{row.needed('seller')} {MARK}",
        kind=kind,
        product=row.text("product"),
        fields=fields,
        grades=[(name, int(price), int(left)) for name, price, left in _parts(grades, ":")],
        stars=[(int(count), int(months)) for count, months in _parts(stars, "@")],
        approved=approved,
    )


def _parts(cell: str, sign: str) -> list[list[str]]:
    return [part.split(sign) for part in cell.split(";") if part.count(sign)]


async def _goods(admin: Identity, owner: Identity, secret_key: str) -> None:
    """List what is missing and fill the shelves; `owner` is the seller who has an account."""
    codes = await _commune_codes()
    stalls: dict[tuple[str, str], list[Goods]] = defaultdict(list)
    for goods in read_goods():
        stalls[codes[goods.commune], goods.seller].append(goods)

    async def stall(commune: str, name: str, goods: list[Goods]) -> None:
        first = commune == EA_KNUEC and "Đất Đỏ" in name
        seller_id = await _seller(admin, owner if first else None, commune, goods[0], secret_key)
        for one in goods:
            await _list(admin, seller_id, one)

    await _some_at_once(partial(stall, *who, goods) for who, goods in stalls.items())
    await _fill_shelves(stalls)


async def _some_at_once(work: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """A few things side by side: what takes time is each small transaction's way to the disk."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(act: Callable[[], Awaitable[None]]) -> None:
        async with gate:
            await act()

    async with asyncio.TaskGroup() as group:
        for act in work:
            group.create_task(one(act))


async def _seller(
    admin: Identity, owner: Identity | None, commune: str, goods: Goods, secret_key: str
) -> int:
    """Id of the approved seller. Goes on where a run that was cut off left it."""
    async with sessions.read() as db:
        seller = await db.scalar(
            select(Seller).where(Seller.commune_code == commune, Seller.folded == fold(goods.seller))
        )
        place = await db.scalar(select(Commune.name).where(Commune.code == commune))
    if seller is None:
        form = SellerFields(
            name=goods.seller,
            kind=goods.kind,
            phone=owner.phone if owner else PHONE,
            address=f"Thôn 1, {place} {MARK}",
            registration="0000000000",
            bank_bin=BANK,
            bank_account=ACCOUNT,
            bank_holder="MINH HOA",
        )
        seller = await catalog.register_seller(owner or admin, commune, form)
    if seller.state == ListingState.REVIEW:
        looked = Looked(Document.BUSINESS, f"{seller.id:010d}")
        await catalog.verify_seller(admin, seller.id, secret_key, looked)
        await _farmer_agrees(seller.id)
        await catalog.review_seller(admin, seller.id, ListingState.APPROVED)
    return seller.id


async def _list(admin: Identity, seller_id: int, goods: Goods) -> None:
    """From draft to the shelf, as the office does it for a farmer. Goes on where a run was cut off; what
    somebody paused or refused since stays so."""
    async with sessions.read() as db:
        commune = await db.scalar(select(Commune.name).join(Seller).where(Seller.id == seller_id))
        product = await db.scalar(
            select(Product).where(Product.seller_id == seller_id, Product.folded == fold(goods.product))
        )
        grades = await db.scalars(select(Grade.name).where(Grade.product_id == product.id)) if product else ()
        known = set(grades)
    if product is None:
        goods.fields.origin = f"{commune}, Đắk Lắk"
        product = await catalog.create_product(admin, seller_id, goods.fields)
    if product.state == ListingState.DRAFT:
        for position, (name, price, _) in enumerate(goods.grades):
            if name not in known:
                form = GradeFields(price=price, name=name, position=position)
                await catalog.add_grade(admin, product.code, form)
        await catalog.submit_product(admin, product.code)
    if product.state in (ListingState.DRAFT, ListingState.REVIEW) and goods.approved:
        for stars, months in goods.stars:
            with contextlib.suppress(Invalid):  # recorded before the run was cut off
                await catalog.record_recognition(admin, product.code, _recognition(stars, months))
        await _farmer_agrees(seller_id, product.id)
        await catalog.approve_product(admin, product.code, papers_seen=True)


async def _farmer_agrees(seller_id: int, product_id: int | None = None) -> None:
    """Made-up farmers have no phone to answer on. What waits for review in the demo waits for them too."""
    async with sessions.begin() as db:
        await db.execute(
            update(AssistedAct)
            .where(
                AssistedAct.seller_id == seller_id, AssistedAct.product_id.is_not_distinct_from(product_id)
            )
            .values(answer=assisting.CONFIRMED, answered_at=clock.now())
        )


def _recognition(stars: int, months_ago: int) -> RecognitionFields:
    granted = clock.today() - timedelta(days=round(months_ago * 30.44))
    return RecognitionFields(
        stars=stars,
        score={3: 61.5, 4: 78.0, 5: 92.5}[stars],
        decision=f"{100 + months_ago}/QĐ-MINH-HOẠ",
        issuer=f"UBND tỉnh Đắk Lắk {MARK}" if stars < 5 else f"Bộ Nông nghiệp và Môi trường {MARK}",
        granted_on=granted,
    )


async def _fill_shelves(stalls: dict[tuple[str, str], list[Goods]]) -> None:
    """So that as much is free to sell as the file says."""
    wanted = {
        (commune, fold(one.product), name): left
        for (commune, _), goods in stalls.items()
        for one in goods
        for name, _, left in one.grades
    }
    async with sessions.begin() as db:
        rows = await db.execute(
            select(Product.commune_code, Product.folded, Grade.name, Grade.id, Stock.on_hand - Stock.reserved)
            .select_from(Product)
            .join(Grade)
            .outerjoin(Stock, Stock.grade_id == Grade.id)
            .where(Product.demo)
            .order_by(Grade.id)
        )
        for commune, product, grade, grade_id, free in rows.all():
            missing = wanted.get((commune, product, grade), 0) - (free or 0)
            if missing > 0:
                await stock.receive(db, grade_id, missing)


# ---- sessions


async def _find(code: str) -> LiveSession | None:
    async with sessions.read() as db:
        return await db.scalar(select(LiveSession).where(LiveSession.code == code))


async def _lineup_of(commune: str) -> list[Offer]:
    """Everything the commune has on sale."""
    async with sessions.read() as db:
        rows = await db.execute(
            select(Product.code, Grade.name)
            .select_from(Product)
            .join(Grade)
            .where(Product.commune_code == commune, Product.state == ListingState.APPROVED, Grade.active)
            .order_by(Product.id, Grade.position)
        )
        return [Offer(code, grade) for code, grade in rows]


def _moment(day: date, hour: int) -> datetime:
    return datetime.combine(day, time(hour), clock.VIETNAM)


async def _schedule(host: Identity, plan: Planned, starts_at: datetime) -> None:
    """Planned, with rules accepted and a line-up; again for one that was planned only halfway."""
    [(_, commune)] = host.grants
    assert commune is not None
    if await _find(plan.code) is None:
        await live.schedule_session(
            host, commune, title=plan.title, starts_at=starts_at, code=plan.code, poster=plan.poster
        )
    await live.accept_rules(host, plan.code)
    await live.set_lineup(host, plan.code, await _lineup_of(commune))


async def _coming_session(host: Identity, plan: Planned) -> None:
    """In so many days; one that was missed moves there."""
    starts_at = _moment(clock.today() + timedelta(days=plan.days), plan.hour)
    known = await _find(plan.code)
    if known is None or known.rules_accepted_at is None:
        await _schedule(host, plan, starts_at)
    elif known.state == LiveState.SCHEDULED and known.starts_at < clock.now():
        await live.edit_session(host, plan.code, starts_at=starts_at)


async def _past_session(settings: Settings, host: Identity, plan: Planned) -> None:
    """Held now, with a few orders, and then dated back: every figure of it has its rows."""
    known = await _find(plan.code)
    if known is None or known.state == LiveState.SCHEDULED:
        await _schedule(host, plan, clock.now())
        await live.start(host, plan.code)
    elif known.state != LiveState.LIVE:
        return
    offers = await _lineup_of(next(commune for _, commune in host.grants if commune))
    for number in range(len(plan.title) % 4 + 3):
        await _demo_order(settings, plan.code, offers, number)
    began = _moment(clock.today() + timedelta(days=plan.days), plan.hour)
    ended = began + timedelta(minutes=75 + len(plan.title))
    async with sessions.begin() as db:
        mine = select(LiveSession.id).where(LiveSession.code == plan.code).scalar_subquery()
        placed = {"placed_at": began + timedelta(minutes=20)}
        orders_of = select(Order.purchase_id).where(Order.live_session_id == mine)
        await db.execute(update(Purchase).where(Purchase.id.in_(orders_of)).values(placed))
        await db.execute(update(Order).where(Order.live_session_id == mine).values(placed))
        times = {"starts_at": began, "started_at": began}
        await db.execute(update(LiveSession).where(LiveSession.code == plan.code).values(times))
    await live.stop(host, plan.code)
    async with sessions.begin() as db:
        over = update(LiveSession).where(LiveSession.code == plan.code).values(ended_at=ended)
        await db.execute(over)


async def _demo_order(settings: Settings, code: str, offers: Sequence[Offer], number: int) -> None:
    async with sessions.read() as db:
        price = await db.scalar(
            select(Grade.price)
            .join(Product)
            .where(Product.code == offers[0].product, Grade.name == offers[0].grade)
        )
    assert price is not None
    quantity = 1 if price > 1_000_000 else number % 3 + 1
    order = OrderRequest(
        lines=[LineRequest(product="A1", quantity=quantity)],
        buyer=BuyerRequest(name=f"Khách {number + 1} {MARK}", phone=f"09000009{number:02}"),
        address=AddressRequest(province="66", commune=EA_KNUEC, street=f"Thôn {number + 1} {MARK}"),
        payment="cod",
        shown_total=price * quantity,
        consent=True,
    )
    key = hashlib.sha256(f"demo {code} {number}".encode()).hexdigest()
    await orders.place_order(settings, code, order, idempotency_key=key, visitor=f"demo-{number}")


async def _main_session(host: Identity) -> None:
    """`EAKNUEC` on air: kept if it began lately, else begun anew under its code."""
    known = await _find(SESSION)
    if known is not None and known.state == LiveState.LIVE:
        if known.started_at is not None and known.started_at > clock.now() - FRESH_FOR:
            return
        await live.stop(host, SESSION)
        known = await _find(SESSION)
    if known is not None and known.state != LiveState.SCHEDULED:
        # What is over stays what it was, under a code of its own.
        async with sessions.begin() as db:
            await db.execute(
                update(LiveSession).where(LiveSession.id == known.id).values(code=f"{SESSION}{known.id}")
            )
        known = None
    if known is None:
        title = "Sầu riêng vào mùa: mời cả nước về vườn Ea Knuếc"
        await live.schedule_session(
            host, EA_KNUEC, title=title, starts_at=clock.now(), code=SESSION, poster="orchard"
        )
    await live.accept_rules(host, SESSION)
    await live.set_lineup(host, SESSION, await _with_codes(LINEUP))
    await live.start(host, SESSION)
    with contextlib.suppress(MarketError):  # somebody may have taken them off the shelves
        await live.pin(host, SESSION, "A1")
        await live.open_deal(host, SESSION, "B3", price=229_000, quantity=200, minutes=60)


async def _with_codes(lineup: Sequence[Offer]) -> list[Offer]:
    """The line-up written with the beginnings of product codes, as `set_lineup` wants it; what somebody took
    off the shelves since is left out."""
    on_sale = {(offer.product.rsplit("-", 1)[0], offer.grade): offer for offer in await _lineup_of(EA_KNUEC)}
    wanted = [(on_sale.get((offer.product, offer.grade)), offer.code) for offer in lineup]
    return [Offer(found.product, found.grade, code) for found, code in wanted if found]


__all__ = ["PASSWORD", "SESSION", "make", "read_goods"]
