"""Reading the catalogue. The public sees approved products of approved sellers, and nothing else."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import ColumnElement, Row, Select, and_, case, exists, func, literal, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog import recognitions
from commerce.catalog.errors import ProductNotFound, SellerNotFound
from commerce.catalog.models import (
    Bank,
    Grade,
    ListingState,
    Paper,
    Photo,
    Product,
    ProductHistory,
    Recognition,
    RegisterEntry,
    Seller,
    Stock,
)
from commerce.catalog.views import (
    CommuneView,
    GradeView,
    ListingView,
    Picture,
    ProductPage,
    ProductView,
    RecognitionView,
    RegisterPage,
    RegisterView,
    SearchPage,
    SellerCard,
    SellerView,
)
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_
from commerce.core.ranking import Criterion, Ranking
from commerce.core.roles import Identity, Role
from commerce.core.search import has_words
from commerce.core.text import clean, fold

PAGE_SIZE = 24  # fills whole rows of two, three and four cards
LAST_PAGE = 10_000
QUERY_LENGTH = 100
SHOWN = (Product.state == ListingState.APPROVED, Seller.state == ListingState.APPROVED)

SEARCH = Ranking(
    "search",
    N_("Kết quả tìm hàng"),
    ties=N_("Bằng điểm thì xếp theo vần."),
    criteria={
        "name": Criterion(N_("Tên món có đủ các chữ cần tìm"), 2),
        "typed": Criterion(N_("Các chữ ấy đứng liền nhau ở tên món, người bán hoặc xã"), 1),
    },
)
SEASON = Ranking(
    "season",
    N_("Hàng đang mùa ở trang chủ"),
    ties=N_("Hàng đang thu hoạch hoặc có sao OCOP, còn hàng. Mỗi xã một món; bốc thăm lại mỗi ngày."),
)
CHANNEL = Ranking("channel", N_("Gian hàng của một xã"), ties=N_("Xếp theo vần."))


@dataclass(frozen=True, slots=True)
class Search:
    """What somebody looks for. Empty fields don't narrow."""

    q: str = ""
    commune: str = ""
    stars: int | None = None
    seller: int | None = None
    page: int = 1

    @classmethod
    def parse(
        cls, q: str = "", commune: str = "", stars: str = "", seller: str = "", page: str = ""
    ) -> Search:
        """From an address, where empty means not asked for. Raises `Invalid` with every field at fault."""
        faults: list[FieldError] = []
        q = clean(q)
        if len(q) > QUERY_LENGTH:
            most = {"most": QUERY_LENGTH}
            faults.append(FieldError("q", N_("Từ khoá dài quá {most} chữ. Xin rút ngắn lại."), most))
        if commune and not re.fullmatch(r"\d{5}", commune, re.ASCII):
            faults.append(FieldError("commune", N_("Cần mã xã, phường gồm năm chữ số, ví dụ 24505.")))
        if stars not in ("", "3", "4", "5"):
            faults.append(FieldError("stars", N_("Số sao OCOP là 3, 4 hoặc 5.")))
        if seller and not re.fullmatch(r"\d{1,18}", seller, re.ASCII):
            faults.append(FieldError("seller", N_("Cần số hiệu người bán, là một số nguyên.")))
        if page and not (re.fullmatch(r"\d{1,6}", page, re.ASCII) and 1 <= int(page) <= LAST_PAGE):
            faults.append(FieldError("page", N_("Số trang là một số nguyên từ 1 trở lên.")))
        if faults:
            raise Invalid(*faults)
        return cls(q, commune, int(stars or 0) or None, int(seller) if seller else None, int(page or 1))

    def query(self, **changes: Any) -> str:
        """As the query of an address, in a fixed order and without what is not asked for."""
        other = replace(self, **changes)
        asked = {
            "q": other.q,
            "commune": other.commune,
            "stars": other.stars,
            "seller": other.seller,
            "page": other.page if other.page > 1 else None,
        }
        return urlencode({name: value for name, value in asked.items() if value})


# ---- products, as everybody sees them


