"""Paying and being paid back, as buyers do it on a phone of 360x800: cards, transfers, deposits, cash."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from typing import Any

import httpx
from playwright.async_api import Page, expect

from tests.browser.conftest import Market, OpenPhone, shot
from tests.browser.test_after import sign_in
from tests.browser.test_market import SESSION, fill_address
from tests.payments.ways import sepay_body

OFFICE = "0900000003"
JOB_MS = 60_000  # a job asks the card company every quarter of a minute
SOON_MS = 20_000  # a page looks again every few seconds; CI machines are slow


async def choose(page: Page, code: str, payment: str) -> None:
    """One unit of `code` in the basket, the buyer's address, the way to pay; then the order."""
    await page.goto(f"/live/{SESSION}")
    await page.locator(f".offer [data-buy='{code}']").click()
    await fill_address(page)
    await page.locator(f"input[name=payment][value={payment}]").check()
    await shot(page, f"checkout-{payment}")
    await page.tap("#place")


async def on_order_page(page: Page) -> str:
    """The order's code, once its page is open."""
    await expect(page).to_have_url(re.compile(r"/orders/DL\w+\?"))
    found = re.search(r"/orders/(DL\w+)\?", page.url)
    assert found is not None
    return found[1]


async def pay_with(page: Page, card: str) -> None:
    await page.fill("[name=card]", card)
    await page.fill("[name=expiry]", "12/34")
    await page.fill("[name=cvc]", "123")
    await page.locator("button", has_text="Trả").tap()


async def notice(market: Market, memo: str, amount: int, account: str) -> None:
    """A credit on the seller's account, told as SePay tells it."""
    environ = json.loads((market.folder / "data" / "runtime.json").read_text())
    body = sepay_body(memo, amount, account=account, number=uuid.uuid4().int % 10**12)
    async with httpx.AsyncClient(base_url=market.url) as client:
        key = {"Authorization": f"Apikey {environ['CHOPHIEN_STRIPE_WEBHOOK_SECRET']}"}
        answer = await client.post("/webhooks/sepay", json=body, headers=key)
    assert answer.status_code == 200, answer.text


async def office(market: Market, path: str, body: dict[str, Any]) -> None:
    async with httpx.AsyncClient(base_url=f"{market.url}/api/v1") as client:
        login = {"phone": OFFICE, "password": "chophien-demo"}
        token = (await client.post("/login", json=login)).json()["token"]
        answer = await client.post(path, json=body, headers={"Authorization": f"Bearer {token}"})
    assert answer.is_success, answer.text


async def said(page: Page, text: str) -> None:
    """The page comes to say it by itself."""
    await expect(page.locator("#now").get_by_text(text).first).to_be_visible(timeout=SOON_MS)


async def come_back(page: Page) -> None:
    """The buyer looks at something else and returns: the page looks again at once."""
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


