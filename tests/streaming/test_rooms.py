from __future__ import annotations

import contextlib
import random
import socket
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import State as SocketState
from websockets.uri import parse_uri

from streaming import protocol, rooms
from streaming.protocol import (
    AnyFrame,
    Comment,
    Comments,
    Notice,
    Order,
    Pin,
    Resync,
    Snapshot,
    Status,
    Tick,
)
from streaming.rooms import Room, Slice
from tests.streaming.test_protocol import frames


class Reader:
    """Stands for a viewer: a real socket, and beyond it a page that follows the room."""

    def __init__(self, buffer: int | None = None) -> None:
        self._ours, self._its = socket.socketpair()
        if buffer:
            self._its.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self._its.setblocking(False)
        self._ours.setblocking(False)
        self.file = self._its.fileno()
        self.transport = self
        self.buffer = b""
        """What the transport holds itself."""
        self._client = ClientProtocol(parse_uri("ws://x/"), state=SocketState.OPEN)
        self._told: list[AnyFrame] = []
        self._state = Snapshot()

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def write(self, data: bytes) -> None:
        """As a transport does: at once if it can, else later, in order."""
        self.buffer += data
        self.drain()

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.buffer:
                self.buffer = self.buffer[self._its.send(self.buffer) :]

    def receive(self) -> None:
        """Take what the kernel holds, which makes space there."""
        with contextlib.suppress(BlockingIOError):
            while data := self._ours.recv(1 << 20):
                self._client.receive_data(data)

    @property
    def frames(self) -> list[AnyFrame]:
        """All that has come, after reading whatever there is."""
        self.receive()
        while self.buffer:
            self.drain()
            self.receive()
        for event in self._client.events_received():
            assert isinstance(event, Frame)
            frame = protocol.decode(bytes(event.data))
            self._told.append(frame)
            self._state = frame if isinstance(frame, Snapshot) else self._state.after(frame)
        return self._told

    @property
    def state(self) -> Snapshot:
        """The room as it knows it."""
        assert self.frames
        return self._state

    def close(self) -> None:
        self._ours.close()
        self._its.close()


def loaded(**state: Any) -> Room:
    room = Room("X")
    room.load(Snapshot(seq=1, **state))
    return room


def publish(room: Room, frame: AnyFrame, *, staff: bool = False) -> None:
    stamped = msgspec.structs.replace(frame, seq=room.seq + 1, sent_ms=1)
    assert room.apply(protocol.encode(stamped), staff=staff) is not None


def join(room: Room, reader: Reader, *, staff: bool = False) -> Slice:
    reader.write(room.snapshot_data())
    place, _ = room.seat(cast(Any, reader), staff=staff)
    return place


orders = st.builds(
    Order, code=st.text(), name=st.text(), lines=st.just([]), total=st.integers(), at=st.integers()
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(frames, frames, orders), max_size=40), st.randoms(use_true_random=False))
def test_whenever_they_come_and_are_visited_all_know_the_room(
    told: list[AnyFrame], chance: random.Random
) -> None:
    room = loaded()
    with contextlib.ExitStack() as stack:
        readers: list[Reader] = []
        for frame in told:
            publish(room, frame, staff=isinstance(frame, Order))
            if chance.random() < 0.3:
                readers.append(stack.enter_context(contextlib.closing(Reader())))
                join(room, readers[-1])
            for place in room.slices:
                if chance.random() < 0.3:
                    place.tell()
        for place in room.slices:
            place.tell()
        unnumbered = {"seq": 0, "sent_ms": 0}
        for reader in readers:
            assert msgspec.structs.replace(reader.state, **unnumbered) == msgspec.structs.replace(
                room.snapshot, **unnumbered
            )
            seqs = [frame.seq for frame in reader.frames]
            assert seqs == sorted(set(seqs))
            assert not any(isinstance(frame, Order | Resync) for frame in reader.frames)


def crowd_with_small_buffers(seed: int) -> tuple[Room, list[Reader], bool]:
    """A room after 200 frames to readers who read now and then and are written to in both ways: at once
    to the socket, and through the transport. Also: whether a transport ever had to hold something."""
    chance = random.Random(seed)
    room = loaded()
    readers = [Reader(buffer=4608) for _ in range(4)]
    for reader in readers:
        join(room, reader)
    [place] = room.slices
    held = False
    for number in range(200):
        stock = {"x" * chance.randrange(1, 3000): number}
        publish(room, protocol.Stock(stock=stock, orders=number, units=number))
        for reader in readers:
            if chance.random() < 0.2:
                reader.receive()
            if chance.random() < 0.1:  # a pong, say
                place.set_apart(cast(Any, reader))
                reader.write(protocol.text_message(protocol.encode(Resync())))
        place.tell()
        held |= any(reader.buffer for reader in readers)
        for reader in readers:
            reader.drain()  # the loop's turn
    for _ in range(3):
        assert all(reader.frames for reader in readers)
        place.tell()
    return room, readers, held


@pytest.mark.parametrize("seed", range(5))
def test_bytes_do_not_overtake_each_other_when_buffers_are_full(seed: int) -> None:
    room, readers, held = crowd_with_small_buffers(seed)
    assert held
    assert not room.slices[0].apart
    for reader in readers:
        assert reader.state.orders == 199
        seqs = [frame.seq for frame in reader.frames if not isinstance(frame, Resync)]
        assert seqs == sorted(set(seqs))
        reader.close()


