"""What the stand-ins know: owners, their Pages and channels, live videos and what was said on them."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from commerce.live.networks.simulator import APP_SECRET

FACEBOOK_PAGE, YOUTUBE_PAGE = 25, 200  # entries an answer holds at most, fewer than the originals


@dataclass
class Said:
    id: str
    author: str
    name: str
    text: str
    at: datetime


@dataclass
class Video:
    id: str
    live: bool = True
    said: list[Said] = field(default_factory=list)
    reach: int = 0
    views: int = 0


@dataclass
class Owned:
    """A Page or a channel."""

    id: str
    name: str
    videos: list[Video] = field(default_factory=list)


@dataclass
class Token:
    kind: str
    """`user` or `page` on Facebook; `google` on YouTube."""
    of: str
    """The owner's name, or the Page's id."""
    ends_at: float = float("inf")
    revoked: bool = False
    rights: frozenset[str] = frozenset()

    @property
    def good(self) -> bool:
        return not self.revoked and time.time() < self.ends_at


@dataclass
class Networks:
    """Both networks. Tests reach in and change things; `answered` counts requests by path."""

    app_secret: str = APP_SECRET
    pages: dict[str, Owned] = field(default_factory=dict)
    channels: dict[str, Owned] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    codes: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Code -> (what was asked for, where it must come back to); each works once."""
    answered: dict[str, int] = field(default_factory=dict)
    hourly: int = 10_000
    """Facebook: requests an hour."""
    hour_used: int = 0
    daily: int = 10_000
    """YouTube: units a day."""
    day_used: int = 0
    polling_ms: int = 2000
    lasts_s: int = 3600
    """Google's access tokens."""
    away: bool = False
    """Everything is answered 503."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(time.time_ns() // 1_000_000))
    """Of videos and comments: never again those from before a restart."""

    # ---- furnishing

    def add_page(self, page_id: str, name: str) -> Owned:
        return self.pages.setdefault(page_id, Owned(page_id, name))

    def add_channel(self, channel_id: str, name: str) -> Owned:
        return self.channels.setdefault(channel_id, Owned(channel_id, name))

    def go_live(self, owned: Owned) -> Video:
        video = Video(f"{owned.id}0{next(self._numbers)}")
        owned.videos.append(video)
        return video

    def say(self, video: Video, text: str, name: str = "Lan Anh", author: str = "") -> Said:
        number = next(self._numbers)
        author = author or f"u{sum(map(ord, name))}"
        said = Said(f"{video.id}_{number}", author, name, text, datetime.now(UTC))
        video.said.append(said)
        return said

    def grant(self, kind: str, of: str, *, lasts_s: float = float("inf"), token: str = "") -> str:
        token = token or f"{kind}-{secrets.token_urlsafe(18)}"
        self.tokens[token] = Token(kind, of, time.time() + lasts_s)
        return token

    def revoke(self, of: str) -> None:
        """The owner takes the right back."""
        for token in self.tokens.values():
            if token.of == of:
                token.revoked = True

    # ---- finding

    def video(self, video_id: str) -> Video | None:
        for owned in (*self.pages.values(), *self.channels.values()):
            for video in owned.videos:
                if video.id == video_id:
                    return video
        return None

    def page_of(self, video_id: str) -> str:
        return next(
            (one.id for one in self.pages.values() if any(video.id == video_id for video in one.videos)), ""
        )
