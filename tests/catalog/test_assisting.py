"""Assisted mode: by whom, for whom, and the farmer's own word by a link that is good once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
from litestar import Litestar
from PIL import Image
from sqlalchemy import func, select, update

from commerce.accounts.errors import SmsUnavailable
from commerce.catalog.models import AssistedAct, AssistedLink, Grade, Product, Seller, Stock
from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.roles import Role
from tests import factories
from tests.catalog.test_photos import encoded

PHOTO = encoded(Image.new("RGB", (900, 700), "olive"))


class Phones:
    """The telephone network: keeps what was sent, or is down."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        self.down = False

    async def send(self, phone: str, text: str) -> None:
        if self.down:
            raise SmsUnavailable
        self.messages.append((phone, text))

    @property
    def token(self) -> str:
        return self.messages[-1][1].rpartition("/confirm/")[2]


@dataclass
class Desk:
    client: httpx.AsyncClient
    phones: Phones
    seller: int
    sessions: Sessions

    async def list(self, key: str = "tap-00000001", name: str = "Sầu riêng nhà Ama") -> httpx.Response:
        data = {
            "key": key,
            "name": name,
            "unit": "kg",
            "industry": "food",
            "origin": "Buôn Krông A, xã Ea Knuếc",
            "shelf_life": "5 ngày",
            "grading": "many",
            "price-A": "90.000",
            "left-A": "120",
            "price-B": "70k",
            "left-B": "50",
            "price-C": "",
        }
        files = {"photo": ("photo.jpg", PHOTO, "image/jpeg")}
        return await self.client.post(
            f"/seller/new?for={self.seller}", data=data, files=files, headers={"Accept": "application/json"}
        )

    async def ask(self) -> httpx.Response:
        return await self.client.post(f"/office/assist/{self.seller}/ask")

    async def product(self) -> Product:
        async with self.sessions.read() as db:
            return (await db.scalars(select(Product))).one()

    async def approve(self) -> httpx.Response:
        code = (await self.product()).code
        return await self.client.post(f"/office/listings/{code}", data={"approve": "1"})


@pytest.fixture
async def desk(app: Litestar, client: httpx.AsyncClient, sessions: Sessions) -> Desk:
    """Staff of Ea Knuếc signed in, and a farmer with an approved stall and no account."""
    phones = app.state.sms = Phones()
    async with sessions.begin() as db:
        officer = await factories.person(db, Role.OFFICER, name="Cán bộ Thủy")
        seller = await factories.seller(db, name="Hộ Ama Thin", phone="0905111222")
        client.cookies.set("sign_in", await factories.token(db, officer))
    return Desk(client, phones, seller, sessions)


async def test_from_the_officers_hands_to_the_farmers_yes(desk: Desk) -> None:
    answer = await desk.list()
    assert answer.status_code == 201, answer.text
    assert answer.json()["url"].startswith(f"/office/assist/{desk.seller}")
    assert (await desk.product()).state == "review"
    assert "chưa đồng ý" in (await desk.client.get("/office/listings")).text
    refused = await desk.approve()
    assert refused.status_code == 409
    assert (await desk.product()).state == "review"

    assert "sent=yes" in (await desk.ask()).headers["location"]
    phone, text = desk.phones.messages[0]
    assert phone == "0905111222"
    assert "Cán bộ Thủy" in text
    desk.client.cookies.clear()  # the farmer's phone knows nobody
    shown = (await desk.client.get(f"/confirm/{desk.phones.token}")).text
    assert "đăng món Sầu riêng nhà Ama: A 90.000" in shown
    assert "B 70.000" in shown
    await desk.client.get(f"/confirm/{desk.phones.token}")  # looking answers nothing
    said = await desk.client.post(f"/confirm/{desk.phones.token}", data={"agreed": "yes"})
    assert "Cảm ơn Hộ Ama Thin" in said.text
    again = await desk.client.post(f"/confirm/{desk.phones.token}", data={"agreed": "no"})
    assert again.status_code == 410


async def test_after_the_yes_it_is_approved_and_the_book_says_who_for_whom(desk: Desk) -> None:
    await desk.list()
    await desk.ask()
    await desk.client.post(f"/confirm/{desk.phones.token}", data={"agreed": "yes"})
    assert (await desk.approve()).status_code == 303
    assert (await desk.product()).state == "approved"
    book = (await desk.client.get("/office/assist")).text
    assert "làm thay cho Hộ Ama Thin" in book
    assert "đã đồng ý" in book


async def test_a_no_takes_it_off_and_tells_the_office(desk: Desk) -> None:
    await desk.list()
    await desk.ask()
    await desk.client.post(f"/confirm/{desk.phones.token}", data={"agreed": "no", "note": "Giá A phải 95."})
    assert (await desk.product()).state == "refused"
    assert "Giá A phải 95." in (await desk.client.get("/office/assist")).text
    await desk.approve()
    assert (await desk.product()).state == "refused"


