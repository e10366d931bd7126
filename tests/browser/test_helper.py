"""The helper's desk in a real browser: comment orders by the keyboard, orders from TikTok by pasting."""

from __future__ import annotations

import time

import httpx
from playwright.async_api import Browser, Page, expect

from commerce.orders.helping import SHOWN
from tests.browser.conftest import Market, OpenPhone, shot
from tests.browser.test_reach import faults

HELPER = "0900000002"
PASSWORD = "chophien-demo"
PASTED = 30
BY_KEYS = 5
SECONDS_AN_ORDER = 5.0  # what a helper may take, typing included; the machine's part must be far below


async def signed_in(page: Page) -> Page:
    await page.goto("/login")
    await page.fill("input[name=phone]", HELPER)
    await page.fill("input[name=password]", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/helper")
    await page.goto("/helper/EAKNUEC")
    return page


async def say(market: Market, name: str, text: str) -> None:
    """A comment of a viewer of their own."""
    async with httpx.AsyncClient(base_url=market.url) as viewer:
        body = {"name": name, "text": text}
        answer = await viewer.post("/api/v1/live-sessions/EAKNUEC/comments", json=body)
        answer.raise_for_status()


async def test_a_comment_order_is_confirmed_by_one_key(phone: OpenPhone, market: Market) -> None:
    page = await signed_in(await phone())
    await say(market, "Cô Lan", "chốt A1 2kg sđt 0901 234 567")
    await say(market, "Hùng", "A2 bao nhiêu 1kg?")
    lan = page.locator(".candidate", has_text="Cô Lan")
    await expect(lan).to_contain_text("090****567", timeout=10_000)  # it comes by itself
    await shot(page, "helper-desk")
    await lan.locator("summary").first.click()
    assert not await faults(page)
    await lan.locator("summary").first.click()
    await page.locator("h1").click()
    for _ in range(SHOWN):  # other people's comments, also from outside, may stand before
        await page.keyboard.press("j")
        if await lan.evaluate("node => node === document.activeElement"):
            break
    await expect(lan).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#candidates .notice-ok")).to_contain_text("Đã đặt")
    await expect(lan).to_have_count(0)
    # What has a doubt is opened by the same key, not ordered.
    hung = page.locator(".candidate", has_text="Hùng")
    await page.wait_for_timeout(400)
    await hung.focus()
    await page.keyboard.press("Enter")
    await expect(hung.locator("[name=lines]")).to_be_focused()
    await page.keyboard.press("Escape")
    await hung.focus()
    await page.keyboard.press("x")
    await expect(hung).to_have_count(0)


async def test_thirty_orders_from_pasted_comments(phone: OpenPhone) -> None:
    """On one phone: a comment is copied in the other app, one tap pastes it, one tap orders."""
    page = await signed_in(await phone())
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    began = time.monotonic()
    for number in range(PASTED):
        await page.evaluate(
            "(text) => navigator.clipboard.writeText(text)", COPIED[number % len(COPIED)](number)
        )
        await page.locator("[data-paste]").tap()
        await expect(page.locator("#entry-place")).to_be_focused()
        assert await page.input_value("#entry-lines") == "A2 1"
        assert await page.input_value("#entry-phone") == f"09055500{number:02d}"
        if number == 0:
            await page.locator("#entry-place").scroll_into_view_if_needed()
            await shot(page, "helper-entry")
        await page.locator("#entry-place").tap()
        await expect(page.locator("#entry .notice-ok")).to_contain_text("Đã đặt")
    assert (time.monotonic() - began) / PASTED < SECONDS_AN_ORDER
    await expect(page.locator(".entered")).to_have_count(PASTED)
    await shot(page, "helper-thirty")


COPIED = [  # as people write them on TikTok and Facebook
    lambda n: f"chốt 1kg a2 sđt 09055500{n:02d} giao thôn 3",
    lambda n: f"A2 x1 0905.5500.{n:02d}",
    lambda n: f"cho e 1 ký mã A2 nha shop, +84 9055500{n:02d}",
    lambda n: f"lay 1kg A2 o9o55500{n:02d}",
]


async def test_a_keyboard_is_enough_on_a_laptop(browser: Browser, market: Market) -> None:
    """Paste, Enter, the next one: the hands stay on the keys."""
    context = await browser.new_context(
        base_url=market.url, viewport={"width": 1280, "height": 800}, locale="vi-VN"
    )
    page = await signed_in(await context.new_page())
    before = await page.locator(".entered").count()
    for number in range(BY_KEYS):
        await page.locator("#entry-pasted").focus()
        await page.keyboard.insert_text(f"chốt 1kg a2 sđt 09055501{number:02d} giao thôn 3")
        await page.keyboard.press("Enter")
        await expect(page.locator("#entry-place")).to_be_focused()
        assert await page.input_value("#entry-lines") == "A2 1"
        await page.keyboard.press("Enter")
        await expect(page.locator("#entry .notice-ok")).to_contain_text("Đã đặt")
        await expect(page.locator("#entry-pasted")).to_be_focused()
    # The desk shows the latest thirty.
    await expect(page.locator(".entered")).to_have_count(min(PASTED, before + BY_KEYS))
    await shot(page, "helper-desk-wide")
    await context.close()
