"""A thousand damaged recordings: each ends with a reason or goes on, in bounded time."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any

import pytest

from streaming.video.boxes import boxes
from streaming.video.errors import VideoError
from streaming.video.packager import Packager, open_demuxer
from streaming.video.segmenter import Event, Segment
from tests.streaming.video.packaging import Packaged, numbers
from tests.streaming.video.recordings import record

KINDS: list[dict[str, Any]] = [
    {},
    {"container": "mp4", "audio": "aac"},
    {"container": "mp4"},
    {"video": "libvpx"},
]
EACH = 250
LONGEST_S = 5.0  # generous for a busy machine; an undamaged one takes a hundredth


def damage(data: bytes, random_: random.Random) -> bytes:
    """One to four injuries of the kinds that networks, browsers and attackers make."""
    hurt = bytearray(data)
    for _ in range(random_.randint(1, 4)):
        at = (
            random_.randrange(len(hurt))
            if random_.random() < 0.7
            else random_.randrange(min(len(hurt), 2000))
        )
        size = random_.choice([1, 2, 4, 64, 1000, 20_000])
        match random_.randrange(7):
            case 0:
                hurt[at] ^= 1 << random_.randrange(8)
            case 1:
                del hurt[at : at + size]
            case 2:
                hurt[at:at] = random_.randbytes(size)
            case 3:
                hurt[at : at + size] = random_.randbytes(len(hurt[at : at + size]))
            case 4:
                hurt[at : at + 4] = random_.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
            case 5:
                other = random_.randrange(len(hurt))
                hurt[at:at] = hurt[other : other + size]
            case _:
                del hurt[max(at, 100) :]
        if not hurt:
            hurt = bytearray(b"\0")
    return bytes(hurt)


def follow(data: bytes, piece: int) -> tuple[list[Event], str]:
    """(events, how it ended) of a recording that comes in pieces."""
    events: list[Event] = []
    packager: Packager | None = None
    try:
        demuxer = open_demuxer(data[:8])
        for at in range(0, len(data), piece):
            packets = demuxer.feed(data[at : at + piece])
            if packager is None and demuxer.tracks:
                packager = Packager(demuxer.tracks, start_us=0, sequence=0)
            for packet in packets:
                assert packager
                events += packager.push(packet)
        if packager:
            events += packager.flush()
    except VideoError as error:
        return events, error.code
    return events, "followed"


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_damaged_recordings(kind: int) -> None:
    whole = record(seconds=1.5, size=(160, 120), **KINDS[kind]).data
    random_ = random.Random(20250824 + kind)
    ends: Counter[str] = Counter()
    shown = 0
    for _ in range(EACH):
        began = time.monotonic()
        events, end = follow(damage(whole, random_), random_.choice([700, 5000, 1 << 20]))
        assert time.monotonic() - began < LONGEST_S
        ends[end] += 1
        for event in events:
            if isinstance(event, Segment):
                assert [name for name, _, _ in boxes(event.data)] == [b"moof", b"mdat"] * len(event.parts)
                assert 0 < event.duration_us < 60_000_000
                shown += 1
    # The damage was real, and most of it was survived.
    assert ends["followed"] >= EACH // 4, ends
    assert len(ends) > 1, ends
    assert shown > EACH // 4


def test_pure_noise_is_refused_at_once() -> None:
    random_ = random.Random(1)
    for head in (b"\x1a\x45\xdf\xa3", b"\0\0\0\x18ftyp"):
        for _ in range(50):
            assert follow(head + random_.randbytes(200_000), 4096)[0] == []


def test_one_bad_packet_costs_one_frame() -> None:
    """A broken unit length in one frame of WebM: that frame is skipped, the others arrive."""
    recording = record(seconds=3)
    demuxer = open_demuxer(recording.data[:8])
    packets = demuxer.feed(recording.data)
    assert demuxer.tracks
    victim = [packet for packet in packets if packet.kind == "video"][40]
    victim.data = b"\xff\xff" + victim.data[2:]
    packager = Packager(demuxer.tracks, start_us=0, sequence=0)
    events = [event for packet in packets for event in packager.push(packet)]
    packaged = Packaged(events + packager.flush())
    assert packager.skipped == 1
    assert len(numbers(packaged.file())) == recording.frames - 1


def test_lost_bytes_in_webm_cost_at_most_one_cluster() -> None:
    recording = record(seconds=3)
    whole = open_demuxer(recording.data[:8]).feed(recording.data)
    demuxer = open_demuxer(recording.data[:8])
    got = demuxer.feed(recording.data[:60_000] + recording.data[60_300:])
    assert demuxer.skipped > 0
    assert len(whole) - 24 <= len(got) < len(whole)
    assert [packet.pts for packet in got[-60:]] == [packet.pts for packet in whole[-60:]]


PROMISES = {
    "webm": b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"\x16\x54\xae\x6b\x08" + b"\xff" * 4,
    "mp4": b"\0\0\0\x10ftypiso6\0\0\0\0\x7f\xff\xff\xffmoov" + bytes(8),
    "long mp4": b"\0\0\0\x10ftypiso6\0\0\0\0\0\0\0\1moov\0\0\0\xff" + b"\xff" * 4 + bytes(8),
}


@pytest.mark.parametrize("kind", PROMISES)
def test_a_length_that_promises_gigabytes_holds_no_memory(kind: str) -> None:
    demuxer = open_demuxer(PROMISES[kind][:8])
    sent = 0

    def send() -> None:
        nonlocal sent
        demuxer.feed(PROMISES[kind])
        for _ in range(64):
            demuxer.feed(bytes(1 << 20))
            sent += 1 << 20

    with pytest.raises(VideoError):
        send()
    assert sent <= 20 << 20
