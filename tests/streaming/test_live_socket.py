"""The page's side of the socket (templates/static/js/live-socket.js) in a real browser, on real gateways."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from streaming import protocol
from streaming.bus import Bus
from streaming.protocol import Close, Notice, Pin, Snapshot, State, Status, Tick
from streaming.tickets import Tickets
from tests.browser.conftest import browser  # noqa: F401  a fixture
from tests.streaming.conftest import StartGateway
from tests.streaming.stage import ROOM, SECRET, Ticker, eventually, free_port, live_url

SCRIPT = Path(__file__).parents[2] / "templates/static/js/live-socket.js"
HTML = """<!doctype html><meta charset="utf-8"><title>x</title><script type="module">
import { connectLive } from "/live-socket.js";
window.frames_ = []; window.statuses = [];
window.live = connectLive({
  url: %s, refreshUrl: "/refresh",
  onFrame: (frame) => window.frames_.push(frame),
  onStatus: (status) => window.statuses.push(status),
});
</script>"""


class LivePage:
    """A page that does nothing but follow a session, and the site it comes from."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.url = ""
        self.refreshes = 0
        self.refresh: Callable[[], tuple[int, dict[str, Any]]] = lambda: (404, {})

    async def open(self, url: str) -> None:
        self.url = url
        await self.page.goto(f"{self.origin}/")

    def answer(self, _: ServerConnection, request: Request) -> Response:
        status, kind, body = 200, "text/html", HTML % json.dumps(self.url)
        if request.path == "/live-socket.js":
            kind, body = "text/javascript", SCRIPT.read_text()
        elif request.path == "/refresh":
            self.refreshes += 1
            status, told = self.refresh()
            kind, body = "application/json", json.dumps(told)
        headers = Headers({"Content-Type": kind, "Content-Length": str(len(body.encode()))})
        return Response(status, "", headers, body.encode())

    async def statuses(self) -> list[str]:
        return list(await self.page.evaluate("window.statuses ?? []"))

    async def frames(self, kind: str) -> list[dict[str, Any]]:
        return [f for f in await self.page.evaluate("window.frames_ ?? []") if f["type"] == kind]

    async def wait_status(self, *wanted: str, within: float = 15) -> None:
        async def there() -> bool:
            return await self.statuses() == list(wanted)

        await eventually(there, within)

    async def wait_frame(self, kind: str, count: int = 1) -> dict[str, Any]:
        async def there() -> bool:
            return len(await self.frames(kind)) >= count

        await eventually(there, 15)
        return (await self.frames(kind))[count - 1]


async def _no_socket(_: ServerConnection) -> None:
    raise AssertionError("the site answers every request itself")


@pytest.fixture
async def live_page(browser: Browser) -> AsyncIterator[LivePage]:  # noqa: F811
    context = await browser.new_context()
    made = LivePage(await context.new_page())
    # A browser opens connections ahead of need; nobody waits for those.
    async with serve(_no_socket, "127.0.0.1", made.port, process_request=made.answer, open_timeout=1):
        yield made
    assert made.errors == []
    await context.close()


@contextlib.asynccontextmanager
async def scripted(
    *lines: list[protocol.AnyFrame | int],
) -> AsyncIterator[tuple[str, list[ServerConnection]]]:
    """A server that plays one line to each connection: frames, and a closing code at the end if there is
    one; else it falls silent. The last line is for all that come after."""
    connections: list[ServerConnection] = []

    async def play(connection: ServerConnection) -> None:
        connections.append(connection)
        for item in lines[min(len(connections), len(lines)) - 1]:
            if isinstance(item, int):
                await connection.close(item)
            else:
                await connection.send(protocol.encode(item).decode())
        await connection.wait_closed()

    port = free_port()
    async with serve(play, "127.0.0.1", port):
        yield f"ws://127.0.0.1:{port}/live/X", connections


async def test_frames_come_once_and_in_order(live_page: LivePage) -> None:
    line: list[protocol.AnyFrame | int] = [
        Snapshot(seq=10, viewers=1),
        Tick(seq=9, viewers=2, orders=0, units=0),  # older than the snapshot
        Notice(seq=11, text="</script><b>"),
        Notice(seq=11, text="twice"),
        protocol.Resync(seq=20),
        Snapshot(seq=20, viewers=3),
        Notice(seq=21, text="last"),
    ]
    async with scripted(line) as (url, _):
        await live_page.open(url)
        await live_page.wait_frame("notice", 2)
        frames = await live_page.page.evaluate("window.frames_.map((f) => [f.type, f.seq])")
        assert frames == [["snapshot", 10], ["notice", 11], ["snapshot", 20], ["notice", 21]]
        assert await live_page.statuses() == ["open"]


