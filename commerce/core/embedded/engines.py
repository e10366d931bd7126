"""The three engines together: one folder, one lock, one start, one stop."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Self

from commerce.core.embedded.engine import Engine
from commerce.core.embedded.errors import EngineFailed
from commerce.core.embedded.folder import DataFolder, port_is_free, temporary_folder
from commerce.core.embedded.postgres import Postgres
from commerce.core.embedded.processes import Keeper, last_lines
from commerce.core.embedded.seaweedfs import SeaweedFS
from commerce.core.embedded.valkey import Valkey

ENGINES: tuple[type[Engine], ...] = (Postgres, Valkey, SeaweedFS)
TRIES = 5  # deaths before the first answer after which we stop hoping
TELL_EVERY = 2.0  # seconds between progress lines


class Engines:
    """The engines of one data folder, as a context manager.

    `environ` decides which engines are ours: one whose URL it holds is not started. `only` names those that
    are wanted at all (`postgres`, `valkey`, `s3`), None for every one.

    Raises FolderInUse, FolderUnusable or EngineFailed on entry, with nothing left running.
    """

    def __init__(
        self,
        data_dir: Path | str,
        environ: Mapping[str, str] | None = None,
        report: Callable[[str], None] = lambda line: None,
        only: Collection[str] | None = None,
    ) -> None:
        self._only = {kind.name for kind in ENGINES} if only is None else set(only)
        self._environ = os.environ if environ is None else environ
        self._report = report
        self.folder = DataFolder(Path(data_dir))
        self.secrets: dict[str, str] = {}
        self.engines: list[Engine] = []
        self._keeper: Keeper | None = None
        self._starting = True

    def __enter__(self) -> Self:
        self.folder.lock(self._report)
        try:
            self.secrets = self.folder.secrets()
            self.engines = [kind(self.folder, self.secrets) for kind in ENGINES if self._ours(kind)]
            self._keeper = Keeper(self._report)
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def environment(self) -> dict[str, str]:
        """CHOPHIEN_* for every process of this market: engines (ours or given), signing key, data folder."""
        values = {name: value for name, value in self._environ.items() if name.startswith("CHOPHIEN_")}
        values.setdefault("CHOPHIEN_SECRET_KEY", self.secrets["secret_key"])
        values["CHOPHIEN_DATA_DIR"] = str(self.folder.path)
        for engine in self.engines:
            values |= engine.environment()
        return values

    def pids(self) -> dict[str, int]:
        """Process ids of the engines that are running now, by name."""
        return {} if self._keeper is None else self._keeper.pids()

    def _ours(self, kind: type[Engine]) -> bool:
        return kind.name in self._only and not self._environ.get(kind.replaced_by, "").strip()

    def _start(self) -> None:
        for engine in self.engines:
            engine.choose_ports()
        began = time.monotonic()
        with ThreadPoolExecutor(max_workers=len(ENGINES)) as pool:
            starts = {pool.submit(self._start_one, engine): engine.name for engine in self.engines}
            waiting = set(starts)
            try:
                while waiting:
                    done, waiting = wait(waiting, TELL_EVERY, FIRST_COMPLETED)
                    for start in done:
                        start.result()
                    if waiting and not done:
                        names = ", ".join(sorted(starts[start] for start in waiting))
                        self._report(f"waiting for {names} ({time.monotonic() - began:.0f} s)")
            finally:
                self._starting = False  # those still waiting give up, if this is an error

    def _start_one(self, engine: Engine) -> None:
        assert self._keeper is not None
        engine.prepare()
        program = engine.program()
        self._keeper.start(program)
        seen = 0
        while self._starting and not engine.answers():
            deaths = self._keeper.deaths(engine.name)
            if deaths >= TRIES:
                log = self.folder.logs / f"{engine.name}.log"
                raise EngineFailed(engine.name, log, last_lines(log))
            if deaths > seen:
                seen = deaths
                if not all(port_is_free(port) for port in engine.ports.values()):
                    engine.choose_ports()  # somebody took one between our look and its start
            time.sleep(0.02)

    def _stop(self) -> None:
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None
        for engine in self.engines:
            engine.tidy()
        self.folder.unlock()


@contextlib.contextmanager
def valkey_alone() -> Iterator[str]:
    """The URL of a Valkey of one's own in a temporary folder, for benches that need nothing else."""
    with temporary_folder() as folder, Engines(folder, {}, only=["valkey"]) as engines:
        yield engines.environment()["CHOPHIEN_VALKEY_URL"]
