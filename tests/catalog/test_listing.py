"""Sellers and products from draft to shelf: who may do what, in which state, and what is still missing."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import date

import pytest
from msgspec import UNSET
from sqlalchemy import select, update

from commerce.accounts.identity import Document, Looked
from commerce.catalog import assisting, queries, rules, service
from commerce.catalog.errors import (
    BankAccountFixed,
    IdentityUnchecked,
    NotConfirmed,
    OwnListing,
    ProductNotFound,
    SellerNotFound,
)
from commerce.catalog.forms import GradeFields, ProductFields, SellerFields
from commerce.catalog.models import Bank, ListingState, Product, ProductHistory, Seller, Stock
from commerce.catalog.queries import Search
from commerce.catalog.stock import OutOfStock, rebuild_check, reserve
from commerce.core.db import Sessions
from commerce.core.errors import Forbidden, Invalid, WrongState
from commerce.core.roles import Identity, Role
from tests import factories

HERE, ELSEWHERE = factories.EA_KNUEC, "24490"
DURIAN = {"name": "Sầu riêng Dona", "unit": "kg", "industry": "food", "art": "durian"}
FACTS = {"origin": "Thôn 4, xã Ea Knuếc", "shelf_life": "3 ngày", "description": "Cắt già trên cây."}


@dataclass(frozen=True)
class People:
    seller: Identity
    other: Identity
    officer: Identity
    stranger: Identity
    """An officer of another commune."""
    host: Identity


@pytest.fixture
async def people(sessions: Sessions) -> People:
    async def one(role: Role, commune: str = HERE) -> Identity:
        async with sessions.begin() as db:
            person = await factories.person(db, role, commune_code=commune)
        return Identity(person, 0, role.value, "0900000000", frozenset({(role, commune)}))

    return People(
        await one(Role.SELLER),
        await one(Role.SELLER),
        await one(Role.OFFICER),
        await one(Role.OFFICER, ELSEWHERE),
        await one(Role.HOST),
    )


def seller_form(**values: object) -> SellerFields:
    given = {"name": "HTX Đất Đỏ", "kind": "cooperative", "phone": "0905 000 111", "address": "Thôn 1"}
    return SellerFields(**given | values)  # type: ignore[arg-type]


def product_form(**values: object) -> ProductFields:
    return ProductFields(**{**DURIAN, **FACTS, **values})  # type: ignore[arg-type]


async def verify(people: People, seller: Seller) -> None:
    looked = Looked(Document.BUSINESS, f"66{seller.id:08d}")
    await service.verify_seller(people.officer, seller.id, "k" * 40, looked)


class Phone:
    """Keeps the messages it is sent."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []

    async def send(self, phone: str, text: str) -> None:
        self.messages.append((phone, text))


@pytest.fixture
async def seller(people: People) -> Seller:
    made = await service.register_seller(people.seller, HERE, seller_form())
    await verify(people, made)
    await service.review_seller(people.officer, made.id, ListingState.APPROVED)
    return made


@pytest.fixture
async def product(people: People, seller: Seller) -> str:
    """Complete, and still a draft."""
    made = await service.create_product(people.seller, seller.id, product_form())
    await service.add_grade(people.seller, made.code, GradeFields(price=185_000, name="a"))
    return made.code


async def state(sessions: Sessions, code: str) -> str:
    async with sessions.read() as db:
        return (await db.execute(select(Product.state).where(Product.code == code))).scalar_one()


async def on_sale(sessions: Sessions) -> list[str]:
    async with sessions.read() as db:
        return [item.name for item in (await queries.search_products(db, Search())).items]


async def approve(people: People, code: str) -> None:
    await service.submit_product(people.seller, code)
    await service.approve_product(people.officer, code, papers_seen=True)


# ---- the story