async def test_a_page_outlives_its_gateway(
    bus: Bus, start_gateway: StartGateway, live_page: LivePage
) -> None:
    async with Ticker(bus):
        gateway = await start_gateway(allowed_origins=(live_page.origin,))
        port = gateway.config.port
        await live_page.open(live_url(port))
        await live_page.wait_frame("tick")
        await gateway.stop()
        await live_page.wait_status("open", "waiting")
        await bus.publish(ROOM, Pin(pinned={"code": "MEANWHILE"}))
        await start_gateway(allowed_origins=(live_page.origin,), port=port)
        await live_page.wait_status("open", "waiting", "open")
        assert (await live_page.frames("snapshot"))[-1]["pinned"] == {"code": "MEANWHILE"}
        ticks = len(await live_page.frames("tick"))
        await live_page.wait_frame("tick", ticks + 1)
        assert live_page.refreshes == 0


async def test_an_old_ticket_is_replaced(bus: Bus, start_gateway: StartGateway, live_page: LivePage) -> None:
    async with Ticker(bus):
        port = (await start_gateway(allowed_origins=(live_page.origin,))).config.port
        expired = Tickets(SECRET).sign(ROOM, "v1", lifetime_s=-1)
        live_page.refresh = lambda: (200, {"state": "live", "live_url": live_url(port)})
        await live_page.open(f"ws://127.0.0.1:{port}/live/{ROOM}?ticket={expired}")
        await live_page.wait_frame("snapshot")
        assert live_page.refreshes == 1


async def test_without_a_fresh_ticket_it_gives_up(live_page: LivePage) -> None:
    async with scripted([int(Close.BAD_TICKET)]) as (url, connections):
        await live_page.open(url)
        await live_page.wait_status("waiting", "refused")
        await live_page.page.wait_for_timeout(1500)
        assert len(connections) == 1
        assert live_page.refreshes == 1


async def test_a_ticket_refused_again_and_again_is_not_asked_for_for_ever(live_page: LivePage) -> None:
    async with scripted([int(Close.BAD_TICKET)]) as (url, connections):
        live_page.refresh = lambda: (200, {"live_url": url})
        await live_page.page.clock.install()
        await live_page.open(url)

        async def given_up() -> bool:
            await live_page.page.clock.fast_forward(31_000)
            return await live_page.statuses() == ["waiting", "refused"]

        await eventually(given_up, 20)
        assert 3 <= len(connections) <= 7


async def test_the_end_is_the_end(bus: Bus, start_gateway: StartGateway, live_page: LivePage) -> None:
    async with Ticker(bus) as ticker:
        gateway = await start_gateway(allowed_origins=(live_page.origin,))
        await live_page.open(live_url(gateway.config.port))
        await live_page.wait_frame("snapshot")
        await ticker.stop()
        await bus.publish(ROOM, Status(state=State.ENDED, reason="hết hàng"))
        await live_page.wait_status("open", "ended")
        assert (await live_page.wait_frame("state"))["reason"] == "hết hàng"
        joined = gateway.numbers()["accepted"]
        await live_page.page.wait_for_timeout(1500)
        assert gateway.numbers()["accepted"] == joined


async def test_silence_is_noticed(live_page: LivePage) -> None:
    async with scripted([Snapshot(seq=1)], [Snapshot(seq=2)]) as (url, connections):
        await live_page.page.clock.install()
        await live_page.open(url)
        await live_page.wait_status("open")
        await live_page.page.clock.fast_forward(11_000)
        assert await live_page.statuses() == ["open"]

        async def back() -> bool:
            await live_page.page.clock.fast_forward(2_500)
            return await live_page.statuses() == ["open", "waiting", "open"]

        await eventually(back, 15)
        assert len(connections) == 2
        await connections[0].wait_closed()


async def test_a_closed_page_says_no_more(live_page: LivePage) -> None:
    async with scripted([Snapshot(seq=1)]) as (url, connections):
        await live_page.open(url)
        await live_page.wait_status("open")
        await live_page.page.evaluate("window.live.close()")
        await connections[0].wait_closed()
        await live_page.page.wait_for_timeout(1200)
        assert len(connections) == 1
        assert await live_page.statuses() == ["open"]
