"""Every kind of recording becomes the same kind of segments, with every frame in it once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from streaming.video.boxes import boxes
from streaming.video.errors import NoKeyFrame, Unsupported
from streaming.video.fmp4 import Format, audio_only, read_format
from streaming.video.media import SECOND, Mark, Packet, Tracks, VideoTrack
from streaming.video.packager import Continuation, Packager, open_demuxer
from streaming.video.segmenter import PART_US, Init, Segment
from streaming.video.sound import FRAME
from tests.streaming.video import ffmpeg
from tests.streaming.video.packaging import Packaged, demux, numbers, package, sound_times
from tests.streaming.video.recordings import record

KINDS: dict[str, dict[str, Any]] = {
    "chrome": {},
    "safari": {"container": "mp4", "audio": "aac", "rate": 44_100, "channels": 2},
    "chrome mp4": {"container": "mp4"},
    "old chrome": {"video": "libvpx"},
    "vp9": {"video": "libvpx-vp9"},
    "b-frames": {"container": "mp4", "audio": "aac", "b_frames": 2, "profile": "main"},
    "unusual profile": {"profile": "high444", "pix_fmt": "yuv444p"},
    "15 a second": {"fps": 15, "key_every": 15},
    "no microphone": {"audio": None},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_arrives_once_and_in_order(kind: str, tmp_path: Path) -> None:
    recording = record(**KINDS[kind])
    packaged = package(recording.data)
    assert packaged.skipped == 0
    assert numbers(packaged.file()) == list(range(recording.frames))
    file = tmp_path / "main.mp4"
    file.write_bytes(packaged.file())
    ffmpeg.decode(file)
    streams = ffmpeg.probe(file)["streams"]
    assert [stream["codec_name"] for stream in streams] == ["h264", "aac"]
    assert int(streams[0]["nb_read_packets"]) == recording.frames


@pytest.mark.parametrize("kind", KINDS)
def test_segments_follow_each_other_without_a_hole(kind: str) -> None:
    recording = record(**KINDS[kind])
    segments = package(recording.data).segments()
    assert len(segments) == 6
    assert all(segment.independent and not segment.discontinuity for segment in segments)
    assert [segment.sequence for segment in segments] == list(range(6))
    for before, after in pairwise(segments):
        assert before.start_us + before.duration_us == after.start_us
    assert sum(s.duration_us for s in segments) == pytest.approx(6 * SECOND, abs=50_000)


@pytest.mark.parametrize("kind", KINDS)
def test_sound_is_one_unbroken_line(kind: str) -> None:
    packaged = package(record(**KINDS[kind]).data)
    times = sound_times(packaged.file())
    assert len(times) > 200
    assert {b - a for a, b in pairwise(times)} == {FRAME}
    rate = packaged.inits()[0].format.audio.rate
    shown = packaged.segments()[-1]
    assert times[-1] / rate == pytest.approx((shown.start_us + shown.duration_us) / SECOND, abs=0.75)


@pytest.mark.parametrize("piece", [1, 13, 4096])
@pytest.mark.parametrize("container", ["webm", "mp4"])
def test_it_does_not_matter_how_the_bytes_are_cut(container: str, piece: int) -> None:
    data = record(container=container, seconds=2).data
    assert demux(data, piece) == demux(data)


def test_parts_make_up_their_segment() -> None:
    packaged = package(record().data)
    for segment in packaged.segments():
        assert b"".join(part.data for part in segment.parts) == segment.data
        assert sum(part.duration_us for part in segment.parts) == segment.duration_us
        assert all(part.duration_us <= PART_US for part in segment.parts)
        # the standard: all but the last at least 85 % of the target
        assert all(part.duration_us >= 0.85 * PART_US for part in segment.parts[:-1])
        assert [part.independent for part in segment.parts] == [True, *[False] * (len(segment.parts) - 1)]
    assert [part.number for part in packaged.parts()] == list(range(1, len(packaged.parts()) + 1))


def test_a_player_may_begin_at_every_segment() -> None:
    packaged = package(record().data)
    init = packaged.inits()[0].data
    for index, segment in enumerate(packaged.segments()):
        assert numbers(init + segment.data) == list(range(30 * index, 30 * index + 30))


def test_the_sound_alone_is_a_view_of_the_same_bytes(tmp_path: Path) -> None:
    packaged = package(record(channels=2).data)
    file = tmp_path / "audio.mp4"
    file.write_bytes(packaged.file(sound_only=True))
    (stream,) = ffmpeg.probe(file)["streams"]
    assert stream["codec_name"] == "aac"
    ffmpeg.decode(file)
    assert sound_times(file.read_bytes()) == sound_times(packaged.file())
    kinds = [kind for kind, _, _ in boxes(audio_only(packaged.segments()[0].data))]
    assert kinds == [b"moof", b"mdat"] * len(packaged.segments()[0].parts)


def test_the_small_rendition_is_cut_at_the_same_places(tmp_path: Path) -> None:
    packaged = package(record(size=(1280, 720), seconds=3).data, low=True)
    low, main = packaged.segments("low"), packaged.segments()
    assert [s.start_us for s in low] == [s.start_us for s in main]
    assert [s.sequence for s in low] == [s.sequence for s in main]
    file = tmp_path / "low.mp4"
    file.write_bytes(packaged.file("low"))
    streams = ffmpeg.probe(file)["streams"]
    assert (streams[0]["width"], streams[0]["height"]) == (640, 360)
    seen = numbers(file.read_bytes(), drawn=1280)
    assert seen == sorted(seen)
    assert 40 <= len(seen) <= 46  # 15 a second of 30, and the key frames
    assert {0, 30, 60} <= set(seen)
    assert len(file.read_bytes()) < len(packaged.file()) / 2


def test_an_init_segment_says_what_it_said() -> None:
    for kind in ("chrome", "safari", "vp9"):
        init = package(record(**KINDS[kind]).data).inits()[0]
        assert read_format(init.data) == init.format
        assert read_format(init.data).init() == init.data
    sound = package(record(video=None, channels=2).data).inits()[0]
    assert sound.format == Format(None, sound.format.audio)
    assert sound.format.codecs == "mp4a.40.2"


def test_sound_alone_can_be_on_air() -> None:
    packaged = package(record(video=None).data)
    assert len(packaged.segments()) == 6
    assert len(sound_times(packaged.file())) > 270


def test_a_turned_phone_is_a_discontinuity_with_its_own_init_segment() -> None:
    """Chrome changes the parameter sets in the middle of a recording when the picture turns."""
    upright, lying = record(size=(240, 320), seconds=2), record(size=(320, 240), seconds=2, first=60)
    tracks, packets = demux(upright.data)
    _, more = demux(lying.data)
    packager = Packager(Tracks(VideoTrack("h264"), tracks.audio), start_us=0, sequence=0)
    events = [event for packet in _annexb(upright.data, packets) for event in packager.push(packet)]
    for packet in _annexb(lying.data, more):
        packet.pts, packet.dts = packet.pts + 2 * SECOND, packet.dts + 2 * SECOND
        events += packager.push(packet)
    packaged = Packaged(events + packager.flush())
    first, second = packaged.inits()
    assert [i.format.video.width if i.format.video else 0 for i in (first, second)] == [240, 320]
    assert [s.discontinuity for s in packaged.segments()] == [False, False, True, False]
    assert [s.init for s in packaged.segments()] == [first.id, first.id, second.id, second.id]
    turned = second.data + b"".join(s.data for s in packaged.segments()[2:])
    assert numbers(turned) == list(range(60, 120))


def _annexb(data: bytes, packets: list[Packet]) -> list[Packet]:
    """The same packets with start codes and parameter sets inside, as old Chrome and encoders send them."""
    tracks, _ = demux(data)
    assert tracks.video
    record_, at = tracks.video.config, 6
    sets = b""
    for _ in range(2):
        length = int.from_bytes(record_[at : at + 2], "big")
        sets += b"\0\0\0\1" + record_[at + 2 : at + 2 + length]
        at += 2 + length + 1
    out = []
    for packet in packets:
        if packet.kind == "video":
            body, begin = b"", 0
            while begin < len(packet.data):
                size = int.from_bytes(packet.data[begin : begin + 4], "big")
                body += b"\0\0\0\1" + packet.data[begin + 4 : begin + 4 + size]
                begin += 4 + size
            packet.data = (sets if packet.key else b"") + body
        out.append(packet)
    return out


@pytest.mark.parametrize("container", ["webm", "mp4"])
def test_a_second_process_goes_on_to_the_frame(container: str) -> None:
    """Killed after any segment: with the header, a mark and the rest of the bytes nothing is missing."""
    recording = record(container=container)
    whole = package(recording.data)
    tracks, packets = demux(recording.data)
    header = open_demuxer(recording.data[:8])
    header.feed(recording.data)
    for stored in whole.segments()[:-1]:
        assert isinstance(stored.mark, Mark)
        demuxer = open_demuxer(recording.data[:8])
        demuxer.feed(header.header)
        demuxer.resume(stored.mark)
        end = stored.start_us + stored.duration_us
        going_on = Continuation(-packets[0].dts, end, stored.audio_end_us)
        packager = Packager(tracks, start_us=end, sequence=stored.sequence + 1, going_on=going_on)
        rest = demuxer.feed(recording.data[stored.mark.offset :])
        events = [event for packet in rest for event in packager.push(packet)] + packager.flush()
        later = [event for event in events if isinstance(event, Segment)]
        assert [s.sequence for s in later] == list(range(stored.sequence + 1, 6))
        init = next(event for event in events if isinstance(event, Init))
        assert init.data == whole.inits()[0].data
        before = [s.data for s in whole.segments()[: stored.sequence + 1]]
        joined = b"".join([init.data, *before, *(s.data for s in later)])
        assert numbers(joined) == list(range(recording.frames))
        times = sound_times(joined)
        assert {b - a for a, b in pairwise(times)} == {FRAME}


def test_a_hole_in_the_sound_is_silence() -> None:
    tracks, packets = demux(record().data)
    kept = [p for p in packets if p.kind == "video" or not 2 * SECOND <= p.pts < 3 * SECOND]
    packager = Packager(tracks, start_us=0, sequence=0)
    events = [event for packet in kept for event in packager.push(packet)]
    times = sound_times(Packaged(events + packager.flush()).file())
    assert {b - a for a, b in pairwise(times)} == {FRAME}
    assert times[-1] / 48_000 == pytest.approx(6, abs=0.1)


def test_a_microphone_that_stops_does_not_stop_the_picture() -> None:
    tracks, packets = demux(record().data)
    kept = [p for p in packets if p.kind == "video" or p.pts < SECOND]
    packager = Packager(tracks, start_us=0, sequence=0)
    events = [event for packet in kept for event in packager.push(packet)]
    packaged = Packaged(events + packager.flush())
    assert numbers(packaged.file()) == list(range(180))
    times = sound_times(packaged.file())
    assert {b - a for a, b in pairwise(times)} == {FRAME}
    assert times[-1] / 48_000 > 5


def test_a_picture_that_stands_still_does_not_stop_the_sound() -> None:
    tracks, packets = demux(record().data)
    kept = [p for p in packets if p.kind == "audio" or not 2 * SECOND <= p.pts < 5 * SECOND]
    packager = Packager(tracks, start_us=0, sequence=0)
    parts = []
    for packet in kept:
        parts += [(packet.pts, event) for event in packager.push(packet) if hasattr(event, "number")]
    still = [pts for pts, _ in parts if 3.2 * SECOND < pts < 5 * SECOND]
    assert len(still) >= 4


def test_a_clock_that_leaps_is_followed_without_a_leap() -> None:
    tracks, packets = demux(record().data)
    for packet in packets:
        if packet.pts >= 3 * SECOND:
            packet.pts += 3600 * SECOND
            packet.dts += 3600 * SECOND
    packager = Packager(tracks, start_us=0, sequence=0)
    events = [event for packet in packets for event in packager.push(packet)] + packager.flush()
    segments = Packaged(events).segments()
    end = segments[-1].start_us + segments[-1].duration_us
    assert end == pytest.approx(6 * SECOND, abs=200_000)
    assert numbers(Packaged(events).file()) == list(range(180))


def test_a_session_clock_goes_on_in_the_next_recording() -> None:
    packaged = package(record().data, start_us=100 * SECOND, sequence=77)
    assert packaged.segments()[0].start_us == 100 * SECOND
    assert packaged.segments()[0].sequence == 77
    assert sound_times(packaged.file())[0] == pytest.approx(100 * 48_000, abs=FRAME)


def test_loudness_is_heard() -> None:
    for audio, container in (("libopus", "webm"), ("aac", "mp4")):
        tracks, packets = demux(record(audio=audio, container=container).data)
        packager = Packager(tracks, start_us=0, sequence=0)
        for packet in packets:
            packager.push(packet)
        assert packager.level_db == pytest.approx(-13.5, abs=1)  # a sine of 0.3: 20 log10(0.3 / sqrt 2)


def test_long_waits_for_a_key_frame_end_with_a_reason() -> None:
    tracks, packets = demux(record(seconds=25, fps=5, key_every=300).data)
    packager = Packager(tracks, start_us=0, sequence=0)

    def send() -> None:
        for packet in packets[1:]:
            packager.push(packet)

    with pytest.raises(NoKeyFrame):
        send()


def test_b_frames_without_decode_times_keep_their_order() -> None:
    """Matroska says only when a frame is shown. No browser sends such; a file made elsewhere may."""
    packaged = package(record(b_frames=2, profile="main").data)
    assert numbers(packaged.file()) == list(range(180))


def test_rare_key_frames_still_give_segments() -> None:
    """OBS with key frames on "auto": one in eight seconds."""
    segments = package(record(seconds=14, key_every=240).data).segments()
    assert max(s.duration_us for s in segments) < 6.1 * SECOND
    assert [s.independent for s in segments] == [True, False, True]  # 0-6, 6-8, 8-14


@pytest.mark.parametrize("begin", [b"", b"GIF89a..", b"\0\0\0\0\0\0\0\0", b"RIFF1234", b"#EXTM3U\n"])
def test_other_files_are_refused(begin: bytes) -> None:
    if begin:
        with pytest.raises(Unsupported):
            open_demuxer(begin)
    with pytest.raises(Unsupported):
        open_demuxer(b"ID3\x04\0\0\0\0")
