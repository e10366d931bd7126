"""A session on air in the process that owns it: recordings in, segments to S3, parts and state to the wire.

Order of things: a part is told to the web processes as soon as it exists; a segment is named in a playlist
only after S3 has it. While S3 does not answer, segments wait here (MAX_WAITING), then the host is no longer
read, and its phone holds what comes next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import msgspec

from streaming.video import picture
from streaming.video.archive import Archive, prefix, still_key
from streaming.video.errors import ArchiveUnavailable, Malformed, VideoError
from streaming.video.index import stored_rendition
from streaming.video.manifest import read_manifest
from streaming.video.media import SECOND, Packet, Tracks
from streaming.video.playlist import (
    WINDOW,
    Live,
    Name,
    PartRow,
    Rendition,
    Row,
    target,
)
from streaming.video.recording import Epoch, Place, Recording, epoch_entry
from streaming.video.segmenter import PART_US, Event, Init, Part, Segment
from streaming.video.wire import News, Update, Wire, WireAway

log = logging.getLogger(__name__)

MAX_WAITING = 20  # segments of all renditions that wait for S3
RECENT = 16  # parts kept for web processes that come late; older ones are in S3 as segments
MAX_UNTOLD = 50  # parts that wait for Valkey; older ones are not worth telling any more
POSTER_EVERY_S = 10.0
END_WITHIN_S = 600.0  # how long the last segments may wait for S3: nobody else has them
LEAVE_WITHIN_S = 2.5  # the same when the host still has them and sends them to the next owner
RETRY_S = (0.1, 0.3, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Tools:
    """What all streams of a process share."""

    archive: Archive
    wire: Wire
    workers: Executor
    """Threads for decoding and encoding, which leave Python alone while they work."""
    low: bool = False
    low_latency: bool = True
    part_us: int = PART_US


Listener = Callable[[Event], None]


@dataclass(slots=True)
class LiveStream:
    """Make it with `open_stream`."""

    session: str
    tools: Tools
    live: Live
    origin_us: int = 0
    """Unix time of the session's time zero; 0: nothing was recorded yet."""
    end_us: int = 0
    """Session time up to which segments exist."""
    next_sequence: int = 0
    last_epoch: Epoch | None = None
    last_place: Place | None = None
    epochs: int = 0
    recording: Recording | None = None
    stored_chunk: int = -1
    """Newest chunk of the recording of which nothing is missing in S3."""
    on_stored: Callable[[], None] = lambda: None
    listeners: list[Listener] = field(default_factory=list)
    """Called with every event in order: outgoing networks, tests."""
    news: News = field(default_factory=lambda: News("", "gap"))
    last_init: Init | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _waiting: asyncio.Queue[tuple[Event, Recording]] = field(
        default_factory=lambda: asyncio.Queue(MAX_WAITING)
    )
    _untold: asyncio.Queue[tuple[str, str, bytes] | None] = field(
        default_factory=lambda: asyncio.Queue(MAX_UNTOLD)
    )
    _recent: deque[tuple[str, str, bytes]] = field(default_factory=lambda: deque(maxlen=RECENT))
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _poster_at: float = 0
    _still_minute: int = 0

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._store_all()), asyncio.create_task(self._tell_all())]

    # The host's side

    async def begin(self, recording_id: str, source: str, first_held: int = 0) -> int | None:
        """A host says what it sends. Returns the first chunk that is missing here.

        `first_held` is the oldest chunk the host still has. None: this recording cannot be followed any
        further, the host must start a new one.
        """
        async with self._lock:
            if self.recording and self.recording.id == recording_id:
                return self.recording.next_chunk if self.recording.next_chunk >= first_held else None
            place, epoch = self.last_place, self.last_epoch
            await self._finish()
            recording = Recording(recording_id, source, low=self.tools.low, part_us=self.tools.part_us)
            recording.sequence = self.next_sequence
            if place and epoch and place.recording == recording_id == epoch.id and place.chunk >= first_held:
                recording.restore(epoch, place)
                recording.start_us = place.stored_us
                self.stored_chunk = place.chunk - 1
            elif first_held > 0:
                return None
            else:
                self.last_place = None
                recording.discontinuity = self.next_sequence > 0
                self.stored_chunk = -1
            self.recording = recording
            return recording.next_chunk

    async def chunk(self, recording_id: str, number: int, data: bytes) -> None:
        """Chunks in order; those that are here already, or of an older recording, are passed over.

        Raises `VideoError` when the recording must end, ValueError when a chunk is missing.
        """
        async with self._lock:
            recording = self.recording
            if recording is None or recording.id != recording_id or number < recording.next_chunk:
                return
            if number > recording.next_chunk:
                raise ValueError(f"chunk {number} before {recording.next_chunk}")
            await self._package(recording, lambda: recording.feed(data))

    async def packets(self, recording: Recording, packets: list[Packet]) -> None:
        """The same for sources whose packets need no demuxer."""
        async with self._lock:
            if self.recording is recording:
                await self._package(recording, lambda: packets)

    async def begin_packets(self, recording_id: str, source: str, tracks: Tracks) -> Recording:
        """A source that sends packets begins."""
        async with self._lock:
            await self._finish()
            recording = Recording(recording_id, source, low=self.tools.low, part_us=self.tools.part_us)
            recording.tracks = tracks
            recording.sequence = self.next_sequence
            recording.discontinuity = self.next_sequence > 0
            self.recording, self.stored_chunk = recording, -1
            return recording

    async def finish(self) -> None:
        """The recording is over: what is held goes out as its last segment."""
        async with self._lock:
            await self._finish()

    async def close(self, *, ended: bool) -> None:
        """Stops owning the session.

        With `ended` the last segment is closed and the playlists get their last line. Without, the open
        segment is left to the next owner, which makes it again from what the host still holds.
        """
        if ended:
            await self.finish()
        self.recording = None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._waiting.join(), END_WITHIN_S if ended else LEAVE_WITHIN_S)
        self.live.ended = ended
        self.tell()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._untold.join(), 2)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _finish(self) -> None:
        if self.recording is None:
            return
        recording, self.recording = self.recording, None
        self.last_place = None
        try:
            events = recording.flush()
        except Exception:
            log.exception("the end of a recording of %s was lost", self.session)
            events = []
        await self._handle(events, recording)
        for rendition in self.live.renditions.values():  # a segment that will never be whole
            rendition.rows[:] = [row for row in rendition.rows if row.sequence < self.next_sequence]

    async def _package(self, recording: Recording, read: Callable[[], list[Packet]]) -> None:
        def work() -> list[Event]:
            packets = read()
            if packets and not recording.begun:
                self._set_clock(recording, packets)
            return recording.package(packets)

        loop = asyncio.get_running_loop()
        try:
            events = await loop.run_in_executor(self.tools.workers, work)
        except VideoError:
            raise
        except Exception as error:  # whatever a stranger's bytes did to a codec ends this recording only
            log.exception("a recording of %s could not be followed", self.session)
            raise Malformed(type(error).__name__) from error
        await self._handle(events, recording)

    def _set_clock(self, recording: Recording, packets: list[Packet]) -> None:
        """Ties the recording's clock to ours: its newest packet was made just now."""
        span = packets[-1].dts - packets[0].dts
        now = time.time_ns() // 1000
        if not self.origin_us:
            self.origin_us = now - span
        if not recording.start_us:
            recording.start_us = max(self.end_us, now - span - self.origin_us, 0)

    # From events to S3 and the wire

    async def _handle(self, events: list[Event], recording: Recording) -> None:
        for event in events:
            for listener in self.listeners:
                listener(event)
            if isinstance(event, Init) and event.rendition == "main":
                self.last_init = event
            if isinstance(event, Part):
                self._add_part(event, recording)
                told = (event.rendition, _part_name(event, recording), event.data)
                self._recent.append(told)
                self.tell(told)
            else:
                if isinstance(event, Segment) and event.rendition == "main":
                    self.next_sequence = event.sequence + 1
                    self.end_us = event.start_us + event.duration_us
                await self._waiting.put((event, recording))

    def _add_part(self, part: Part, recording: Recording) -> None:
        rendition = self.live.renditions.setdefault(part.rendition, Rendition())
        rows = rendition.rows
        if not rows or rows[-1].sequence < part.sequence:
            rows.append(Row(part.sequence, self.origin_us + part.start_us, part.init, part.discontinuity, []))
        rows[-1].parts.append(PartRow(_part_name(part, recording), part.duration_us, part.independent))
        rendition.next_part = f"p{recording.tag}{part.number + 1}"

    async def _store_all(self) -> None:
        while True:
            event, recording = await self._waiting.get()
            try:
                if isinstance(event, Init):
                    await self._store_init(event, recording)
                elif isinstance(event, Segment):
                    await self._store_segment(event, recording)
            except Exception:
                log.exception("a segment of %s was not stored", self.session)
                if isinstance(event, Segment) and (shown := self.live.renditions.get(event.rendition)):
                    shown.rows[:] = [row for row in shown.rows if row.sequence != event.sequence]
            finally:
                self._waiting.task_done()

    async def _store_init(self, init: Init, recording: Recording) -> None:
        await self._put(f"{prefix(self.session)}init/{init.id}.mp4", init.data)
        rendition = self.live.renditions.setdefault(init.rendition, Rendition())
        rendition.codecs = init.format.codecs
        if init.format.video:
            rendition.width, rendition.height = init.format.video.width, init.format.video.height
        if init.rendition == "main" and (self.last_epoch is None or self.last_epoch.id != recording.id):
            self.last_epoch = epoch_entry(recording, self.origin_us)
            self.epochs += 1
            key = f"{prefix(self.session)}epoch/{self.epochs:06d}-{recording.id}.json"
            await self._put(key, msgspec.json.encode(self.last_epoch))

    async def _store_segment(self, segment: Segment, recording: Recording) -> None:
        start = self.origin_us + segment.start_us
        name = Name(segment.sequence, start, segment.duration_us, segment.init, segment.discontinuity,
                    segment.independent)  # fmt: skip
        place = None
        if segment.mark and segment.rendition == "main":
            end = segment.start_us + segment.duration_us
            place = recording.place(segment.mark, end, segment.audio_end_us)
        note = {"place": msgspec.json.encode(place).decode()} if place else {}
        await self._put(f"{prefix(self.session)}{segment.rendition}/{name}.m4s", segment.data, note)
        self._name_row(segment, str(name))
        if place and recording is self.recording:
            self.last_place, self.stored_chunk = place, place.chunk - 1
            recording.forget_before(place.chunk)
        self.on_stored()
        self.tell()
        if segment.key and segment.rendition == "main" and time.monotonic() > self._poster_at:
            self._poster_at = time.monotonic() + POSTER_EVERY_S
            await self._store_poster(segment)

    def _name_row(self, segment: Segment, name: str) -> None:
        rendition = self.live.renditions[segment.rendition]
        row = next(row for row in rendition.rows if row.sequence == segment.sequence)
        row.name, row.duration_us, row.independent = name, segment.duration_us, segment.independent
        bits = len(segment.data) * 8 * SECOND // max(1, segment.duration_us)
        rendition.bits_per_second = (
            (rendition.bits_per_second * 7 + bits) // 8 if rendition.bits_per_second else bits
        )
        self.live.target_s = max(self.live.target_s, target(segment.duration_us))
        while len(rendition.rows) > WINDOW:
            rendition.rows.pop(0)
            rendition.dropped_discontinuities += rendition.rows[0].discontinuity

    async def _store_poster(self, segment: Segment) -> None:
        assert segment.format
        assert segment.key
        if segment.format.video is None:
            return
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self.tools.workers, picture.still, segment.format.video, segment.key
        )
        if found:
            self.news.brightness = found.brightness
            await self._put(f"{prefix(self.session)}poster.jpg", found.jpeg)
            minute = int(time.time()) // 60
            if minute != self._still_minute:
                self._still_minute = minute
                await self._put(still_key(self.session, minute), found.jpeg)

    async def _put(self, key: str, body: bytes, note: dict[str, str] | None = None) -> None:
        """Stores, however long it takes: the queue behind it is what is bounded."""
        attempt = 0
        while True:
            try:
                return await self.tools.archive.put(key, body, note)
            except ArchiveUnavailable as error:
                log.warning("S3 does not take %s: %s", key, error.detail)
                self.news.code, self.news.text = error.code, error.text
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1

    def tell(self, part: tuple[str, str, bytes] | None = None) -> None:
        """Lets the web processes know the whole state, and the bytes of a new part."""
        if self._untold.full():
            self._untold.get_nowait()
            self._untold.task_done()
        self._untold.put_nowait(part)

    def tell_again(self) -> None:
        """For a web process that begins to listen now."""
        self.tell()
        for part in list(self._recent):
            self.tell(part)

    async def _tell_all(self) -> None:
        while True:
            part = await self._untold.get()
            self.live.version += 1
            with contextlib.suppress(WireAway):  # the next message says everything again
                await self.tools.wire.publish(Update(self.shown(), part))
            self._untold.task_done()

    def shown(self) -> Live:
        """The state as playlists may say it: nothing after a segment that S3 does not have yet."""
        renditions = {}
        for name, rendition in self.live.renditions.items():
            rows: list[Row] = []
            for row in rendition.rows:
                rows.append(row)
                if not row.name:
                    break
            last = rows[-1] if rows else None
            hint = rendition.next_part if rows and last is rendition.rows[-1] else ""
            renditions[name] = msgspec.structs.replace(rendition, rows=rows, next_part=hint)
        return msgspec.structs.replace(self.live, renditions=renditions)


