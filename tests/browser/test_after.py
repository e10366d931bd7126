"""After an order: packed, printed, sent; one parcel comes back; a buyer complains and is refunded."""

from __future__ import annotations

import io
import re
import uuid
from pathlib import Path
from typing import Any

import httpx
from axe_playwright_python.async_playwright import Axe
from PIL import Image
from playwright.async_api import Page, expect
from pypdf import PdfReader

from tests.browser.conftest import Market, OpenPhone, shot

SESSION = "EAKNUEC"


async def ordered(market: Market, name: str, phone: str) -> dict[str, Any]:
    """An order of the demo's seller, made as the page makes it."""
    async with httpx.AsyncClient(base_url=f"{market.url}/api/v1", timeout=30) as client:
        goods = (await client.get(f"/live-sessions/{SESSION}")).json()["snapshot"]["stock"]
        assert "A3" in str(goods)
        body: dict[str, Any] = {
            "lines": [{"product": "A3", "quantity": 2}],
            "buyer": {"name": name, "phone": phone},
            "address": {"province": "66", "commune": "24505", "street": "buôn Kniêr, nhà 12"},
            "payment": "cod",
            "shown_total": 0,
            "consent": True,
        }
        for _ in range(2):  # the first answer tells what it costs
            key = {"Idempotency-Key": uuid.uuid4().hex}
            answer = await client.post(f"/live-sessions/{SESSION}/orders", json=body, headers=key)
            if answer.status_code == 201:
                break
            body["shown_total"] = answer.json()["total"]
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()["orders"][0]
        return made


async def sign_in(page: Page, phone: str) -> None:
    await page.goto("/login")
    await page.fill("[name=phone]", phone)
    await page.fill("[name=password]", "chophien-demo")
    await page.locator("form[action='/login'] button").first.tap()
    await expect(page).not_to_have_url(re.compile("/login"))


async def reachable(page: Page) -> None:
    """Nothing serious for axe, nothing wider than the screen."""
    found = await Axe().run(page)
    bad = [one["id"] for one in found.response["violations"] if one["impact"] in ("serious", "critical")]
    assert not bad, (page.url, bad)
    wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, page.url


