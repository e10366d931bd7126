"""The farmer's stall, assisted mode and the commune office on real phones, from the photo to the pin."""

from __future__ import annotations

import io
import re

from PIL import Image, ImageDraw
from playwright.async_api import Page, expect

from tests.browser.conftest import Market, OpenPhone, last_link, shot
from tests.browser.test_reach import faults

HOST, OFFICER, SELLER = "0900000001", "0900000003", "0900000004"


def photo() -> bytes:
    """Something round on a table, as large as phones send it."""
    image = Image.new("RGB", (2400, 1800), "#b9a27c")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 1300, 2400, 1800), fill="#6b4a2b")
    for left, top in ((300, 500), (1000, 350), (1600, 600)):
        draw.ellipse((left, top, left + 800, top + 850), fill="#8a9a2f", outline="#55601c", width=24)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()


async def sign_in(page: Page, number: str, password: str = "chophien-demo") -> Page:
    await page.goto("/login")
    await page.fill("input[name=phone]", number)
    await page.fill("input[name=password]", password)
    await page.tap("form button.btn-main")
    await page.wait_for_url(re.compile(r"/(host|helper|office|seller|province|admin)$"))
    return page


async def take_photo(page: Page, name: str = "photo") -> None:
    camera = page.locator(f"input[type=file][capture][name={name}]")
    await camera.set_input_files({"name": "IMG_1.jpg", "mimeType": "image/jpeg", "buffer": photo()})
    await expect(page.locator(f"[data-shot={name}] .shot-seen")).to_be_visible()


async def fill_listing(page: Page, usual: str, name: str, *, look: bool = False) -> None:
    """Up to the last step, which is left to the caller."""
    await take_photo(page)
    if look:
        await shot(page, "listing-1-photo")
    await page.tap("#step-on")
    await page.locator(".chip", has_text=usual).tap()
    await page.fill("#f-name", name)
    grade = page.locator("[data-grade]:visible").first
    await grade.locator("[data-turn='1']").first.tap()
    await grade.locator("input[name^=left]").fill("120")
    if look:
        await page.locator("h2", has_text="2. Tên").scroll_into_view_if_needed()
        await shot(page, "listing-2-price")
        assert not await faults(page)
    await page.tap("#step-on")
    await expect(page.locator("#preview h3")).to_have_text(name)


async def test_a_farmer_lists_the_office_approves_the_host_pins(phone: OpenPhone, market: Market) -> None:
    farmer = await sign_in(await phone(), SELLER)
    await shot(farmer, "stall")
    assert not await faults(farmer)
    await farmer.get_by_role("link", name="Đăng món mới").tap()
    await fill_listing(farmer, "Mật ong", "Mật ong rừng Y Bên", look=True)
    await shot(farmer, "listing-3-check")
    await farmer.tap("#listing-send")
    await farmer.wait_for_url(re.compile(r"/seller#p-"))
    ware = farmer.locator(".ware", has_text="Mật ong rừng Y Bên")
    await expect(ware).to_contain_text("chờ xã duyệt")

    officer = await sign_in(await phone(), OFFICER)
    await shot(officer, "office")
    await officer.goto("/office/listings")
    card = officer.locator("article", has_text="Mật ong rừng Y Bên")
    await card.scroll_into_view_if_needed()
    await shot(officer, "office-review")
    assert not await faults(officer)
    # First it goes back with a reason that says what to do …
    await card.get_by_text("Chưa duyệt được").tap()
    await card.get_by_text("Ảnh mờ hoặc tối").tap()
    await shot(officer, "office-refuse")
    await card.get_by_role("button", name="Trả lại cho người bán").tap()
    await expect(card).to_have_count(0)
    # … which the farmer reads with the way out.
    await farmer.reload()
    await expect(ware).to_contain_text("Xin chụp lại ngoài trời")
    await ware.scroll_into_view_if_needed()
    await shot(farmer, "stall-refused")
    await ware.get_by_role("link", name="Sửa và gửi lại").tap()
    await expect(farmer.locator(".notice-warn")).to_contain_text("Xin chụp lại ngoài trời")
    await take_photo(farmer)
    await farmer.tap("#step-on")
    await farmer.tap("#step-on")
    await farmer.tap("#listing-send")
    await farmer.wait_for_url(re.compile(r"/seller#p-"))

    await officer.reload()
    card = officer.locator("article", has_text="Mật ong rừng Y Bên")
    await card.locator("input[name=papers_seen]").check()
    await card.get_by_role("button", name="Cho bày bán").tap()
    await expect(officer.locator("article", has_text="Mật ong rừng Y Bên")).to_have_count(0)

    host = await sign_in(await phone(), HOST)
    await host.goto("/host/EAKNUEC/lineup")
    row = host.locator("article", has_text="Mật ong rừng Y Bên")
    await row.locator("input[type=checkbox]").check()
    await host.get_by_role("button", name="Lưu danh sách").tap()
    await host.wait_for_url(re.compile("/host/EAKNUEC$"))
    item = host.locator(".item", has_text="Mật ong rừng Y Bên")
    await item.locator(".btn-pin").tap()
    await expect(item.locator(".btn-pin")).to_have_attribute("aria-pressed", "true")
    await item.scroll_into_view_if_needed()
    await shot(host, "console-pinned")
    buyer = await phone()
    await buyer.goto("/live/EAKNUEC")
    await expect(buyer.locator(".good-pinned")).to_contain_text("Mật ong rừng Y Bên")


