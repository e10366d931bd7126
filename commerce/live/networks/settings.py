"""Which networks this market may read: those it has a program with (CHOPHIEN_FACEBOOK_*, _YOUTUBE_*)."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from commerce.core.settings import Settings
from commerce.live.networks import TIMEOUT_S, Network, facebook, youtube
from commerce.live.networks.simulator import APP_SECRET

NAMES = {"facebook": "Facebook", "youtube": "YouTube"}


def networks(settings: Settings, client: httpx.AsyncClient) -> Mapping[str, Network]:
    """By name; `client` is the caller's to close. CHOPHIEN_NETWORKS_STAND_IN is where the simulators are that
    take the place of both networks in tests and demo.
    """
    extra = settings.extra
    found: dict[str, Network] = {}
    if base := extra.get("NETWORKS_STAND_IN"):
        return stand_ins(base, client)
    if extra.get("FACEBOOK_APP_ID") and extra.get("FACEBOOK_APP_SECRET"):
        found["facebook"] = facebook.Facebook(client, extra["FACEBOOK_APP_ID"], extra["FACEBOOK_APP_SECRET"])
    if extra.get("YOUTUBE_CLIENT_ID") and extra.get("YOUTUBE_CLIENT_SECRET"):
        found["youtube"] = youtube.YouTube(
            client,
            extra["YOUTUBE_CLIENT_ID"],
            extra["YOUTUBE_CLIENT_SECRET"],
            allowance=int(extra.get("YOUTUBE_ALLOWANCE") or youtube.ALLOWANCE),
        )
    return found


def stand_ins(base: str, client: httpx.AsyncClient) -> Mapping[str, Network]:
    """Both networks at the simulators' address."""
    return {
        "facebook": facebook.Facebook(
            client, "1001", APP_SECRET, api=f"{base}/graph", dialog=f"{base}/dialog"
        ),
        "youtube": youtube.YouTube(
            client,
            "1002",
            APP_SECRET,
            api=f"{base}/youtube/v3",
            consent=f"{base}/google/consent",
            token=f"{base}/google/token",
        ),
    }


def http_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=20))
