"""A report's whole way between a commune and the province, in two browsers, by two people."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import asyncpg
from playwright.async_api import Browser, Page, expect

from commerce.core import clock
from tests.browser.conftest import SCREENS, Market, OpenPhone, shot

HOST_OF_EA_KAO, PROVINCE = "0900000107", "0900000005"
TITLE = "Đợt mùa bơ"


async def sign_in(page: Page, market: Market, phone: str) -> None:
    answer = await page.request.post(
        f"{market.url}/api/v1/login", data={"phone": phone, "password": "chophien-demo"}
    )
    assert answer.ok, await answer.text()


async def test_a_commune_writes_the_province_returns_it_is_mended_approved_and_frozen(
    market: Market, phone: OpenPhone, browser: Browser
) -> None:
    host = await phone()
    context = await browser.new_context(
        base_url=market.url, viewport={"width": 1280, "height": 900}, locale="vi-VN"
    )
    province = await context.new_page()
    await sign_in(host, market, HOST_OF_EA_KAO)
    await sign_in(province, market, PROVINCE)

    # The province asks.
    today = clock.today()
    await province.goto("/province/reports")
    await province.select_option("#f-kind", "campaign")
    await province.fill("#f-title", TITLE)
    for field, days in (("first", -7), ("last", 0), ("due_on", 1)):
        await province.fill(f"#f-{field}", (today + timedelta(days=days)).isoformat())
    await province.get_by_role("button", name="Gửi yêu cầu").click()
    await expect(province.get_by_role("row", name=TITLE).filter(has_text="Phường Ea Kao")).to_be_visible()

    # The secretary is told on their own page, finds the figures filled in, adds words and hands it in.
    await host.goto("/host")
    await host.get_by_role("link", name=TITLE).tap()
    await expect(host.get_by_role("heading", name=TITLE)).to_be_visible()
    path = host.url.removeprefix(market.url)
    orders = host.get_by_role("row", name="Đơn", exact=False).first
    await expect(orders).to_be_visible()
    await shot(host, "report-draft")
    await host.fill("#f-words", "Bơ đầu mùa bán tốt.")
    await host.get_by_role("button", name="Nộp lên tỉnh").tap()
    await expect(host.get_by_text("Chờ tỉnh duyệt").first).to_be_visible()
    await expect(host.locator("#f-words")).to_have_count(0)  # it is the province's now

    # The province returns it with a remark; the commune mends it.
    await province.goto(path)
    await province.fill("#f-remark", "Xin nêu rõ khó khăn về đường truyền.")
    await province.get_by_role("button", name="Trả lại").click()
    await expect(province.get_by_role("button", name="Trả lại")).to_have_count(0)
    await host.reload()
    await expect(host.get_by_text("Xin nêu rõ khó khăn về đường truyền.").first).to_be_visible()
    await host.fill("#f-words", "Bơ đầu mùa bán tốt.\nĐường truyền yếu ở buôn Cao Thành.")
    await host.get_by_role("button", name="Nộp lên tỉnh").tap()
    await expect(host.locator("#f-words")).to_have_count(0)

    # Approved: frozen, with who did what, and as a paper.
    await province.reload()
    await expect(province.get_by_text("Đường truyền yếu ở buôn Cao Thành.").first).to_be_visible()
    await province.get_by_role("button", name="Duyệt, chốt số liệu").click()
    await expect(province.locator(".badge", has_text="Đã duyệt")).to_be_visible()
    await expect(province.get_by_text("bản 2").first).to_be_visible()
    steps = await province.locator("section[aria-labelledby=h-way] > ul:not(.small) > li").all_inner_texts()
    assert [
        next(state for state in ("Chờ tỉnh duyệt", "Tỉnh trả lại", "Đã duyệt") if state in step)
        for step in steps
    ] == ["Chờ tỉnh duyệt", "Tỉnh trả lại", "Chờ tỉnh duyệt", "Đã duyệt"]
    await host.reload()
    await expect(host.get_by_role("button", name="Nộp lên tỉnh")).to_have_count(0)
    paper = await host.request.get(f"{market.url}{path}/bao-cao.pdf")
    assert (await paper.body()).startswith(b"%PDF")
    SCREENS.mkdir(exist_ok=True)
    (SCREENS / "report.pdf").write_bytes(await paper.body())

    # A parcel comes back afterwards: the approved figure stays, the correction stands beside it.
    before = await row_of(province, "Doanh số thực")
    await refuse_a_parcel(market, "EAKAO")
    for _ in range(60):
        await province.reload()
        if await province.locator("#h-fix").count():
            break
        await asyncio.sleep(0.5)
    await expect(province.locator("#h-fix")).to_be_visible()
    assert await row_of(province, "Doanh số thực") == before
    corrected = province.locator("section[aria-labelledby=h-fix] tr", has_text="Doanh số thực")
    was, now = (await corrected.locator("td").all_inner_texts())[:2]
    assert was == before
    assert now != was
    await shot(province, "report-corrected")
    await context.close()


async def row_of(page: Page, measure: str) -> str:
    row = page.locator("section[aria-labelledby=h-fig] tr", has=page.get_by_text(measure, exact=True))
    return await row.locator("td").first.inner_text()


async def refuse_a_parcel(market: Market, session: str) -> None:
    """The carrier's news, as it is stored: one order of the session was not accepted."""
    settings = json.loads((market.folder / "data" / "runtime.json").read_text())
    connection = await asyncpg.connect(settings["CHOPHIEN_DATABASE_URL"])
    try:
        async with connection.transaction():
            order = await connection.fetchrow(
                'SELECT o.id, o.state FROM "order" o JOIN live_session s ON s.id = o.live_session_id'
                " WHERE s.code = $1 AND o.state NOT IN ('cancelled', 'expired', 'refused') LIMIT 1",
                session,
            )
            assert order is not None
            await connection.execute("UPDATE \"order\" SET state = 'refused' WHERE id = $1", order["id"])
            await connection.execute(
                "INSERT INTO order_history (subject_id, before, after) VALUES ($1, $2, 'refused')",
                order["id"],
                order["state"],
            )
    finally:
        await connection.close()


async def test_every_place_of_a_commune_leads_to_its_reports(market: Market, phone: OpenPhone) -> None:
    for number, place in (("0900000001", "/host"), ("0900000003", "/office")):
        page = await phone()
        await sign_in(page, market, number)
        await page.goto(place)
        await page.locator("a[href='/province/reports']").first.tap()
        await expect(page.get_by_role("heading", name="Báo cáo")).to_be_visible()
