"""Settings: every fault at once, in words."""

from __future__ import annotations

import pytest

from commerce.core.settings import Settings, SettingsError

GOOD = {
    "CHOPHIEN_DATABASE_URL": "postgresql://u:p@127.0.0.1:5432/db",
    "CHOPHIEN_VALKEY_URL": "valkey://:pw@127.0.0.1:6379/0",
    "CHOPHIEN_S3_ENDPOINT": "http://127.0.0.1:8333",
    "CHOPHIEN_S3_ACCESS_KEY": "key",
    "CHOPHIEN_S3_SECRET_KEY": "secret",
    "CHOPHIEN_SECRET_KEY": "x" * 32,
}


def test_ports_follow_the_port() -> None:
    settings = Settings.from_env(GOOD | {"CHOPHIEN_PORT": "9000"})
    assert (settings.gateway_port, settings.rtmp_port, settings.video_port) == (9001, 9002, 9003)
    assert settings.public_url == "http://127.0.0.1:9000"
    assert settings.live_url == "ws://127.0.0.1:9001"


def test_every_fault_is_listed() -> None:
    broken = GOOD | {
        "CHOPHIEN_DATABASE_URL": "mysql://u@h/db",
        "CHOPHIEN_SECRET_KEY": "short",
        "CHOPHIEN_PORT": "eighty",
        "CHOPHIEN_ENV": "prod",
    }
    del broken["CHOPHIEN_S3_ENDPOINT"]
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(broken)
    assert [fault.split()[0] for fault in sorted(caught.value.faults)] == [
        "CHOPHIEN_DATABASE_URL",
        "CHOPHIEN_ENV",
        "CHOPHIEN_PORT",
        "CHOPHIEN_S3_ENDPOINT",
        "CHOPHIEN_SECRET_KEY",
    ]


def test_secrets_stay_out_of_the_representation() -> None:
    settings = Settings.from_env(GOOD)
    assert "x" * 32 not in repr(settings)
