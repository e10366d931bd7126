"""Fragmented MP4 as HLS wants it: an init segment, then fragments (`moof` + `mdat`).

Written here and not by libavformat's muxer because a live packager decides itself where each fragment ends
(a part every third of a second, to the frame), what its decode time is (one clock for a whole session,
across reconnections), and where the sound lies: always in the last bytes of a fragment, so that the
audio-only rendition is a view of the same stored bytes (`audio_only`) and not a second copy.

Track 1 is the picture in microseconds, track 2 the sound in samples.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from streaming.video import h264
from streaming.video.boxes import box, boxes, child, full
from streaming.video.errors import Malformed
from streaming.video.media import IDENTITY, SECOND, Sample

VIDEO, AUDIO = 1, 2
_SYNC, _NOT_SYNC = 0x02000000, 0x01010000  # depends on nothing; depends on others and is no place to start
_RATES = (
    96_000,
    88_200,
    64_000,
    48_000,
    44_100,
    32_000,
    24_000,
    22_050,
    16_000,
    12_000,
    11_025,
    8_000,
    7_350,
)


@dataclass(frozen=True, slots=True)
class VideoFormat:
    config: h264.Config
    width: int
    height: int
    matrix: tuple[int, ...] = IDENTITY


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """AAC-LC."""

    rate: int = 48_000
    channels: int = 1

    @property
    def config(self) -> bytes:
        """AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1) of AAC-LC."""
        return (2 << 11 | _RATES.index(self.rate) << 7 | self.channels << 3).to_bytes(2, "big")


def audio_format(config: bytes) -> AudioFormat | None:
    """The format that an AudioSpecificConfig describes; None when it is not plain AAC-LC."""
    if len(config) < 2:
        return None
    word = int.from_bytes(config[:2], "big")
    kind, rate, channels = word >> 11, word >> 7 & 15, word >> 3 & 15
    if kind != 2 or rate >= len(_RATES) or channels not in (1, 2) or word & 7:
        return None
    return AudioFormat(_RATES[rate], channels)


@dataclass(frozen=True, slots=True)
class Format:
    """What an init segment says. Equal formats give equal bytes and share one init segment."""

    video: VideoFormat | None
    audio: AudioFormat

    @property
    def codecs(self) -> str:
        """RFC 6381 names for the multivariant playlist."""
        return (
            ",".join([self.video.config.codec] if self.video else [])
            + ("," if self.video else "")
            + "mp4a.40.2"
        )

    def init(self, duration_us: int = 0) -> bytes:
        """`ftyp` and `moov`. A duration is only known for a finished recording."""
        tracks = [_audio_track(self.audio)]
        if self.video:
            tracks.insert(0, _video_track(self.video))
        extends = [
            full(b"trex", 0, 0, struct.pack(">5I", number, 1, 0, 0, 0))
            for number in ((VIDEO, AUDIO) if self.video else (AUDIO,))
        ]
        if duration_us:
            extends.insert(0, full(b"mehd", 1, 0, (duration_us // 1000).to_bytes(8, "big")))
        header = full(
            b"mvhd", 0, 0, struct.pack(">4IIH10x9I24xI", 0, 0, 1000, 0, 0x10000, 0x100, *IDENTITY, 3)
        )
        return box(b"ftyp", b"iso6\0\0\2\0iso6cmfcmp41") + box(
            b"moov", header, *tracks, box(b"mvex", *extends)
        )


def fragment(sequence: int, video: Sequence[Sample], audio: Sequence[Sample]) -> bytes:
    """One `moof` and its `mdat`. Times of the samples are in their track's ticks since the session began."""
    picture = b"".join(sample.data for sample in video)
    sound = b"".join(sample.data for sample in audio)
    head = full(b"mfhd", 0, 0, sequence.to_bytes(4, "big"))
    runs = [_run(VIDEO, video, 0)] if video else []
    runs += [_run(AUDIO, audio, 0)] if audio else []
    size = 8 + len(head) + sum(map(len, runs)) + 8  # offsets count from the moof's first byte to the data
    runs = [_run(VIDEO, video, size)] if video else []
    runs += [_run(AUDIO, audio, size + len(picture))] if audio else []
    return box(b"moof", head, *runs) + box(b"mdat", picture, sound)


def _run(track: int, samples: Sequence[Sample], offset: int) -> bytes:
    head = full(b"tfhd", 0, 0x020000, track.to_bytes(4, "big"))
    time = full(b"tfdt", 1, 0, samples[0].dts.to_bytes(8, "big"))
    shifted = any(sample.pts != sample.dts for sample in samples)
    words: list[int] = []
    for sample in samples:
        words += (sample.duration, len(sample.data), _SYNC if sample.key else _NOT_SYNC)
        if shifted:
            words.append(sample.pts - sample.dts & 0xFFFFFFFF)
    body = struct.pack(f">Ii{len(words)}I", len(samples), offset, *words)
    return box(b"traf", head, time, full(b"trun", 1, 0x701 | shifted << 11, body))


