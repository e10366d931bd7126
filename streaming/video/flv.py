"""Bodies of RTMP's audio and video messages: to packets, and back (FLV specification, annex E.4)."""

from __future__ import annotations

from typing import Any

from streaming.video import amf, h264
from streaming.video.errors import Malformed, Unsupported
from streaming.video.fmp4 import audio_format
from streaming.video.media import AudioTrack, Packet, Tracks, VideoTrack
from streaming.video.mp4 import Mp4Demuxer
from streaming.video.rtmp import AUDIO, DATA, VIDEO, Message
from streaming.video.segmenter import Init

H264, AAC = 7, 10
SOUND_PATIENCE_US = 700_000  # a picture this far ahead of the first sound has none


class FlvReader:
    """Messages in, packets out. `tracks` is known once both kinds began or one of them clearly will not."""

    def __init__(self) -> None:
        self.tracks: Tracks | None = None
        self._video: VideoTrack | None = None
        self._audio: AudioTrack | None = None
        self._early: list[Packet] = []

    def take(self, message: Message) -> tuple[list[Packet], bool]:
        """(packets, do they belong to new tracks?). Raises `Unsupported` or `Malformed`."""
        packet: Packet | None = None
        fresh = False
        if message.kind == VIDEO and message.body:
            packet, fresh = self._picture(message.body, message.time_ms * 1000)
        elif message.kind == AUDIO and message.body:
            packet, fresh = self._sound(message.body, message.time_ms * 1000)
        if fresh and self.tracks:
            self.tracks = Tracks(self._video, self._audio)
            return [], True
        if packet is None:
            return [], False
        if self.tracks is None:
            self._early.append(packet)
            waited = packet.dts - self._early[0].dts
            if not (self._video and self._audio) and waited < SOUND_PATIENCE_US:
                return [], False
            self.tracks = Tracks(self._video, self._audio)
            early, self._early = self._early, []
            return early, True
        return [packet], False

    def _picture(self, body: bytes, time_us: int) -> tuple[Packet | None, bool]:
        if body[0] & 0x80 or body[0] & 15 != H264:
            raise Unsupported("picture codec")
        if len(body) < 5:
            raise Malformed("picture message")
        if body[1] == 0:
            h264.from_avcc(body[5:])  # refused here rather than at the first frame
            track = VideoTrack("h264", body[5:])
            fresh = track != self._video
            self._video = track
            return None, fresh
        if body[1] != 1 or self._video is None:
            return None, False
        later = int.from_bytes(body[2:5], "big", signed=True) * 1000
        return Packet("video", time_us + later, time_us, body[0] >> 4 == 1, body[5:]), False

    def _sound(self, body: bytes, time_us: int) -> tuple[Packet | None, bool]:
        if body[0] >> 4 != AAC:
            raise Unsupported("sound codec")
        if len(body) < 2:
            raise Malformed("sound message")
        if body[1] == 0:
            plain = audio_format(body[2:])
            track = AudioTrack(
                "aac", body[2:], plain.rate if plain else 48_000, plain.channels if plain else 2
            )
            fresh = track != self._audio
            self._audio = track
            return None, fresh
        if self._audio is None:
            return None, False
        return Packet("audio", time_us, time_us, True, body[2:]), False


class FlvWriter:
    """Our own fragments become messages: (kind, time in milliseconds, body)."""

    def __init__(self, init: Init) -> None:
        self._format = init.format
        self._demuxer = Mp4Demuxer()
        self._demuxer.feed(init.data)
        self._begin: int | None = None

    def headers(self) -> list[tuple[int, int, bytes]]:
        """What comes first: what there is, and how to decode it."""
        video, audio = self._format.video, self._format.audio
        about: dict[str, Any] = {"audiocodecid": AAC, "audiosamplerate": audio.rate, "encoder": "ChoPhien"}
        if video:
            about |= {"videocodecid": H264, "width": video.width, "height": video.height}
        messages = [(DATA, 0, amf.encode("@setDataFrame", "onMetaData", about))]
        if video:
            messages.append((VIDEO, 0, b"\x17\0\0\0\0" + video.config.avcc()))
        return [*messages, (AUDIO, 0, b"\xaf\0" + audio.config)]

    def part(self, data: bytes) -> list[tuple[int, int, bytes]]:
        messages = []
        for packet in self._demuxer.feed(data):
            if self._begin is None:
                self._begin = packet.dts
            time_ms = max(0, packet.dts - self._begin) // 1000
            if packet.kind == "audio":
                messages.append((AUDIO, time_ms, b"\xaf\1" + packet.data))
            else:
                later = ((packet.pts - packet.dts) // 1000).to_bytes(3, "big", signed=True)
                head = bytes((0x17 if packet.key else 0x27, 1)) + later
                messages.append((VIDEO, time_ms, head + packet.data))
        return messages
