"""`chophien bench video`: N hosts on air in one video process, what each costs, and what a floor costs.

Hosts send real time, 720p at 30 frames a second and about 1.5 Mbit/s with Opus sound, over the ingest
WebSocket, from a process of their own; the bench listens on the wire as a web process does. The floor is
libavformat demultiplexing the same recording and multiplexing it into HLS, in the same run, without sound
conversion, network or S3.

A segment is late when its playlist names it more than a target duration after its last frame was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import multiprocessing
import os
import platform
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from streaming.video.archive import Archive
from streaming.video.media import SECOND
from streaming.video.process import VideoConfig, serve
from streaming.video.studio import Studio
from streaming.video.synthetic import RATE, Loop, Picture, Sender
from streaming.video.wire import Wire

WIDTH, HEIGHT, FPS = 1280, 720, 30
LOOP_S = 4
BITS = 1_500_000
WARM_UP_S = 6.0  # all hosts come within a second, which costs listings of S3
START_WITHIN_S = 20.0
MOST_STREAMS = 400

Say = Callable[[str], None]


def main(
    streams: int, seconds: float, config: VideoConfig, *, kind: str = "copy", say: Say = lambda _: None
) -> dict[str, Any]:
    """The figures of one run. `kind`: "copy" (H.264) or "transcode" (VP8).

    `config` names Valkey and S3; a video process of the bench's own runs with it, on free ports.
    """
    streams = max(1, min(streams, MOST_STREAMS))
    say("encoding a recording")
    loop = _loop("libx264" if kind == "copy" else "libvpx")
    say("measuring the floor")
    floor = _floor(loop) if kind == "copy" else None
    spawn = multiprocessing.get_context("spawn")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = one.getsockname()[1], two.getsockname()[1]
    config = dataclasses.replace(config, port=ports[0], rtmp_port=ports[1], capacity=streams + 1)
    video = spawn.Process(target=serve, args=(config,), daemon=True)
    video.start()
    try:
        say(f"{streams} hosts for {seconds:g} s")
        measured = asyncio.run(_run(streams, seconds, config, loop, video.pid or 0))
    finally:
        video.terminate()
        video.join(12)
        if video.is_alive():
            video.kill()
    cores = measured.pop("cores")
    return {
        "bench": "video",
        "kind": kind,
        "streams": streams,
        "seconds": seconds,
        "cpu_per_stream": round(cores / streams, 4),
        "floor_cpu_per_stream": None if floor is None else round(floor, 4),
        **measured,
        "cpus": os.cpu_count(),
        "machine": platform.processor() or platform.machine(),
    }


# The recording


def _pictures() -> Iterator[Picture]:
    """Grain and movement enough to cost what a phone's picture costs."""
    random = np.random.default_rng(24505)
    grain = random.integers(0, 24, (HEIGHT, WIDTH * 2), np.uint8)
    across, down = np.arange(WIDTH), np.arange(HEIGHT)[:, None]
    for number in range(LOOP_S * FPS):
        turn = 2 * np.pi * number / (LOOP_S * FPS)
        image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        image[..., 0] = (110 + 60 * np.sin(across / 90 + turn) + 30 * np.cos(down / 60)).astype(np.uint8)
        image[..., 1] = (120 + 50 * np.sin(down / 70 + turn)).astype(np.uint8)
        image[..., 2] = 70
        shift = int(WIDTH * number / (LOOP_S * FPS))
        image += grain[:, shift : shift + WIDTH, None]
        yield image


def _loop(codec: str) -> Loop:
    at = np.arange(RATE * LOOP_S) / RATE
    random = np.random.default_rng(1)
    sound = 0.2 * np.sin(2 * np.pi * 220 * at) + 0.05 * random.standard_normal(at.size)
    return Loop(_pictures(), sound.astype(np.float32), fps=FPS, bits_per_second=BITS, codec=codec)


def _floor(loop: Loop, seconds: int = 20) -> float:
    """CPU seconds a second of one stream when libavformat only takes it apart and puts it together."""
    data = loop.header() + b"".join(loop.between(s * SECOND, (s + 1) * SECOND) for s in range(seconds))
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        with av.open(io.BytesIO(data), "r", format="matroska") as source:
            out = av.open(
                str(Path(folder) / "floor.m3u8"),
                "w",
                format="hls",
                options={"hls_time": "1", "hls_segment_type": "fmp4", "hls_list_size": "5"},
            )
            streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream_index]
                    out.mux(packet)
            out.close()
        return (time.process_time() - began) / seconds