def test_they_would_if_nobody_was_set_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slice, "set_apart", lambda place, viewer: None)
    broken = 0
    for seed in range(5):
        try:
            crowd_with_small_buffers(seed)
        except Exception:  # what came was no frame, or no message
            broken += 1
    assert broken


def test_the_newest_tick_wins_and_everything_waiting_goes_in_one_piece() -> None:
    room, reader = loaded(), Reader()
    place = join(room, reader)
    for viewers in (1, 2, 3):
        publish(room, Tick(viewers=viewers, orders=0, units=0))
    publish(room, Notice(text="a"))
    publish(room, Notice(text="b"))
    place.tell()
    assert [type(frame) for frame in reader.frames] == [Snapshot, Tick, Notice]
    assert reader.state.viewers == 3
    assert reader.state.notice == "b"
    place.tell()
    assert len(reader.frames) == 3


def test_staff_hear_what_viewers_do_not() -> None:
    room, viewer, helper = loaded(), Reader(), Reader()
    places = [join(room, viewer), join(room, helper, staff=True)]
    assert places[0] is not places[1]
    for code in ("D1", "D2"):
        publish(room, Order(code=code, name="N***", lines=[], total=1, at=1), staff=True)
    publish(room, Notice(text="all"))
    for place in places:
        place.tell()
    assert [type(frame) for frame in viewer.frames] == [Snapshot, Notice]
    assert [type(frame) for frame in helper.frames] == [Snapshot, Order, Order, Notice]


def test_a_late_viewer_gets_the_newest_comments_and_everything_hidden_staff_get_all() -> None:
    room, viewer, helper = loaded(), Reader(), Reader()
    places = [join(room, viewer), join(room, helper, staff=True)]
    publish(room, Comments(hidden=["bad"]))
    for number in range(40):
        text = "x" * (rooms.MOST_COMMENTS // 20)
        publish(room, Comments(comments=[Comment(id=str(number), name="n", text=text, at=number)]))
    for place in places:
        place.tell()
    told = [frame for frame in viewer.frames if isinstance(frame, Comments)]
    assert told[0].hidden == ["bad"]
    ids = [int(comment.id) for frame in told for comment in frame.comments]
    assert ids == list(range(40))[-len(ids) :]
    assert 10 < len(ids) < 20
    assert len([frame for frame in helper.frames if isinstance(frame, Comments)]) == 41


def test_whoever_is_too_far_behind_is_given_a_snapshot() -> None:
    room, reader = loaded(), Reader()
    place = join(room, reader)
    for number in range(rooms.KEPT_INCREMENTS + 5):
        publish(room, protocol.Comments(hidden=[str(number)]))
    publish(room, Pin(pinned={"code": "B1"}))
    place.tell()
    assert [type(frame) for frame in reader.frames] == [Snapshot, Resync, Snapshot]
    assert reader.state.pinned == {"code": "B1"}


def test_a_snapshot_from_the_bus_is_shown_only_if_it_differs() -> None:
    room, reader = loaded(stock={"A1": 3}), Reader()
    place = join(room, reader)
    assert not room.load(Snapshot(seq=room.seq + 1, stock={"A1": 3}, viewers=5))
    place.tell()
    assert len(reader.frames) == 1
    assert room.load(Snapshot(seq=room.seq + 1, stock={"A1": 2}))
    place.tell()
    assert [type(frame) for frame in reader.frames] == [Snapshot, Resync, Snapshot]
    assert reader.state.stock == {"A1": 2}
    assert not room.load(Snapshot(seq=room.seq - 1, stock={"A1": 9}))
    assert room.snapshot.stock == {"A1": 2}


def test_an_old_message_is_not_told_again() -> None:
    room = loaded()
    publish(room, Notice(text="new"))
    assert room.apply(protocol.encode(Notice(seq=room.seq, text="old"))) is None
    assert room.snapshot.notice == "new"


def test_counts_are_said_again_as_stale_and_still_rise_in_seq() -> None:
    room, reader = loaded(viewers=7, orders=3, units=4), Reader()
    place = join(room, reader)
    for _ in range(2):
        room.restamp_tick()
        place.tell()
    ticks = [frame for frame in reader.frames if isinstance(frame, Tick)]
    assert [(t.viewers, t.orders, t.units, t.stale) for t in ticks] == [(7, 3, 4, True)] * 2
    assert ticks[0].seq < ticks[1].seq
    publish(room, Tick(viewers=8, orders=3, units=4))
    place.tell()
    assert (reader.state.viewers, reader.state.stale) == (8, False)


def test_slices_are_filled_before_new_ones_are_made() -> None:
    room = loaded()
    readers = [Reader() for _ in range(rooms.SLICE * 2 + 1)]
    places = [join(room, reader) for reader in readers]
    assert len(room.slices) == 3
    places[0].remove(cast(Any, readers[0]))
    room.slices.remove(places[-1])
    assert join(room, Reader()) is places[0]
    assert len(room) == rooms.SLICE * 2


def test_the_end_is_known_by_its_state() -> None:
    assert rooms.ends(Status(state=protocol.State.ENDED))
    assert rooms.ends(Status(state=protocol.State.TAKEN_DOWN))
    assert not rooms.ends(Status(state=protocol.State.LIVE))
    assert not rooms.ends(Notice(text=""))
