"""The engines on real processes: start, safety, restart, and that nothing ever outlives its holder."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import boto3
import httpx
import pytest
import valkey
from botocore.config import Config

from commerce.core.embedded import (
    DataFolder,
    EngineError,
    EngineFailed,
    Engines,
    FolderInUse,
    FolderUnusable,
    temporary_folder,
)
from commerce.core.embedded.folder import holder
from commerce.core.embedded.processes import Keeper, Program
from tests.core.processes import alive, eventually, listeners

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as path:
        yield path


# Small doors to each engine


def sql(url: str, statement: str) -> Any:
    async def ask() -> Any:
        link = await asyncpg.connect(url, timeout=5)
        try:
            return await link.fetchval(statement)
        finally:
            await link.close()

    return asyncio.run(ask())


def wire(environ: dict[str, str]) -> valkey.Valkey:
    return valkey.Valkey.from_url(environ["CHOPHIEN_VALKEY_URL"], socket_timeout=5)


def bucket(environ: dict[str, str]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=environ["CHOPHIEN_S3_ENDPOINT"],
        aws_access_key_id=environ["CHOPHIEN_S3_ACCESS_KEY"],
        aws_secret_access_key=environ["CHOPHIEN_S3_SECRET_KEY"],
        region_name="us-east-1",
        config=Config(connect_timeout=2, read_timeout=5, retries={"max_attempts": 0}),
    )


def write_everywhere(environ: dict[str, str], value: str) -> None:
    sql(environ["CHOPHIEN_DATABASE_URL"], "CREATE TABLE IF NOT EXISTS kept (value text)")
    sql(environ["CHOPHIEN_DATABASE_URL"], f"INSERT INTO kept VALUES ('{value}')")
    wire(environ).rpush("kept", value)
    bucket(environ).put_object(Bucket=environ["CHOPHIEN_S3_BUCKET"], Key=value, Body=value.encode() * 5000)


def read_everywhere(environ: dict[str, str], value: str) -> tuple[int, bool, bool]:
    """How often PostgreSQL holds it, whether Valkey does, whether S3 gives it back unharmed."""
    rows = sql(environ["CHOPHIEN_DATABASE_URL"], f"SELECT count(*) FROM kept WHERE value = '{value}'")
    listed = value.encode() in wire(environ).lrange("kept", 0, -1)  # type: ignore[operator]
    body = bucket(environ).get_object(Bucket=environ["CHOPHIEN_S3_BUCKET"], Key=value)["Body"].read()
    return rows, listed, body == value.encode() * 5000


KEPT = (1, True, True)


# Open to nobody else


def test_engines_are_closed_to_others(engines: Engines) -> None:
    environ = engines.environment()
    database = environ["CHOPHIEN_DATABASE_URL"]
    assert sql(database, "SELECT current_setting('is_superuser')") == "off"
    assert sql(database, "SHOW synchronous_commit") == "on"
    without = database.replace(database.split("@")[0], "postgresql://chophien:wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        sql(without, "SELECT 1")
    with pytest.raises(valkey.exceptions.AuthenticationError):
        valkey.Valkey(port=wire(environ).get_connection_kwargs()["port"]).ping()
    anonymous = httpx.put(
        f"{environ['CHOPHIEN_S3_ENDPOINT']}/{environ['CHOPHIEN_S3_BUCKET']}/x", content=b"x"
    )
    assert anonymous.status_code == 403
    assert {host for pid in engines.pids().values() for host, _ in listeners(pid)} == {"127.0.0.1"}


def test_secrets_are_private_and_not_on_command_lines(engines: Engines) -> None:
    secrets = engines.folder.path / "secrets.json"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    values = json.loads(secrets.read_text()).values()
    assert len(set(values)) == len(values)
    for pid in engines.pids().values():
        line = Path(f"/proc/{pid}/cmdline").read_text()
        assert not [value for value in values if value in line]


def test_postgresql_never_runs_as_root(engines: Engines) -> None:
    status = Path(f"/proc/{engines.pids()['postgres']}/status").read_text()
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    assert "0" not in uids


def test_no_engine_is_started_when_others_are_named(engines: Engines, folder: Path) -> None:
    given = engines.environment()
    with Engines(folder, environ=given) as ours:
        assert ours.pids() == {}
        assert ours.environment() == given | {"CHOPHIEN_DATA_DIR": str(folder)}


def test_one_outside_engine_leaves_the_other_two_to_us(engines: Engines, folder: Path) -> None:
    outside = engines.environment()["CHOPHIEN_VALKEY_URL"]
    with Engines(folder, environ={"CHOPHIEN_VALKEY_URL": outside}) as ours:
        assert set(ours.pids()) == {"postgres", "s3"}
        assert ours.environment()["CHOPHIEN_VALKEY_URL"] == outside


# One folder, one instance


def test_a_folder_in_use_is_named_with_its_user(engines: Engines) -> None:
    with pytest.raises(FolderInUse) as refused, Engines(engines.folder.path, environ={}):
        pass
    assert str(engines.folder.path) in str(refused.value)
    assert f"process {os.getpid()}" in str(refused.value)
    assert sql(engines.environment()["CHOPHIEN_DATABASE_URL"], "SELECT 1") == 1


def test_unusable_folders_are_told_apart(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(FolderUnusable, match="file"):
        DataFolder(folder / "file")
    (folder / "secrets.json").write_text("{")
    with pytest.raises(FolderUnusable, match=r"secrets\.json"), Engines(folder, environ={}):
        pass
    assert holder(folder) is None


def test_an_engine_that_cannot_start_says_why_and_leaves_nothing(folder: Path, engines: Engines) -> None:
    environ = {"CHOPHIEN_S3_ENDPOINT": engines.environment()["CHOPHIEN_S3_ENDPOINT"]}
    with Engines(folder, environ) as running:
        before = running.pids()
    (folder / "postgres" / "cluster" / "global" / "pg_control").unlink()
    with pytest.raises(EngineFailed, match="pg_control"), Engines(folder, environ):
        pass
    assert not [pid for pid in before.values() if alive(pid)]
    assert holder(folder) is None
    assert not DataFolder(folder)._engines_lock
    DataFolder(folder).lock(lambda line: pytest.fail(line))  # nobody of that start still holds it


# Data stays


def test_two_folders_side_by_side_and_a_taken_port(folder: Path) -> None:
    with temporary_folder() as other:
        with Engines(folder, environ={}) as one, Engines(other, environ={}) as two:
            write_everywhere(one.environment(), "one")
            write_everywhere(two.environment(), "two")
            assert (
                sql(two.environment()["CHOPHIEN_DATABASE_URL"], "SELECT string_agg(value, ',') FROM kept")
                == "two"
            )
            first = one.environment()
        ports = json.loads((folder / "ports.json").read_text())
        with socket.socket() as squatter:
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            squatter.bind(("127.0.0.1", ports["postgres"]))
            squatter.listen()
            with Engines(folder, environ={}) as moved:
                assert moved.environment()["CHOPHIEN_DATABASE_URL"] != first["CHOPHIEN_DATABASE_URL"]
                assert read_everywhere(moved.environment(), "one") == KEPT


def test_killed_engines_come_back_on_the_same_port_with_their_data(folder: Path) -> None:
    said: list[str] = []
    with Engines(folder, environ={}, report=said.append) as engines:
        environ = engines.environment()
        write_everywhere(environ, "before")
        for name in ("postgres", "valkey", "s3"):
            pid = engines.pids()[name]
            os.kill(pid, signal.SIGKILL)
            eventually(lambda n=name, p=pid: engines.pids().get(n, p) != p)  # type: ignore[misc]
        eventually(lambda: read_everywhere(environ, "before") == KEPT, within=20)
        write_everywhere(environ, "after")
        assert read_everywhere(environ, "after") == KEPT
        assert engines.environment() == environ
    assert [line.split()[0] for line in said if "SIGKILL" in line] == ["postgres", "valkey", "s3"]


HOLDER = """
import sys, time, json
from commerce.core.embedded import Engines
with Engines(sys.argv[1], environ={}) as engines:
    print(json.dumps([engines.environment(), engines.pids()]), flush=True)
    time.sleep(600)
