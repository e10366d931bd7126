"""A running demo market of its own and a real Chromium at the size of a phone."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright

from commerce.core.embedded import temporary_folder
from tests.browser import chromium

SCREENS = Path(__file__).parents[1] / "screens"
PHONE: ViewportSize = {"width": 360, "height": 800}
START_WITHIN_S = 120  # generous: CI machines are slow and busy; the promise itself is measured elsewhere
ARGUMENTS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]


def free_port() -> int:
    """Six free ports in a row, below the range the kernel hands out; another run at the same time begins
    its search elsewhere."""
    for port in range(18_000 + os.getpid() % 100 * 100, 30_000, 10):
        try:
            for offset in range(6):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return port
    raise RuntimeError("no free ports")


@dataclass
class Market:
    """`chophien demo` in a folder of its own, without the crowd."""

    url: str
    folder: Path
    process: subprocess.Popen[str]
    log: IO[str]


@pytest.fixture(scope="session")
def market() -> Iterator[Market]:
    with temporary_folder() as folder:
        port = free_port()
        log = (folder / "demo.log").open("w+")
        command = [sys.executable, "-m", "commerce.cli", "demo", "--data-dir", str(folder / "data")]
        process = subprocess.Popen(
            [*command, "--port", str(port), "--crowd", "0"],
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("CHOPHIEN_")},
        )
        made = Market(f"http://127.0.0.1:{port}", folder, process, log)
        try:
            _wait_ready(made)
            yield made
        finally:
            process.terminate()
            process.wait(30)
            log.close()


def _wait_ready(market: Market) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        said = Path(market.log.name).read_text()
        if f"ready {market.url}" in said:
            return
        if market.process.poll() is not None:
            break
        time.sleep(0.2)
    raise RuntimeError("the demo market did not start:\n" + Path(market.log.name).read_text()[-4000:])


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = chromium.find()
    assert path is not None, "no Chromium: `make browser` says what to do"
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *sandbox])
        yield running
        await running.close()


OpenPhone = Callable[[], Awaitable[Page]]


@pytest.fixture
async def phone(browser: Browser, market: Market) -> AsyncIterator[OpenPhone]:
    """Opens a phone of its own at each call: 360x800, touch, Vietnamese. Fails the test on a script error."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    async def open_phone() -> Page:
        context = await browser.new_context(
            base_url=market.url,
            viewport=PHONE,
            has_touch=True,
            is_mobile=True,
            device_scale_factor=2,
            locale="vi-VN",
        )
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
        return page

    yield open_phone
    for context in contexts:
        await context.close()
    assert not errors, errors


async def shot(page: Page, name: str) -> None:
    """A picture of the screen for people to look at, in tests/screens (not kept in git)."""
    SCREENS.mkdir(exist_ok=True)
    await page.screenshot(path=SCREENS / f"{name}.png")


async def api(market: Market, path: str) -> dict[str, object]:
    async with httpx.AsyncClient(base_url=market.url) as client:
        answer = (await client.get(f"/api/v1{path}")).raise_for_status()
        found: dict[str, object] = answer.json()
        return found


def last_link(market: Market) -> str:
    """What the farmer's phone was sent: in development it stands on the console."""
    logs = [Path(market.log.name), *(market.folder / "data" / "logs").glob("web*.log")]
    said = "".join(log.read_text() for log in logs)
    return str(re.findall(r"/confirm/[\w-]+", said)[-1])
