"""The helper's desk: comment orders confirmed once by whoever is first, orders from outside typed in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import func, select

from commerce.core.db import Sessions
from commerce.core.errors import Forbidden, Invalid, MarketError
from commerce.core.roles import Role
from commerce.core.settings import Settings
from commerce.live import candidates, comments
from commerce.live.errors import CommentsSettled
from commerce.live.models import Comment
from commerce.orders import entering
from commerce.orders.desk import desk
from commerce.orders.models import Order, OrderLine, WholesaleEnquiry
from commerce.orders.queries import snapshots
from commerce.orders.wire import AddressRequest, BuyerRequest, LineRequest, OrderRequest, PurchaseAnswer
from tests import factories
from tests.live.scene import Scene, on_air

SCRIPT = {"HX-Request": "true"}


async def said(scene: Scene, *texts: str, visitor: str = "khach-1", name: str = "Lan") -> list[int]:
    return [await comments.say(scene.code, visitor, name, text) for text in texts]


async def waiting(sessions: Sessions, session_id: int = 1) -> list[candidates.Candidate]:
    async with sessions.read() as db:
        return await candidates.candidates(db, session_id)


async def orders(sessions: Sessions) -> list[Order]:
    async with sessions.read() as db:
        return list(await db.scalars(select(Order).order_by(Order.id)))


def two_kilograms() -> OrderRequest:
    return OrderRequest(lines=[LineRequest("A1", 2)])


@pytest.fixture
async def scene(sessions: Sessions, settings: Settings) -> AsyncIterator[Scene]:
    yield await on_air(sessions)
    await desk.close()
    snapshots.forget()


async def test_a_buyers_comments_wait_as_one_and_become_one_order(
    sessions: Sessions, settings: Settings, scene: Scene
) -> None:
    ids = await said(scene, "A1 bao nhiêu?", "A1 2kg", "A1 2kg", "0901234567")
    await said(scene, "sầu riêng ngon quá", "0912345678", visitor="khach-2", name="Hùng")
    [one] = await waiting(sessions)
    assert one.ids == ",".join(map(str, ids))
    assert ([(line.code, line.quantity) for line in one.lines], one.sure) == ([("A1", 2)], True)
    assert one.phone == "090****567"
    assert "0901234567" not in "".join(comment.text for comment in one.comments)
    await entering.confirm_comments(settings, scene.helper, scene.code, ids, two_kilograms())
    [order] = await orders(sessions)
    assert (order.buyer_phone, order.buyer_name, order.total) == ("0901234567", "Lan", 190_000)
    assert (order.source, order.visitor) == ("comment", "khach-1")
    assert (order.entered_by, order.payment_method) == (scene.helper.person_id, "cod")
    assert await waiting(sessions) == []
    # The same once more is no new order by itself.
    await said(scene, "A1 2kg")
    [again] = await waiting(sessions)
    assert (again.sure, again.doubts) == (False, ["ordered_before"])
    assert again.phone == "090****567"


async def test_two_helpers_and_a_nervous_thumb_make_one_order(
    sessions: Sessions, settings: Settings, scene: Scene
) -> None:
    ids = await said(scene, "A1 2kg 0901234567")

    async def confirm() -> PurchaseAnswer | MarketError:
        try:
            return await entering.confirm_comments(settings, scene.helper, scene.code, ids, two_kilograms())
        except MarketError as error:
            return error

    answers = await asyncio.gather(*(confirm() for _ in range(8)))
    codes = {one.orders[0].code for one in answers if isinstance(one, PurchaseAnswer)}
    assert all(isinstance(one, PurchaseAnswer | CommentsSettled) for one in answers)
    assert len(codes) == 1
    assert [order.code for order in await orders(sessions)] == list(codes)


async def test_without_the_claim_two_keys_make_two_orders(
    sessions: Sessions, settings: Settings, scene: Scene
) -> None:
    """The twin: what happens when each tap brings a key of its own."""
    for key in ("first", "second"):
        order = two_kilograms()
        order.buyer = BuyerRequest("Lan", "0901234567")
        await entering.enter_order(settings, scene.helper, scene.code, order, source="tiktok", key=key)
    assert len(await orders(sessions)) == 2


async def test_helpers_who_saw_different_comments_make_one_order(
    sessions: Sessions, settings: Settings, scene: Scene
) -> None:
    first = await said(scene, "A1 2kg 0901234567")
    later = await said(scene, "thêm B1 1kg")
    both = OrderRequest(lines=[LineRequest("A1", 2), LineRequest("B1", 1)])
    claims = await asyncio.gather(
        entering.confirm_comments(settings, scene.helper, scene.code, first, two_kilograms()),
        entering.confirm_comments(settings, scene.host, scene.code, first + later, both),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in claims) == ["CommentsSettled", "PurchaseAnswer"]
    assert len(await orders(sessions)) == 1
    left = await waiting(sessions)
    for one in left:  # if the smaller order won, what came later still waits and can be ordered
        ids = [int(i) for i in one.ids.split(",")]
        more = OrderRequest(lines=[LineRequest("B1", 1)])
        await entering.confirm_comments(settings, scene.helper, scene.code, ids, more)
    async with sessions.read() as db:
        rows = await db.execute(
            select(OrderLine.item_code, func.sum(OrderLine.quantity)).group_by("item_code")
        )
    assert {code: int(units) for code, units in rows} == {"A1": 2, "B1": 1}


async def test_a_refused_order_waits_on(sessions: Sessions, settings: Settings, scene: Scene) -> None:
    ids = await said(scene, "A1 500kg 0901234567")
    many = OrderRequest(lines=[LineRequest("A1", 500)])
    with pytest.raises(MarketError) as refused:
        await entering.confirm_comments(settings, scene.helper, scene.code, ids, many)
    assert refused.value.code == "sold_out"
    assert len(await waiting(sessions)) == 1
    await entering.confirm_comments(settings, scene.helper, scene.code, ids, two_kilograms())
    assert len(await orders(sessions)) == 1


async def test_only_this_communes_staff(sessions: Sessions, settings: Settings, scene: Scene) -> None:
    ids = await said(scene, "A1 2kg 0901234567")
    with pytest.raises(Forbidden):
        await entering.confirm_comments(settings, scene.stranger, scene.code, ids, two_kilograms())
    with pytest.raises(Forbidden):
        await candidates.dismiss(scene.stranger, scene.code, ids)
    assert await orders(sessions) == []


async def test_muted_is_heard_no_more(sessions: Sessions, scene: Scene) -> None:
    [first] = await said(scene, "A1 x2 0901234567")
    await candidates.mute(scene.helper, scene.code, first)
    await said(scene, "A1 x9 0901234567")
    assert await waiting(sessions) == []
    async with sessions.read() as db:
        assert await db.scalar(select(func.count()).where(Comment.hidden_at.is_(None))) == 0


async def test_an_address_may_come_later(sessions: Sessions, settings: Settings, scene: Scene) -> None:
    order = OrderRequest(lines=[LineRequest("A1", 1)], buyer=BuyerRequest("", "0901234567"))
    placed = await entering.enter_order(
        settings, scene.helper, scene.code, order, source="facebook", key="form-1"
    )
    code = placed.orders[0].code
    async with sessions.read() as db:
        [entered] = await entering.entered_orders(db, 1)
    assert (entered.needs_address, entered.source) == (True, "facebook")
    with pytest.raises(Invalid):
        await entering.add_address(scene.helper, code, AddressRequest("66", "99999", "thôn 3"))
    await entering.add_address(scene.helper, code, AddressRequest("66", scene.commune, "thôn 3"))
    [stored] = await orders(sessions)
    assert (stored.street, stored.buyer_name) == ("thôn 3", "Khách 567")


async def test_the_desk_by_hand(client: httpx.AsyncClient, sessions: Sessions, scene: Scene) -> None:
    """As a helper works it, without scripts and with them."""
    async with sessions.begin() as db:
        client.cookies.set("sign_in", await factories.token(db, scene.helper.person_id))
    address = f"/helper/{scene.code}"
    assert address in (await client.get("/helper")).text
    [comment] = await said(scene, "chốt A1 2kg 0977 234 567")
    shown = (await client.get(address)).text
    assert "097****567" in shown
    assert "0977" not in shown
    fragment = (await client.get(f"{address}?part=candidates", headers=SCRIPT)).text
    assert "<html" not in fragment
    wrong = await client.post(
        f"{address}/confirm", data={"ids": str(comment), "lines": "hai ký"}, headers=SCRIPT
    )
    assert "ví dụ: A1 2, B1 1" in wrong.text
    done = await client.post(f"{address}/confirm", data={"ids": str(comment), "lines": "A1 2"})
    assert done.status_code == 303
    gone = await client.post(f"{address}/confirm", data={"ids": str(comment), "lines": "A1 2"})
    assert gone.status_code == 409
    assert len(await orders(sessions)) == 1

    pasted = "Nguyễn Hoa\nchốt 3kg a1 sđt 0388.999.111 giao thôn 3 Ea Knuếc"
    read = (
        await client.post(f"{address}/read", data={"pasted": pasted, "source": "zalo"}, headers=SCRIPT)
    ).text
    for value in ("A1 3", "0388999111", "Nguyễn Hoa", "thôn 3 Ea Knuếc"):
        assert f'value="{value}"' in read
    key = re.search(r'name="order_key" value="([^"]+)"', read)
    assert key is not None
    form = {"order_key": key[1], "lines": "A1 3", "phone": "0388999111", "source": "zalo"}
    for _ in range(2):  # a double tap
        assert "Đã đặt" in (await client.post(f"{address}/orders", data=form, headers=SCRIPT)).text
    assert [order.source for order in await orders(sessions)] == ["comment", "zalo"]
    bad = await client.post(f"{address}/orders", data=form | {"phone": "12", "order_key": "k"})
    assert bad.status_code == 422
    assert "Số điện thoại chưa đúng" in bad.text

    wrong = await client.post(f"{address}/enquiries", data={"phone": "0905111222", "quantity": "nhiều"})
    assert wrong.status_code == 422
    await client.post(
        f"{address}/enquiries", data={"phone": "0905111222", "quantity": "2,5", "product": "a1"}
    )
    async with sessions.read() as db:
        assert await db.scalar(select(WholesaleEnquiry.kilograms)) == 2_500
    assert "2,5 tấn" in (await client.get(address)).text


async def test_nobody_else_sees_the_desk(client: httpx.AsyncClient, sessions: Sessions, scene: Scene) -> None:
    assert (await client.get(f"/helper/{scene.code}")).status_code == 303
    async with sessions.begin() as db:
        other = await factories.person(db, Role.HELPER, commune_code="24121")
        client.cookies.set("sign_in", await factories.token(db, other))
    assert (await client.get(f"/helper/{scene.code}")).status_code == 403


def test_lines_as_they_are_typed() -> None:
    def typed(text: str) -> dict[str, int]:
        return {line.product: line.quantity for line in entering.lines_of(text)}

    assert typed("A1 2, B1 x1; 3 c1") == {"A1": 2, "B1": 1, "C1": 3}
    assert typed("a1") == {"A1": 1}
    assert typed("A1x2kg, 2 x b1") == {"A1": 2, "B1": 2}
    for wrong in ("hai ký", "A1 2 3", "2 A1 3", "A1 B1 2"):
        with pytest.raises(Invalid):
            entering.lines_of(wrong)