"""


def hold(folder: Path, *prefix: str) -> tuple[subprocess.Popen[bytes], dict[str, str], dict[str, int]]:
    """Engines held by another process: (it, their environment, their pids)."""
    search = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", HOLDER, str(folder)],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": search, "PATH": f"{Path(sys.executable).parent}:{os.defpath}"},
        cwd="/",
    )
    assert process.stdout is not None
    environ, pids = json.loads(process.stdout.readline())
    return process, environ, pids


def test_no_engine_outlives_a_killed_holder_and_nothing_is_lost(folder: Path) -> None:
    process, environ, pids = hold(folder)
    write_everywhere(environ, "kept")
    process.kill()
    process.wait()
    with Engines(folder, environ={}) as again:  # at once: waits for the leftovers by itself
        assert not [name for name, pid in pids.items() if alive(pid)]
        assert again.environment() == environ
        assert read_everywhere(environ, "kept") == KEPT


# Who runs it


def test_as_a_normal_user() -> None:
    """Root runs this as `nobody`; a normal user runs it as itself."""
    with temporary_folder() as folder:
        prefix: list[str] = []
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
            prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            python = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
            if subprocess.run([*prefix, sys.executable, "-c", python], capture_output=True).returncode:
                # Python itself lives where only root may look: lend the right to look, and nothing else.
                prefix += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        process, environ, pids = hold(folder, *prefix)
        try:
            write_everywhere(environ, "kept")
            assert read_everywhere(environ, "kept") == KEPT
            assert 0 not in {Path(f"/proc/{pid}").stat().st_uid for pid in pids.values()}
            assert not list((folder / "postgres").glob("binaries-*"))  # no copy where none is needed
        finally:
            process.terminate()
            process.wait()
            eventually(lambda: not [pid for pid in pids.values() if alive(pid)])


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that only its owner may enter, as /root is, and an umask that keeps new ones so."""
    path = Path(tempfile.mkdtemp(prefix="chophien-"))
    before = os.umask(0o077)
    yield path
    os.umask(before)
    home = path / "market" / "postgres"
    if home.is_symlink():
        shutil.rmtree(home.readlink(), ignore_errors=True)
    shutil.rmtree(path)


