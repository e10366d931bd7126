"""`chophien up` as its users meet it: one process on one machine, and whatever happens to it or its parts."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from commerce.core.embedded import temporary_folder
from commerce.core.embedded.folder import port_is_free
from tests.core.processes import alive, children, eventually

ROOT = Path(__file__).parents[2]
PARTS = ("web", "gateway", "worker", "video", "postgres", "valkey-server", "weed")


def chophien(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=clean() | environ, timeout=120
    )


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "commerce.cli", *arguments]


def clean() -> dict[str, str]:
    """The environment without any market in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CHOPHIEN_")} | {
        "PYTHONPATH": str(ROOT)
    }


class Up:
    """A running `chophien up`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.url = folder, port, f"http://127.0.0.1:{port}"
        sizes = ("--web", "1", "--gateways", "1", "--workers", "1", "--video", "1")
        self.process = subprocess.Popen(
            command("up", "--data-dir", str(folder), "--port", str(port), *sizes),
            stdout=subprocess.PIPE,
            env=clean(),
            text=True,
        )

    def wait_ready(self) -> str:
        """Its first line on standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def part(self, name: str) -> int:
        """Process id of one part."""
        pattern = re.compile(rf"commerce\.cli {name}\b|/{name}( |$)")
        found: list[int] = []

        def is_one() -> bool:
            # PostgreSQL's own children have other command lines ("postgres: checkpointer"), but not at once
            found[:] = [pid for pid, line in children(self.process.pid).items() if pattern.search(line)]
            return len(found) == 1

        eventually(is_one)
        return found[0]

    def parts(self) -> dict[str, int]:
        return {name: self.part(name) for name in PARTS}

    def serves(self) -> bool:
        return httpx.get(self.url + "/readyz", timeout=5).status_code == 200

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with temporary_folder() as path:
        yield path


@pytest.fixture(scope="module")
def port() -> int:
    """Five free ports in a row."""
    return next(
        start
        for start in range(21_400, 22_400, 10)
        if all(port_is_free(start + offset) for offset in range(5))
    )


@pytest.fixture(scope="module")
def up(folder: Path, port: int) -> Iterator[Up]:
    """One market for all tests of this file; the last of them replaces it by a second one."""
    running = Up(folder, port)
    assert running.wait_ready() == f"ready {running.url}"
    yield running
    if running.process.poll() is None:
        running.end()


def test_ready_means_served(up: Up) -> None:
    assert up.serves()
    assert len(httpx.get(up.url + "/api/v1/communes").json()) == 102
    socket.create_connection(("127.0.0.1", up.port + 1), timeout=2).close()


def test_the_running_market_is_described_to_us_alone(up: Up) -> None:
    runtime = up.folder / "runtime.json"
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o600
    values = json.loads(runtime.read_text())
    assert values["CHOPHIEN_PUBLIC_URL"] == up.url
    assert values["CHOPHIEN_LIVE_URL"] == f"ws://127.0.0.1:{up.port + 1}"
    for pid in (up.process.pid, *up.parts().values()):
        assert values["CHOPHIEN_SECRET_KEY"] not in Path(f"/proc/{pid}/cmdline").read_text()


def test_a_second_market_in_the_folder_or_on_the_port_is_refused_in_one_sentence(up: Up) -> None:
    same_folder = chophien("up", "--data-dir", str(up.folder), "--port", str(up.port + 100))
    assert same_folder.returncode == 1
    assert same_folder.stderr.strip().splitlines()[-1] == (
        f"Error: The data folder {up.folder} is in use by process {up.process.pid}. "
        "Stop that one first, or choose another --data-dir."
    )
    with temporary_folder() as other:
        same_port = chophien("up", "--data-dir", str(other), "--port", str(up.port))
    assert same_port.returncode == 1
    assert f"Port {up.port}, " in same_port.stderr
    assert "choose another --port" in same_port.stderr
    assert "Traceback" not in same_port.stderr + same_folder.stderr
    assert up.serves()


def test_accounts_are_opened_in_the_running_market(up: Up) -> None:
    person = ("--phone", "0912345678", "--name", "H'Bia Niê", "--role", "officer", "--commune", "24505")
    added = chophien("user", "add", "--data-dir", str(up.folder), *person)
    assert added.returncode == 0, added.stderr
    answer = httpx.post(
        up.url + "/api/v1/login", json={"phone": "0912345678", "password": added.stdout.strip()}, timeout=10
    )
    assert answer.status_code in (200, 201)
    assert answer.json()["token"]
    again = chophien("user", "add", "--data-dir", str(up.folder), *person)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("Error: ")
    assert "Traceback" not in again.stderr


def test_live_addresses_are_distinct_and_open_the_gateway(up: Up) -> None:
    listed = chophien("live-urls", "EAKNUEC", "--count", "50", "--data-dir", str(up.folder))
    addresses = listed.stdout.split()
    assert len(set(addresses)) == 50
    assert all(each.startswith(f"ws://127.0.0.1:{up.port + 1}/live/EAKNUEC?ticket=") for each in addresses)


def test_doctor_and_backup_find_the_running_market(up: Up, tmp_path: Path) -> None:
    doctor = chophien("doctor", "--data-dir", str(up.folder))
    assert doctor.returncode == 0, doctor.stdout
    assert f"a market runs in {up.folder} (process {up.process.pid})" in doctor.stdout
    assert f"the market serves at {up.url}" in doctor.stdout
    backup = chophien("backup", "--data-dir", str(up.folder), str(tmp_path / "copy"))
    assert backup.returncode == 0, backup.stderr
    assert (tmp_path / "copy" / "manifest.json").exists()
    again = chophien("backup", "--data-dir", str(up.folder), str(tmp_path / "copy"))
    assert again.returncode == 1
    assert (
        again.stderr.splitlines()[-1]
        == f"Error: The folder {tmp_path / 'copy'} is not empty: name a new one."
    )


@pytest.mark.parametrize("name", PARTS)
def test_a_killed_part_comes_back(up: Up, name: str) -> None:
    before = up.parts()
    os.kill(before[name], signal.SIGKILL)
    eventually(lambda: up.part(name) != before[name])
    eventually(up.serves, within=20)
    after = up.parts()
    assert {other for other in PARTS if after[other] != before[other]} == {name}


def test_after_a_killed_supervisor_nothing_stays_and_nothing_is_lost(up: Up) -> None:
    pids = children(up.process.pid)
    assert len(pids) >= len(PARTS)
    up.end(signal.SIGKILL)
    second = Up(up.folder, up.port)
    try:
        assert second.wait_ready() == f"ready {up.url}"
        assert not [line for pid, line in pids.items() if alive(pid)]
        wrong = httpx.post(
            up.url + "/api/v1/login", json={"phone": "0912345678", "password": "x"}, timeout=10
        )
        assert wrong.status_code in (401, 403)
        values = json.loads((up.folder / "runtime.json").read_text())
        assert values["CHOPHIEN_PORT"] == str(up.port)
    finally:
        pids = children(second.process.pid)
        began = time.monotonic()
        assert second.end() == 0
        assert time.monotonic() - began < 10
    assert not [line for pid, line in pids.items() if alive(pid)]
    assert not (up.folder / "runtime.json").exists()


def test_a_start_that_is_interrupted_leaves_nothing(port: int) -> None:
    with temporary_folder() as fresh:
        starting = Up(fresh, port)
        eventually(lambda: children(starting.process.pid))
        time.sleep(0.5)
        pids = children(starting.process.pid)
        starting.end(signal.SIGINT)
        assert starting.wait_ready() == ""
        assert not [line for pid, line in pids.items() if alive(pid)]
