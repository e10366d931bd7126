from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from streaming.bus import Bus


@pytest.fixture
async def bus(valkey_url: str) -> AsyncIterator[Bus]:
    made = Bus(valkey_url)
    yield made
    await made.close()