async def test_a_link_runs_out_and_a_newer_one_replaces_it(desk: Desk) -> None:
    await desk.list()
    await desk.ask()
    first = desk.phones.token
    await desk.ask()
    assert (await desk.client.get(f"/confirm/{first}")).status_code == 410
    assert (await desk.client.get(f"/confirm/{desk.phones.token}")).status_code == 200
    async with desk.sessions.begin() as db:
        await db.execute(update(AssistedLink).values(expires_at=clock.now() - timedelta(seconds=1)))
    assert (await desk.client.get(f"/confirm/{desk.phones.token}")).status_code == 410
    late = await desk.client.post(f"/confirm/{desk.phones.token}", data={"agreed": "yes"})
    assert late.status_code == 410
    assert (await desk.client.get("/confirm/nobody-knows-this")).status_code == 410


async def test_a_network_that_is_down_is_said_and_asked_again(desk: Desk) -> None:
    await desk.list()
    desk.phones.down = True
    assert "sent=no" in (await desk.ask()).headers["location"]
    desk.phones.down = False
    assert "sent=yes" in (await desk.ask()).headers["location"]
    for _ in range(5):
        last = await desk.ask()
    assert "sent=often" in last.headers["location"]


async def test_small_things_are_noted_without_asking(desk: Desk) -> None:
    await desk.list()
    await desk.ask()
    await desk.client.post(f"/confirm/{desk.phones.token}", data={"agreed": "yes"})
    await desk.approve()
    code = (await desk.product()).code
    tap = {"grade": "A", "change": "-10", "key": "tap-a-00000001"}
    for _ in range(2):  # the line broke after the first
        left = await desk.client.post(
            f"/seller/products/{code}/stock", data=tap, headers={"Accept": "application/json"}
        )
        assert left.json() == {"left": 110}
    paused = await desk.client.post(f"/seller/products/{code}/pause")
    assert paused.headers["location"].startswith(f"/office/assist/{desk.seller}")
    assert "sent=none" in (await desk.ask()).headers["location"]
    shown = (await desk.client.get(f"/office/assist/{desk.seller}")).text
    assert "tạm nghỉ bán Sầu riêng nhà Ama" in shown
    async with desk.sessions.read() as db:
        taps = await db.scalar(select(func.count()).where(AssistedAct.what == "stock"))
    assert taps == 1


async def test_the_same_tap_lists_once(desk: Desk) -> None:
    first, second = await desk.list(), await desk.list()
    assert first.json() == second.json()
    product = await desk.product()
    async with desk.sessions.read() as db:
        rows = await db.execute(
            select(Grade.name, Grade.price, Stock.on_hand)
            .join(Stock, Stock.grade_id == Grade.id)
            .where(Grade.product_id == product.id)
            .order_by(Grade.name)
        )
    assert [tuple(row) for row in rows] == [("A", 90_000, 120), ("B", 70_000, 50)]


async def test_faults_are_told_at_their_fields_and_nothing_is_left_behind(desk: Desk) -> None:
    wrong = {"key": "tap-00000009", "name": "x", "unit": "kg", "industry": "food", "price-": "abc"}
    address = f"/seller/new?for={desk.seller}"
    answer = await desk.client.post(address, data=wrong, headers={"Accept": "application/json"})
    assert answer.status_code == 422
    assert {"name", "offers[0].price"} <= {one["field"] for one in answer.json()["errors"]}
    page = await desk.client.post(address, data=wrong)  # without scripts
    assert page.status_code == 422
    assert 'value="x"' in page.text
    async with desk.sessions.read() as db:
        assert await db.scalar(select(func.count(Product.id))) == 0


async def test_an_officer_of_another_commune_acts_for_nobody_here(
    desk: Desk, client: httpx.AsyncClient, sessions: Sessions
) -> None:
    async with sessions.begin() as db:
        stranger = await factories.person(db, Role.OFFICER, commune_code="24490")
        client.cookies.set("sign_in", await factories.token(db, stranger))
    assert (await desk.list()).status_code == 403
    assert (await desk.ask()).status_code == 403
    assert (await client.get(f"/office/assist/{desk.seller}")).status_code == 403


async def test_a_stall_is_opened_for_a_farmer_at_the_office(desk: Desk) -> None:
    form = {"name": "Hộ H'Blin", "kind": "household", "phone": "0905 333 444", "address": "Buôn Ea Kao"}
    bad = await desk.client.post("/office/assist/new", data=form | {"phone": "12"})
    assert bad.status_code == 422
    made = await desk.client.post("/office/assist/new", data=form)
    assert made.status_code == 303
    seller = int(made.headers["location"].rpartition("/")[2])
    early = await desk.client.post(f"/office/sellers/{seller}", data={"approve": "1"})
    assert early.status_code == 409
    document = {"kind": "citizen", "number": "066 123 456 789", "verdict": "right"}
    assert (await desk.client.post(f"/office/sellers/{seller}/identity", data=document)).status_code == 303
    assert (await desk.client.post(f"/office/sellers/{seller}", data={"approve": "1"})).status_code == 303
    async with desk.sessions.read() as db:
        assert await db.scalar(select(Seller.state).where(Seller.id == seller)) == "approved"
    for page in ("/office", "/office/assist", f"/office/assist/{seller}", f"/seller/new?for={seller}"):
        assert (await desk.client.get(page)).status_code == 200, page
