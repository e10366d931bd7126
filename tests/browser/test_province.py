"""The province's screens and the office's page of networks: nothing on them shuts anybody out."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import PHONE, Market, OpenPhone, shot
from tests.browser.test_reach import SESSION, faults
from tests.browser.test_reports import PROVINCE, sign_in

PLACES = {
    PROVINCE: [
        "/province",
        "/province/communes/24505",
        f"/province/sessions/{SESSION}",
        "/province/compare?c=24505&c=24169",
        "/province/residents",
        "/province/reports",
        "/province/forecast",
        "/province/rules",
        "/province/definitions",
        "/province/store",
    ],
    "0900000003": ["/office/networks"],
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(market: Market, browser: Browser, scheme: str) -> None:
    found: list[str] = []
    for number, paths in PLACES.items():
        context = await browser.new_context(
            base_url=market.url,
            viewport=PHONE,
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
            locale="vi-VN",
        )
        page = await context.new_page()
        await sign_in(page, market, number)
        for path in paths:
            await page.goto(path)
            found += await faults(page)
            wide = await page.evaluate("document.documentElement.scrollWidth")
            if wide > PHONE["width"]:
                found.append(f"{path} is {wide} wide")
        await context.close()
    assert not found, "\n".join(found)


async def test_the_office_connects_the_channel_and_lets_it_go(market: Market, phone: OpenPhone) -> None:
    page = await phone()
    await sign_in(page, market, "0900000003")
    await page.goto("/office")
    await page.get_by_role("link", name="Trang và kênh của xã").tap()
    youtube = page.locator("li.network", has=page.get_by_role("heading", name="YouTube"))
    await expect(youtube.get_by_text("đã nối")).to_be_visible()
    await youtube.get_by_role("button", name="Ngắt").tap()
    await expect(youtube.get_by_text("chưa nối")).to_be_visible()
    await youtube.get_by_role("link", name="Nối YouTube").tap()
    await page.locator("#yes").tap()  # the network's own page
    await expect(youtube.get_by_text("đã nối")).to_be_visible()
    await shot(page, "office-networks")


async def test_the_helper_sees_comments_of_the_page_and_how_reading_goes(
    market: Market, phone: OpenPhone
) -> None:
    page = await phone()
    await sign_in(page, market, "0900000002")
    await page.goto(f"/helper/{SESSION}")
    strip = page.locator("#networks")
    await expect(strip).to_contain_text("Facebook", timeout=30_000)
    await expect(strip).to_contain_text("đang đọc", timeout=60_000)
    await page.goto(f"/live/{SESSION}")
    comment = page.locator("#comments [data-origin=facebook]").first
    await expect(comment).to_be_attached(timeout=60_000)
