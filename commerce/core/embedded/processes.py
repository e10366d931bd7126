"""Keeps programs running: starts them, restarts the ones that die, stops them in order.

One thread, the keeper, starts every program. That is not taste: the kernel's "tell the child when its parent
dies" follows the *thread* that forked, so a program started from a short-lived thread would be killed when
that thread ends. The keeper lives until every program has stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

LAUNCHER = str(Path(__file__).with_name("launch.py"))
POLL = 0.05  # seconds between looks at the programs; also the granularity of a restart
FIRST_WAIT = 0.1  # seconds before a restart; doubled each time, so that a broken program does not spin,
LONGEST_WAIT = 10.0  # up to this
KILLED_WITHIN = 3.0  # seconds even the kernel may need to end a program that hangs on a disk
STEADY = 10.0  # seconds alive after which a death is a new story and the back-off starts again
NOT_RUN = 127  # the exit code of a program that could not be run at all, as in shells
LOG_LIMIT = 20_000_000  # bytes; a larger log is set aside as .1 at the next start

Report = Callable[[str], None]


@dataclass(slots=True)
class Program:
    """What to run. `command` is asked again at each start, so it may look at its folder first."""

    name: str
    command: Callable[[], Sequence[str]]
    log: Path | None
    """None: what it writes is for the person at the terminal (standard error)."""
    environ: Mapping[str, str]
    cwd: Path | None = None
    user: tuple[int, int] | None = None
    """(uid, gid) to become, when we are root and the program must not be."""
    restart: bool = True
    """False for a step that does its work and ends, see `Keeper.wait`."""
    stop_signal: int = signal.SIGTERM
    patience: float = 5.0
    """Seconds it gets to end by itself once asked; then it is made to."""
    death_signal: int = signal.SIGKILL
    """Sent by the kernel when we die. SIGKILL cannot be ignored, so it is the default."""
    hold: Sequence[int] = ()
    """File descriptors it inherits and so keeps open while it lives (locks)."""


@dataclass(slots=True)
class _Running:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    starts: int = 0
    wait: float = FIRST_WAIT
    next_start: float = 0.0
    wanted: bool = True
    kill_at: float | None = None
    last_exit: int | None = None
    idle: threading.Event = field(default_factory=threading.Event)


class Keeper:
    """Runs programs until `stop`. Thread-safe."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._programs: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._thread.start()

    def start(self, program: Program) -> None:
        """Have `program` started now and kept running."""
        with self._lock:
            self._programs[program.name] = _Running(program)
        self._wake.set()

    def pid(self, name: str) -> int | None:
        """Process id of a running program, None while it is down."""
        with self._lock:
            running = self._programs.get(name)
            if running is None or running.process is None or running.process.returncode is not None:
                return None
            return running.process.pid

    def pids(self) -> dict[str, int]:
        return {name: pid for name in list(self._programs) if (pid := self.pid(name)) is not None}

    def deaths(self, name: str) -> int:
        """How often a program has ended by itself."""
        with self._lock:
            running = self._programs[name]
            return running.starts - (1 if running.process is not None else 0)

    def wait(self, name: str, timeout: float) -> int | None:
        """Exit code of a program that is not restarted, None if it still runs after `timeout` seconds."""
        running = self._programs[name]
        return running.last_exit if running.idle.wait(timeout) else None

    def stop(self, names: Iterable[str]) -> None:
        """Ask the programs to end, all at once; make those that do not. Returns when they are gone."""
        with self._lock:
            chosen = [self._programs[name] for name in names if name in self._programs]
            for running in chosen:
                running.wanted = False
                running.kill_at = time.monotonic() + running.program.patience
                _send(running, running.program.stop_signal)
        self._wake.set()
        for running in chosen:
            running.idle.wait(running.program.patience + KILLED_WITHIN)
        with self._lock:
            for running in chosen:
                if self._programs.get(running.program.name) is running:
                    del self._programs[running.program.name]

    def close(self) -> None:
        """Stop whatever is left and end the keeper's thread."""
        self.stop(list(self._programs))
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._closing:
            with self._lock:
                for running in self._programs.values():
                    self._look_after(running)
            self._wake.wait(POLL)
            self._wake.clear()

    def _look_after(self, running: _Running) -> None:
        now = time.monotonic()
        if running.process is not None:
            if running.process.poll() is None:
                if running.kill_at is not None and now >= running.kill_at:
                    self._report(f"{running.program.name} did not end in time and is killed")
                    running.kill_at = None
                    _send(running, signal.SIGKILL)
                return
            running.last_exit = running.process.returncode
            running.process = None
            self._plan_restart(running, now)
        if not running.wanted or (running.starts and not running.program.restart):
            running.idle.set()
        elif now >= running.next_start:
            try:
                _spawn(running, now)
            except Exception as error:  # a full disk, say: counts as a death, the keeper itself goes on
                self._report(f"{running.program.name} cannot be run: {error}")
                running.last_exit = NOT_RUN
                self._plan_restart(running, now)

    def _plan_restart(self, running: _Running, now: float) -> None:
        if not running.wanted or not running.program.restart:
            return
        if now - running.started_at > STEADY:
            running.wait = FIRST_WAIT
        running.next_start = now + running.wait
        log = f" (log: {running.program.log})" if running.program.log else ""
        how = describe_exit(running.last_exit)
        self._report(f"{running.program.name} {how}, starting it again in {running.wait:.1f} s{log}")
        running.wait = min(running.wait * 2, LONGEST_WAIT)


def _spawn(running: _Running, now: float) -> None:
    program = running.program
    user = "-" if program.user is None else f"{program.user[0]}:{program.user[1]}"
    launcher = [sys.executable, "-I", "-S", LAUNCHER, str(os.getpid()), str(int(program.death_signal)), user]
    running.started_at = now
    running.starts += 1
    with open_log(program.log) if program.log else os.fdopen(os.dup(2), "wb") as log:
        running.process = subprocess.Popen(
            [*launcher, *program.command()],
            cwd=program.cwd,
            env=dict(program.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=tuple(program.hold),
            start_new_session=True,  # Ctrl-C in a terminal is for us: we stop the programs in order
        )


def open_log(path: Path) -> BinaryIO:
    """Open a log for appending, readable by us alone; a very long one is set aside first."""
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_name(path.name + ".1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def last_lines(log: Path, count: int = 8) -> str:
    """The end of a log, for the message that says why a program does not start."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
    except OSError as error:
        return str(error)


def _send(running: _Running, number: int) -> None:
    if running.process is not None and running.process.poll() is None:
        running.process.send_signal(number)


def describe_exit(code: int | None) -> str:
    """In words: "was killed (SIGKILL)", "ended (exit code 3)"."""
    if code is not None and code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    return f"ended (exit code {code})"