async def test_a_farmer_lists_the_office_approves_and_everybody_sees(
    sessions: Sessions, people: People, seller: Seller
) -> None:
    made = await service.create_product(people.seller, seller.id, ProductFields(**DURIAN))  # type: ignore[arg-type]
    assert made.code.startswith("sau-rieng-dona-")
    assert await on_sale(sessions) == []
    with pytest.raises(Invalid) as gaps:
        await service.submit_product(people.seller, made.code)
    assert [fault.field for fault in gaps.value.errors] == ["grades", "origin", "shelf_life"]

    await service.edit_product(people.seller, made.code, ProductFields(**FACTS))  # type: ignore[arg-type]
    for name, price in [("A", 185_000), ("B", 150_000)]:
        await service.add_grade(people.seller, made.code, GradeFields(price=price, name=name))
    await service.submit_product(people.seller, made.code)
    assert await on_sale(sessions) == []

    await service.refuse_product(people.officer, made.code, "Ghi rõ vườn nào")
    async with sessions.read() as db:
        [mine] = await queries.listings(db, person_id=people.seller.person_id)
    assert (mine.state, mine.reason) == ("refused", "Ghi rõ vườn nào")

    await service.edit_product(people.seller, made.code, ProductFields(origin="Vườn Suối Đá, Ea Knuếc"))
    await service.submit_product(people.seller, made.code)
    await service.approve_product(people.officer, made.code, papers_seen=True)
    assert await on_sale(sessions) == ["Sầu riêng Dona"]
    await service.count_stock(people.seller, made.code, "A", 500)
    async with sessions.read() as db:
        page = await queries.product_page(db, made.code)
    assert [(grade.name, grade.price, grade.left) for grade in page.product.grades] == [
        ("A", 185_000, 500),
        ("B", 150_000, 0),
    ]
    assert (page.product.price, page.product.price_from, page.papers_checked) == (150_000, True, True)
    assert page.seller.phone == "0905000111"


async def test_the_office_lists_for_a_farmer_and_the_history_tells_who_did_it(
    sessions: Sessions, people: People
) -> None:
    assisted = await service.register_seller(people.officer, HERE, seller_form(name="Hộ Ama Thin"))
    assert assisted.person_id is None
    with pytest.raises(IdentityUnchecked):
        await service.review_seller(people.officer, assisted.id, ListingState.APPROVED)
    await verify(people, assisted)
    await service.review_seller(people.officer, assisted.id, ListingState.APPROVED)
    made = await service.create_product(people.officer, assisted.id, product_form())
    await service.add_grade(people.officer, made.code, GradeFields(price=30_000))
    await service.submit_product(people.officer, made.code)
    with pytest.raises(NotConfirmed):
        await service.approve_product(people.officer, made.code, papers_seen=False)
    link = await assisting.ask(people.officer, assisted.id, Phone(), "http://market.test")
    await assisting.answer(link.rpartition("/")[2], agreed=True)
    await service.approve_product(people.officer, made.code, papers_seen=False)
    async with sessions.read() as db:
        history = (await db.scalars(select(ProductHistory).order_by(ProductHistory.id))).all()
        papers = await db.scalar(select(Product.papers_checked_at))
    assert [(line.before, line.after) for line in history] == [
        ("draft", "draft"),
        ("draft", "draft"),
        ("draft", "review"),
        ("review", "approved"),
    ]
    assert {line.by for line in history} == {people.officer.person_id}
    assert papers is None, "approved without papers: it is shown, but cannot be pinned"


# ---- states


async def test_every_pair_of_states(sessions: Sessions, people: People, product: str) -> None:
    async with sessions.read() as db:
        row = await db.scalar(select(Product).where(Product.code == product))
    assert row is not None
    for before, after in itertools.product(ListingState, ListingState):
        async with sessions.begin() as db:
            await db.execute(update(Product).values(state=before))
        allowed = after in rules.ALLOWED[before]
        try:
            async with sessions.begin() as db:
                await rules.PRODUCT_STATES.transition(db, row.id, before, after)
            moved = True
        except WrongState:
            moved = False
        assert moved == allowed, (before, after)
        assert await state(sessions, product) == (after if allowed else before)
    assert rules.ALLOWED.keys() == set(ListingState)


async def test_nothing_is_approved_that_was_not_submitted(people: People, product: str) -> None:
    with pytest.raises(WrongState):
        await service.approve_product(people.officer, product, papers_seen=True)
    with pytest.raises(WrongState):
        await service.pause_product(people.seller, product)


