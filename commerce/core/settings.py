"""Settings, read once from the environment and validated with every fault listed together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

ENVIRONMENTS = ("development", "production")
MIN_SECRET = 32  # characters; shorter ones can be searched through


class SettingsError(Exception):
    """The environment does not describe a market. `faults` holds one plain sentence for each fault."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("settings: " + "; ".join(faults))


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a process must know to take part in one market."""

    database_url: str = field(repr=False)
    valkey_url: str = field(repr=False)
    s3_endpoint: str
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    s3_bucket: str = "chophien"
    s3_region: str = "us-east-1"
    bind: str = "127.0.0.1"
    port: int = 8000
    public_url: str = "http://127.0.0.1:8000"
    live_url: str = "ws://127.0.0.1:8001"
    data_dir: Path = Path(".chophien")
    demo: bool = False
    environment: str = "development"
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)
    """All other CHOPHIEN_* values, for parts that are optional (payment services, SMS, networks)."""

    @property
    def gateway_port(self) -> int:
        return self.port + 1

    @property
    def rtmp_port(self) -> int:
        return self.port + 2

    @property
    def video_port(self) -> int:
        """First video process; the next ones follow it."""
        return self.port + 3

    @property
    def production(self) -> bool:
        return self.environment == "production"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read CHOPHIEN_* from `environ` (the process's by default).

        Raises `SettingsError` with every fault, so that a person mends them in one go.
        """
        env = _Reader(os.environ if environ is None else environ)
        port = env.port("PORT", 8000)
        settings = cls(
            database_url=env.url("DATABASE_URL", ("postgresql", "postgres")),
            valkey_url=env.url("VALKEY_URL", ("valkey", "redis", "valkeys", "rediss")),
            s3_endpoint=env.url("S3_ENDPOINT", ("http", "https")),
            s3_access_key=env.text("S3_ACCESS_KEY"),
            s3_secret_key=env.text("S3_SECRET_KEY"),
            s3_bucket=env.text("S3_BUCKET", "chophien"),
            s3_region=env.text("S3_REGION", "us-east-1"),
            secret_key=env.secret("SECRET_KEY"),
            bind=env.text("BIND", "127.0.0.1"),
            port=port,
            public_url=env.url("PUBLIC_URL", ("http", "https"), f"http://127.0.0.1:{port}").rstrip("/"),
            live_url=env.url("LIVE_URL", ("ws", "wss"), f"ws://127.0.0.1:{port + 1}").rstrip("/"),
            data_dir=Path(env.text("DATA_DIR", ".chophien")),
            demo=env.flag("DEMO"),
            environment=env.choice("ENV", ENVIRONMENTS, "development"),
            extra=env.rest(),
        )
        if env.faults:
            raise SettingsError(env.faults)
        return settings


class _Reader:
    """Reads one value after another and remembers what was wrong instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = {
            k.removeprefix("CHOPHIEN_"): v for k, v in environ.items() if k.startswith("CHOPHIEN_")
        }
        self.faults: list[str] = []
        self.seen: set[str] = set()

    def text(self, name: str, default: str | None = None) -> str:
        self.seen.add(name)
        value = self.environ.get(name, "").strip()
        if value:
            return value
        if default is None:
            self.faults.append(f"CHOPHIEN_{name} is not set")
            return ""
        return default

    def url(self, name: str, schemes: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(name, default)
        if value:
            try:
                parts = urlsplit(value)
                _ = parts.port
            except ValueError:
                parts = urlsplit("")
            if parts.scheme not in schemes or not parts.hostname:
                wanted = " or ".join(f"{scheme}://" for scheme in schemes[:2])
                self.faults.append(f"CHOPHIEN_{name} must be an address beginning with {wanted}")
        return value

    def secret(self, name: str) -> str:
        value = self.text(name)
        if value and len(value) < MIN_SECRET:
            self.faults.append(f"CHOPHIEN_{name} must have at least {MIN_SECRET} characters")
        return value

    def port(self, name: str, default: int) -> int:
        value = self.text(name, str(default))
        if value.isdigit() and 1 <= int(value) <= 65_000:
            return int(value)
        self.faults.append(f"CHOPHIEN_{name} must be a whole number from 1 to 65000, not {value!r}")
        return default

    def flag(self, name: str) -> bool:
        return self.choice(name, ("0", "1"), "0") == "1"

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(name, default)
        if value not in allowed:
            self.faults.append(f"CHOPHIEN_{name} must be one of {', '.join(allowed)}, not {value!r}")
            return default
        return value

    def rest(self) -> dict[str, str]:
        return {name: value for name, value in self.environ.items() if name not in self.seen}
