"""`chophien doctor`: what is missing or wrong on this machine, in plain words, and how to mend each.

Every check is a function that yields findings: "ok", "note" (something will be missing, the market runs) or
"wrong" (the market, or this data folder, will not run).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from commerce.core.embedded import EngineError, Engines, FolderUnusable, temporary_folder
from commerce.core.embedded.folder import holder, port_is_free, read_json
from commerce.core.embedded.postgres import bin_folder
from commerce.core.embedded.seaweedfs import find_weed
from commerce.core.embedded.valkey import find_server
from commerce.core.reach import running_environment
from commerce.core.settings import Settings, SettingsError
from commerce.core.supervisor import CannotStart, get

ROOT = Path(__file__).parents[2]
PYTHON = (3, 11)
FILES_GOOD, FILES_LEAST = 20_000, 1_024  # open files: a gateway holds one viewer for each
# MB free: recordings take 350 MB an hour; under the least PostgreSQL may stop
DISK_GOOD, DISK_LEAST = 5_000, 500
MEMORY_GOOD = 1_000  # MB
CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    state: State
    what: str
    mend: str = ""


def examine(data_dir: Path, port: int, environ: Mapping[str, str]) -> Iterator[Finding]:
    """All findings, one after another as they are made (the engines' test takes a few seconds)."""
    yield from check_python()
    yield from check_packages(ROOT / "requirements.txt")
    yield from check_front_end(ROOT / "templates")
    yield from check_limits()
    running = yield from check_folder(data_dir)
    if running:
        yield from check_running(data_dir)
    else:
        yield from check_ports(port, environ.get("CHOPHIEN_BIND") or "127.0.0.1")
        yield from check_engines(environ)
    yield from check_browser(environ)


def check_python() -> Iterator[Finding]:
    here = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= PYTHON:
        yield Finding("ok", f"Python {here}")
    else:
        yield Finding("wrong", f"Python {here} is too old", "Install Python 3.11 or newer, then: make demo")


def check_packages(pinned: Path) -> Iterator[Finding]:
    """The packages of this environment against the pinned versions."""
    mend = "Run: make demo (or: pip install --require-hashes -r requirements.txt)"
    if not pinned.exists():
        yield Finding(
            "note", "requirements.txt is not here, so packages were not compared", "Use a full checkout"
        )
        return
    wanted: dict[str, set[str]] = {}  # a package may be pinned once for each version of Python
    optional: set[str] = set()
    pattern = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)([^\\\n]*)", re.MULTILINE)
    for name, number, condition in pattern.findall(pinned.read_text()):
        wanted.setdefault(name, set()).add(number)
        if ";" in condition:
            optional.add(name)
    found = {name: _version(name) for name in wanted}
    missing = [name for name in wanted if found[name] is None and name not in optional]
    other = [f"{name} {found[name]}" for name in wanted if found[name] and found[name] not in wanted[name]]
    if missing:
        yield Finding("wrong", f"packages are missing: {', '.join(missing)}", mend)
    if other:
        yield Finding("note", f"packages have other versions than were tested: {', '.join(other)}", mend)
    if not missing and not other:
        yield Finding("ok", f"{len(wanted)} packages as pinned")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_front_end(templates: Path) -> Iterator[Finding]:
    wanted = json.loads((templates / "vendor.json").read_text())
    missing = [name for name in wanted if not (templates / "static" / "vendor" / name).exists()]
    if missing:
        yield Finding("wrong", f"front-end files are missing: {', '.join(missing)}", "Run: make assets")
    else:
        yield Finding("ok", f"{len(wanted)} front-end files")


def check_limits() -> Iterator[Finding]:
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    mend = "Raise it: ulimit -Hn 65536 as root, or LimitNOFILE=65536 in the service"
    if files == resource.RLIM_INFINITY or files >= FILES_GOOD:
        yield Finding("ok", f"open files: {files} a process")
    elif files >= FILES_LEAST:
        yield Finding(
            "note", f"open files: {files} a process, so a gateway holds about {files - 300} viewers", mend
        )
    else:
        yield Finding("wrong", f"open files: only {files} a process", mend)
    with contextlib.suppress(OSError, StopIteration, ValueError):  # /proc is Linux only
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) // 1024
        if free < MEMORY_GOOD:
            yield Finding(
                "note", f"memory: {free} MB free", f"The market wants {MEMORY_GOOD} MB: end other programs"
            )
        else:
            yield Finding("ok", f"memory: {free} MB free")


def check_folder(data_dir: Path) -> Generator[Finding, None, bool]:
    """Findings about the data folder; returns whether a market runs in it. Makes nothing."""
    path = data_dir.absolute()
    there = next(each for each in (path, *path.parents) if each.exists())
    mend = "Give it to this user, or choose another --data-dir"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield Finding("wrong", f"{there} is not a folder that this user may write", mend)
        return False
    free = shutil.disk_usage(there).free // 1_000_000
    state: State = "ok" if free >= DISK_GOOD else "note" if free >= DISK_LEAST else "wrong"
    yield Finding(state, f"disk of {path}: {free:,} MB free", "" if state == "ok" else "Make room there")
    secrets = path / "secrets.json"
    try:
        who = holder(path)
        read_json(secrets)
    except FolderUnusable as error:
        yield Finding("wrong", str(error), mend)
        return False
    if secrets.exists() and secrets.stat().st_mode & 0o077:
        yield Finding("wrong", f"others may read {secrets}", f"Run: chmod 600 {secrets}")
    if who is not None:
        yield Finding("ok", f"a market runs in {path} ({who})")
        return True
    yield Finding("ok", f"data folder {path}: {'not in use' if there == path else 'can be made'}")
    return False