async def test_paused_and_back(sessions: Sessions, people: People, product: str) -> None:
    await approve(people, product)
    await service.pause_product(people.seller, product, "Hết mùa")
    assert await on_sale(sessions) == []
    await service.resume_product(people.seller, product)
    assert await on_sale(sessions) == ["Sầu riêng Dona"]
    with pytest.raises(WrongState):
        await service.resume_product(people.seller, product)


async def test_a_paused_or_refused_seller_takes_the_goods_along(
    sessions: Sessions, people: People, seller: Seller, product: str
) -> None:
    await approve(people, product)
    await service.review_seller(people.officer, seller.id, ListingState.PAUSED, "Chờ giấy phép mới")
    assert await on_sale(sessions) == []
    async with sessions.read() as db:
        with pytest.raises(ProductNotFound):
            await queries.product_page(db, product)
        with pytest.raises(SellerNotFound):
            await queries.seller_card(db, seller.id)
    await service.review_seller(people.officer, seller.id, ListingState.APPROVED)
    assert await on_sale(sessions) == ["Sầu riêng Dona"]


async def test_what_buyers_read_is_reviewed_again(sessions: Sessions, people: People, product: str) -> None:
    await approve(people, product)
    await service.edit_product(people.seller, product, ProductFields(capacity_per_day=300))
    await service.change_price(people.seller, product, "A", 179_000)
    assert await state(sessions, product) == "approved", "one's own business"
    await service.edit_product(people.seller, product, ProductFields(description="Chữa bách bệnh"))
    assert await state(sessions, product) == "review"
    await service.approve_product(people.officer, product, papers_seen=True)
    await service.edit_product(people.officer, product, ProductFields(description="Ngon."))
    assert await state(sessions, product) == "approved", "the office has read what it wrote"
    await service.edit_product(people.seller, product, ProductFields(description="Ngon."))
    assert await state(sessions, product) == "approved", "nothing was changed"


async def test_the_unit_is_fixed_once_approved(people: People, product: str) -> None:
    await service.edit_product(people.seller, product, ProductFields(unit="box"))
    await approve(people, product)
    with pytest.raises(Invalid) as refused:
        await service.edit_product(people.seller, product, ProductFields(unit="kg"))
    assert refused.value.errors[0].field == "unit"


# ---- who may


async def test_only_its_seller_and_its_office_touch_a_product(people: People, product: str) -> None:
    edit = ProductFields(description="Của người khác")
    for nobody in (people.other, people.stranger, people.host):
        with pytest.raises(Forbidden):
            await service.edit_product(nobody, product, edit)
        with pytest.raises(Forbidden):
            await service.count_stock(nobody, product, "A", 5)
    await service.submit_product(people.seller, product)
    for nobody in (people.seller, people.other, people.stranger, people.host):
        with pytest.raises(Forbidden):
            await service.approve_product(nobody, product, papers_seen=True)


async def test_nobody_reviews_their_own_goods(sessions: Sessions, people: People, product: str) -> None:
    grants = people.seller.grants | {(Role.OFFICER, HERE)}
    both = Identity(people.seller.person_id, 0, "Hai vai", "0900000000", grants)
    await service.submit_product(both, product)
    with pytest.raises(OwnListing):
        await service.approve_product(both, product, papers_seen=True)
    assert await state(sessions, product) == "review"


async def test_a_commune_s_sellers_are_registered_there(people: People) -> None:
    with pytest.raises(Forbidden):
        await service.register_seller(people.stranger, HERE, seller_form())
    with pytest.raises(Forbidden):
        await service.register_seller(people.host, HERE, seller_form())
    admin = Identity(people.host.person_id, 0, "", "", frozenset({(Role.ADMIN, None)}))
    for nowhere in ("00000", "", "\0"):
        with pytest.raises(Invalid) as refused:
            await service.register_seller(admin, nowhere, seller_form())
        assert refused.value.errors[0].field == "commune"