# The run


async def _run(streams: int, seconds: float, config: VideoConfig, loop: Loop, pid: int) -> dict[str, Any]:
    wire, archive = Wire(config.valkey_url, config.prefix), Archive(config.archive)
    await archive.ensure_bucket()
    studio = Studio(wire, archive, config.secret)
    names = [f"BENCH-{os.getpid()}-{number}" for number in range(streams)]
    for _ in range(int(START_WITHIN_S * 10)):
        if any(process.address == config.address for process in await wire.processes()):
            break
        await asyncio.sleep(0.1)
    addresses = [await studio.ingest_address(name) for name in names]
    spawn = multiprocessing.get_context("spawn")
    hosts = spawn.Process(target=_hosts, args=(addresses, loop), daemon=True)
    hosts.start()
    listeners = [_Listener(wire, name) for name in names]
    tasks = [asyncio.create_task(listener.listen()) for listener in listeners]
    try:
        await asyncio.sleep(WARM_UP_S + min(4.0, streams / 10))
        for listener in listeners:
            listener.begin()
        before, began = _cpu(pid), time.monotonic()
        await asyncio.sleep(seconds)
        cores = (_cpu(pid) - before) / (time.monotonic() - began)
    finally:
        for task in tasks:
            task.cancel()
        hosts.terminate()
        hosts.join(5)
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in names:
            await studio.end(name)
        await asyncio.sleep(1)
        for name in names:
            await archive.delete([entry.key for entry in await archive.list(f"video/{name}/")])
        await wire.close()
        archive.close()
    return {"cores": cores, **_figures(listeners, streams, seconds)}


def _figures(listeners: list[_Listener], streams: int, seconds: float) -> dict[str, Any]:
    segments = sorted(late for listener in listeners for late in listener.segments)
    parts = sorted(late for listener in listeners for late in listener.parts)
    told_us = sum(listener.told_us for listener in listeners)
    wanted_us = streams * int(seconds - 1) * SECOND  # the last one may still be growing
    return {
        "segments": len(segments),
        "missing_s": max(0, round((wanted_us - told_us) / SECOND)),
        "late_segments": sum(late > 1000 for late in segments),
        "latency_ms": round(statistics.median(segments)) if segments else None,
        "latency_p99_ms": round(segments[len(segments) * 99 // 100]) if segments else None,
        "latency_max_ms": round(segments[-1]) if segments else None,
        "part_latency_ms": round(statistics.median(parts)) if parts else None,
        "part_latency_p99_ms": round(parts[len(parts) * 99 // 100]) if parts else None,
    }


class _Listener:
    """Hears of one session what a web process hears."""

    def __init__(self, wire: Wire, session: str) -> None:
        self._wire, self._session = wire, session
        self._named: set[int] = set()
        self._counting = False
        self.segments: list[float] = []
        """Milliseconds from the last frame of a segment to the playlist that names it."""
        self.parts: list[float] = []
        self.told_us = 0
        """Length of all these segments."""

    def begin(self) -> None:
        self._counting = True

    async def listen(self) -> None:
        async for update in self._wire.updates(self._session):
            main = update.live.renditions.get("main") if update else None
            if main is None or update is None:
                continue
            now = time.time_ns() / 1000
            for row in main.rows:
                if row.name and row.sequence not in self._named:
                    self._named.add(row.sequence)
                    if self._counting:
                        self.segments.append((now - row.start_us - row.duration_us) / 1000)
                        self.told_us += row.duration_us
            if update.part and update.part[0] == "main" and self._counting:
                for row in main.rows[-1:]:
                    end = row.start_us + sum(part.duration_us for part in row.parts)
                    self.parts.append((now - end) / 1000)


def _hosts(addresses: list[str], loop: Loop) -> None:
    """All hosts, in a process of their own, begun over a second so that they do not beat in step."""

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for address in addresses:

                async def where(address: str = address) -> str:
                    return address

                group.create_task(Sender(loop, where).run())
                await asyncio.sleep(1 / len(addresses))

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


def _cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
