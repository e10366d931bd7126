"""The words all parts of the packager share: tracks, packets, samples. Times are whole microseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

SECOND = 1_000_000
IDENTITY = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)

VideoCodec = Literal["h264", "vp8", "vp9"]
AudioCodec = Literal["opus", "aac"]


@dataclass(frozen=True, slots=True)
class VideoTrack:
    codec: VideoCodec
    config: bytes = b""
    """avcC of an H.264 track, if its container gave one."""
    width: int = 0
    height: int = 0
    matrix: tuple[int, ...] = IDENTITY
    """How the picture is turned for display, as in an MP4 track header (phones held upright)."""


@dataclass(frozen=True, slots=True)
class AudioTrack:
    codec: AudioCodec
    config: bytes = b""
    """OpusHead, or AudioSpecificConfig."""
    rate: int = 48_000
    channels: int = 1


@dataclass(frozen=True, slots=True)
class Tracks:
    video: VideoTrack | None = None
    audio: AudioTrack | None = None


@dataclass(slots=True)
class Packet:
    """One frame of one track as its container held it, in the order of the stream."""

    kind: Literal["video", "audio"]
    pts: int
    dts: int
    key: bool
    data: bytes
    mark: Mark | None = None
    """Where reading can begin again so that this packet comes first; only on key frames."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the bytes of one recording. `state` is what the demuxer must know there."""

    offset: int
    state: int = 0


@dataclass(slots=True)
class Sample:
    """One frame as it goes into a fragment; of video, `data` has 4-byte unit lengths."""

    dts: int
    pts: int
    data: bytes
    key: bool = True
    duration: int = 0


class PushDemuxer(Protocol):
    """Bytes of one recording go in as they come, in any pieces; whole packets come out."""

    tracks: Tracks | None
    """None until the header has been read."""
    header: bytes
    """The bytes before the first media: with them and a Mark, reading can resume."""
    skipped: int
    """Bytes and packets passed over because they made no sense."""

    def feed(self, data: bytes) -> list[Packet]:
        """Raises `Malformed`, `Unsupported` or `TooLarge`: the recording cannot be followed any further."""

    def resume(self, mark: Mark) -> None:
        """After `header` was fed to a new demuxer: what is fed next begins at `mark`."""