def audio_only(data: bytes) -> bytes:
    """The same fragments, or the same init segment, without the picture. Raises `Malformed`."""
    out: list[bytes] = []
    begin_of_moof = cut = 0
    for kind, begin, end in boxes(data):
        if kind == b"moov":
            out.append(_without_picture(data[begin:end]))
        elif kind == b"moof":
            begin_of_moof, kept_run, cut = begin - 8, b"", 0
            for name, a, b in boxes(data, begin, end):
                if name == b"traf" and child(data[a:b], b"tfhd")[4:8] == AUDIO.to_bytes(4, "big"):
                    kept_run = data[a - 8 : b]
            if kept_run:
                at = kept_run.index(b"trun") + 12
                cut = int.from_bytes(kept_run[at : at + 4], "big")
                head = data[begin : begin + 16]
                size = 8 + len(head) + len(kept_run) + 8
                out.append(box(b"moof", head, kept_run[:at] + size.to_bytes(4, "big") + kept_run[at + 4 :]))
        elif kind == b"mdat":
            if cut:
                out.append(box(b"mdat", data[begin_of_moof + cut : end]))
        else:
            out.append(data[begin - 8 : end])
    return b"".join(out)


def _without_picture(moov: bytes) -> bytes:
    number = VIDEO.to_bytes(4, "big")
    kept: list[bytes] = []
    for kind, a, b in boxes(moov):
        if kind == b"mvex":
            extends = (moov[x - 8 : y] for _, x, y in boxes(moov, a, b) if moov[x + 4 : x + 8] != number)
            kept.append(box(b"mvex", *extends))
        elif kind != b"trak" or child(moov[a:b], b"tkhd")[12:16] != number:
            kept.append(moov[a - 8 : b])
    return box(b"moov", *kept)


def _track(
    number: int, sound: bool, size: tuple[int, int], matrix: tuple[int, ...], scale: int, entry: bytes
) -> bytes:
    volume, width, height = 0x100 if sound else 0, size[0] << 16, size[1] << 16
    place = struct.pack(">5I8xHHHH9III", 0, 0, number, 0, 0, 0, 0, volume, 0, *matrix, width, height)
    head = full(b"tkhd", 0, 7, place)
    media = full(b"mdhd", 0, 0, struct.pack(">4IHH", 0, 0, scale, 0, 0x55C4, 0))
    handler = full(b"hdlr", 0, 0, bytes(4), b"soun" if sound else b"vide", bytes(13))
    about = full(b"smhd", 0, 0, bytes(4)) if sound else full(b"vmhd", 0, 1, bytes(8))
    source = box(b"dinf", full(b"dref", 0, 0, b"\0\0\0\1", full(b"url ", 0, 1)))
    table = box(
        b"stbl",
        full(b"stsd", 0, 0, b"\0\0\0\1", entry),
        full(b"stts", 0, 0, bytes(4)),
        full(b"stsc", 0, 0, bytes(4)),
        full(b"stsz", 0, 0, bytes(8)),
        full(b"stco", 0, 0, bytes(4)),
    )
    return box(b"trak", head, box(b"mdia", media, handler, box(b"minf", about, source, table)))


def _video_track(video: VideoFormat) -> bytes:
    entry = box(
        b"avc1",
        struct.pack(
            ">6xH16xHHIIIH32xHH", 1, video.width, video.height, 0x480000, 0x480000, 0, 1, 0x18, 0xFFFF
        ),
        box(b"avcC", video.config.avcc()),
    )
    return _track(VIDEO, False, (video.width, video.height), video.matrix, SECOND, entry)


def _audio_track(audio: AudioFormat) -> bytes:
    config = audio.config
    decoder = bytes((4, 13 + 2 + len(config), 0x40, 0x15)) + bytes(11) + bytes((5, len(config))) + config
    stream = bytes((3, 3 + len(decoder) + 3, 0, AUDIO, 0)) + decoder + b"\6\1\2"
    entry = box(
        b"mp4a",
        struct.pack(">6xH8xHHIHH", 1, audio.channels, 16, 0, audio.rate if audio.rate < 1 << 16 else 0, 0),
        full(b"esds", 0, 0, stream),
    )
    return _track(AUDIO, True, (0, 0), IDENTITY, audio.rate, entry)


def read_format(init: bytes) -> Format:
    """The format of an init segment of ours. Raises `Malformed`."""
    moov = child(init, b"moov")
    video: VideoFormat | None = None
    audio: AudioFormat | None = None
    for kind, begin, end in boxes(moov):
        if kind != b"trak":
            continue
        entry = child(moov[begin:end], b"mdia", b"minf", b"stbl", b"stsd")[8:]
        if entry[4:8] == b"avc1":
            width, height = struct.unpack_from(">HH", entry, 32)
            matrix = struct.unpack_from(">9I", child(moov[begin:end], b"tkhd"), 40)
            video = VideoFormat(h264.from_avcc(child(entry[86:], b"avcC"))[0], width, height, matrix)
        elif entry[4:8] == b"mp4a":
            esds = child(entry[36:], b"esds")
            audio = audio_format(esds[-5:-3])
    if audio is None:
        raise Malformed("init segment without sound")
    return Format(video, audio)
