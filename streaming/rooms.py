"""What each viewer of a room has not seen yet.

A room is kept in memory as its snapshot, the newest message of each topic, and the recent increments
(comments, staff orders). Its viewers sit in slices of up to SLICE. A slice remembers one number, the
`seq` up to which all of its viewers know everything; what they lack is worked out for the slice, once,
as one run of bytes, and written to each of them in one call. So a viewer costs no memory of what was
sent, the newest value of a topic wins by itself, and what piled up while a slice waited goes out together.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streaming import protocol
from streaming.protocol import AnyFrame, Comments, Resync, Snapshot, Status, Tick, text_message

if TYPE_CHECKING:
    from streaming.viewer import Viewer

SLICE = 250  # viewers: about 2 ms of writing, the longest that anybody else waits for the loop
MOST_COMMENTS = 128 * 1024  # bytes of comments to a viewer at once: two seconds of 500 a second
KEPT_INCREMENTS = 512  # a slice is never further behind than a few seconds


class Sent(NamedTuple):
    """A frame as WebSocket bytes."""

    seq: int
    data: bytes
    staff: bool = False
    fleeting: bool = False
    """Comments that hide none: who is late may do without the older ones."""


class Slice:
    """Viewers who know the same.

    Writing to them is nearly all that a gateway does, so it is done by os.write() on their sockets: an
    eighth less work than through their transports. That is sound only while a transport holds nothing
    itself, or bytes would overtake each other. Whoever was written to through the transport is therefore
    `apart` until its buffer is empty again.
    """

    __slots__ = ("apart", "room", "seq", "skipped", "staff", "viewers", "visited")

    def __init__(self, room: Room, staff: bool) -> None:
        self.room = room
        self.staff = staff
        self.seq = room.seq
        """Up to which all `viewers` know the room."""
        self.viewers: dict[int, Viewer] = {}
        """By file descriptor; open until the viewer is removed, as a transport closes it only after that."""
        self.apart: dict[Viewer, int] = {}
        """With the seq up to which each of them knows the room."""
        self.skipped: set[Viewer] = set()
        """Those whose buffer is full: nothing is written until they are added again."""
        self.visited = 0.0
        """When it was last written to out of turn, in loop time."""

    def __len__(self) -> int:
        return len(self.viewers) + len(self.apart) + len(self.skipped)

    def __iter__(self) -> Iterator[Viewer]:
        return iter([*self.viewers.values(), *self.apart, *self.skipped])

    def add(self, viewer: Viewer) -> None:
        """Take in a viewer who has just been given the room's snapshot."""
        self.remove(viewer)
        self.apart[viewer] = self.room.seq

    def set_apart(self, viewer: Viewer) -> None:
        """Something is about to be written through its transport."""
        if self.viewers.pop(viewer.file, None) is not None:
            self.apart[viewer] = self.seq

    def skip(self, viewer: Viewer) -> None:
        self.remove(viewer)
        self.skipped.add(viewer)

    def remove(self, viewer: Viewer) -> None:
        self.viewers.pop(viewer.file, None)
        self.apart.pop(viewer, None)
        self.skipped.discard(viewer)

    def tell(self) -> tuple[int, int]:
        """Give everybody what they lack; returns the number of writes and of bytes."""
        room = self.room
        data = room.pending(self.seq, staff=self.staff)
        self.seq = room.seq
        writes = len(self.viewers) if data else 0
        size = writes * len(data)
        if data:
            self._write(self.viewers, data)
        for viewer, seq in list(self.apart.items()):
            late = room.pending(seq, staff=self.staff)
            writes += bool(late)
            size += len(late)
            if viewer.transport.get_write_buffer_size():
                self.apart[viewer] = self.seq
                viewer.transport.write(late)
            else:
                del self.apart[viewer]
                self.viewers[viewer.file] = viewer
                if late:
                    self._write([viewer.file], late)
        return writes, size

    def _write(self, files: Iterable[int], data: bytes) -> None:
        whole = len(data)
        short: list[tuple[int, int]] = []
        for file in files:
            try:
                written = os.write(file, data)
            except OSError:  # full, or broken, which its transport will find out
                written = 0
            if written != whole:
                short.append((file, written))
        for file, written in short:
            viewer = self.viewers[file]
            self.set_apart(viewer)
            viewer.transport.write(data[written:])


