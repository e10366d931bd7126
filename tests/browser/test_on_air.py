"""From the console of one phone to the session page of another: check, on air, taken over, over, watched
again, bought, cut. Two Chromiums; the host's has a camera."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from playwright.async_api import Page, expect

from commerce.core.db import sessions
from commerce.core.settings import Settings
from commerce.live import queries, service
from tests.browser.conftest import shot
from tests.browser.stand import Stand, stand
from tests.browser.test_reach import faults
from tests.streaming.video.stage import eventually, free_port

SLOW = 30_000  # ms; how long a busy machine may take for what should take two seconds


@pytest.fixture
async def on_stand(settings: Settings) -> AsyncIterator[Stand]:
    async with stand(settings) as made:
        yield made


async def phase(page: Page, wanted: str) -> None:
    await expect(page.locator(f'#camera[data-phase="{wanted}"]')).to_be_visible(timeout=SLOW)


async def shown(on_stand: Stand) -> None:
    """The market knows of the picture. This stand has no gateway that would tell pages later."""

    async def known() -> bool:
        async with sessions.read() as db:
            return bool((await queries.by_code(db, on_stand.scene.code)).playback)

    await eventually(known, within_s=SLOW / 1000)


async def place(page: Page) -> float:
    """Seconds; -1 while there is nothing to see."""
    said = await page.evaluate(
        "(() => { const video = document.getElementById('video');"
        " return video.readyState > 2 ? video.currentTime : -1; })()"
    )
    return float(said)


async def plays(page: Page, seconds: float = 1) -> None:
    """The picture moves on by so much."""

    async def beyond(least: float) -> bool:
        return await place(page) > least

    await eventually(lambda: beyond(-0.5), within_s=SLOW / 1000)
    begin = await place(page)
    await eventually(lambda: beyond(begin + seconds), within_s=SLOW / 1000)


async def tap_end(page: Page) -> None:
    await page.click("[data-dialog=stop]")
    await page.click("#stop .btn-danger")
    await expect(page.locator("body.state-ended")).to_be_visible(timeout=SLOW)


async def test_a_session_from_the_check_to_the_replay(on_stand: Stand) -> None:
    code = on_stand.scene.code
    console = await on_stand.phone(f"/host/{code}", staff=True)
    await console.click("#camera-go")
    for check in ("camera", "line"):
        await expect(console.locator(f'[data-check="{check}"] .tick-ok')).to_be_visible(timeout=SLOW)
    await shot(console, "console-check")
    assert not await faults(console)
    await console.click("#go-live")  # the one tap: the session begins and its camera with it
    await phase(console, "on")
    await shown(on_stand)
    viewer = await on_stand.phone(f"/live/{code}")
    await plays(viewer)
    await service.pin(on_stand.scene.host, code, "A1")
    await service.open_deal(on_stand.scene.host, code, "A1", price=80_000, quantity=5)
    await shot(console, "console-on-air")
    assert not await faults(console)
    await muted_and_heard_again(console)
    await sent_on(console, on_stand)
    await console.reload()  # goes on by itself
    await phase(console, "on")
    await plays(viewer)
    await service.pin(on_stand.scene.host, code, "B1")
    await plays(viewer, 3)
    await watched_with_care(viewer)
    await tap_end(console)
    await expect(console.locator("#h-recording")).to_be_visible(timeout=SLOW)
    await console.locator(".chapters-cut button").first.click()
    await expect(console.locator(".chapters-cut a[download]")).to_have_count(1, timeout=SLOW)
    await shot(console, "console-recording")
    assert not await faults(console)
    await watch_again(on_stand, code)


async def muted_and_heard_again(console: Page) -> None:
    await console.click("#camera-mute")
    await expect(console.locator("#camera-mute")).to_have_attribute("aria-pressed", "true")
    await expect(console.locator("#camera-badge")).to_have_text("Đang tắt tiếng")
    await expect(console.locator("#camera-level")).to_have_js_property("value", 0)
    await console.click("#camera-mute")
    await expect(console.locator("#camera-badge")).to_have_text("Đang lên hình")


async def sent_on(console: Page, on_stand: Stand) -> None:
    """To a network that does not answer: its state is told, its key to nobody, and the picture goes on."""
    await console.click("#fold-outlets summary")
    fields = {
        "name": "Facebook của xã",
        "address": f"rtmp://127.0.0.1:{free_port()}/live",
        "key": "khoa-bi-mat",
    }
    for name, value in fields.items():
        await console.fill(f"#fold-outlets [name={name}]", value)
    await console.locator("#fold-outlets button", has_text="Thêm kênh").click()
    lamp = console.locator('[data-outlet][data-state="failed"] [data-outlet-text]')
    await expect(lamp).to_contain_text("Chưa nối được", timeout=SLOW)
    assert "khoa-bi-mat" not in await console.content()
    await phase(console, "on")
    await shot(console, "console-outlets")
    assert not await faults(console)


async def watched_with_care(viewer: Page) -> None:
    """Muted at first, told what it costs, sparing when asked to; and nothing lies on the host's hands."""
    sound = viewer.locator("#sound")
    await expect(sound).to_be_visible()
    await expect(viewer.locator("#data-use")).to_contain_text("MB mỗi giờ", timeout=SLOW)
    await shot(viewer, "session-on-air")
    await sound.click()
    await expect(sound).to_be_hidden()
    assert await viewer.evaluate("document.getElementById('video').muted") is False
    assert await covering(viewer) == []
    await viewer.locator("[data-buy]").first.click()
    await expect(viewer.locator("#checkout.is-modal")).to_be_visible()
    assert await covering(viewer, ".sheet") == []
    await plays(viewer)
    await shot(viewer, "session-ordering")
    await viewer.locator("#checkout [data-close]").first.click()
    await viewer.click("#saver")
    await expect(viewer.locator("#stage-note")).to_contain_text("chỉ phát tiếng", timeout=SLOW)
    await plays(viewer)
    await viewer.click("#saver")
    await expect(viewer.locator("#stage-note")).to_be_hidden(timeout=SLOW)
    await plays(viewer)


