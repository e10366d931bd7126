"""The same fan-out as a handler of the web framework: once a second one frame to every socket."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import uvicorn
from litestar import Litestar, WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect

Socket = WebSocket[Any, Any, Any]
sockets: set[Socket] = set()


@websocket("/live/{room:str}")
async def live(socket: Socket, room: str) -> None:
    await socket.accept()
    sockets.add(socket)
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await socket.receive_text()
    sockets.discard(socket)


async def tick() -> None:
    seq = int(time.time() * 1000)
    while True:
        await asyncio.sleep(1)
        seq += 1
        counts = {"viewers": len(sockets), "orders": 1000, "units": 2000, "stale": False}
        frame = msgspec.json.encode(
            {"type": "tick", "seq": seq, "sent_ms": int(time.time() * 1000), **counts}
        )
        text = frame.decode()
        for socket in list(sockets):
            with contextlib.suppress(WebSocketDisconnect):
                await socket.send_text(text)


@asynccontextmanager
async def ticking(_: Litestar) -> AsyncIterator[None]:
    task = asyncio.create_task(tick())
    yield
    task.cancel()


app = Litestar([live], lifespan=[ticking], openapi_config=None)

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        backlog=4096,
        log_level="warning",
        access_log=False,
    )
