"""Every table of the market, imported in one place for migrations and tests."""

from importlib import import_module
from pathlib import Path

import commerce.core.heartbeat
import commerce.core.outbox
import commerce.core.taps  # noqa: F401 - their tables

MODULES = sorted(path.parent.name for path in Path(__file__).parent.glob("*/models.py"))

for _module in MODULES:
    import_module(f"commerce.{_module}.models")

__all__ = ["MODULES"]