def _part_name(part: Part, recording: Recording) -> str:
    return f"p{recording.tag}{part.number}"


async def open_stream(session: str, tools: Tools) -> LiveStream:
    """A session as S3 knows it: empty, or with all that was stored before. Raises `ArchiveUnavailable`."""
    live = Live(
        session,
        version=time.time_ns(),  # later than whatever an earlier owner said
        part_target_us=tools.part_us,
        low_latency=tools.low_latency,
    )
    stream = LiveStream(session, tools, live)
    stream.news.session = session
    epochs = await tools.archive.list(f"{prefix(session)}epoch/")
    stream.epochs = len(epochs)
    if epochs:
        body = await tools.archive.get(epochs[-1].key)
        stream.last_epoch = msgspec.json.decode(body or b"{}", type=Epoch)
        stream.origin_us = stream.last_epoch.origin_us
    if main := await stored_rendition(tools.archive, session, "main"):
        last = main.rows[-1]
        live.renditions["main"] = main
        live.target_s = target(max(row.duration_us for row in main.rows))
        stream.next_sequence = last.sequence + 1
        stream.end_us = last.start_us + last.duration_us - stream.origin_us
        note = await tools.archive.note(f"{prefix(session)}main/{last.name}.m4s")
        if note and "place" in note:
            stream.last_place = msgspec.json.decode(note["place"], type=Place)
    elif manifest := await read_manifest(tools.archive, session):
        # Assembled and opened again: a new beginning for players, later on the same clock.
        stream.end_us = manifest.start_us + manifest.duration_us - stream.origin_us
    small = await stored_rendition(tools.archive, session, "low") if tools.low else None
    if small and small.rows[-1].sequence + 1 == stream.next_sequence:
        live.renditions["low"] = small  # one with a hole begins anew: players count segments from the first
    stream.start()
    return stream
