"""The buyer's story on a phone of 360x800: no account, few taps, told when it begins."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import PHONE, Market, OpenPhone, shot
from tests.browser.test_market import SESSION
from tests.following.phone import Phone, PushService

TAPS_AFTER_THE_FIRST_ORDER = 4
STEPS_OF_THE_FIRST_ORDER = 9  # taps and fields: at 5 s each this is under a minute

# Chromium's own push service is on the Internet; this one is ours. What the page does with it is untouched.
OUR_PUSH = """
  const [subscription] = [%s];
  PushManager.prototype.getSubscription = async () => null;
  PushManager.prototype.subscribe = async ({ userVisibleOnly, applicationServerKey }) => {
    if (!userVisibleOnly || applicationServerKey.length !== 65) throw new Error("not the market's key");
    return { endpoint: subscription.endpoint, options: { applicationServerKey }, toJSON: () => subscription };
  };
"""


class Hand:
    """Taps and types as a buyer does, and counts it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.taps = 0
        self.fields = 0

    async def tap(self, selector: str) -> None:
        await self.page.locator(selector).first.tap()
        self.taps += 1

    async def type(self, selector: str, text: str) -> None:
        await self.page.fill(selector, text)
        self.fields += 1


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float = 20) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not await holds():
        assert asyncio.get_running_loop().time() < deadline, "it did not come to pass"
        await asyncio.sleep(0.1)


async def test_a_buyer_without_an_account_orders_tracks_and_orders_again(phone: OpenPhone) -> None:
    page = await phone()
    hand = Hand(page)
    await page.goto(f"/live/{SESSION}?s=zalo")
    await expect(page.locator("#buybar-buy")).to_be_enabled()
    await hand.tap("#buybar-buy")
    assert not await page.is_checked("#f-consent")  # consent is the buyer's to give
    await hand.type("#f-name", "Nguyễn Thị Hoa")
    await hand.type("#f-phone", "0901 234 567")
    await hand.type("#f-commune", "ea knuec")
    await hand.tap("#commune-options li")
    await hand.type("#f-street", "thôn 1")
    await hand.tap("#f-consent")
    await hand.tap("#place")
    await expect(page.locator("#placed")).to_be_visible()
    assert hand.taps + hand.fields <= STEPS_OF_THE_FIRST_ORDER
    await shot(page, "buyer-placed")

    # The second time the address is known: a grade, a yes, and the order.
    await page.goto(f"/live/{SESSION}")
    again = Hand(page)
    await expect(page.locator("#buybar-buy")).to_be_enabled()
    await again.tap("#buybar-buy")
    await expect(page.locator("#saved")).to_be_visible()
    assert not await page.is_checked("#f-consent")
    await again.tap("#basket .segment:nth-child(2) input")
    await again.tap("#f-consent")
    await again.tap("#place")
    await expect(page.locator("#placed")).to_be_visible()
    assert (again.taps, again.fields) <= (TAPS_AFTER_THE_FIRST_ORDER, 0)

    await page.locator("#placed-orders a").first.tap()
    await expect(page).to_have_url(re.compile(r"/orders/DL24505\w+\?key="))
    await expect(page.get_by_text("Đã đặt").first).to_be_visible()
    await shot(page, "buyer-track")
    once_more = Hand(page)
    await once_more.tap("main a.btn:has-text('Đặt lại')")
    await expect(page.locator("#checkout")).to_be_visible()
    await expect(page.locator("#saved")).to_be_visible()
    await once_more.tap("#f-consent")
    await once_more.tap("#place")
    await expect(page.locator("#placed")).to_be_visible()
    assert once_more.taps <= TAPS_AFTER_THE_FIRST_ORDER

    await page.locator("#placed [data-close]").tap()
    await page.locator("#buybar-buy").tap()
    await page.locator("#saved-forget").tap()
    await expect(page.locator("#address")).to_be_visible()
    assert await page.evaluate("localStorage.getItem('buyer')") is None


async def test_a_link_and_a_code_say_where_people_came_from(phone: OpenPhone) -> None:
    page = await phone()
    await page.goto(f"/live/{SESSION}?s=push")
    await page.locator("[data-dialog=share]").tap()
    picture = page.locator("#share .qr img")
    await expect(picture).to_be_visible()
    await eventually(lambda: picture.evaluate("(image) => image.naturalWidth > 0"))
    assert await page.locator("#share [data-share]").get_attribute("data-share") == f"/live/{SESSION}?s=share"
    assert "s%3Dqr" in str(await picture.get_attribute("src"))
    await shot(page, "buyer-share")


@pytest.fixture
def line() -> Iterator[PushService]:
    made = PushService()
    yield made
    made.close()


