"""The data folder of one market: its lock, its secrets, its ports.

secrets.json   0600  made once: the market's signing key and the passwords of its engines
ports.json           where its engines listened last; kept so that addresses stay the same from run to run
lock                 held by the one instance that works here; its text says who
engines.lock         held by every program of that instance, so a successor waits until the last one is gone
postgres/ valkey/ s3/ logs/
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from commerce.core.embedded.errors import EngineError, FolderInUse, FolderUnusable

# Below the range the kernel takes for outgoing connections (32768 and up on Linux), else a connection of ours
# could sit on a remembered port at the next start.
PORTS = range(23_000, 32_000)


class DataFolder:
    """One data folder, made if it is not there. `lock()` before working in it."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self._lock: int | None = None
        self._engines_lock: int | None = None
        try:
            make_passable(self.path)
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise FolderUnusable(self.path, error.strerror or str(error)) from error
        if not os.access(self.path, os.W_OK):
            raise FolderUnusable(self.path, "it is not writable for this user")

    # --- lock
    # -------------------------------------------------------------------------------------------------

    def lock(self, report: Callable[[str], None]) -> None:
        """Take the folder for this process. Raises FolderInUse at once if a living instance has it.

        If only leftovers of a killed instance are still ending, waits for them: recovery must not start while
        the old PostgreSQL is writing.
        """
        self._lock = _open_lock(self.path / "lock")
        if not _try_lock(self._lock):
            who = _read_holder(self._lock)
            self.unlock()
            raise FolderInUse(self.path, who)
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"process {os.getpid()}".encode(), 0)
        self._engines_lock = _open_lock(self.path / "engines.lock")
        began = time.monotonic()
        told = 0.0
        while not _try_lock(self._engines_lock):
            waited = time.monotonic() - began
            if waited - told >= 2:
                told = waited
                report(f"waiting for programs of a killed instance in {self.path} to end ({waited:.0f} s)")
            time.sleep(0.05)

    @property
    def held(self) -> tuple[int, ...]:
        """The file descriptor that every program started for this folder must inherit."""
        return () if self._engines_lock is None else (self._engines_lock,)

    def unlock(self) -> None:
        for descriptor in (self._engines_lock, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._lock = self._engines_lock = None

    # --- secrets and ports
    # ------------------------------------------------------------------------------------

    def secrets(self) -> dict[str, str]:
        """The folder's secrets; those that are missing are made and stored."""
        path = self.path / "secrets.json"
        kept = read_json(path)
        made = {name: secrets.token_urlsafe(32) for name in SECRETS if name not in kept}
        if made:
            kept |= made
            write_private(path, kept)
        return {name: str(value) for name, value in kept.items()}

    def ports(self, names: Iterable[str]) -> dict[str, int]:
        """A free port for each name: the remembered one if nobody took it, else a new one, remembered."""
        path = self.path / "ports.json"
        kept = {name: int(str(port)) for name, port in read_json(path).items()}
        chosen: dict[str, int] = {}
        for name in names:
            port = kept.get(name)
            if port is None or not port_is_free(port) or port in chosen.values():
                port = pick_port({*kept.values(), *chosen.values()})
            chosen[name] = port
        if any(kept.get(name) != port for name, port in chosen.items()):
            write_private(path, kept | chosen)
        return chosen


def make_passable(path: Path) -> None:
    """Make a folder that others may pass through (PostgreSQL runs as another user when we are root) but
    neither list nor read, whatever the umask says. One that is there stays as it is."""
    if not path.exists():
        path.mkdir(parents=True)
        path.chmod(0o711)


SECRETS = ("secret_key", "postgres_owner", "postgres_superuser", "valkey", "s3_access_key", "s3_secret_key")


def read_json(path: Path) -> dict[str, object]:
    """A JSON object from a file; empty if there is none. Raises FolderUnusable if it is damaged."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FolderUnusable(path.parent, f"{path.name} is not readable ({error})") from error
    if not isinstance(value, dict):
        raise FolderUnusable(path.parent, f"{path.name} does not hold a JSON object")
    return value


def write_private(path: Path, value: object) -> None:
    """Write JSON readable by us alone, all or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def pick_port(avoid: set[int]) -> int:
    """A free port at random, so that markets that start at the same moment rarely meet."""
    for port in random.sample(PORTS, len(PORTS)):  # not a secret
        # SeaweedFS opens a second listener at its admin port + 10,000, hence the second look.
        if port not in avoid and port_is_free(port) and port_is_free(port + 10_000):
            return port
    raise EngineError(f"No port is free between {PORTS.start} and {PORTS.stop}: end other programs.")


def holder(path: Path) -> str | None:
    """Who works in a data folder ("process 123"), None if nobody does."""
    try:
        descriptor = os.open(path / "lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FolderUnusable(path, f"lock: {error.strerror}") from error
    try:
        return None if _try_lock(descriptor) else _read_holder(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A data folder that is gone afterwards, for benches and tests."""
    path = Path(tempfile.mkdtemp(prefix="chophien-"))
    path.chmod(0o711)  # as in DataFolder
    try:
        yield path
    finally:
        home = path / "postgres"
        if home.is_symlink():
            shutil.rmtree(home.readlink(), ignore_errors=True)
        shutil.rmtree(path, ignore_errors=True)


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise FolderUnusable(path.parent, f"{path.name}: {error.strerror}") from error


def _read_holder(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another instance"


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
