"""The office's page of networks, and what is read from them."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.conftest import Market, OpenPhone, shot
from tests.browser.test_reports import sign_in
from tests.browser.tour import SESSION


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