async def test_from_the_stall_to_the_door_and_back(phone: OpenPhone, market: Market, tmp_path: Path) -> None:
    kept = await ordered(market, "Trần Thị Nga", "0913000001")
    lost = await ordered(market, "Lê Văn Bốn", "0913000002")
    seller = await phone()
    await sign_in(seller, "0900000004")

    # packs both, each with one tap, and prints
    await seller.goto("/seller/parcels")
    await expect(seller.locator(f"#{kept['code']}")).to_be_visible()
    await shot(seller, "parcels-pack")
    await reachable(seller)
    for name in ("phieu-a6.pdf", "phieu-80mm.pdf", "dong-goi.pdf"):
        link = seller.locator(f"a[href$='{name}']")
        answer = await seller.request.get(await link.get_attribute("href") or "")
        said = "\n".join(one.extract_text() for one in PdfReader(io.BytesIO(await answer.body())).pages)
        assert kept["code"] in said
        assert "Trần Thị Nga" in said
    for made in (kept, lost):
        await seller.locator(f"#{made['code']} button", has_text="Đã gói xong").tap()
        await expect(seller.locator(f"#{made['code']}")).to_have_count(0)

    # gives both to the carrier
    await seller.goto("/seller/parcels?stage=send")
    for made in (kept, lost):
        card = seller.locator(f"#{made['code']}")
        await card.locator("summary", has_text="Gửi đi").tap()
        await card.get_by_label("Viettel Post").check()
        await card.locator("[name=tracking]").fill("VTP123456")
        if made is kept:
            await card.scroll_into_view_if_needed()
            await shot(seller, "parcels-send")
        await card.locator("button", has_text="Đã giao cho người chở").tap()
        await expect(card).to_have_count(0)

    # one arrives, one comes back
    await seller.goto("/seller/parcels?stage=way")
    await shot(seller, "parcels-way")
    await seller.locator(f"#{kept['code']} button", has_text="Đã giao tới nơi").tap()
    await expect(seller.locator(f"#{kept['code']}")).to_have_count(0)
    card = seller.locator(f"#{lost['code']}")
    await card.locator("summary", has_text="Khách không nhận").tap()
    await card.locator("button", has_text="Ghi là không nhận").tap()
    await expect(card).to_have_count(0)
    await seller.goto("/seller/parcels?stage=back")
    button = seller.locator(f"#{lost['code']} button", has_text="bán lại được")
    await button.tap()
    await expect(button).to_have_count(0)
    again = await ordered(market, "Lê Văn Bốn", "0913000002")
    await seller.goto("/seller/parcels")
    await expect(seller.locator(f"#{again['code']}")).to_contain_text("lần không nhận hàng")
    await seller.locator(f"#{again['code']}").scroll_into_view_if_needed()
    await shot(seller, "parcels-hint")

    # the buyer follows, and complains with a photo
    buyer = await phone()
    await buyer.goto(f"/orders/{kept['code']}?key={kept['key']}")
    await expect(buyer.get_by_text("Đã giao").first).to_be_visible()
    await expect(buyer.get_by_text("lần không nhận")).to_have_count(0)
    contract = await buyer.request.get(
        await buyer.get_by_text("Tải bản hợp đồng").get_attribute("href") or ""
    )
    assert kept["code"] in PdfReader(io.BytesIO(await contract.body())).pages[0].extract_text()
    await buyer.get_by_text("Khiếu nại về đơn này").tap()
    await buyer.get_by_label("Hàng hỏng, dập, hết hạn").check()
    await buyer.fill("#f-words", "Một trái bị sượng, xin hoàn tiền trái đó")
    picture = tmp_path / "sau-rieng.jpg"
    Image.effect_noise((900, 700), 60).convert("RGB").save(picture)
    await buyer.set_input_files("#photos", picture)
    await shot(buyer, "complain")
    await reachable(buyer)
    await buyer.get_by_role("button", name="Gửi khiếu nại").tap()
    await expect(buyer).to_have_url(re.compile("/complaints/KN"))
    await expect(buyer.locator(".shots img")).to_be_visible()
    own = buyer.url

    # the office settles it
    office = await phone()
    await sign_in(office, "0900000003")
    await office.goto("/office/complaints")
    await office.locator("li", has_text=kept["code"]).locator("a").tap()
    await expect(office.locator(".shots img")).to_be_visible()
    await office.fill("#f-words", "Xã đã hỏi người bán: hoàn tiền trái hỏng.")
    await office.get_by_label("Hoàn tiền").check()
    await office.fill("#amount", "50.000")
    await shot(office, "complaint-desk")
    await reachable(office)
    await office.get_by_role("button", name="Gửi").tap()
    await expect(office.get_by_text("Đã đồng ý hoàn tiền").first).to_be_visible()
    await buyer.goto(own)
    await expect(buyer.get_by_text("50.000").first).to_be_visible()
    await shot(buyer, "complaint-settled")
    await reachable(buyer)


async def test_season_hands_and_the_months_book(phone: OpenPhone) -> None:
    seller = await phone()
    await sign_in(seller, "0900000004")
    await seller.goto("/seller")
    link = seller.locator("a[href^='/seller/days/']").last
    await seller.goto(await link.get_attribute("href") or "")
    before = int(await seller.input_value("#capacity"))
    await seller.get_by_role("button", name="Thêm 10").tap()
    assert await seller.input_value("#capacity") == str(before + 10)
    await shot(seller, "days")
    await reachable(seller)
    await seller.goto("/seller/book")
    await expect(seller.get_by_text("Bán được, sau huỷ và hoàn")).to_be_visible()
    await shot(seller, "book")
    await reachable(seller)
    province = await phone()
    await sign_in(province, "0900000005")
    for address, name in (("/province/book", "book-province"), ("/province/tax-rates", "tax-rates")):
        await province.goto(address)
        await shot(province, name)
        await reachable(province)
