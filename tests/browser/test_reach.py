"""The screens reach everybody: those who see badly, with large letters, a keyboard, a weak line or none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

from tests.browser import chromium
from tests.browser.conftest import ARGUMENTS, PHONE, Market, OpenPhone

SESSION = "EAKNUEC"
SESSION_PAGE_MOST = 150_000  # bytes on the wire before any video
SERIOUS = ("serious", "critical")

PUBLIC = [
    "/",
    "/c/ea-knuec",
    "/search?q=sau+rieng",
    "/search?q=khong-co-gi",
    f"/live/{SESSION}",
    "/login",
    "/rules",
    "/rules/ranking",
    "/privacy",
    "/privacy/request",
    "/near?commune=24505",
    f"/live/{SESSION}/wholesale",
    "/offline",
    "/design",
    "/khong-co",
]
PLACES = {
    "0900000001": ["/host", "/host/new", f"/host/{SESSION}", f"/host/{SESSION}/lineup", "/account"],
    "0900000002": ["/helper", f"/helper/{SESSION}"],
    "0900000003": [
        "/office/recordings",
        "/office/enquiries",
        "/office/data-requests",
        "/office",
        "/office/assist",
        "/office/ocop",
        "/office/schedule",
    ],
    "0900000004": ["/seller", "/seller/new", "/seller/money", "/seller/money/setup"],
}

Scheme = Literal["light", "dark"]


async def faults(page: Page) -> list[str]:
    """What axe-core finds that is serious or critical, with the elements."""
    found = (await Axe().run(page)).response["violations"]
    return [
        f"{page.url} {fault['id']}: {[node['html'][:120] for node in fault['nodes'][:3]]}"
        for fault in found
        if fault["impact"] in SERIOUS
    ]


async def screen(browser: Browser, market: Market, scheme: Scheme, **options: Any) -> Page:
    context = await browser.new_context(
        base_url=market.url,
        viewport=PHONE,
        color_scheme=scheme,
        reduced_motion="reduce",
        locale="vi-VN",
        **options,
    )
    return await context.new_page()


async def product_address(market: Market) -> str:
    async with httpx.AsyncClient(base_url=market.url) as client:
        detail = (await client.get(f"/api/v1/live-sessions/{SESSION}")).raise_for_status().json()
    return f"/p/{detail['lineup'][0]['product_code']}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_serious_fault_on_public_pages(browser: Browser, market: Market, scheme: Scheme) -> None:
    page = await screen(browser, market, scheme)
    found = []
    for address in [*PUBLIC, await product_address(market)]:
        await page.goto(address)
        found += await faults(page)
    await page.goto(f"/live/{SESSION}")
    await page.click("#buybar-buy")
    found += await faults(page)
    await page.context.close()
    assert not found


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_serious_fault_in_the_places_of_staff(
    browser: Browser, market: Market, scheme: Scheme
) -> None:
    found = []
    for phone_number, addresses in PLACES.items():
        page = await screen(browser, market, scheme)
        signed_in = await page.context.request.post(
            "/api/v1/login", data={"phone": phone_number, "password": "chophien-demo"}
        )
        assert signed_in.ok
        for address in addresses:
            await page.goto(address)
            found += await faults(page)
        await page.context.close()
    assert not found


@pytest.fixture(scope="module")
async def large_text() -> AsyncIterator[Browser]:
    """A browser whose reader has set letters to twice the usual size."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=chromium.find(),
            args=[*ARGUMENTS, "--no-sandbox", "--blink-settings=defaultFontSize=32"],
        )
        yield running
        await running.close()


async def test_nothing_runs_off_the_screen_at_twice_the_text_size(
    large_text: Browser, market: Market
) -> None:
    page = await screen(large_text, market, "light")
    wide = []
    for address in PUBLIC:
        await page.goto(address)
        width = await page.evaluate("document.documentElement.scrollWidth")
        if width > PHONE["width"]:
            wide.append(f"{address}: {width}")
    await page.context.close()
    assert not wide


async def test_the_session_page_is_light(browser: Browser, market: Market) -> None:
    page = await screen(browser, market, "light", service_workers="block")
    wire = await page.context.new_cdp_session(page)
    await wire.send("Network.enable")
    sizes: list[float] = []
    wire.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    # The picture and its player come after the page; they are weighed by the viewer's choice of quality.
    for video in ("**/media/**", "**/player.js", "**/hls.js"):
        await page.route(video, lambda route: route.abort())
    await page.goto(f"/live/{SESSION}", wait_until="networkidle")
    await page.context.close()
    assert 20_000 < sum(sizes) < SESSION_PAGE_MOST


async def test_an_order_by_keyboard_alone(phone: OpenPhone) -> None:
    page = await phone()
    await page.goto(f"/live/{SESSION}")
    await page.locator("#buybar-buy").focus()
    await page.keyboard.press("Enter")
    await page.locator("#f-name").focus()
    for text in ("Y Bhăm Êban", "0901234567"):
        await page.keyboard.type(text)
        await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")  # past the province, which is ours already
    await page.keyboard.type("cu mgar")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    assert await page.input_value("#f-commune") == "Xã Cư M'gar"
    await page.keyboard.press("Tab")
    await page.keyboard.type("buôn Sút")
    await page.locator("#f-consent").focus()
    await page.keyboard.press("Space")
    await page.locator("#place").focus()
    await page.keyboard.press("Enter")
    await page.locator("#placed").wait_for(state="visible")
    assert await page.evaluate("document.activeElement.id") == "placed"


async def test_without_a_network_the_offline_page_comes_whole(browser: Browser, market: Market) -> None:
    page = await screen(browser, market, "light")
    await page.goto("/")
    await page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    await page.wait_for_timeout(500)
    await page.context.set_offline(True)
    await page.goto("/search?q=tieu")
    assert "Không có mạng" in await page.title()
    assert await page.evaluate("Array.from(document.images, (image) => image.naturalWidth).every(Boolean)")
    await page.context.close()


async def test_nothing_is_kept_of_orders_by_the_service_worker(browser: Browser, market: Market) -> None:
    page = await screen(browser, market, "light")
    await page.goto("/")
    await page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    await page.goto(f"/live/{SESSION}")
    await page.goto("/orders/DL24505NOTHING?key=secret")
    kept = await page.evaluate(
        """caches.keys()
          .then((names) => Promise.all(names.map((name) => caches.open(name).then((shelf) => shelf.keys()))))
          .then((lists) => lists.flat().map((request) => new URL(request.url).pathname))"""
    )
    assert kept
    assert all(path == "/offline" or path.startswith("/static/") for path in kept)
    await page.context.close()