@pytest.mark.parametrize("wrong", [0, -1, 10**6, 2**63, 10**30])
async def test_no_such_seller(people: People, wrong: int) -> None:
    with pytest.raises(SellerNotFound):
        await service.create_product(people.officer, wrong, product_form())


@pytest.mark.parametrize("wrong", ["", "khong-co", "\0", "x" * 5000])
async def test_no_such_product(people: People, wrong: str) -> None:
    with pytest.raises(ProductNotFound):
        await service.submit_product(people.officer, wrong)


async def test_after_approval_only_the_office_changes_where_the_money_goes(
    sessions: Sessions, people: People, seller: Seller
) -> None:
    async with sessions.begin() as db:
        db.add(
            Bank(
                short_name="Vietcombank",
                bin="970436",
                code="VCB",
                name="Vietcombank",
                takes_vietqr=True,
                current=True,
                sort_key="V",
                source="test",
            )
        )
    account = SellerFields(bank_bin="970436", bank_account="0123 456 789", bank_holder="HTX DAT DO")
    with pytest.raises(BankAccountFixed):
        await service.edit_seller(people.seller, seller.id, account)
    changed = await service.edit_seller(people.officer, seller.id, account)
    assert changed.bank_account == "0123456789"
    with pytest.raises(Invalid) as refused:
        await service.edit_seller(
            people.officer,
            seller.id,
            SellerFields(bank_bin="970999", bank_account="0123456789", bank_holder="HTX"),
        )
    assert refused.value.errors[0].field == "bank_bin"


async def test_a_renamed_seller_is_reviewed_and_found_by_the_new_name(
    sessions: Sessions, people: People, seller: Seller, product: str
) -> None:
    await approve(people, product)
    renamed = await service.edit_seller(people.seller, seller.id, SellerFields(name="HTX Mùa Vàng"))
    assert renamed.state == "review"
    await service.review_seller(people.officer, seller.id, ListingState.APPROVED)
    async with sessions.read() as db:
        assert (await queries.search_products(db, Search(q="mua vang"))).total == 1
        assert (await queries.search_products(db, Search(q="dat"))).total == 0


# ---- what is filled in


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ({"name": ""}, ["name"]),
        ({"name": "x" * 121}, ["name"]),
        ({"name": "!!!"}, ["name"]),
        ({"unit": "lít"}, ["unit"]),
        ({"industry": "drugs"}, ["industry"]),
        ({"art": "../secret"}, ["art"]),
        ({"description": "x" * 4001}, ["description"]),
        ({"capacity_per_day": -5}, ["capacity_per_day"]),
        ({"harvest_from": date(2026, 9, 1), "harvest_to": date(2026, 8, 1)}, ["harvest_to"]),
        ({"name": UNSET, "unit": UNSET}, ["name", "unit"]),
        ({"name": "", "unit": "", "capacity_per_day": 0}, ["name", "unit", "capacity_per_day"]),
    ],
)
async def test_a_product_that_is_none(
    people: People, seller: Seller, form: dict[str, object], fields: list[str]
) -> None:
    with pytest.raises(Invalid) as refused:
        await service.create_product(people.seller, seller.id, product_form(**form))
    assert [fault.field for fault in refused.value.errors] == fields
    assert all(fault.text("vi") for fault in refused.value.errors)


async def test_one_end_of_the_season_after_the_other(people: People, product: str) -> None:
    await service.edit_product(people.seller, product, ProductFields(harvest_from=date(2026, 9, 1)))
    with pytest.raises(Invalid) as refused:
        await service.edit_product(people.seller, product, ProductFields(harvest_to=date(2026, 8, 1)))
    assert refused.value.errors[0].field == "harvest_to"


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ({"phone": "12345"}, ["phone"]),
        ({"kind": "factory"}, ["kind"]),
        ({"name": "ab"}, ["name"]),
        ({"address": ""}, ["address"]),
        ({"bank_bin": "970436"}, ["bank_bin", "bank_account"]),
        ({"bank_bin": "970436", "bank_account": "12-34", "bank_holder": "A B"}, ["bank_account"]),
        ({"bank_bin": "\0", "bank_account": "0123456", "bank_holder": "A B"}, ["bank_bin"]),
        ({"name": UNSET, "phone": UNSET}, ["name", "phone"]),
    ],
)
async def test_a_seller_that_is_none(people: People, form: dict[str, object], fields: list[str]) -> None:
    with pytest.raises(Invalid) as refused:
        await service.register_seller(people.seller, HERE, seller_form(**form))
    assert [fault.field for fault in refused.value.errors] == fields


