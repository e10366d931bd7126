"""The screens reach everybody: those who see badly, with large letters, a keyboard, a weak line or none."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect

from commerce.app import create_app
from commerce.core import access
from commerce.core.settings import Settings
from tests.browser import chromium
from tests.browser.conftest import ARGUMENTS, PHONE, Market, OpenPhone, shot
from tests.browser.tour import NO_PAGES, PASSWORD, PUBLIC, SESSION, TOUR, Stop, lived_in

SESSION_PAGE_MOST = 150_000  # bytes on the wire before any video
SERIOUS = ("serious", "critical")

Scheme = Literal["light", "dark"]
UNREACHED = {  # an application that is put together and never started
    "CHOPHIEN_DATABASE_URL": "postgresql://nobody:none@127.0.0.1:1/none",
    "CHOPHIEN_VALKEY_URL": "valkey://:none@127.0.0.1:1/0",
    "CHOPHIEN_S3_ENDPOINT": "http://127.0.0.1:1",
    "CHOPHIEN_S3_ACCESS_KEY": "none",
    "CHOPHIEN_S3_SECRET_KEY": "none",
    "CHOPHIEN_S3_BUCKET": "none",
    "CHOPHIEN_SECRET_KEY": "n" * 40,
}


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


@pytest.fixture(scope="module")
async def made(market: Market) -> dict[str, str]:
    return await lived_in(market)


def test_no_page_is_left_out() -> None:
    """What a browser may open is on the tour, or said to be no page."""
    app = create_app(Settings.from_env(UNREACHED))
    opened = {
        route.path_format
        for route in app.routes
        for handler in getattr(route, "route_handlers", [])
        if "GET" in handler.http_methods and not access.is_framework(handler)
        if not route.path_format.startswith(("/api/", "/webhooks/"))
    }
    toured = {stop.route for stops in TOUR.values() for stop in stops} - {""}
    assert toured | NO_PAGES == opened
    assert not toured & NO_PAGES


async def signed_in(page: Page, who: str) -> Page:
    if who != PUBLIC:
        answer = await page.context.request.post("/api/v1/login", data={"phone": who, "password": PASSWORD})
        assert answer.ok
    return page


@pytest.mark.parametrize("who", TOUR)
async def test_every_page_reaches_everybody(
    browser: Browser, market: Market, made: dict[str, str], who: str
) -> None:
    """Nothing serious for axe, light and dark; nothing wider than a phone; all of it by keyboard."""
    page = await signed_in(await screen(browser, market, "light"), who)
    found = []
    for stop in TOUR[who]:
        await page.emulate_media(color_scheme="light")
        await stop.open(page, made)
        found += [*await faults(page), *await too_wide(page), *await by_keyboard(page)]
        await picture(page, stop, "light")
        await page.emulate_media(color_scheme="dark")
        found += [f"dark: {fault}" for fault in await faults(page)]
        await picture(page, stop, "dark")
    await page.context.close()
    assert not found, "\n".join(found)


async def too_wide(page: Page) -> list[str]:
    width = await page.evaluate("document.documentElement.scrollWidth")
    return [f"{page.url} is {width} wide"] if width > PHONE["width"] else []


TABS = 14


async def by_keyboard(page: Page) -> list[str]:
    """Tab reaches what can be pressed, what has the focus can be seen, and nothing holds it fast."""
    seen = set()
    wrong = []
    for press in range(TABS):
        await page.keyboard.press("Tab")
        number, drawn, parts = await page.evaluate(FOCUSED)
        if not drawn:
            wrong.append(f"{page.url}: focus cannot be seen on {await page.evaluate(WHAT)}")
        seen.add((number, press if parts else 0))
    pressable = await page.evaluate(PRESSABLE)
    if len(seen) < min(TABS - 2, pressable):
        wrong.append(f"{page.url}: Tab reached {len(seen)} of {pressable}")
    return wrong


FOCUSED = """() => {
  const node = document.activeElement;
  const style = getComputedStyle(node);
  const drawn = style.outlineStyle !== "none" || style.boxShadow !== "none";
  // Day, month, year and the calendar's button of one field are the browser's own.
  const parts = node.matches("[type=date], [type=time]");
  // Past the last one the focus is the browser's too; of a radio its label shows it.
  const own = parts || node.matches("body, [type=radio], [type=checkbox]");
  return [[...document.querySelectorAll("*")].indexOf(node), drawn || own, parts];
}"""
WHAT = "document.activeElement.outerHTML.slice(0, 120)"
PRESSABLE = """[...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
  .filter((node) => node.checkVisibility({ visibilityProperty: true }) && !node.disabled)
  .filter((node) => node.type !== "radio")
  .length"""


async def picture(page: Page, stop: Stop, scheme: Scheme) -> None:
    """For people to look at, when CHOPHIEN_PICTURES is set."""
    if os.environ.get("CHOPHIEN_PICTURES"):
        await page.evaluate("scrollTo(0, 0)")
        name = re.sub(r"\W+", "-", stop.route).strip("-") if stop.route != "/" else "home"
        await shot(page, f"tour-{name or 'errors'}-{scheme}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_serious_fault_in_the_orders_sheet(browser: Browser, market: Market, scheme: Scheme) -> None:
    page = await screen(browser, market, scheme)
    await page.goto(f"/live/{SESSION}")
    await page.click("#buybar-buy")
    await expect(page.locator("#checkout")).to_be_visible()
    found = await faults(page)
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


@pytest.mark.parametrize("who", TOUR)
async def test_nothing_runs_off_the_screen_at_twice_the_text_size(
    large_text: Browser, market: Market, made: dict[str, str], who: str
) -> None:
    page = await signed_in(await screen(large_text, market, "light"), who)
    wide = []
    for stop in TOUR[who]:
        await stop.open(page, made)
        wide += await too_wide(page)
    await page.context.close()
    assert not wide, "\n".join(wide)


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