class Room:
    """One session as this process knows it. Not ready before `load` was called."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.snapshot = Snapshot()
        self.ready = False
        self.early: list[tuple[bytes, bool]] = []
        """Frames (and whether for staff) that came before the snapshot was read."""
        self.slices: list[Slice] = []
        self.ticked_at = 0.0
        """When the last published tick arrived, in loop time."""
        self.owed: set[Slice] = set()
        """Slices whose turn came when there was nothing new: they get the next tick out of turn, or a
        wheel that turns just ahead of the ticker would skip every other tick."""
        self.empty_since = 0.0
        self._latest: dict[str, Sent] = {}
        self._increments: deque[Sent] = deque()
        self._restated = 0
        """Whoever knows less than this seq is given a resync and a snapshot."""
        self._pending: dict[tuple[int, bool], bytes] = {}
        self._snapshot_data: bytes | None = None

    @property
    def seq(self) -> int:
        return self.snapshot.seq

    @property
    def over(self) -> bool:
        return self.snapshot.state.over

    def __len__(self) -> int:
        return sum(map(len, self.slices))

    # What happens

    def load(self, snapshot: Snapshot) -> bool:
        """Take a snapshot read from the bus; true if viewers must be shown it."""
        if self.ready and snapshot.seq < self.seq:
            return False  # frames have overtaken it
        differs = self.ready and not self.snapshot.same_room(snapshot)
        self._set(snapshot)
        self.ready = True
        if differs:
            self._restated = snapshot.seq
        return differs

    def apply(self, payload: bytes, *, staff: bool = False) -> AnyFrame | None:
        """Take a published frame; None if it is not newer than what the room knows."""
        frame = protocol.decode(payload)
        if frame.seq <= self.seq:
            return None
        self._set(self.snapshot.after(frame))
        fleeting = isinstance(frame, Comments) and not frame.hidden
        sent = Sent(frame.seq, text_message(payload), staff, fleeting)
        if type(frame).increment:
            self._increments.append(sent)
            if len(self._increments) > KEPT_INCREMENTS:
                self._restated = max(self._restated, self._increments.popleft().seq)
        elif not isinstance(frame, Resync):
            self._latest[protocol.topic(frame)] = sent
        return frame

    def restamp_tick(self) -> None:
        """Say the last counts again, as stale: nobody else does. One more than the last seq is still
        below what the bus gives next, as that is a clock and this is called once in seconds."""
        now = self.snapshot
        tick = Tick(
            seq=now.seq + 1,
            sent_ms=protocol.now_ms(),
            viewers=now.viewers,
            orders=now.orders,
            units=now.units,
            stale=True,
        )
        self.apply(protocol.encode(tick))

    def _set(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._snapshot_data = None
        self._pending.clear()

    # What viewers lack

    def snapshot_data(self) -> bytes:
        """The snapshot as a WebSocket message, encoded once for all who come before the next change."""
        if self._snapshot_data is None:
            snapshot = msgspec.structs.replace(self.snapshot, sent_ms=protocol.now_ms())
            self._snapshot_data = text_message(protocol.encode(snapshot))
        return self._snapshot_data

    def resync_data(self) -> bytes:
        resync = Resync(seq=self.seq, sent_ms=protocol.now_ms())
        return text_message(protocol.encode(resync)) + self.snapshot_data()

    def pending(self, seq: int, *, staff: bool) -> bytes:
        """All messages that somebody who knows the room up to `seq` lacks, in order; empty if none."""
        if seq >= self.seq:
            return b""
        data = self._pending.get((seq, staff))
        if data is None:
            data = self._pending[seq, staff] = self._collect(seq, staff)
        return data

    def _collect(self, seq: int, staff: bool) -> bytes:
        if seq < self._restated:
            return self.resync_data()
        lacking = [sent for sent in self._latest.values() if sent.seq > seq]
        room_for = MOST_COMMENTS
        for sent in reversed(self._increments):
            if sent.seq <= seq:
                break
            if sent.fleeting and not staff:
                room_for -= len(sent.data)
            if (room_for >= 0 or not sent.fleeting) and (staff or not sent.staff):
                lacking.append(sent)
        return b"".join(sent.data for sent in sorted(lacking))

    # Who sits where

    def seat(self, viewer: Viewer, *, staff: bool) -> tuple[Slice, bool]:
        """A slice with room for one more; true if it is a new one."""
        for place in reversed(self.slices):
            if place.staff == staff and len(place) < SLICE:
                place.add(viewer)
                return place, False
        place = Slice(self, staff)
        place.add(viewer)
        self.slices.append(place)
        return place, True


def is_urgent(frame: AnyFrame) -> bool:
    """Everything but a tick goes out before its turn."""
    return not isinstance(frame, Tick)


def ends(frame: AnyFrame) -> bool:
    return isinstance(frame, Status) and frame.state.over
