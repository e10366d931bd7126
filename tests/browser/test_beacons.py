"""What a real page reports of what was on its screen: sessions on any page, goods, taps, the basket."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Page, Request

from tests.browser.conftest import Market, OpenPhone

SESSION = "EAKNUEC"


class Told:
    """Beacons of a page, as the server got them."""

    def __init__(self, page: Page) -> None:
        self.events: list[tuple[str, str, str]] = []
        page.context.on("request", self._note)

    def _note(self, request: Request) -> None:
        path = urlsplit(request.url).path
        if path.endswith("/events") and request.method == "POST":
            session = path.split("/")[-2]
            told: list[dict[str, Any]] = request.post_data_json or []
            self.events += [(session, one["kind"], one["product"]) for one in told]

    async def until(self, *wanted: tuple[str, str, str]) -> None:
        for _ in range(150):
            if set(wanted) <= set(self.events):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"not told: {set(wanted) - set(self.events)} of {self.events}")


async def test_cards_on_any_page_count_for_the_session_s_reach(market: Market, phone: OpenPhone) -> None:
    for path in ("/", "/c/ea-knuec"):
        page = await phone()
        told = Told(page)
        await page.goto(path)
        await page.locator(f"[data-session={SESSION}]").first.scroll_into_view_if_needed()
        await told.until((SESSION, "impression", ""))
        assert told.events.count((SESSION, "impression", "")) == 1  # shown twice on a page, told once
        far = page.locator("[data-session]:not([data-session=EAKNUEC])")
        for number in range(await far.count()):
            if await far.nth(number).evaluate("node => node.getBoundingClientRect().top > innerHeight"):
                code = await far.nth(number).get_attribute("data-session")
                assert (code, "impression", "") not in told.events  # nobody has scrolled there yet


async def test_goods_seen_tapped_and_put_into_the_basket_are_told(market: Market, phone: OpenPhone) -> None:
    page = await phone()
    told = Told(page)
    await page.goto(f"/live/{SESSION}")
    row = page.locator(".offer[data-code=A1]")
    await row.scroll_into_view_if_needed()
    await page.wait_for_timeout(1200)  # seen means on the screen for a second
    await row.locator("[data-buy]").tap()
    await told.until((SESSION, "impression", "A1"), (SESSION, "click", "A1"), (SESSION, "basket", "A1"))
    assert told.events.count((SESSION, "impression", "A1")) == 1