PARTS = "#stage-bar, .counters, .offer, .good-pinned, .buybar, .sheet, #chapters, .notice"


async def covering(page: Page, parts: str = PARTS) -> list[str]:
    """What lies on the picture that is neither a line of talk at its foot nor a badge at its head."""
    found = await page.evaluate(
        """(parts) => {
            const view = document.getElementById("stage-view").getBoundingClientRect();
            const over = (box) => box.width && box.height && box.right > view.left && box.left < view.right
                && box.bottom > view.top + 1 && box.top < view.bottom - 1;
            return [...document.querySelectorAll(parts)].filter((one) => over(one.getBoundingClientRect()))
                .map((one) => one.id || one.className);
        }""",
        parts,
    )
    return [str(one) for one in found]


async def watch_again(on_stand: Stand, code: str) -> None:
    async with httpx.AsyncClient(base_url=on_stand.url) as http:
        replay = (await http.get(f"/api/v1/live-sessions/{code}/replay")).raise_for_status().json()
    assert [one["code"] for one in replay["chapters"]] == ["A1", "B1"]
    page = await on_stand.phone(f"/live/{code}")
    await page.click("#play")
    await plays(page, 0.2)
    await page.locator("#chapters button", has_text="B1").click()
    await plays(page, 0.5)
    await expect(page.locator("#stage-then")).to_contain_text("B1")
    await expect(page.locator("#stage-then")).to_contain_text("150.000")
    await page.locator("#chapters button", has_text="A1").click()
    await expect(page.locator("#stage-then")).to_contain_text("giảm còn 80.000", timeout=SLOW)
    assert abs(await moment(page) - replay["chapters"][0]["from_ms"]) < 2500
    await shot(page, "replay")
    assert not await faults(page)
    await page.locator('[data-buy="B1"]').first.click()
    await fill_order(page)
    await expect(page.locator("#placed")).to_be_visible(timeout=SLOW)


async def moment(page: Page) -> float:
    """Unix milliseconds of what is on the screen, read from the playlist and the place in it by this test."""
    video = await page.evaluate("document.getElementById('video').currentTime")
    playlist = await page.evaluate(
        "fetch(JSON.parse(document.getElementById('session-data').textContent).replay.playback_url"
        ".replace('index.m3u8', 'main.m3u8')).then((answer) => answer.text())"
    )
    begin, at = 0.0, 0.0
    for line in str(playlist).splitlines():
        if line.startswith("#EXT-X-PROGRAM-DATE-TIME:"):
            said = await page.evaluate(f"Date.parse({json.dumps(line.split(':', 1)[1])})")
            begin = float(said) - at * 1000
        elif line.startswith("#EXTINF:"):
            length = float(line[8:].rstrip(","))
            if at + length > video:
                break
            at += length
    return begin + float(video) * 1000


async def fill_order(page: Page) -> None:
    if not await page.locator("#checkout.is-modal").count():
        await page.click("#buybar-buy")
    await page.fill("#f-name", "Cô Lan")
    await page.fill("#f-phone", "0901234567")
    await page.fill("#f-commune", "Xã Ea Knuếc")
    await page.fill("#f-street", "thôn 1")
    await page.check("#f-consent")
    await page.click("#place")


async def test_a_second_phone_takes_the_session_over(on_stand: Stand) -> None:
    code = on_stand.scene.code
    await service.start(on_stand.scene.host, code)
    first = await on_stand.phone(f"/host/{code}", staff=True)
    await first.click("#camera-go")
    await phase(first, "on")
    second = await on_stand.phone(f"/host/{code}", staff=True)
    await second.click("#camera-go")
    await phase(second, "occupied")
    await expect(second.locator("#camera-state")).to_contain_text("Máy khác đang phát")
    await phase(first, "on")
    await shot(second, "console-occupied")
    await second.click("#camera-go")
    await phase(second, "on")
    await phase(first, "over")
    await expect(first.locator("#camera-state")).to_contain_text("Máy này đã dừng gửi hình")
    await shown(on_stand)
    viewer = await on_stand.phone(f"/live/{code}")
    await plays(viewer)


async def test_a_phone_without_leave_says_so(on_stand: Stand) -> None:
    await service.start(on_stand.scene.host, on_stand.scene.code)
    page = await on_stand.phone(f"/host/{on_stand.scene.code}", staff=True, camera=False)
    refusal = "void (navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', '%s') })"
    for name, said in (("NotAllowedError", "chưa được cho phép"), ("NotReadableError", "ứng dụng khác dùng"),
                       ("NotFoundError", "Không tìm thấy máy quay")):  # fmt: skip
        await page.evaluate(refusal % name)
        await page.click("#camera-go")
        await expect(page.locator("#camera-state")).to_contain_text(said)
