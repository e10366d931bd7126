from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State as SocketState
from websockets.uri import parse_uri

from streaming import protocol
from streaming.protocol import (
    RECENT_COMMENTS,
    AnyFrame,
    Comment,
    Comments,
    Deal,
    Notice,
    Order,
    Pin,
    Resync,
    Snapshot,
    State,
    Status,
    Stock,
    Tick,
)

small = st.integers(0, 5)
comment = st.builds(Comment, id=small.map(str), name=st.text(), text=st.text(), at=small)
frames: st.SearchStrategy[AnyFrame] = st.one_of(
    st.builds(Tick, viewers=small, orders=small, units=small),
    st.builds(Pin, pinned=st.none() | st.builds(lambda c: {"code": c}, st.text())),
    st.builds(Deal, deals=st.lists(st.builds(lambda p: {"price": p}, small), max_size=2)),
    st.builds(Stock, stock=st.dictionaries(st.text(), small, max_size=2), orders=small, units=small),
    st.builds(Comments, comments=st.lists(comment, max_size=3), hidden=st.lists(small.map(str), max_size=2)),
    st.builds(Status, state=st.sampled_from(State), reason=st.none() | st.text()),
    st.builds(Notice, text=st.text()),
)


def numbered(told: list[AnyFrame]) -> list[AnyFrame]:
    return [msgspec.structs.replace(frame, seq=seq) for seq, frame in enumerate(told, 1)]


def fold(told: list[AnyFrame]) -> Snapshot:
    state = Snapshot()
    for frame in told:
        state = state.after(frame)
    return state


@given(frames)
def test_every_frame_has_type_seq_and_sent_ms_and_comes_back_as_it_was(frame: AnyFrame) -> None:
    data = msgspec.json.decode(protocol.encode(frame))
    assert list(data)[:3] == ["type", "seq", "sent_ms"]
    assert protocol.decode(protocol.encode(frame)) == frame


def test_the_types_are_those_promised() -> None:
    known = (Snapshot, Tick, Pin, Deal, Stock, Comments, Status, Notice, Resync, Order)
    names = {kind.__struct_config__.tag for kind in known}
    promised = {"snapshot", "tick", "pin", "deal", "stock", "comments", "state", "notice", "resync"}
    assert names == promised | {"order"}


@given(st.lists(frames))
def test_stamping_a_frame_is_the_same_as_encoding_it_with_its_numbers(told: list[AnyFrame]) -> None:
    for frame in (*told, Resync()):
        head, tail = protocol.halves(frame)
        stamped = head + b',"seq":7,"sent_ms":8' + tail
        assert protocol.decode(stamped) == msgspec.structs.replace(frame, seq=7, sent_ms=8)


@given(st.lists(frames), st.randoms(use_true_random=False))
def test_only_the_newest_of_a_topic_matters(told: list[AnyFrame], chance: random.Random) -> None:
    told = numbered(told)
    newest = {type(frame): frame for frame in told}
    # Counts come in ticks and in stock: whichever is newer.
    kept = [f for f in told if f.increment or f is newest[type(f)] or chance.random() < 0.3]
    assert fold(kept) == fold(told)


@given(st.lists(frames, min_size=1))
def test_an_old_frame_changes_nothing(told: list[AnyFrame]) -> None:
    told = numbered(told)
    state = fold(told)
    assert all(state.after(frame) is state for frame in told)


def test_comments_are_kept_to_the_newest_and_hidden_ones_vanish() -> None:
    new = [Comment(id=str(i), name="n", text="t", at=i) for i in range(RECENT_COMMENTS + 5)]
    state = fold(numbered([Comments(comments=new), Comments(hidden=["7", "20"])]))
    ids = [c.id for c in state.comments]
    assert len(ids) == RECENT_COMMENTS - 2
    assert "7" not in ids
    assert "20" not in ids
    assert ids[-1] == str(RECENT_COMMENTS + 4)


def test_a_room_that_hid_a_comment_shows_the_same_as_one_that_knows_an_older_one_instead() -> None:
    many = [Comment(id=str(i), name="n", text="t", at=i) for i in range(4)]
    assert Snapshot(comments=many[1:]).same_room(Snapshot(comments=many, viewers=9))
    assert not Snapshot(comments=many[:3]).same_room(Snapshot(comments=many))
    assert not Snapshot().same_room(Snapshot(comments=many))
    assert not Snapshot(stock={"A1": 1}).same_room(Snapshot(stock={"A1": 2}))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 100_000])
def test_messages_are_what_a_websocket_client_reads(size: int) -> None:
    client = ClientProtocol(parse_uri("ws://x/"), state=SocketState.OPEN)
    client.receive_data(protocol.text_message(b"x" * size))
    assert client.events_received() == [Frame(Opcode.TEXT, b"x" * size)]


@pytest.mark.parametrize("junk", [b"", b"{}", b"[]", b'{"type":"tick"}', b'{"type":"tack","seq":1}', b"\xff"])
def test_what_is_not_a_frame_is_refused(junk: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        protocol.decode(junk)