def check_ports(port: int, host: str) -> Iterator[Finding]:
    taken = [number for number in range(port, port + 4) if not port_is_free(number, host)]
    if taken:
        yield Finding(
            "wrong",
            f"port {', '.join(map(str, taken))} is taken by another program",
            f"End that program (find it: ss -ltnp | grep {taken[0]}), or choose another --port",
        )
    else:
        yield Finding("ok", f"ports {port} to {port + 3} are free")


def check_engines(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Our engines really started in a temporary folder; those named in the environment really asked."""
    for find in (lambda: bin_folder() / "postgres", find_server, lambda: Path(find_weed())):
        yield from _check_binary(find)
    given = {name: value for name, value in environ.items() if name.startswith("CHOPHIEN_")}
    try:
        with temporary_folder() as folder:
            began = time.monotonic()
            with Engines(folder, given) as engines:
                settings = Settings.from_env(engines.environment())
                ours = ", ".join(sorted(engines.pids())) or "none of ours"
                yield Finding("ok", f"engines start: {ours} ({time.monotonic() - began:.1f} s)")
                yield from ask_engines(settings)
    except EngineError as error:
        yield Finding("wrong", str(error), "Run: make demo, to install the engines again")
    except SettingsError as error:
        for fault in error.faults:
            yield Finding("wrong", fault, "Set it, or unset the engine's address to use ours")


def _check_binary(find: Callable[[], Path]) -> Iterator[Finding]:
    try:
        path = find()
        done = subprocess.run([path, "version" if path.name == "weed" else "--version"], capture_output=True)
        if done.returncode == 0:
            yield Finding("ok", done.stdout.decode(errors="replace").splitlines()[0].strip())
        else:
            yield Finding(
                "wrong", f"{path} does not run here: {done.stderr.decode(errors='replace').strip()}", BINARIES
            )
    except (EngineError, OSError) as error:
        yield Finding("wrong", str(error), BINARIES)


BINARIES = "Run: make demo (ready-made engines exist for Linux and macOS); or name servers by CHOPHIEN_*_URL"


def check_running(data_dir: Path) -> Iterator[Finding]:
    try:
        settings = Settings.from_env(running_environment(data_dir))
    except (CannotStart, SettingsError) as error:
        yield Finding("wrong", str(error), "Wait a moment; if it stays, stop the market and start it again")
        return
    yield from ask_engines(settings)
    status, body = get(f"http://{settings.bind}:{settings.port}/readyz")
    logs = settings.data_dir / "logs"
    if status == 200:
        yield Finding("ok", f"the market serves at {settings.public_url}")
        yield from check_background(json.loads(body), f"Look into {logs}, and at /admin")
    else:
        yield Finding("wrong", f"the market does not serve (/readyz: {status} {body})", f"Look into {logs}")


def check_background(readiness: Mapping[str, Any], mend: str) -> Iterator[Finding]:
    """What /readyz says of the workers."""
    seen = readiness["background"] or {"troubles": ["nothing is known of the workers"]}
    for trouble in seen["troubles"]:
        yield Finding("wrong", trouble, mend)
    if not seen["troubles"]:
        late = max(0, round(seen["news_late_s"]))
        told = f"counts told {seen['tick_age_s']:.0f} s ago, {seen['news_waiting']} news wait ({late} s)"
        yield Finding("ok", f"workers: {seen['workers']}, {told}")


def ask_engines(settings: Settings) -> Iterator[Finding]:
    """Each engine asked for something real."""
    for name, ask in (("PostgreSQL", _ask_postgres), ("Valkey", _ask_valkey), ("S3", _ask_s3)):
        try:
            ask(settings)
        except Exception as error:
            what = str(error) or type(error).__name__
            yield Finding(
                "wrong", f"{name} does not answer: {what}", f"Check CHOPHIEN_{ADDRESS[name]} and that server"
            )
        else:
            yield Finding("ok", f"{name} answers")


ADDRESS = {"PostgreSQL": "DATABASE_URL", "Valkey": "VALKEY_URL", "S3": "S3_ENDPOINT, its keys and its bucket"}


def _ask_postgres(settings: Settings) -> None:
    import asyncpg

    async def ask() -> None:
        link = await asyncpg.connect(settings.database_url, timeout=5)
        try:
            number = await link.fetchval("SELECT current_setting('server_version_num')::int")
            if number < 150_000:
                raise EngineError("it is older than PostgreSQL 15")
        finally:
            await link.close()

    asyncio.run(ask())


def _ask_valkey(settings: Settings) -> None:
    import valkey

    with valkey.Valkey.from_url(settings.valkey_url, socket_timeout=5) as client:
        client.ping()


def _ask_s3(settings: Settings) -> None:
    from commerce.core.storage import Storage

    async def ask() -> None:
        storage = Storage(settings)
        await storage.put(".doctor", b"1", "text/plain")
        await storage.delete(".doctor")

    asyncio.run(ask())


def check_browser(environ: Mapping[str, str]) -> Iterator[Finding]:
    named = environ.get("CHOPHIEN_CHROMIUM")
    found = named if named and os.access(named, os.X_OK) else None
    found = found or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found:
        yield Finding("ok", f"Chromium for tests: {found}")
    else:
        yield Finding("note", "no Chromium: make test cannot run its browser tests", "Run: make browser")
