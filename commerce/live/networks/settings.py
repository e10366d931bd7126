"""Which networks this market may read: those it has a program with (CHOPHIEN_FACEBOOK_*, _YOUTUBE_*)."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from commerce.core.settings import Settings
from commerce.live.networks import TIMEOUT_S, Network, facebook, youtube

NAMES = {"facebook": "Facebook", "youtube": "YouTube"}


def networks(settings: Settings, client: httpx.AsyncClient) -> Mapping[str, Network]:
    """By name; `client` is the caller's to close. The addresses point at the simulators in tests and demo."""
    extra = settings.extra
    found: dict[str, Network] = {}
    if extra.get("FACEBOOK_APP_ID") and extra.get("FACEBOOK_APP_SECRET"):
        found["facebook"] = facebook.Facebook(
            client,
            extra["FACEBOOK_APP_ID"],
            extra["FACEBOOK_APP_SECRET"],
            api=extra.get("FACEBOOK_API") or facebook.API,
            dialog=extra.get("FACEBOOK_DIALOG") or facebook.DIALOG,
        )
    if extra.get("YOUTUBE_CLIENT_ID") and extra.get("YOUTUBE_CLIENT_SECRET"):
        found["youtube"] = youtube.YouTube(
            client,
            extra["YOUTUBE_CLIENT_ID"],
            extra["YOUTUBE_CLIENT_SECRET"],
            api=extra.get("YOUTUBE_API") or youtube.API,
            consent=extra.get("YOUTUBE_CONSENT") or youtube.CONSENT,
            token=extra.get("YOUTUBE_TOKEN") or youtube.TOKEN,
            allowance=int(extra.get("YOUTUBE_ALLOWANCE") or youtube.ALLOWANCE),
        )
    return found


def http_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=20))