async def search_products(
    db: AsyncSession, search: Search, *, on: date | None = None, address: str = "/api/v1/products"
) -> SearchPage:
    """One page of what is on sale. Raises `Invalid` for a commune that does not exist.

    In the order of `SEARCH`. Nobody can buy a better place.
    """
    on = on or clock.today()
    found = _products(on).where(*SHOWN, *await _narrowed(db, search, on))
    total = await db.scalar(select(func.count()).select_from(found.order_by(None).subquery())) or 0
    points = SEARCH.column(
        name=has_words(literal(" ").concat(Product.folded), search.q),
        typed=Product.search.concat(" ").contains(f" {fold(search.q)} "),
    )
    rows = await db.execute(
        found.order_by(points.desc(), Product.sort_key, Product.id)
        .limit(PAGE_SIZE)
        .offset((search.page - 1) * PAGE_SIZE)
    )
    pages = max(1, -(-total // PAGE_SIZE))
    return SearchPage(
        items=await _views(db, rows.all()),
        total=total,
        page=search.page,
        pages=pages,
        next=f"{address}?{search.query(page=search.page + 1)}" if search.page < pages else None,
    )


async def _narrowed(db: AsyncSession, search: Search, on: date) -> list[ColumnElement[bool]]:
    wanted = [has_words(Product.search, search.q)]
    if search.commune:
        if await db.get(Commune, search.commune) is None:
            raise Invalid(FieldError("commune", N_("Không có xã, phường nào mang mã này.")))
        wanted.append(Product.commune_code == search.commune)
    if search.seller is not None:
        wanted.append(Product.seller_id == search.seller)
    if search.stars is not None:
        wanted.append(_stars(on) == search.stars)
    return wanted


async def products_of_commune(
    db: AsyncSession, code: str, *, limit: int = PAGE_SIZE, on: date | None = None
) -> list[ProductView]:
    found = _products(on or clock.today()).where(*SHOWN, Product.commune_code == code)
    return await _views(db, (await db.execute(found.order_by(Product.sort_key).limit(limit))).all())


async def products_near(
    db: AsyncSession, codes: Sequence[str], limit: int, *, on: date | None = None
) -> list[ProductView]:
    """What these communes have in stock, the first of each before the second of any, in their order."""
    if not codes:
        return []
    turn = func.row_number().over(partition_by=Product.commune_code, order_by=Product.sort_key)
    candidates = (
        select(Product.id, turn.label("turn"))
        .join(Seller)
        .where(*SHOWN, Product.commune_code.in_(codes), _in_stock())
        .subquery()
    )
    place = case({code: number for number, code in enumerate(codes)}, value=Product.commune_code)
    found = _products(on or clock.today()).join(candidates, candidates.c.id == Product.id)
    rows = await db.execute(found.order_by(candidates.c.turn, place, Product.sort_key).limit(limit))
    return await _views(db, rows.all())


async def in_season(db: AsyncSession, limit: int, *, on: date | None = None) -> list[ProductView]:
    """In stock, and harvested now or recognised: one product of each commune, for the home page.

    Which one, and in what order the communes come, is drawn anew every day: equal chances for all 102.
    """
    on = on or clock.today()

    def lot(thing: Any) -> ColumnElement[str]:
        return func.md5(thing.concat(on.isoformat()))

    harvested = and_(Product.harvest_from <= on, Product.harvest_to >= on)
    turn = func.row_number().over(partition_by=Product.commune_code, order_by=lot(Product.code))
    candidates = (
        select(Product.id, turn.label("turn"))
        .join(Seller)
        .where(*SHOWN, or_(harvested, _stars(on).is_not(None)), _in_stock())
        .subquery()
    )
    first = select(candidates.c.id).where(candidates.c.turn == 1)
    found = _products(on).where(Product.id.in_(first)).order_by(lot(Product.commune_code)).limit(limit)
    return await _views(db, (await db.execute(found)).all())


def _in_stock() -> ColumnElement[bool]:
    """Something is free to sell of the product in the enclosing query."""
    return exists(
        select(1)
        .select_from(Grade)
        .join(Stock)
        .where(Grade.product_id == Product.id, Grade.active, Stock.on_hand > Stock.reserved)
        .correlate(Product)
    )


async def products_by_id(
    db: AsyncSession, ids: Iterable[int], *, on: date | None = None
) -> dict[int, ProductView]:
    """Views of those products that are shown, by id."""
    found = _products(on or clock.today()).where(*SHOWN, Product.id.in_(list(ids)))
    rows = (await db.execute(found)).all()
    return dict(zip((row.Product.id for row in rows), await _views(db, rows), strict=True))


async def product_page(
    db: AsyncSession, code: str, *, on: date | None = None, on_sale_only: bool = True
) -> ProductPage:
    """Everything the public may know of a product on sale; the office sees the same page before it is.

    Raises `ProductNotFound`.
    """
    on = on or clock.today()
    query = _products(on).add_columns(_on_sale().label("products"))
    row = (
        await db.execute(query.where(*(SHOWN if on_sale_only else ()), Product.code == as_code(code)))
    ).first()
    if row is None:
        raise ProductNotFound
    product: Product = row.Product
    [view] = await _views(db, [row])
    history = await db.scalars(select(Recognition).where(Recognition.product_id == product.id))
    shown = recognitions.current(history, on)
    pictures = await db.scalars(
        select(Photo)
        .where(Photo.product_id == product.id)
        .order_by((Photo.id == product.photo_id).desc(), Photo.id)
    )
    return ProductPage(
        product=view,
        seller=_card(row.Seller, view.commune, row.products),
        description=product.description,
        origin=product.origin,
        shelf_life=product.shelf_life,
        harvest_from=product.harvest_from,
        harvest_to=product.harvest_to,
        capacity_per_day=product.capacity_per_day,
        papers_checked=product.papers_checked_at is not None,
        recognition=recognition_view(shown, on, shown) if shown else None,
        pictures=[Picture.of(photo, product.name) for photo in pictures],
    )


async def product_counts(db: AsyncSession) -> dict[str, int]:
    """How many products each commune has on sale, by its code; communes without any are absent."""
    rows = await db.execute(
        select(Product.commune_code, func.count()).join(Seller).where(*SHOWN).group_by(Product.commune_code)
    )
    return {code: int(count) for code, count in rows}


# ---- sellers


async def sellers_of_commune(db: AsyncSession, code: str) -> list[SellerCard]:
    """Approved ones, in the order of the alphabet."""
    rows = await db.execute(
        _sellers().where(Seller.commune_code == code).order_by(Seller.sort_key, Seller.id)
    )
    return [_card(seller, _commune(commune), count) for seller, commune, count in rows]


async def seller_card(db: AsyncSession, seller_id: int) -> SellerCard:
    """Raises `SellerNotFound`."""
    row = None
    if seller_id < 2**63:
        row = (await db.execute(_sellers().where(Seller.id == seller_id))).first()
    if row is None:
        raise SellerNotFound
    return _card(row.Seller, _commune(row.Commune), row.products)


def _sellers() -> Select[Any]:
    return (
        select(Seller, Commune, _on_sale().label("products"))
        .join(Commune)
        .where(Seller.state == ListingState.APPROVED)
    )


def _on_sale() -> Any:
    """How many products the seller in the enclosing query has on sale."""
    return (
        select(func.count())
        .where(Product.seller_id == Seller.id, Product.state == ListingState.APPROVED)
        .correlate(Seller)
        .scalar_subquery()
    )


async def banks_for_transfer(db: AsyncSession) -> Sequence[Bank]:
    """Those a seller may be paid at by VietQR."""
    query = select(Bank).where(Bank.current, Bank.takes_vietqr).order_by(Bank.sort_key)
    return (await db.scalars(query)).all()


# ---- the seller's and the office's lists


async def listings(
    db: AsyncSession,
    *,
    person_id: int | None = None,
    seller_id: int | None = None,
    commune: str | None = None,
    state: ListingState | None = None,
    on: date | None = None,
) -> list[ListingView]:
    """Products in any state: of the sellers that a person is, or of a whole commune; newest first."""
    query = _products(on or clock.today()).order_by(Product.id.desc()).limit(500)
    if person_id is not None:
        query = query.where(Seller.person_id == person_id)
    if seller_id is not None:
        query = query.where(Seller.id == seller_id)
    if commune is not None:
        query = query.where(Product.commune_code == commune)
    if state is not None:
        query = query.where(Product.state == state)
    rows = (await db.execute(query)).all()
    products: list[Product] = [row.Product for row in rows]
    reasons = await _last_reasons(db, [product.id for product in products])
    return [
        ListingView(
            product=view,
            state=product.state,
            reason=reasons.get((product.id, product.state), ""),
            papers_checked=product.papers_checked_at is not None,
        )
        for product, view in zip(products, await _views(db, rows), strict=True)
    ]


async def _last_reasons(db: AsyncSession, ids: list[int]) -> dict[tuple[int, str], str]:
    """Why each product came into each state it was last brought to."""
    rows = await db.execute(
        select(ProductHistory)
        .where(ProductHistory.subject_id.in_(ids), ProductHistory.before != ProductHistory.after)
        .order_by(ProductHistory.id)
    )
    return {(line.subject_id, line.after): line.reason for (line,) in rows}


@dataclass(frozen=True, slots=True)
class PriceRange:
    """What is asked for goods of the like on sale in the province; whole dong a unit."""

    lowest: int
    highest: int
    products: int


async def prices_of_the_like(db: AsyncSession, product_code: str) -> PriceRange | None:
    """Other goods on sale with a similar name and the same unit; None when there are none to compare with."""
    row = (
        await db.execute(
            text("""
                SELECT min(g.price), max(g.price), count(DISTINCT other.id)
                FROM product this
                JOIN product other ON other.id <> this.id AND other.unit = this.unit
                    AND other.state = 'approved' AND word_similarity(this.folded, other.folded) >= 0.45
                JOIN grade g ON g.product_id = other.id AND g.active
                WHERE this.code = :code
            """),
            {"code": product_code},
        )
    ).one()
    return PriceRange(*row) if row[2] else None


async def papers_of(db: AsyncSession, codes: Sequence[str]) -> dict[str, list[Paper]]:
    """By product code, the newest first."""
    rows = await db.execute(
        select(Product.code, Paper)
        .join(Paper, Paper.product_id == Product.id)
        .where(Product.code.in_(codes))
        .order_by(Paper.id.desc())
    )
    found: dict[str, list[Paper]] = {}
    for code, paper in rows:
        found.setdefault(code, []).append(paper)
    return found


async def seller_of(db: AsyncSession, code: str) -> Seller:
    """Whose product it is. Raises `ProductNotFound`."""
    query = select(Seller).join(Product, Product.seller_id == Seller.id).where(Product.code == as_code(code))
    seller = await db.scalar(query)
    if seller is None:
        raise ProductNotFound
    return seller


async def last_reason(db: AsyncSession, product_id: int) -> str:
    """Of the latest refusal."""
    return (await _last_reasons(db, [product_id])).get((product_id, ListingState.REFUSED), "")


async def recognition_history(
    db: AsyncSession, by: Identity, code: str, *, on: date | None = None
) -> list[RecognitionView]:
    """All decisions about a product in any state, newest first, the current one marked; for the authorities.

    Raises `ProductNotFound`, `Forbidden`.
    """
    on = on or clock.today()
    product = await db.scalar(select(Product).where(Product.code == as_code(code)))
    if product is None:
        raise ProductNotFound
    by.must(product.commune_code, Role.OFFICER, Role.PROVINCE)
    history = await db.scalars(
        select(Recognition)
        .where(Recognition.product_id == product.id)
        .order_by(Recognition.granted_on.desc(), Recognition.id.desc())
    )
    lines = history.all()
    shown = recognitions.current(lines, on)
    return [recognition_view(line, on, shown) for line in lines]


# ---- the register


async def search_register(
    db: AsyncSession,
    search: Search,
    *,
    on: date | None = None,
    address: str = "/api/v1/register",
) -> RegisterPage:
    """OCOP products as the press reported them. Stars only where recognised and surely not lapsed."""
    on = on or clock.today()
    held = case((RegisterEntry.valid_until >= on, RegisterEntry.stars), else_=None)
    query = select(RegisterEntry, Commune, held.label("held")).outerjoin(Commune)
    query = query.where(has_words(RegisterEntry.search, search.q))
    if search.commune:
        query = query.where(RegisterEntry.commune_code == search.commune)
    if search.stars is not None:
        query = query.where(held == search.stars)
    total = await db.scalar(select(func.count()).select_from(query.subquery())) or 0
    rows = await db.execute(
        query.order_by(RegisterEntry.sort_key, RegisterEntry.row)
        .limit(PAGE_SIZE)
        .offset((search.page - 1) * PAGE_SIZE)
    )
    pages = max(1, -(-total // PAGE_SIZE))
    return RegisterPage(
        items=[_register_view(*row) for row in rows],
        total=total,
        page=search.page,
        pages=pages,
        next=f"{address}?{search.query(page=search.page + 1)}" if search.page < pages else None,
    )


def _register_view(entry: RegisterEntry, commune: Commune | None, held: int | None) -> RegisterView:
    return RegisterView(
        row=entry.row,
        product_name=entry.product_name,
        producer=entry.producer,
        commune=_commune(commune) if commune else None,
        former_place=entry.former_place,
        stars=held,
        valid_until=entry.valid_until if held else None,
        reported_on=entry.reported_on,
        evidence_status=entry.evidence_status,
        source=entry.source,
    )


# ---- how rows become views


def _stars(on: date) -> Any:
    """Stars of the current recognition of the product in the enclosing query; see catalog.recognitions."""
    return (
        select(Recognition.stars)
        .where(Recognition.product_id == Product.id, recognitions.holding(on))
        .order_by(Recognition.granted_on.desc(), Recognition.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def _products(on: date) -> Select[Any]:
    return (
        select(Product, Seller, Commune, Photo, _stars(on).label("stars"))
        .join(Seller, Seller.id == Product.seller_id)
        .join(Commune, Commune.code == Product.commune_code)
        .outerjoin(Photo, Photo.id == Product.photo_id)
    )


async def _views(db: AsyncSession, rows: Sequence[Row[Any]]) -> list[ProductView]:
    grades = await _grades(db, [row.Product.id for row in rows])
    return [_view(row, grades[row.Product.id]) for row in rows]


async def _grades(db: AsyncSession, product_ids: list[int]) -> dict[int, list[GradeView]]:
    """Grades on sale, in the seller's order."""
    rows = await db.execute(
        select(Grade, func.coalesce(Stock.on_hand - Stock.reserved, 0))
        .outerjoin(Stock, Stock.grade_id == Grade.id)
        .where(Grade.product_id.in_(product_ids), Grade.active)
        .order_by(Grade.position, Grade.id)
    )
    grades: dict[int, list[GradeView]] = defaultdict(list)
    for grade, left in rows:
        grades[grade.product_id].append(GradeView(grade.id, grade.name, grade.price, left))
    return grades


def _view(row: Row[Any], grades: list[GradeView]) -> ProductView:
    product: Product = row.Product
    prices = {grade.price for grade in grades}
    return ProductView(
        code=product.code,
        name=product.name,
        url=f"/p/{product.code}",
        unit=product.unit,
        industry=product.industry,
        fresh=product.fresh,
        seller=SellerView(row.Seller.id, row.Seller.name, row.Seller.kind),
        commune=_commune(row.Commune),
        grades=grades,
        price=min(prices, default=0),
        price_from=len(prices) > 1,
        left=sum(grade.left for grade in grades),
        stars=row.stars,
        picture=Picture.of(row.Photo, product.name) if row.Photo else None,
        art=product.art,
        demo=product.demo,
    )


def _commune(commune: Commune) -> CommuneView:
    return CommuneView(commune.code, commune.name, commune.short_name, commune.slug)


def _card(seller: Seller, commune: CommuneView, products: int) -> SellerCard:
    return SellerCard(
        id=seller.id,
        name=seller.name,
        kind=seller.kind,
        address=seller.address,
        phone=seller.phone,
        registration=seller.registration,
        commune=commune,
        products=products,
        demo=seller.demo,
    )


def recognition_view(recognition: Recognition, on: date, shown: Recognition | None) -> RecognitionView:
    return RecognitionView(
        id=recognition.id,
        stars=recognition.stars,
        score=recognition.score,
        decision=recognition.decision,
        issuer=recognition.issuer,
        granted_on=recognition.granted_on,
        expires_on=recognition.expires_on,
        withdrawn_on=recognition.withdrawn_on,
        current=shown is not None and shown.id == recognition.id,
        renewal_due=recognitions.renewal_due(recognition, on),
        demo=recognition.demo,
    )


def as_code(code: str) -> str:
    """A code as it may stand in an address; anything else names nothing (PostgreSQL refuses a NUL)."""
    return code if re.fullmatch(r"[A-Za-z0-9-]{1,80}", code) else ""
