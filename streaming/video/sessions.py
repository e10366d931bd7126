"""The sessions that one video process owns: opened for a host, watched every second, given up at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from streaming.video import quality
from streaming.video.errors import (
    ArchiveUnavailable,
    Busy,
    Moved,
    Occupied,
    Replaced,
    SessionEnded,
    VideoError,
)
from streaming.video.media import SECOND
from streaming.video.quality import Quality
from streaming.video.segmenter import Event, Part, Segment
from streaming.video.stream import LiveStream, Tools, open_stream
from streaming.video.wire import News, Order, Process, Wire, WireAway

log = logging.getLogger(__name__)

GAP_S = 2.5  # without a byte for this long viewers begin to notice
KEPT_FREE_S = 30.0  # a device whose line is down finds its session free for so long
GRACE_S = 45.0  # a phone holds less than this; after it the recording is closed
IDLE_S = 15 * 60.0  # a session without a host is given up, S3 knows it
BEAT_S = 1.0
TRANSCODED = 12  # copied streams that cost as much as one transcoded

Closer = Callable[[VideoError], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sender:
    """Who wants to send, and how much it wants it. Of two devices that both only try again, neither may win
    over and over, so taking a session over is a person's wish (`take`)."""

    source: str
    device: str = ""
    """A name the device gave itself; empty for one that has none (OBS): it counts as a wish of its own."""
    take: bool = False
    """A person said: from this device."""
    mine: bool = False
    """It was on air a moment ago and only comes back."""


@dataclass(slots=True)
class Owned:
    """A session of this process, with who sends to it and how it goes."""

    stream: LiveStream
    source: str = ""
    dismiss: Closer | None = None
    """Sends the present host away."""
    device: str = ""
    replaced: set[str] = field(default_factory=set)
    """Devices that others took the session from; they may come back only by a person's wish."""
    heard_at: float = field(default_factory=time.monotonic)
    bytes: int = 0
    frames: int = 0
    longest_us: int = 0
    on: bool = False
    """Was something heard in the last second?"""
    quality: Quality = field(default_factory=Quality)

    def admit(self, sender: Sender) -> None:
        """Raises `Occupied` or `Replaced` when this device must not send now."""
        if sender.take or not sender.device or sender.device == self.device:
            return
        if sender.device in self.replaced:
            raise Replaced
        kept = self.device or self.dismiss
        if kept and not sender.mine and time.monotonic() - self.heard_at < KEPT_FREE_S:
            raise Occupied

    def hand_over(self, sender: Sender, dismiss: Closer) -> None:
        if self.device and self.device != sender.device:
            self.replaced.add(self.device)
        self.replaced.discard(sender.device)
        self.source, self.device, self.dismiss = sender.source, sender.device, dismiss
        self.heard_at = time.monotonic()

    def release(self) -> None:
        """The device has finished: any may follow."""
        self.device, self.dismiss = "", None
        self.replaced.clear()

    def count(self, event: Event) -> None:
        if isinstance(event, Part) and event.rendition == "main":
            self.frames += event.frames
        elif isinstance(event, Segment) and event.rendition == "main":
            self.longest_us = max(self.longest_us, event.duration_us)


