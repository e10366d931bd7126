"""Finding a market from a command: by the environment, by its data folder, or by waking it up."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from commerce.core.embedded import Engines
from commerce.core.embedded.folder import holder, read_json
from commerce.core.settings import Settings
from commerce.core.supervisor import RUNTIME, CannotStart

COMPLETE = ("DATABASE_URL", "VALKEY_URL", "S3_ENDPOINT", "SECRET_KEY")


@contextlib.contextmanager
def market_settings(
    data_dir: Path,
    environ: Mapping[str, str] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Iterator[Settings]:
    """Settings of the market that a command means.

    All engines named in the environment: that market (production, and the processes of `up`). Else the market
    that runs in `data_dir`. Else the engines of `data_dir` are started for as long as the block lasts.
    """
    values = dict(os.environ if environ is None else environ) | {"CHOPHIEN_DATA_DIR": str(data_dir)}
    if _complete(values) or holder(data_dir) is not None:
        yield running_settings(data_dir, values)
    else:
        with Engines(data_dir, values, report) as engines:
            yield Settings.from_env(values | engines.environment())


def running_settings(data_dir: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """The same for commands that make no sense without a running market. Raises CannotStart if none runs."""
    values = dict(os.environ if environ is None else environ)
    return Settings.from_env(values if _complete(values) else values | running_environment(data_dir))


def _complete(values: Mapping[str, str]) -> bool:
    return all(values.get(f"CHOPHIEN_{name}") for name in COMPLETE)


def running_environment(data_dir: Path) -> dict[str, str]:
    """CHOPHIEN_* of the market that runs in `data_dir`. Raises CannotStart if none does, or not yet."""
    who = holder(data_dir)
    if who is None:
        raise CannotStart(
            f"No market runs in the data folder {data_dir}. Start one with: chophien up --data-dir {data_dir}"
        )
    values = read_json(data_dir / RUNTIME)
    if not values:
        raise CannotStart(
            f"The market in {data_dir} ({who}) is just starting or ending. Try again in a moment."
        )
    return {name: str(value) for name, value in values.items()}