async def test_a_bad_line_loses_nothing(phone: OpenPhone) -> None:
    farmer = await sign_in(await phone(), SELLER)
    await farmer.goto("/seller/new")
    await fill_listing(farmer, "Hồ tiêu", "Tiêu sọ vườn nhà")
    await farmer.context.set_offline(True)
    await farmer.tap("#listing-send")
    await expect(farmer.locator("#draft-note")).to_contain_text("giữ trên máy")
    await shot(farmer, "listing-no-network")
    await farmer.context.set_offline(False)
    await farmer.wait_for_url(re.compile(r"/seller#p-"), timeout=20_000)
    await expect(farmer.locator(".ware", has_text="Tiêu sọ vườn nhà")).to_have_count(1)
    # A draft outlives the page, photo and all.
    await farmer.goto("/seller/new")
    await fill_listing(farmer, "Gạo", "Gạo nương mới")
    await farmer.wait_for_timeout(600)
    await farmer.reload()
    await expect(farmer.locator("#draft-note")).to_contain_text("Đã mở lại tin đang soạn")
    await expect(farmer.locator("#preview h3")).to_have_text("Gạo nương mới")
    await expect(farmer.locator("#preview img")).to_be_visible()
    await farmer.tap("#draft-drop")
    await expect(farmer.locator("#draft-note")).to_be_hidden()
    assert await farmer.input_value("#f-name") == ""


async def test_stock_by_large_buttons_survives_a_bad_line(phone: OpenPhone) -> None:
    farmer = await sign_in(await phone(), SELLER)
    shelf = farmer.locator(".shelf").first
    now = shelf.locator("[data-now]")
    before = int((await now.inner_text()).replace(".", ""))
    await farmer.context.set_offline(True)
    for _ in range(3):
        await shelf.get_by_role("button", name="Thêm 10").tap()
    await shelf.get_by_role("button", name=re.compile(r"Bớt 1 \D")).tap()
    await expect(now).to_have_text(f"{before + 29:,}".replace(",", "."))
    await expect(shelf).to_contain_text("Chưa có mạng")
    await shot(farmer, "stall-no-network")
    await farmer.context.set_offline(False)
    await expect(shelf).to_contain_text("Đã ghi", timeout=15_000)
    await farmer.reload()
    await expect(farmer.locator(".shelf").first.locator("[data-now]")).to_have_text(
        f"{before + 29:,}".replace(",", ".")
    )


async def test_assisted_mode(phone: OpenPhone, market: Market) -> None:
    officer = await sign_in(await phone(), OFFICER)
    await officer.goto("/office/assist")
    await shot(officer, "assist")
    await officer.get_by_role("link", name="Mở gian hàng cho bà con").tap()
    await officer.fill("#f-name", "Hộ Ama Thin")
    await officer.fill("#f-phone", "0905 111 222")
    await officer.fill("#f-address", "Buôn Krông A, xã Ea Knuếc")
    await shot(officer, "assist-new")
    await officer.get_by_role("button", name="Mở gian hàng").tap()
    await officer.wait_for_url(re.compile(r"/office/assist/\d+$"))
    stall = officer.url
    await officer.goto("/office/sellers")
    card = officer.locator("article", has_text="Hộ Ama Thin")
    await card.locator("input[name=number]").fill("066 090 123 456")
    await shot(officer, "office-identity")
    await card.get_by_role("button", name="Ghi kết luận").tap()
    await card.get_by_role("button", name="Cho bán hàng").tap()
    await expect(officer.locator("article", has_text="Hộ Ama Thin")).to_have_count(0)

    await officer.goto(stall)
    await officer.get_by_role("link", name="Đăng món mới thay bà con").tap()
    await expect(officer.locator(".notice").first).to_contain_text("Làm thay cho Hộ Ama Thin")
    await fill_listing(officer, "Bơ sáp", "Bơ sáp Ama Thin")
    await officer.tap("#listing-send")
    await officer.wait_for_url(re.compile(r"/office/assist/\d+#p-"))
    await shot(officer, "assist-one")
    await officer.goto("/office/listings")
    await expect(officer.locator("article", has_text="Bơ sáp Ama Thin")).to_contain_text("chưa đồng ý")
    await officer.goto(stall)
    await officer.get_by_role("button", name="Gửi tin nhắn").tap()
    await expect(officer.locator(".notice-ok")).to_contain_text("Đã gửi tin nhắn")
    await shot(officer, "assist-sent")
    assert not await faults(officer)

    farmer = await phone()  # somebody without an account opens the message
    link = last_link(market)
    await farmer.goto(link)
    await expect(farmer.locator("main")).to_contain_text("Bơ sáp Ama Thin")
    await shot(farmer, "confirm")
    assert not await faults(farmer)
    await farmer.get_by_role("button", name="Đúng, tôi đồng ý").tap()
    await expect(farmer.locator("h1")).to_contain_text("Cảm ơn Hộ Ama Thin")
    await shot(farmer, "confirmed")
    again = await farmer.goto(link)
    assert again is not None
    assert again.status == 410

    await officer.goto("/office/listings")
    card = officer.locator("article", has_text="Bơ sáp Ama Thin")
    await card.get_by_role("button", name="Cho bày bán").tap()
    await expect(card).to_have_count(0)
    await officer.goto("/office/assist")
    await expect(officer.locator("main")).to_contain_text("làm thay cho Hộ Ama Thin")
    await shot(officer, "assist-book")
    for address, name in (
        ("/office/ocop", "ocop"),
        ("/office/schedule", "schedule"),
        ("/accounts", "people"),
    ):
        await officer.goto(address)
        await shot(officer, f"office-{name}")
        assert not await faults(officer), address
