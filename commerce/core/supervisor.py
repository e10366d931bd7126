"""Everything of one market on one machine: engines, schema, seed, then the processes that serve.

    with Market(Plan(data_dir, port=8000)) as market:   # serving once inside
        print(market.url)

The processes are `chophien web`, `gateway`, `worker`, `video`, exactly those of production; they find each
other by the CHOPHIEN_* environment that is also left in the data folder (runtime.json) for other commands.
One that dies is started again. On the way out the processes finish what they do, then the engines end;
whatever happens to this process, nothing it started outlives it.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self
from urllib.parse import urlsplit

from commerce.core.embedded import Engines
from commerce.core.embedded.engines import TELL_EVERY, TRIES
from commerce.core.embedded.errors import EngineFailed
from commerce.core.embedded.folder import holder, port_is_free, write_private
from commerce.core.embedded.processes import Keeper, Program, last_lines

RUNTIME = "runtime.json"
DRAIN = (
    5.0  # seconds a process gets for what it has begun; with the engines' own time, under the ten promised
)
LEFTOVERS = 2.0  # seconds in which programs of a killed instance give their ports back
MOST_VIDEO = 16  # processes: each listens on a port of its own


class CannotStart(Exception):
    """The market cannot be started. The text is one plain sentence."""


class Stopped(BaseException):
    """A signal asked this process to end. No `Exception`: nobody handles it on the way out."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. Defaults suit two cores: two web processes and two gateways, so that the death of one is
    not noticed while it comes back; a second worker leads at once when the first one dies."""

    data_dir: Path
    port: int = 8000
    web: int = 2
    gateways: int = 2
    workers: int = 2
    video: int = 1
    demo: bool = False
    crowd: float | None = None
    """Scale of the simulated public, None for none."""


class Market:
    """A running market, as a context manager. EngineError or CannotStart on entry leave nothing running."""

    def __init__(
        self,
        plan: Plan,
        environ: Mapping[str, str] | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.plan = plan
        self._environ = dict(os.environ if environ is None else environ)
        self._report = report
        self._bind = self._environ.get("CHOPHIEN_BIND") or "127.0.0.1"
        self._host = "127.0.0.1" if self._bind in ("0.0.0.0", "::") else self._bind  # noqa: S104
        self.engines = Engines(plan.data_dir, self._environ, report)
        self._keeper: Keeper | None = None
        self._stack = contextlib.ExitStack()

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.plan.port}"

    def pids(self) -> dict[str, int]:
        """Process ids of all that runs now, by name (`postgres`, `web-1` …)."""
        return self.engines.pids() | (self._keeper.pids() if self._keeper else {})

    def environment(self) -> dict[str, str]:
        """CHOPHIEN_* for every process of this market."""
        plan = self.plan
        values = self.engines.environment() | {"CHOPHIEN_PORT": str(plan.port), "CHOPHIEN_BIND": self._bind}
        values.setdefault("CHOPHIEN_PUBLIC_URL", self.url)
        values.setdefault("CHOPHIEN_LIVE_URL", f"ws://{self._host}:{plan.port + 1}")
        if plan.demo:
            values["CHOPHIEN_DEMO"] = "1"
        if self.stand_in:
            secret = hashlib.sha256(f"stand-in {values['CHOPHIEN_SECRET_KEY']}".encode()).hexdigest()
            values |= {
                "CHOPHIEN_STRIPE_KEY": "sk_test_stand_in",
                "CHOPHIEN_STRIPE_WEBHOOK_SECRET": f"whsec_{secret[:32]}",
                "CHOPHIEN_STRIPE_API": f"http://{self._host}:{self.cards_port}",
                # Buyers reach its pages where they reach the market.
                "CHOPHIEN_STAND_IN": f"http://{urlsplit(values['CHOPHIEN_PUBLIC_URL']).hostname}"
                f":{self.cards_port}",
            }
        if self.neighbours:
            # An officer's browser reaches their pages too.
            host = urlsplit(values["CHOPHIEN_PUBLIC_URL"]).hostname
            values["CHOPHIEN_NETWORKS_STAND_IN"] = f"http://{host}:{self.neighbours_port}"
        return values

    @property
    def neighbours(self) -> bool:
        """Whether stand-ins are there for Facebook and YouTube: in the demo, unless a program is given."""
        given = ("CHOPHIEN_FACEBOOK_APP_ID", "CHOPHIEN_YOUTUBE_CLIENT_ID")
        return self.plan.demo and not any(self._environ.get(name) for name in given)

    @property
    def neighbours_port(self) -> int:
        return self.cards_port + self.stand_in

    @property
    def stand_in(self) -> bool:
        """Whether this market pays by card at a stand-in for Stripe: in the demo, unless a key is given."""
        return self.plan.demo and not self._environ.get("CHOPHIEN_STRIPE_KEY")

    @property
    def cards_port(self) -> int:
        return self.plan.port + 3 + max(self.plan.video, 1)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._check()
            with self._step("engines"):
                stack.enter_context(self.engines)
            self._keeper = Keeper(self._report)
            stack.callback(self._keeper.close)
            for program in self._carriers():  # need no database, so they start beside the next step
                self._keeper.start(program)
            with self._step("schema and seed"):
                self._run_once("prepare", *(["--demo"] if self.plan.demo else []))
            with self._step("processes"):
                self._leave_runtime(stack)
                for program in self._deciders():
                    self._keeper.start(program)
                self._wait_until_served()
            if self.plan.demo and self.plan.video:
                self._keeper.start(self._python("orchard", "catalog_seed.orchard", "--url", self.url))
            if self.plan.crowd is not None:
                self._keeper.start(self._crowd(self.plan.crowd))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # Steps of the start

    def _check(self) -> None:
        """Processes of ours share ports (SO_REUSEPORT), so a second market would silently join the first."""
        if self.plan.web < 1:
            raise CannotStart("At least one web process is needed (--web 1).")
        if self.plan.video > MOST_VIDEO:
            raise CannotStart(f"At most {MOST_VIDEO} video processes are possible (--video {MOST_VIDEO}).")
        end = time.monotonic() + LEFTOVERS
        while taken := [port for port in self.ports() if not port_is_free(port, self._bind)]:
            if holder(self.engines.folder.path) is not None:
                return  # the folder is in use, which the engines say better
            if time.monotonic() < end:
                time.sleep(0.1)
                continue
            raise CannotStart(
                f"Port {', '.join(map(str, taken))} is taken by another program. A market on port "
                f"{self.plan.port} needs {self.plan.port} to {max(self.ports())}: choose another --port, "
                "or stop that program."
            )

    def ports(self) -> list[int]:
        """web, gateways, RTMP, then one for each video process, and in the demo the stand-ins."""
        return list(range(self.plan.port, self.neighbours_port + self.neighbours))

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._report(f"{name} ready ({time.monotonic() - began:.1f} s)")

    def _run_once(self, *command: str) -> None:
        """A command of ours as a process, so that what it imports does not stay in this one's memory."""
        assert self._keeper is not None
        name = command[0]
        self._keeper.start(self._program(name, *command, log=False, restart=False))
        began = time.monotonic()
        while (code := self._keeper.wait(name, TELL_EVERY)) is None:
            self._report(f"waiting for {name} ({time.monotonic() - began:.0f} s)")
        if code != 0:
            raise CannotStart(f"chophien {' '.join(command)} failed, see above.")

    def _leave_runtime(self, stack: contextlib.ExitStack) -> None:
        path = self.engines.folder.path / RUNTIME
        write_private(path, self.environment())
        stack.callback(path.unlink, missing_ok=True)

    def _carriers(self) -> Iterator[Program]:
        for number in range(1, self.plan.gateways + 1):
            yield self._program(f"gateway-{number}", "gateway")
        for number in range(self.plan.video):
            yield self._program(f"video-{number + 1}", "video", "--index", str(number))

    def _deciders(self) -> Iterator[Program]:
        for kind, count in (("web", self.plan.web), ("worker", self.plan.workers)):
            for number in range(1, count + 1):
                yield self._program(f"{kind}-{number}", kind)
        if self.stand_in:
            yield self._stand_in()
        if self.neighbours:
            yield self._neighbours()

    def _stand_in(self) -> Program:
        """What happened there outlives it in a file."""
        arguments = {
            "--host": self._bind,
            "--port": str(self.cards_port),
            "--market": self.url,
            "--file": str(self.engines.folder.path / "cards.json"),
        }
        pairs = [part for pair in arguments.items() for part in pair]
        return self._python("cards", "commerce.payments.simulator", *pairs)

    def _neighbours(self) -> Program:
        file = self.engines.folder.path / "neighbours.json"
        pairs = ["--host", self._bind, "--port", str(self.neighbours_port), "--file", str(file)]
        return self._python("neighbours", "catalog_seed.neighbours", *pairs)

    def _program(self, name: str, *command: str, log: bool = True, restart: bool = True) -> Program:
        return self._python(name, "commerce.cli", *command, log=log, restart=restart)

    def _crowd(self, scale: float) -> Program:
        return self._python("crowd", "catalog_seed.crowd", "--url", self.url, "--crowd", str(scale))

    def _python(
        self, name: str, module: str, *arguments: str, log: bool = True, restart: bool = True
    ) -> Program:
        folder = self.engines.folder
        return Program(
            name=name,
            command=lambda: [sys.executable, "-m", module, *arguments],
            log=folder.logs / f"{name}.log" if log else None,
            environ=self._environ | self.environment(),
            restart=restart,
            patience=DRAIN,
            hold=folder.held,
        )

    def _wait_until_served(self) -> None:
        """Until /readyz really says yes and a gateway accepts; tells who is missing meanwhile."""
        began = told = time.monotonic()
        while missing := self._missing():
            self._give_up_on_broken()
            now = time.monotonic()
            if now - told >= TELL_EVERY:
                told = now
                self._report(f"waiting for {missing} ({now - began:.0f} s)")
            time.sleep(0.05)

    def _missing(self) -> str:
        """What does not serve yet, in words; empty when everything does."""
        status, body = get(self.url + "/readyz")
        if status is None:
            return "web"
        if status != 200:
            return f"web (/readyz says {status}: {body[:300]})"
        if self.plan.gateways and not accepts(self._host, self.plan.port + 1):
            return "gateway"
        if self.stand_in and not accepts(self._host, self.cards_port):
            return "cards"
        return ""

    def _give_up_on_broken(self) -> None:
        assert self._keeper is not None
        for program in (*self._carriers(), *self._deciders()):
            if program.log is not None and self._keeper.deaths(program.name) >= TRIES:
                raise EngineFailed(program.name, program.log, last_lines(program.log, 20))


def get(url: str, timeout: float = 5.0) -> tuple[int | None, str]:
    """Status and text of a page, (None, "") when nobody answers."""
    host = url.split("/")[2]
    try:
        with contextlib.closing(http.client.HTTPConnection(host, timeout=timeout)) as link:
            link.request("GET", "/" + url.split("/", 3)[3])
            response = link.getresponse()
            return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None, ""


def accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP leave the block in order, once; more of them do not disturb the order."""
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        for each in wanted:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    before = {number: signal.signal(number, stop) for number in wanted}
    try:
        yield
    except Stopped:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