def test_in_a_folder_that_is_closed_to_others(closed: Path) -> None:
    """PostgreSQL's own user cannot get in, so root's PostgreSQL keeps its files elsewhere."""
    folder = closed / "market"
    with Engines(folder, {}, only=["postgres"]) as engines:
        url = engines.environment()["CHOPHIEN_DATABASE_URL"]
        sql(url, "CREATE TABLE kept AS SELECT 1 AS value")
    with Engines(folder, {}, only=["postgres"]):
        assert sql(url, "SELECT value FROM kept") == 1
    home = folder / "postgres"
    assert home.is_symlink() == (os.geteuid() == 0)
    if home.is_symlink():
        shutil.rmtree(home.readlink())
        with pytest.raises(EngineError, match="not there any more"), Engines(folder, {}, only=["postgres"]):
            pass


def test_a_strict_umask_keeps_nobody_out_of_its_own_folder(closed: Path) -> None:
    closed.chmod(0o711)
    with Engines(closed / "market", {}, only=["postgres"]) as engines:
        assert sql(engines.environment()["CHOPHIEN_DATABASE_URL"], "SELECT 1") == 1
    assert not (closed / "market" / "postgres").is_symlink()


# The keeper of processes


def program(folder: Path, *command: str, **options: Any) -> Program:
    return Program("it", lambda: list(command), folder / "it.log", dict(os.environ), **options)


@pytest.fixture
def keeper() -> Iterator[tuple[Keeper, list[str]]]:
    said: list[str] = []
    made = Keeper(said.append)
    yield made, said
    made.close()


def test_a_broken_program_is_retried_ever_more_slowly(folder: Path, keeper: tuple[Keeper, list[str]]) -> None:
    keep, said = keeper
    keep.start(program(folder, "/bin/sh", "-c", "echo broken; exit 3"))
    eventually(lambda: len(said) >= 4)
    assert all("it ended (exit code 3)" in line for line in said)
    assert [line.split(" in ")[1].split(" s")[0] for line in said[:4]] == ["0.1", "0.2", "0.4", "0.8"]
    assert (folder / "it.log").read_text().startswith("broken\nbroken\n")


def test_a_program_that_cannot_be_run_is_a_death_too(folder: Path, keeper: tuple[Keeper, list[str]]) -> None:
    keep, said = keeper
    keep.start(program(folder, "/bin/true", cwd=folder / "nowhere"))
    eventually(lambda: len(said) >= 4)
    assert "nowhere" in said[0]
    assert "exit code 127" in said[1]
    keep.start(Program("works", lambda: ["/bin/sleep", "9"], folder / "works.log", {}))
    eventually(lambda: keep.pid("works"))


def test_a_program_that_does_not_listen_is_made_to_end(
    folder: Path, keeper: tuple[Keeper, list[str]]
) -> None:
    keep, _ = keeper
    keep.start(
        program(folder, "/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done", patience=0.3)
    )
    eventually(lambda: (folder / "it.log").exists() and (folder / "it.log").read_text() == "up\n")
    pid = keep.pid("it")
    assert pid is not None
    began = time.monotonic()
    keep.stop(["it"])
    assert 0.3 <= time.monotonic() - began < 2
    assert not alive(pid)


def test_a_program_asked_for_by_a_thread_outlives_the_thread(
    folder: Path, keeper: tuple[Keeper, list[str]]
) -> None:
    keep, said = keeper
    asking = threading.Thread(target=lambda: keep.start(program(folder, "/bin/sleep", "60")))
    asking.start()
    asking.join()
    pid = eventually(lambda: keep.pid("it"))
    assert pid is not None
    time.sleep(0.3)
    assert alive(pid)
    assert said == []


ORPHANS = """
import sys, os, time
from pathlib import Path
from commerce.core.embedded.processes import Keeper, Program
keeper = Keeper(print)
log, number = Path(sys.argv[1], "log"), int(sys.argv[2])
keeper.start(Program("it", lambda: ["/bin/sleep", "60"], log, {}, death_signal=number))
while keeper.pid("it") is None: time.sleep(0.02)
while not os.readlink(f"/proc/{keeper.pid('it')}/exe").endswith("sleep"): time.sleep(0.02)
print(keeper.pid("it"), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(("death_signal", "stays"), [(9, False), (0, True)])
def test_the_kernel_ends_what_a_killed_holder_started(folder: Path, death_signal: int, stays: bool) -> None:
    """With the guard, and without it: then the orphan must stay, or the first half would prove nothing."""
    done = subprocess.run(
        [sys.executable, "-c", ORPHANS, str(folder), str(death_signal)],
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    pid = int(done.stdout)
    if stays:
        time.sleep(0.5)
        assert alive(pid)
        os.kill(pid, signal.SIGKILL)
    else:
        eventually(lambda: not alive(pid))