async def soon(market: Market, minutes: int) -> str:
    """Code of a session that its host has planned for in a few minutes."""
    async with httpx.AsyncClient(base_url=market.url, timeout=30) as client:
        login = {"phone": "0900000001", "password": "chophien-demo"}
        token = (await client.post("/api/v1/login", json=login)).json()["token"]
        starts_at = datetime.now(UTC) + timedelta(minutes=minutes)
        planned = await client.post(
            "/api/v1/live-sessions",
            json={"commune": "24505", "title": "Bơ cắt chiều nay", "starts_at": starts_at.isoformat()},
            headers={"Authorization": f"Bearer {token}"},
        )
        planned.raise_for_status()
        return str(planned.json()["code"])


async def test_whoever_asks_to_be_reminded_hears_of_it_on_the_phone(
    browser: Browser, market: Market, line: PushService
) -> None:
    device = Phone(line, "story")
    code = await soon(market, 10)
    context = await browser.new_context(
        base_url=market.url,
        viewport=PHONE,
        has_touch=True,
        is_mobile=True,
        locale="vi-VN",
        permissions=["notifications"],
    )
    page = await context.new_page()
    await page.add_init_script(OUR_PUSH % json.dumps(device.subscription))
    await page.goto("/c/ea-knuec")
    await page.locator("[data-follow]").tap()
    bell = page.locator(f"[data-remind={code}]")
    await bell.tap()
    await expect(bell).to_have_attribute("aria-pressed", "true")
    await shot(page, "buyer-remind")

    async def heard() -> bool:
        return bool(device.posts)

    await eventually(heard, within_s=40)
    [told] = device.heard()
    assert told["title"] == "Sắp đến phiên: Bơ cắt chiều nay"

    # The same message as the browser would hand it to the market's service worker.
    wire = await context.new_cdp_session(page)
    workers: list[dict[str, Any]] = []
    wire.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: workers.extend(event["registrations"]),
    )
    await wire.send("ServiceWorker.enable")
    await page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    await eventually(lambda: asyncio.sleep(0, bool(workers)))
    await wire.send(
        "ServiceWorker.deliverPushMessage",
        {"origin": market.url, "registrationId": workers[0]["registrationId"], "data": json.dumps(told)},
    )
    shown = """navigator.serviceWorker.ready.then((it) => it.getNotifications())
      .then((all) => all.map((one) => [one.title, one.data.url]))"""

    async def notified() -> bool:
        return [told["title"], f"/live/{code}?s=push"] in await page.evaluate(shown)

    await eventually(notified)

    # And no more: both bells are taken back, the home page forgets what was followed.
    await page.goto("/")
    await expect(page.locator("#followed")).to_be_visible()
    await page.goto("/c/ea-knuec")
    await page.locator("[data-follow]").tap()
    await page.locator(f"[data-remind={code}]").tap()
    await expect(page.locator("[data-follow]")).to_have_attribute("aria-pressed", "false")
    await page.goto("/")
    await expect(page.locator("#followed")).to_be_hidden()
    await context.close()


async def test_what_is_near_comes_by_choice_or_position_and_is_remembered(
    browser: Browser, market: Market
) -> None:
    context = await browser.new_context(
        base_url=market.url,
        viewport=PHONE,
        has_touch=True,
        is_mobile=True,
        locale="vi-VN",
        permissions=["geolocation"],
        geolocation={"latitude": 12.69, "longitude": 108.2},
    )
    page = await context.new_page()
    await page.goto("/")
    await page.locator("#near-locate").tap()
    here = page.locator("#near-shown [data-here]")
    await expect(here).to_be_visible()
    code = await here.get_attribute("data-here")
    kept = await page.evaluate("JSON.stringify(localStorage)")
    assert "12.69" not in kept  # the position is used once
    await page.goto("/")
    await expect(page.locator(f"#near-shown [data-here='{code}']")).to_be_visible()
    await page.goto("/search")
    await page.fill("#q", "ca phe")
    await expect(page).to_have_url(re.compile(r"q=ca\+phe"))
    await expect(page.locator("#results h3").first).to_contain_text("Cà phê")
    await context.close()


async def test_without_scripts_a_buyer_asks_for_tonnes_and_what_is_near(
    browser: Browser, market: Market
) -> None:
    context = await browser.new_context(
        java_script_enabled=False, base_url=market.url, viewport=PHONE, locale="vi-VN"
    )
    page = await context.new_page()
    await page.goto("/")
    await page.select_option("#near-commune", "24505")
    await page.click("#near-form button")
    await expect(page.locator("[data-here='24505']")).to_be_visible()
    await page.goto(f"/live/{SESSION}")
    await page.click("a[href$='/wholesale']")
    await page.fill("[name=quantity]", "2,5")
    await page.fill("[name=phone]", "0905 111 222")
    await page.check("[name=consent]")
    await page.click("main form button")
    await expect(page.get_by_text("Xã đã nhận lời nhắn của bạn.")).to_be_visible()
    await context.close()
