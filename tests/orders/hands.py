"""Web processes as in production, on a test's own engines: several, on one port, spoken to over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx

from tests.browser.conftest import free_port

START_WITHIN_S = 60


@dataclass(frozen=True)
class Web:
    url: str
    processes: list[subprocess.Popen[bytes]]


@contextlib.asynccontextmanager
async def served(environ: Mapping[str, str], processes: int) -> AsyncIterator[Web]:
    """That many web processes, which share a port; ended at the end."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHOPHIEN_")}
    own = {"CHOPHIEN_PORT": str(port), "CHOPHIEN_PUBLIC_URL": url}
    started = [
        subprocess.Popen([sys.executable, "-m", "commerce.cli", "web"], env=clean | dict(environ) | own)
        for _ in range(processes)
    ]
    try:
        await _ready(url, started)
        yield Web(url, started)
    finally:
        for process in started:
            process.terminate()
        for process in started:
            await asyncio.to_thread(process.wait, 20)


async def _ready(url: str, started: list[subprocess.Popen[bytes]]) -> None:
    """Until each process has answered: the kernel spreads new connections over all of them."""
    deadline = time.monotonic() + START_WITHIN_S
    answered = 0
    while answered < 8 * len(started):
        assert all(process.poll() is None for process in started), "a web process ended at once"
        assert time.monotonic() < deadline, "the web processes did not start"
        try:
            async with httpx.AsyncClient(base_url=url) as client:
                answered += (await client.get("/readyz")).status_code == 200
        except httpx.HTTPError:
            answered = 0
            await asyncio.sleep(0.2)