async def said_on_return(page: Page, text: str) -> None:
    """As `said`, to a buyer who comes back to the page now and then and does not wait for its next look."""
    place = page.locator("#now").get_by_text(text).first
    for _ in range(JOB_MS // 1000):
        await come_back(page)
        with contextlib.suppress(AssertionError):
            await expect(place).to_be_visible(timeout=1000)
            return
    await expect(place).to_be_visible()


async def money_desk(phone: OpenPhone, code: str) -> Page:
    """The order's money on the phone of the commune's office."""
    page = await phone()
    await sign_in(page, OFFICE)
    await page.goto(f"/office/money/orders/{code}")
    return page


async def give_back(desk: Page, amount: str, reason: str) -> None:
    await desk.locator("summary", has_text="Chuyển lại tiền").tap()
    await desk.get_by_label("Số tiền, nhiều nhất").fill(amount)
    await desk.get_by_label("Lý do").first.fill(reason)
    await shot(desk, "refund-desk")
    await desk.get_by_role("button", name="Chuyển lại", exact=True).tap()
    await expect(desk.get_by_role("heading", name="Tiền chuyển lại")).to_be_visible()


async def test_a_card_is_declined_another_one_pays_and_is_paid_back(phone: OpenPhone) -> None:
    page = await phone()
    await choose(page, "A1", "card")
    await expect(page.get_by_role("heading", name="185.000 ₫")).to_be_visible(timeout=SOON_MS)
    await shot(page, "card-page")
    for card, words in (("4000 0000 0000 0002", "bị từ chối"), ("4000 0000 0000 9995", "không đủ tiền")):
        await pay_with(page, card)
        await expect(page.get_by_role("alert")).to_contain_text(words)
    await shot(page, "card-declined")
    await pay_with(page, "4242 4242 4242 4242")
    code = await on_order_page(page)
    await said(page, "Đã nhận đủ 185.000")
    await shot(page, "card-paid")
    await give_back(await money_desk(phone, code), "185.000", "hết hàng")
    await said_on_return(page, "Đã chuyển lại 185.000")
    await shot(page, "card-refunded")


async def test_a_bank_asks_its_holder_and_the_buyer_comes_back_later(phone: OpenPhone) -> None:
    page = await phone()
    await choose(page, "A1", "card")
    await pay_with(page, "4000 0027 6000 3184")
    await expect(page.get_by_role("heading", name="Bạn đang trả khoản này?")).to_be_visible()
    await shot(page, "card-asks")
    await page.get_by_role("button", name="Không phải tôi").tap()
    await expect(page.get_by_role("alert")).to_contain_text("Chưa xác thực được chủ thẻ")
    await page.get_by_role("link", name="Về đơn hàng").tap()
    await on_order_page(page)
    await shot(page, "card-due")
    await page.get_by_role("link", name="bằng thẻ").tap()  # the same page is still open
    await pay_with(page, "4000 0027 6000 3184")
    await page.get_by_role("button", name="Đúng, tôi trả").tap()
    await on_order_page(page)
    await said(page, "Đã nhận đủ 185.000")


async def test_a_transfer_comes_in_two_parts_and_goes_back(phone: OpenPhone, market: Market) -> None:
    page = await phone()
    await choose(page, "A1", "vietqr")
    code = await on_order_page(page)
    await expect(page.locator(".qr svg")).to_be_visible()
    await shot(page, "transfer-due")
    account = (await page.locator("[data-copy^='0000']").get_attribute("data-copy")) or ""
    async with page.expect_download() as kept:
        await page.get_by_role("link", name="Lưu ảnh mã QR").tap()
    assert (await kept.value).suggested_filename == f"{code}.png"

    before = await page.evaluate("performance.timeOrigin")
    await notice(market, code, 100_000, account)
    await said(page, "Đã nhận 100.000")
    await expect(page.locator(".pay-sum")).to_have_text(re.compile("85.000"))
    await shot(page, "transfer-part")
    await page.get_by_role("link", name="Thử chuyển khoản").tap()  # the demo's bank
    await shot(page, "bank")
    await page.get_by_role("button", name="Chuyển tiền").tap()
    await on_order_page(page)
    await said(page, "Đã nhận đủ 185.000")
    await shot(page, "transfer-paid")

    before = await page.evaluate("performance.timeOrigin")
    desk = await money_desk(phone, code)
    await give_back(desk, "50.000", "một trái bị dập")
    await said_on_return(page, "sẽ chuyển lại")
    await shot(page, "refund-wanted")
    await desk.get_by_label("Mã giao dịch của 50.000").fill("FT26327001")
    await desk.get_by_role("button", name="Đã chuyển").tap()
    await said_on_return(page, "mã giao dịch FT26327001")
    assert await page.evaluate("performance.timeOrigin") == before, "the page followed without a reload"
    await shot(page, "refund-sent")


async def test_a_transfer_without_the_orders_code_is_matched_by_the_office(
    phone: OpenPhone, market: Market
) -> None:
    page = await phone()
    await choose(page, "A1", "vietqr")
    code = await on_order_page(page)
    account = (await page.locator("[data-copy^='0000']").get_attribute("data-copy")) or ""
    memo = f"tien sau rieng {uuid.uuid4().hex[:6]}"
    await notice(market, memo, 185_000, account)
    desk = await phone()
    await sign_in(desk, OFFICE)
    await desk.goto("/office/money")
    money = desk.locator("li", has_text=memo)
    await money.get_by_label("Mã đơn").fill(code)
    await shot(desk, "unmatched")
    await money.get_by_role("button", name="Ghép vào đơn").tap()
    await expect(money.get_by_label("Mã đơn")).to_have_count(0)
    await said(page, "Đã nhận đủ 185.000")


async def test_cash_on_delivery_is_followed_to_the_door(phone: OpenPhone, market: Market) -> None:
    page = await phone()
    await choose(page, "A1", "cod")
    await page.locator("#placed-orders a").tap()
    code = await on_order_page(page)
    await expect(page.locator(".pay")).to_have_count(0)
    await shot(page, "cod-placed")
    loaded = await page.evaluate("performance.timeOrigin")
    await office(market, f"/orders/{code}/confirm", {})
    await expect(page.locator("#now .now")).to_contain_text("đã xác nhận", timeout=SOON_MS)
    await office(market, f"/orders/{code}/packed", {})
    await office(market, f"/orders/{code}/send", {"carrier": "Bưu điện", "tracking": "VN1"})
    await come_back(page)
    await expect(page.locator("#now .now")).to_contain_text("Đang giao", timeout=SOON_MS)
    await expect(page.locator("#cancel")).to_be_hidden()
    await office(market, f"/orders/{code}/delivered", {})
    await come_back(page)
    await said(page, "Đã nhận đủ")
    assert await page.evaluate("performance.timeOrigin") == loaded, "followed without a reload"
    await shot(page, "cod-delivered")


async def test_a_deposit_holds_fresh_goods(phone: OpenPhone) -> None:
    page = await phone()
    await choose(page, "B5", "cod")
    await on_order_page(page)
    await expect(page.get_by_role("heading", name="Đặt cọc để giữ hàng")).to_be_visible()
    await shot(page, "deposit-due")
    await page.get_by_role("link", name="Thử chuyển khoản").tap()
    await page.get_by_role("button", name="Chuyển tiền").tap()
    await said(page, "Đã nhận tiền cọc")
    await shot(page, "deposit-paid")
