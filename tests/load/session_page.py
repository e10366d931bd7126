"""How long the session's page takes on a weak phone with a weak line, and what it weighs.

    python -m tests.load.session_page [--runs 3]

A demo market without a crowd, Chromium at 360x800 with 400 kbit/s, 400 ms and a CPU slowed down four times,
an empty cache each time. Usable: the buy button opens the order's sheet. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
from playwright.async_api import Browser, async_playwright

from commerce.core.embedded import temporary_folder
from tests.browser import chromium
from tests.browser.conftest import ARGUMENTS, PHONE, free_port

LINE = {"offline": False, "latency": 400, "downloadThroughput": 400_000 / 8, "uploadThroughput": 400_000 / 8}
SLOWER = 4
# Runs in the page from its first moment: taps the buy button each 50 ms until the sheet is there.
TRY = """
  const trying = setInterval(() => {
    if (performance.now() < 1) return;
    const button = document.getElementById("buybar-buy");
    if (!button || button.disabled || !button.textContent) return;
    button.click();
    if (!document.getElementById("checkout")?.classList.contains("is-modal")) return;
    clearInterval(trying);
    usable(performance.now());
  }, 50);
"""


async def visit(browser: Browser, url: str) -> dict[str, Any]:
    context = await browser.new_context(
        base_url=url, viewport=PHONE, has_touch=True, is_mobile=True, locale="vi-VN", service_workers="block"
    )
    page = await context.new_page()
    wire = await context.new_cdp_session(page)
    await wire.send("Network.enable")
    await wire.send("Network.emulateNetworkConditions", LINE)
    await wire.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    sizes: dict[str, float] = {}
    names: dict[str, str] = {}
    wire.on("Network.requestWillBeSent", lambda e: names.update({e["requestId"]: e["request"]["url"]}))
    wire.on("Network.loadingFinished", lambda e: sizes.update({e["requestId"]: e["encodedDataLength"]}))
    usable: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    await page.expose_function("usable", lambda at: usable.set_result(at))
    await page.add_init_script(TRY)
    await page.goto("/live/EAKNUEC", wait_until="commit")
    seconds = await asyncio.wait_for(usable, 30) / 1000
    painted = await page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0]?.startTime / 1000"
    )
    kilobytes = sum(sizes.values()) / 1000
    await context.close()
    return {
        "usable_s": round(seconds, 2),
        "painted_s": round(painted, 2),
        "kb_until_usable": round(kilobytes),
    }


async def measure(url: str, runs: int) -> list[dict[str, Any]]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium.find(), args=[*ARGUMENTS, "--no-sandbox"]
        )
        found = [await visit(browser, url) for _ in range(runs)]
        await browser.close()
    return found


@click.command()
@click.option("--runs", default=3, show_default=True)
def main(runs: int) -> None:
    with temporary_folder() as folder:
        port = free_port()
        log = Path(folder / "demo.log")
        command = [sys.executable, "-m", "commerce.cli", "demo", "--data-dir", str(folder / "data")]
        with log.open("w") as out:
            market = subprocess.Popen(
                [*command, "--port", str(port), "--crowd", "0"], stdout=out, stderr=subprocess.STDOUT
            )
        try:
            while f"ready http://127.0.0.1:{port}" not in log.read_text():
                if market.poll() is not None:
                    raise click.ClickException(log.read_text()[-2000:])
                time.sleep(0.2)
            time.sleep(5)  # the processes' own start is over
            found = asyncio.run(measure(f"http://127.0.0.1:{port}", runs))
        finally:
            market.terminate()
            market.wait(30)
    load = round(os.getloadavg()[0], 1)
    click.echo(json.dumps({"visits": found, "load_average": load}))


if __name__ == "__main__":
    main()
