"""The worker as a process: it leads, dies, is replaced, and stops in order."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from commerce.core import heartbeat
from commerce.core.db import Sessions
from commerce.live import service
from streaming import protocol
from streaming.bus import Bus
from tests.live import scene
from tests.live.ear import Ear


@contextmanager
def worker(environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from commerce.worker import serve\n"
            "from commerce.core.settings import Settings\nserve(Settings.from_env())",
        ],
        env=os.environ | environ,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def ended(process: subprocess.Popen[bytes], seconds: float) -> int:
    return await asyncio.wait_for(asyncio.to_thread(process.wait), seconds)


async def test_workers_share_the_work_and_outlive_each_other(
    environ: dict[str, str], sessions: Sessions, bus: Bus
) -> None:
    made = await scene.on_air(sessions)
    with worker(environ) as first:
        async with Ear(bus, made.code) as ear:
            await ear.wait(protocol.Tick, 2, seconds=20)
            with worker(environ) as second:
                async with asyncio.timeout(20):
                    while len(beats := await alive(sessions)) < 2:  # noqa: ASYNC110 - other processes
                        await asyncio.sleep(0.1)
                leading = [beat.name for beat in beats if beat.figures["leads_since"]]
                assert leading == [f"worker@{os.uname().nodename}:{first.pid}"]

                first.send_signal(signal.SIGKILL)
                ear.frames.clear()
                await ear.wait(protocol.Tick, 2, seconds=6)

                await service.pin(made.host, made.code, "A1")
                assert (await ear.wait(protocol.Pin, seconds=3))[0].pinned is not None

                second.send_signal(signal.SIGTERM)
                assert await ended(second, 8) == 0
                ear.frames.clear()
                await ear.settle(1.5)
                assert ear.of(protocol.Tick) == []


async def alive(sessions: Sessions) -> list[heartbeat.Heartbeat]:
    async with sessions.read() as db:
        return await heartbeat.alive(db, "worker")


async def test_a_worker_without_engines_waits_and_still_stops(environ: dict[str, str]) -> None:
    nowhere = environ | {
        "CHOPHIEN_DATABASE_URL": "postgresql://nobody:x@127.0.0.1:9/none",
        "CHOPHIEN_VALKEY_URL": "valkey://127.0.0.1:9",
    }
    with worker(nowhere) as process:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while b"not_leading" not in await asyncio.to_thread(process.stderr.readline):
                assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert await ended(process, 8) == 0
