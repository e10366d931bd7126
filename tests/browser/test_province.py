"""The province's desktop: what is on air ticks by itself, the map is enlarged and leads to a commune."""

from __future__ import annotations

import re

from playwright.async_api import Browser, expect

from tests.browser.conftest import Market, shot
from tests.browser.test_after import ordered
from tests.browser.test_reports import PROVINCE, sign_in


async def test_counts_of_sessions_on_air_tick_and_the_map_leads_to_a_commune(
    market: Market, browser: Browser
) -> None:
    context = await browser.new_context(
        base_url=market.url, viewport={"width": 1280, "height": 900}, locale="vi-VN"
    )
    page = await context.new_page()
    await sign_in(page, market, PROVINCE)
    await page.goto("/province")
    live = (
        page.locator("[data-refresh='/province/live'] a", has_text="Ea Knuếc").locator(".end > .small").last
    )
    before = int(re.findall(r"[\d.]+", await live.inner_text())[0].replace(".", ""))
    await ordered(market, "Người xem ở tỉnh", "0908111222")
    await expect(live).not_to_have_text(re.compile(rf"^{before} đơn"), timeout=30_000)  # without a reload
    after = int(re.findall(r"[\d.]+", await live.inner_text())[0].replace(".", ""))
    assert after > before

    picture = page.locator("figure.map svg").first
    whole = (await picture.get_attribute("viewBox") or "").split()
    await page.get_by_role("button", name="Phóng to").click()
    near = (await picture.get_attribute("viewBox") or "").split()
    assert float(near[2]) < float(whole[2])
    await page.get_by_role("button", name="Phóng to").click()
    await expect(page.locator(".land-name-big").first).to_be_visible()  # names come when there is room
    await shot(page, "province-map")
    await page.locator("figure.map a[href^='/province/communes/24505']").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Xã Ea Knuếc")).to_be_visible()
    await context.close()
