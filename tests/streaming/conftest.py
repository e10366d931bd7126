from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming.bus import Bus
from streaming.gateway import Gateway, GatewayConfig
from tests.streaming.stage import SECRET, GatewayProcess, ValkeyServer, free_port, wait_listening


@pytest.fixture
async def bus(valkey_url: str) -> AsyncIterator[Bus]:
    made = Bus(valkey_url, settle_ms=500)  # an empty Valkey and no gateway before the test's own
    yield made
    await made.close()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """One that the test may kill."""
    server = ValkeyServer(tmp_path)
    server.start()
    yield server
    server.kill()


StartGateway = Callable[..., Awaitable[Gateway]]
StartProcesses = Callable[..., Awaitable[list[GatewayProcess]]]


@pytest.fixture
async def start_gateway(valkey_url: str) -> AsyncIterator[StartGateway]:
    """Gateways inside the test's own process; options are those of GatewayConfig."""
    started: list[Gateway] = []

    async def start(**options: Any) -> Gateway:
        defaults: dict[str, Any] = {
            "valkey_url": valkey_url,
            "ticket_secret": SECRET,
            "port": free_port(),
            "drain_s": 0.1,
        }
        gateway = Gateway(GatewayConfig(**(defaults | options)))
        await gateway.start()
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        await gateway.stop()


@pytest.fixture
async def start_processes() -> AsyncIterator[StartProcesses]:
    """Gateways as processes that share one port."""
    started: list[GatewayProcess] = []

    async def start(count: int, valkey_url: str, bus: Bus, **options: Any) -> list[GatewayProcess]:
        common: dict[str, Any] = {"valkey_url": valkey_url, "ticket_secret": SECRET}
        config = GatewayConfig(port=free_port(), **(common | options))
        new = [GatewayProcess(config) for _ in range(count)]
        started.extend(new)
        await wait_listening(config.port, len(started), bus)
        return new

    yield start
    for process in started:
        process.kill()
