"""How a session looked and sounded, counted second by second, and what to do better next time.

For the rehearsal first: its advice must be so plain that a host who never saw a camera can follow it.
"""

from __future__ import annotations

import msgspec

from streaming.video.archive import Archive, prefix
from streaming.video.wire import News

QUIET_DB = -38.0  # speech near a phone is about -25; at this level the buyer turns the volume up in vain
LOUD_DB = -4.0
DARK = 55.0  # of 255
GLARING = 225.0
SMALL = 360  # lines of the picture's shorter side
FEW_FRAMES = 12.0
OFTEN = 0.2  # share of the time from which on it is worth a word


class Quality(msgspec.Struct):
    seconds: int = 0
    """On air, without the gaps."""
    quiet: int = 0
    loud: int = 0
    dark: int = 0
    glaring: int = 0
    small: int = 0
    jerky: int = 0
    transcoded: int = 0
    gaps: int = 0
    gap_seconds: int = 0
    longest_gap: int = 0
    key_every_s: float = 0

    def count(self, news: News, *, was_on: bool) -> None:
        """One second of a session."""
        if news.kind == "gap":
            self.gaps += was_on
            self.gap_seconds += 1
            self.longest_gap = max(self.longest_gap, round(news.gap_s))
            return
        self.seconds += 1
        self.quiet += news.level_db < QUIET_DB
        self.loud += news.level_db > LOUD_DB
        self.dark += 0 <= news.brightness < DARK
        self.glaring += news.brightness > GLARING
        self.small += 0 < min(news.width, news.height) < SMALL
        self.jerky += news.frames_per_s < FEW_FRAMES
        self.transcoded += news.transcoded
        self.key_every_s = max(self.key_every_s, news.key_every_s)


class Advice(msgspec.Struct, frozen=True):
    code: str
    text: str


def advise(quality: Quality) -> list[Advice]:
    """What to do better, the most important first; empty when all was well."""
    if quality.seconds < 5:
        return [Advice("nothing", "Chưa thu được hình để nhận xét. Hãy phát thử ít nhất nửa phút.")]
    share = {name: getattr(quality, name) / quality.seconds for name in ("quiet", "loud", "dark", "glaring",
                                                                         "small", "jerky")}  # fmt: skip
    found = [
        (share["quiet"] > OFTEN, "quiet", "Tiếng nhỏ quá. Hãy nói gần máy hơn hoặc gắn micro."),
        (share["loud"] > OFTEN, "loud", "Tiếng to quá nên bị rè. Hãy để máy xa miệng hơn một chút."),
        (share["dark"] > OFTEN, "dark", "Hình tối. Hãy ra chỗ sáng, đừng đứng quay lưng về phía mặt trời."),
        (share["glaring"] > OFTEN, "glaring", "Hình chói. Hãy tìm bóng râm hoặc quay máy khỏi mặt trời."),
        (
            quality.gap_seconds > quality.seconds * 0.05 or quality.longest_gap > 10,
            "gaps",
            "Mạng hay đứt. Hãy thử chỗ khác, hoặc đổi giữa Wi-Fi và 4G, trước khi phát thật.",
        ),
        (share["small"] > OFTEN, "small", "Mạng yếu nên hình phải thu nhỏ. Hãy tìm chỗ sóng mạnh hơn."),
        (share["jerky"] > OFTEN, "jerky", "Hình bị giật. Hãy tắt các ứng dụng khác trên máy đang quay."),
        (
            quality.key_every_s > 2.5,
            "key_frames",
            "Trong OBS hãy đặt khoảng cách khung hình khóa là 1 hoặc 2 giây để người xem bớt trễ.",
        ),
    ]
    return [Advice(code, text) for wanted, code, text in found if wanted]


async def load(archive: Archive, session: str) -> Quality:
    body = await archive.get(f"{prefix(session)}quality.json")
    return msgspec.json.decode(body, type=Quality) if body else Quality()


async def store(archive: Archive, session: str, quality: Quality) -> None:
    await archive.put(f"{prefix(session)}quality.json", msgspec.json.encode(quality))
