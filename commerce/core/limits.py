"""How often one caller may do something: a bucket of tokens each, in the memory of this process.

With several web processes a caller may get as many buckets as there are processes; limits are set so low
that this does not matter, and nothing is asked over the network for it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from commerce.core.errors import TooMany


@dataclass(slots=True)
class RateLimit:
    """`burst` at once, then `per_second` for each caller; the `remembered` latest callers are known."""

    per_second: float
    burst: int
    remembered: int = 50_000
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, caller: str) -> None:
        """Raises `TooMany` when the caller has nothing left."""
        now = self.clock()
        tokens, at = self._buckets.pop(caller, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + (now - at) * self.per_second)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - 1 if allowed else tokens, now)
        while len(self._buckets) > self.remembered:
            # The longest silent goes first; it has most likely a full bucket again.
            self._buckets.popitem(last=False)
        if not allowed:
            raise TooMany
