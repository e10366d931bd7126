"""One video process: hosts come in by WebSocket and RTMP, segments go to S3, news to the wire."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import av
import uvloop

from streaming.video.archive import Archive, ArchiveSettings
from streaming.video.ingest import IngestServer
from streaming.video.restream import Restreams
from streaming.video.rtmp_ingest import RtmpServer
from streaming.video.segmenter import PART_US
from streaming.video.sessions import Sessions
from streaming.video.stream import Tools
from streaming.video.tickets import IngestTickets
from streaming.video.wire import Process, Wire

log = logging.getLogger(__name__)

STOP_WITHIN_S = 3.0  # and a second for the connections: the supervisor waits five


@dataclass(frozen=True, slots=True)
class VideoConfig:
    valkey_url: str = field(repr=False)
    archive: ArchiveSettings
    secret: str = field(repr=False)
    bind: str = "127.0.0.1"
    port: int = 8003
    """Of this process alone: a host must reach the process that owns its session."""
    rtmp_port: int = 8002
    """Shared by all video processes of the machine; whoever accepts a publisher takes its session over."""
    index: int = 0
    public_address: str = ""
    """How hosts reach this process (wss://…), if not by bind and port."""
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    """Networks (`10.0.0.0/8`) whose X-Forwarded-For is believed."""
    low_latency: bool = True
    low_rendition: bool = False
    """360p besides the original: about 0.07 core a stream."""
    capacity: int = 40
    prefix: str = "chophien"
    private_targets: bool = False
    """May a session be sent on to addresses of our own network? Only for tests."""
    part_us: int = PART_US

    @property
    def address(self) -> str:
        host = "127.0.0.1" if self.bind in ("0.0.0.0", "::", "") else self.bind  # noqa: S104
        return self.public_address or f"ws://{host}:{self.port}"


def serve(config: VideoConfig) -> None:
    """Runs until SIGTERM or SIGINT."""
    av.logging.set_level(av.logging.FATAL)
    uvloop.run(_run(config))


async def _run(config: VideoConfig) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with running(config):
        log.info("video process %d at %s", config.index, config.address)
        await stopped.wait()


@contextlib.asynccontextmanager
async def running(config: VideoConfig) -> AsyncIterator[Sessions]:
    """The process inside an event loop; yields its `Sessions`."""
    workers = ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="media")
    archive, wire = Archive(config.archive), Wire(config.valkey_url, config.prefix)
    tools = Tools(archive, wire, workers, config.low_rendition, config.low_latency, config.part_us)
    process = Process(config.address, capacity=config.capacity)
    sessions = Sessions(tools, process)
    tickets = IngestTickets(config.secret)
    Restreams(sessions, config.secret, private_targets=config.private_targets)
    gc.freeze()
    try:
        async with (
            IngestServer(
                sessions,
                tickets,
                config.bind,
                config.port,
                origins=config.allowed_origins,
                proxies=config.trusted_proxies,
            ),
            RtmpServer(sessions, tickets, config.bind, config.rtmp_port),
        ):
            sessions.start()
            yield sessions
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(sessions.stop(), STOP_WITHIN_S)
    finally:
        await wire.close()
        archive.close()
        workers.shutdown(wait=False, cancel_futures=True)
