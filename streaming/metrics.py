"""What a gateway counts, and how it is shown to Prometheus."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from streaming.protocol import now_ms

HELP = {
    "accepted": "TCP connections accepted",
    "joined": "viewers let in",
    "left": "viewers gone",
    "writes": "writes to viewers' sockets",
    "bytes": "bytes written to viewers' sockets",
    "slowed": "times a viewer read too slowly and was skipped",
    "resynced": "slow viewers who caught up and were given a snapshot",
    "cpu_s": "CPU seconds of the process",
    "refused": "viewers refused, by HTTP reason or closing code",
    "cut": "viewers cut off, by reason",
    "viewers": "sockets seated now",
    "max_viewers": "sockets this process takes",
    "rooms": "rooms in memory",
    "interval_s": "seconds between two ticks to the same viewer",
    "late_s": "seconds the broadcast was behind its schedule in its last turn",
    "slow_now": "viewers skipped now",
    "wire": "1 while subscribed to Valkey",
    "rss_kb": "resident memory",
}
_GAUGES = {"viewers", "max_viewers", "rooms", "interval_s", "late_s", "slow_now", "wire", "rss_kb"}
_PAGE_KB = resource.getpagesize() // 1024


class Stats:
    """Counters of one gateway since it started."""

    def __init__(self) -> None:
        self.accepted = 0
        self.joined = 0
        self.left = 0
        self.writes = 0
        self.bytes = 0
        self.slowed = 0
        self.resynced = 0
        self.refused: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()

    def numbers(self) -> dict[str, Any]:
        return vars(self) | {
            "at_ms": now_ms(),
            "cpu_s": cpu_seconds(),
            "rss_kb": resident_kb(),
        }


def cpu_seconds() -> float:
    """Of this process since it started, in the kernel too."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_kb(process: int | str = "self") -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE_KB


def encode(numbers: dict[str, Any]) -> bytes:
    return msgspec.json.encode(numbers)


def text(gateways: dict[str, dict[str, Any]]) -> str:
    """The numbers of all gateways in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collector(gateways))
    return generate_latest(registry).decode()


class _Collector:
    def __init__(self, gateways: dict[str, dict[str, Any]]) -> None:
        self._gateways = gateways

    def collect(self) -> Iterator[Metric]:
        for name, explanation in HELP.items():
            rows = [(gateway, numbers[name]) for gateway, numbers in self._gateways.items()]
            yield _family(f"chophien_gateway_{name}", explanation, rows, gauge=name in _GAUGES)


def _family(name: str, explanation: str, rows: Iterable[tuple[str, Any]], *, gauge: bool) -> Metric:
    labels = ["gateway"]
    by_reason = [(gateway, value) for gateway, value in rows if isinstance(value, dict)]
    if by_reason or name.endswith(("_refused", "_cut")):
        labels.append("reason")
    family: Any = (GaugeMetricFamily if gauge else CounterMetricFamily)(name, explanation, labels=labels)
    for gateway, value in rows:
        for reason, number in value.items() if isinstance(value, dict) else [(None, value)]:
            family.add_metric([gateway] if reason is None else [gateway, reason], number)
    return family  # type: ignore[no-any-return]
