"""Python's garbage collector, told what it cannot know: that this is a server.

Nearly everything is freed by reference counts; the collector is only there for rings. With its defaults it
looks at the young objects every 700 allocations, which is twice a request, and now and then at everything:
the half million objects of the program itself, a fifth of a second in which nobody is served. Measured under
orders it took a third of a web process's time.
"""

from __future__ import annotations

import gc

YOUNG = 20_000  # objects; some twenty requests under way hold as many
MIDDLE, OLD = 20, 20  # so rings of old objects are looked for every eight million allocations


def settle() -> None:
    """Called once by a process that is put together: what it is made of is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