class Sessions:
    def __init__(self, tools: Tools, process: Process) -> None:
        self.tools, self.process = tools, process
        self.owned: dict[str, Owned] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._errands: set[asyncio.Task[None]] = set()
        self.on_targets: Callable[[str], Coroutine[Any, Any, None]] | None = None
        """Called when the networks a session is sent on to were changed."""
        self.on_given_up: Callable[[str], Awaitable[None]] | None = None
        self.targets: Callable[[str], dict[str, str]] = lambda _session: {}

    @property
    def wire(self) -> Wire:
        return self.tools.wire

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._obey())]

    async def stop(self) -> None:
        """Hands everything over: what is finished is stored, the rest the hosts send again elsewhere."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(WireAway):
            await self.wire.leave(self.process)
        # With what has just ended, whose last segments nobody else has.
        leaving = [self.give_up(session, Moved()) for session in list(self.owned)]
        await asyncio.gather(*leaving, *self._errands, return_exceptions=True)

    async def open(self, session: str, sender: Sender, dismiss: Closer, *, fetch: bool = False) -> Owned:
        """The stream for a host of `session`; the host before is sent away.

        Raises `SessionEnded`, `Moved` (another process owns it), `Busy`, `Occupied`, `Replaced`. `fetch`:
        take the session from the other process, for sources that cannot be sent elsewhere.
        """
        lock = self._opening.setdefault(session, asyncio.Lock())
        async with lock:
            if await self.wire.closed(session):
                raise SessionEnded
            owned = self.owned.get(session)
            if owned is None:
                if self._load() >= self.process.capacity:
                    raise Busy(f"{len(self.owned)} streams")
                await self._claim(session, fetch=fetch)
                owned = Owned(await open_stream(session, self.tools))
                owned.quality = await quality.load(self.tools.archive, session)
                owned.stream.listeners.append(owned.count)
                self.owned[session] = owned
                await self.wire.beat(self.process, [session])
                if self.on_targets:
                    await self.on_targets(session)
            else:
                owned.admit(sender)
                if owned.dismiss and owned.dismiss is not dismiss:
                    await owned.dismiss(Replaced())
            owned.hand_over(sender, dismiss)
            return owned

    def _load(self) -> int:
        """Streams, those that are encoded again counted by their cost."""
        return sum(TRANSCODED if owned.stream.news.transcoded else 1 for owned in self.owned.values())

    async def _claim(self, session: str, *, fetch: bool) -> None:
        if await self.wire.claim(session, self.process.address):
            return
        if not fetch:
            raise Moved
        await self.wire.order(Order(session, "release"))
        for _ in range(60):
            await asyncio.sleep(0.1)
            if await self.wire.claim(session, self.process.address):
                return
        raise Busy("the other process does not let go")

    async def give_up(self, session: str, why: VideoError, *, ended: bool = False) -> None:
        owned = self.owned.pop(session, None)
        self._opening.pop(session, None)
        if owned is None:
            return
        if owned.dismiss:
            await owned.dismiss(why)
        await owned.stream.close(ended=ended)
        with contextlib.suppress(ArchiveUnavailable):
            await quality.store(self.tools.archive, session, owned.quality)
        if self.on_given_up:
            await self.on_given_up(session)
        with contextlib.suppress(WireAway):
            await self.wire.disown(session, self.process.address)
            if ended:
                await self.wire.off_air(session)
                await self.wire.tell(News(session, "ended", code=why.code, text=why.text))

    def left(self, owned: Owned, dismiss: Closer) -> None:
        """A host's line is down; it may come back."""
        if owned.dismiss is dismiss:
            owned.dismiss = None

    async def _obey(self) -> None:
        while True:
            with contextlib.suppress(WireAway):
                async for order in self.wire.orders():
                    if order and order.session in self.owned:
                        self._do(order)
            await asyncio.sleep(0.5)

    def _do(self, order: Order) -> None:
        match order.act:
            case "want":
                self.owned[order.session].stream.tell_again()
            case "end" | "takedown":
                self._soon(self.give_up(order.session, SessionEnded(), ended=True))
            case "release":
                self._soon(self.give_up(order.session, Moved()))
            case "targets":
                if self.on_targets:
                    self._soon(self.on_targets(order.session))

    def _soon(self, errand: Coroutine[Any, Any, None]) -> None:
        """What may wait for S3 must not hold up the others' heartbeat."""
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _beat(self) -> None:
        while True:
            began = time.monotonic()
            self.process.streams = self._load()
            try:
                self._look_after()
                lost = await self.wire.beat(self.process, list(self.owned))
                for session in lost.taken:
                    self._soon(self.give_up(session, Moved("taken over")))
                for session in lost.closed:
                    self._soon(self.give_up(session, SessionEnded(), ended=True))
                for session, owned in list(self.owned.items()):
                    await self.wire.tell(self._news(session, owned))
            except WireAway:
                log.warning("Valkey does not answer; pictures go on")
            except Exception:
                log.exception("the round over the sessions failed")
            await asyncio.sleep(max(0.1, BEAT_S - (time.monotonic() - began)))

    def _look_after(self) -> None:
        for session, owned in list(self.owned.items()):
            silent = time.monotonic() - owned.heard_at
            if silent > GRACE_S and owned.stream.recording:
                self._soon(owned.stream.finish())
            if silent > IDLE_S:
                self._soon(self.give_up(session, Moved("idle")))

    def _news(self, session: str, owned: Owned) -> News:
        """The last second of a session, for the console."""
        stream, news = owned.stream, owned.stream.news
        silent = time.monotonic() - owned.heard_at
        packager = stream.recording.packager if stream.recording else None
        gap, was_on = silent > GAP_S, owned.on
        news.kind = "gap" if gap else ("stats" if was_on else "on_air")
        owned.on = not gap
        main = stream.live.renditions.get("main")
        news.width, news.height = (main.width, main.height) if main else (0, 0)
        news.kbit_per_s, news.frames_per_s = owned.bytes * 8 // 1000, float(owned.frames)
        news.level_db = packager.level_db if packager else -90
        news.gap_s = round(silent, 1) if gap else 0
        news.key_every_s = round(owned.longest_us / SECOND, 2)
        news.transcoded = bool(packager and packager.transcoded)
        news.source = owned.source
        news.targets = self.targets(session)
        owned.bytes = owned.frames = 0
        if stream.next_sequence:
            owned.quality.count(news, was_on=was_on)
        return news