async def test_names_are_taken_once(people: People, seller: Seller, product: str) -> None:
    with pytest.raises(Invalid) as refused:
        await service.create_product(people.seller, seller.id, product_form(name="SẦU RIÊNG  dona"))
    assert refused.value.errors[0].field == "name"
    with pytest.raises(Invalid) as refused:
        await service.register_seller(people.other, HERE, seller_form(name="HTX ĐẤT ĐỎ"))
    assert refused.value.errors[0].field == "name"


async def test_what_is_typed_is_cleaned(sessions: Sessions, people: People, seller: Seller) -> None:
    made = await service.create_product(
        people.seller, seller.id, product_form(name="  Cà phê\u202e sạch\x00 ")
    )
    assert made.name == "Cà phê sạch"


# ---- grades, prices, stock


@pytest.mark.parametrize("price", [0, -1, 999, 10**9 + 1, 10**30])
async def test_prices_in_bounds(people: People, product: str, price: int) -> None:
    for act in (
        service.add_grade(people.seller, product, GradeFields(price=price, name="B")),
        service.change_price(people.seller, product, "A", price),
    ):
        with pytest.raises(Invalid) as refused:
            await act
        assert refused.value.errors[0].field == "price"


async def test_grades_are_named_or_there_is_one(people: People, product: str) -> None:
    for name in ("A", " a ", "", "x" * 13):
        with pytest.raises(Invalid) as refused:
            await service.add_grade(people.seller, product, GradeFields(price=90_000, name=name))
        assert refused.value.errors[0].field == "name"
    await service.add_grade(people.seller, product, GradeFields(price=90_000, name="B"))


async def test_a_grade_goes_and_comes_back_but_never_the_last(
    sessions: Sessions, people: People, product: str
) -> None:
    await service.add_grade(people.seller, product, GradeFields(price=90_000, name="B"))
    await approve(people, product)
    await service.retire_grade(people.seller, product, "a")
    with pytest.raises(Invalid):
        await service.retire_grade(people.seller, product, "B")
    with pytest.raises(Invalid):
        await service.change_price(people.seller, product, "A", 80_000)
    again = await service.add_grade(people.seller, product, GradeFields(price=80_000, name="A"))
    assert again.active
    async with sessions.read() as db:
        assert {g.name: g.price for g in (await queries.product_page(db, product)).product.grades} == {
            "A": 80_000,
            "B": 90_000,
        }


async def test_a_price_change_is_on_record(sessions: Sessions, people: People, product: str) -> None:
    await service.change_price(people.seller, product, "A", 179_000)
    async with sessions.read() as db:
        reasons = (await db.scalars(select(ProductHistory.reason).order_by(ProductHistory.id))).all()
    assert reasons[-1] == "price of 'A': 185000 -> 179000"


async def test_counted_stock_never_falls_below_what_is_promised(
    sessions: Sessions, people: People, product: str
) -> None:
    await service.count_stock(people.seller, product, "A", 10)
    async with sessions.begin() as db:
        grade = await db.scalar(select(Stock.grade_id))
        assert grade is not None
        await reserve(db, {grade: 4}, order_id=None)
    with pytest.raises(OutOfStock):
        await service.count_stock(people.seller, product, "A", 3)
    await service.count_stock(people.seller, product, "A", 4)
    for wrong in (-1, 10**12):
        with pytest.raises(Invalid):
            await service.count_stock(people.seller, product, "A", wrong)
    async with sessions.read() as db:
        assert await rebuild_check(db) == []
        assert (await db.execute(select(Stock.on_hand, Stock.reserved))).one() == (4, 4)
