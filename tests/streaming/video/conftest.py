from __future__ import annotations

import pytest

from tests.streaming.video import ffmpeg


@pytest.fixture(scope="session", autouse=True)
def witnesses() -> None:
    """Programs that are not ours and must be there."""
    ffmpeg.ensure()
