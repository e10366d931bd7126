"""The host's first session on a phone, and many hands on one session: two phones as host, three helpers."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import httpx
from playwright.async_api import Page, expect

from commerce.core import clock
from tests.browser.conftest import Market, OpenPhone, api, shot
from tests.browser.test_helper import say
from tests.browser.test_reach import faults
from tests.browser.test_stall import HOST, sign_in

HELPER, PROVINCE = "0900000002", "0900000005"
ELSEWHERE = "krong-pac"


async def commune_code(market: Market, slug: str) -> str:
    async with httpx.AsyncClient(base_url=market.url) as client:
        found = (await client.get("/api/v1/communes")).raise_for_status().json()
    rows = found["items"] if isinstance(found, dict) else found
    return str(next(row["code"] for row in rows if slug in str(row)))


async def test_the_hosts_first_session(phone: OpenPhone, market: Market) -> None:
    """From an account that was just opened to the end of the first session, on one phone."""
    province = await sign_in(await phone(), PROVINCE)
    await province.goto("/accounts")
    await province.fill("#f-name", "H'Mai Niê")
    await province.fill("#f-phone", "0905 777 111")
    await province.select_option("#f-role", "host")
    await province.fill("#f-commune", await commune_code(market, ELSEWHERE))
    await province.get_by_role("button", name="Mở tài khoản").tap()
    password = await province.locator(".notice-ok code").inner_text()
    person = province.locator(".person", has_text="H'Mai Niê")
    await person.get_by_role("link", name="Xác minh danh tính").tap()
    await province.fill("#f-number", "066 190 222 333")
    await shot(province, "identity")
    assert not await faults(province)
    await province.get_by_role("button", name="Ghi kết luận").tap()
    await expect(province.locator(".badge-leaf")).to_contain_text("đã xác minh danh tính")

    host = await sign_in(await phone(), "0905777111", password)
    await host.get_by_role("link", name="Lên lịch phiên mới").first.tap()
    await host.fill("#f-title", "Phiên đầu tiên của Krông Pắc")
    soon = clock.local(clock.now() + timedelta(minutes=5))
    await host.fill("input[name=day]", f"{soon:%Y-%m-%d}")
    await host.fill("input[name=time]", f"{soon:%H:%M}")
    await shot(host, "first-plan")
    await host.locator("form button.btn-main").last.tap()
    await host.wait_for_url(re.compile("/lineup$"))
    await host.locator("input[name=offer]").first.check()
    await shot(host, "first-lineup")
    await host.get_by_role("button", name="Lưu danh sách").tap()
    await host.wait_for_url(re.compile(r"/host/KRONGPAC\d*$"))
    await host.locator("input[name=accept]").check()
    await shot(host, "first-checklist")
    assert not await faults(host)
    await host.get_by_role("button", name="Gửi").tap()
    await expect(host.locator(".tick-no")).to_have_count(0)
    await host.get_by_role("button", name="Lên sóng").tap()
    await expect(host.locator(".console-tabs")).to_be_visible()
    pin = host.locator("[data-dock]").first
    await pin.tap()
    await expect(pin).to_have_attribute("aria-pressed", "true")
    await shot(host, "first-on-air")
    # The ten-minute deal by two taps, the card to read from, and through a reload.
    item = host.locator(".item").first
    await item.get_by_text("Giảm 10 phút").tap()
    await item.locator(".deal-choices button").first.tap()
    await expect(item.locator("[data-clock]")).to_be_visible()
    await item.get_by_text("Thẻ nhắc lời").tap()
    await item.scroll_into_view_if_needed()
    await shot(host, "first-card")
    await host.reload()
    await expect(host.locator("[data-dock]").first).to_have_attribute("aria-pressed", "true")
    await expect(host.locator(".item").first.locator("[data-clock]")).to_be_visible()
    # STOP asks once.
    await host.get_by_role("button", name="Kết thúc").tap()
    await shot(host, "first-stop")
    await host.get_by_role("button", name="Kết thúc phiên").tap()
    await expect(host.locator(".notice-ok")).to_contain_text("Phiên đã xong")
    await shot(host, "first-over")


async def pinned(market: Market) -> object:
    found = await api(market, "/live-sessions/EAKNUEC")
    return found["snapshot"]["pinned"]["code"]  # type: ignore[index]


async def test_two_phones_and_three_helpers_at_once(phone: OpenPhone, market: Market) -> None:
    """Everybody taps together; what all screens show afterwards is the same, and each order is one order."""
    hosts = [await sign_in(await phone(), HOST) for _ in range(2)]
    helpers = [await sign_in(await phone(), HELPER) for _ in range(3)]
    before = await api(market, "/live-sessions/EAKNUEC")
    for number in range(3):
        await say(market, f"Khách {number} A", f"chốt A1 1kg sđt 09066600{number:02d}")
    await asyncio.gather(*(page.goto("/host/EAKNUEC") for page in hosts))
    await asyncio.gather(*(page.goto("/helper/EAKNUEC") for page in helpers))
    for page in helpers:
        await expect(page.locator(".candidate", has_text="Khách 2 A")).to_be_visible(timeout=10_000)

    async def confirm_all(page: Page) -> None:
        """Each helper goes for the same cards; a card another one took is gone or says so."""
        for number in range(3):
            card = page.locator(".candidate", has_text=f"Khách {number} A")
            button = card.locator("[data-confirm]")
            if await button.count():
                await button.tap(timeout=2_000, no_wait_after=True) if await button.is_visible() else None
                await expect(card).to_have_count(0, timeout=15_000)

    async def enter(page: Page, number: int) -> None:
        await page.fill("#entry-pasted", f"A2 1kg 09077700{number:02d} thôn 2")
        await page.fill("#entry-lines", "A2 1")
        await page.fill("#entry-phone", f"09077700{number:02d}")
        await page.locator("#entry-place").tap()
        await expect(page.locator("#entry .notice-ok")).to_contain_text("Đã đặt", timeout=15_000)

    await asyncio.gather(
        hosts[0].locator("[data-dock=A1]").tap(),
        hosts[1].locator("[data-dock=A2]").tap(),
        *(asyncio.wait_for(confirm_all(page), 60) for page in helpers),
    )
    await asyncio.gather(*(enter(page, number) for number, page in enumerate(helpers)))
    winner = await pinned(market)
    assert winner in ("A1", "A2")
    for page in hosts:
        await expect(page.locator(f"[data-dock={winner}]")).to_have_attribute("aria-pressed", "true")
        await expect(page.locator("[data-dock][aria-pressed=true]")).to_have_count(1)
    wanted = int(before["snapshot"]["orders"]) + 6  # type: ignore[index]
    for page in hosts:
        await expect(page.locator("#count-orders")).to_have_text(
            f"{wanted:,}".replace(",", "."), timeout=15_000
        )
    await expect(hosts[1].locator("#last-order")).to_contain_text("A2 × 1 kg")
    await hosts[0].locator("[data-part=orders]").tap()
    await shot(hosts[0], "console-orders")
    await hosts[1].locator("[data-part=talk]").tap()
    await shot(hosts[1], "console-talk")
    await helpers[0].locator("#talk").scroll_into_view_if_needed()
    await shot(helpers[0], "helper-talk")


async def test_a_tap_on_a_broken_line_is_sent_when_it_is_back(phone: OpenPhone, market: Market) -> None:
    host = await sign_in(await phone(), HOST)
    await host.goto("/host/EAKNUEC")
    other = "A3" if await host.locator("[data-dock=A2][aria-pressed=true]").count() else "A2"
    await host.context.set_offline(True)
    await host.locator(f"[data-dock={other}]").tap()
    await expect(host.locator("#line-state")).to_be_visible()
    await host.context.set_offline(False)
    await expect(host.locator(f"[data-dock={other}]")).to_have_attribute(
        "aria-pressed", "true", timeout=20_000
    )
    assert await pinned(market) == other
