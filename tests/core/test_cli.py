"""The commands of the contract, their options, and what they say when something is wrong."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import click
import pytest
from click.testing import CliRunner, Result

from catalog_seed import demo
from commerce.cli import DEMO_PASSWORD, DEMO_PEOPLE, DEMO_SESSION, main
from commerce.core import doctor
from commerce.core.db import sessions
from commerce.core.embedded import temporary_folder
from commerce.core.embedded.folder import port_is_free
from commerce.core.roles import Role
from tests.orders.market import open_market

SERVING = (
    "demo",
    "up",
    "web",
    "gateway",
    "worker",
    "video",
    "doctor",
    "bench orders",
    "bench viewers",
    "bench pages",
)
OTHERS = ("migrate", "seed", "user add", "live-urls", "stock check", "backup", "restore")


def run(*arguments: str, **environ: str | None) -> Result:
    none = {f"CHOPHIEN_{name}": None for name in ("DATABASE_URL", "VALKEY_URL", "S3_ENDPOINT", "SECRET_KEY")}
    return CliRunner().invoke(main, list(arguments), env=none | environ)


def find(name: str) -> click.Command:
    command: click.Command = main
    for part in name.split():
        assert isinstance(command, click.Group)
        command = command.commands[part]
    return command


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as path:
        yield path


def value(url: str, statement: str) -> Any:
    async def ask() -> Any:
        link = await asyncpg.connect(url)
        try:
            return await link.fetchval(statement)
        finally:
            await link.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("name", [*SERVING, *OTHERS, "openapi"])
def test_every_command_explains_itself(name: str) -> None:
    command = find(name)
    assert command.help
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--data-dir" in options
    assert ("--port" in options) == (name in (*SERVING, "live-urls"))
    assert run(*name.split(), "--help").exit_code == 0


def test_a_process_without_settings_lists_every_one_that_is_missing() -> None:
    for name in ("web", "gateway", "worker", "video"):
        said = run(name, CHOPHIEN_S3_ACCESS_KEY=None, CHOPHIEN_S3_SECRET_KEY=None)
        assert said.exit_code == 1
        for setting in (
            "DATABASE_URL",
            "VALKEY_URL",
            "S3_ENDPOINT",
            "S3_ACCESS_KEY",
            "S3_SECRET_KEY",
            "SECRET_KEY",
        ):
            assert f"CHOPHIEN_{setting} is not set" in said.stderr
        assert "Traceback" not in said.stderr


def test_commands_for_a_running_market_say_when_there_is_none(folder: Path) -> None:
    said = run("live-urls", "EAKNUEC", "--data-dir", str(folder))
    assert said.exit_code == 1
    assert said.stderr == (
        f"Error: No market runs in the data folder {folder}. "
        f"Start one with: chophien up --data-dir {folder}\n"
    )


def test_a_code_that_cannot_be_one_is_refused(environ: dict[str, str]) -> None:
    said = run("live-urls", "EA KNUEC", **environ)
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr == "Error: 'EA KNUEC' is not the code of a live session (letters and digits).\n"


def test_numbers_out_of_range_are_refused() -> None:
    for arguments in (("up", "--port", "0"), ("up", "--web", "-1"), ("live-urls", "X", "--count", "0")):
        said = run(*arguments)
        assert said.exit_code == 2
        assert "is not in the range" in said.stderr
    assert "At least one web process" in run("up", "--web", "0").stderr


def test_the_description_of_the_interface_needs_no_market() -> None:
    description = json.loads(run("openapi").stdout)
    assert description["openapi"].startswith("3.1")
    assert {"/api/v1/communes", "/api/v1/login"} <= set(description["paths"])


def test_prepare_is_idempotent_and_accounts_are_checked(environ: dict[str, str]) -> None:
    count = "SELECT (SELECT count(*) FROM commune) * 1000 + (SELECT count(*) FROM bank)"
    assert run("prepare", **environ).exit_code == 0
    before = value(environ["CHOPHIEN_DATABASE_URL"], count)
    assert before > 102_000
    assert run("prepare", **environ).exit_code == 0
    assert run("migrate", **environ).exit_code == 0
    assert run("seed", **environ).exit_code == 0
    assert value(environ["CHOPHIEN_DATABASE_URL"], count) == before

    def add(phone: str, commune: str) -> Result:
        person = ("--phone", phone, "--name", "H'Bia Niê", "--role", "officer", "--commune", commune)
        return run("user", "add", *person, **environ)

    opened = add("0912345678", "24505")
    assert opened.exit_code == 0
    assert len(opened.stdout.strip()) >= 8
    for refused in (add("0912345678", "24505"), add("12", "24505"), add("0912345679", "99999")):
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert refused.stderr.startswith("Error: ")
        assert len(refused.stderr.splitlines()) == 1
    assert value(environ["CHOPHIEN_DATABASE_URL"], "SELECT count(*) FROM person") == 1


def test_stock_is_rebuilt_from_its_ledger(environ: dict[str, str]) -> None:
    url = environ["CHOPHIEN_DATABASE_URL"]

    async def fill() -> None:
        sessions.configure(url)
        try:
            await open_market(A1=100, A2=7)
        finally:
            await sessions.close()

    asyncio.run(fill())
    said = run("stock", "check", **environ)
    assert (said.exit_code, said.stdout) == (0, "2 balances rebuilt from 2 movements\n")
    grade = value(url, "UPDATE stock SET on_hand = 99 WHERE on_hand = 100 RETURNING grade_id")
    said = run("stock", "check", **environ)
    assert said.exit_code == 1
    assert f"grade {grade}: the balance says 99 on hand, 0 reserved; the ledger says 100 and 0" in said.stdout
    assert "1 balances differ" in said.stderr


def test_an_engine_that_is_gone_is_a_sentence(environ: dict[str, str]) -> None:
    said = run("migrate", **environ | {"CHOPHIEN_DATABASE_URL": "postgresql://a:b@127.0.0.1:9/none"})
    assert said.exit_code == 1
    assert "does not answer" in said.stderr
    assert "Traceback" not in said.stderr


def test_the_demo_logins_that_are_printed_are_those_that_are_made() -> None:
    assert (DEMO_PASSWORD, DEMO_SESSION) == (demo.PASSWORD, demo.SESSION)
    assert {role: one.phone for one in demo.PEOPLE for role in DEMO_PEOPLE if one.role == role} == DEMO_PEOPLE
    assert set(DEMO_PEOPLE) == set(Role)


# doctor


def wrong(findings: Iterator[doctor.Finding]) -> list[str]:
    return [finding.what for finding in findings if finding.state == "wrong"]


def test_doctor_finds_this_machine_fit(folder: Path) -> None:
    port = next(port for port in range(22_400, 23_000) if all(map(port_is_free, range(port, port + 4))))
    said = run("doctor", "--data-dir", str(folder), "--port", str(port))
    assert said.exit_code == 0, said.output
    for part in (
        "Python 3",
        "packages",
        "engines start: postgres, s3, valkey",
        "S3 answers",
        f"ports {port} to {port + 3} are free",
    ):
        assert part in said.stdout
    assert list(folder.iterdir()) == []  # looking changes nothing


def test_doctor_says_what_to_mend(folder: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        (finding,) = doctor.check_ports(port - 1, "127.0.0.1")
        assert finding.what == f"port {port} is taken by another program"
        assert "--port" in finding.mend
    (folder / "secrets.json").write_text("{}")
    (folder / "secrets.json").chmod(0o644)
    assert wrong(doctor.check_folder(folder)) == [f"others may read {folder / 'secrets.json'}"]
    (folder / "secrets.json").write_text("{")
    assert "not readable" in wrong(doctor.check_folder(folder))[0]
    (folder / "file").write_text("")
    assert "is not a folder" in wrong(doctor.check_folder(folder / "file"))[0]
    (folder / "pinned").write_text(
        "click==0.1 \\\n    --hash=sha256:0\nno-such-package==1\nother==2 ; python_version < '3'\n"
    )
    findings = list(doctor.check_packages(folder / "pinned"))
    assert [finding.state for finding in findings] == ["wrong", "note"]
    assert findings[0].what == "packages are missing: no-such-package"
    assert "click" in findings[1].what
    (folder / "vendor.json").write_text('{"htmx.js": {}}')
    assert wrong(doctor.check_front_end(folder)) == ["front-end files are missing: htmx.js"]


def test_doctor_asks_the_engines_that_are_named(environ: dict[str, str]) -> None:
    assert wrong(doctor.check_engines(environ)) == []
    gone = environ | {"CHOPHIEN_VALKEY_URL": "valkey://127.0.0.1:9/0", "CHOPHIEN_S3_SECRET_KEY": "wrong"}
    found = wrong(doctor.check_engines(gone))
    assert [what.split()[0] for what in found] == ["Valkey", "S3"]
    half = {"CHOPHIEN_S3_ENDPOINT": environ["CHOPHIEN_S3_ENDPOINT"]}
    assert wrong(doctor.check_engines(half)) == [
        "CHOPHIEN_S3_ACCESS_KEY is not set",
        "CHOPHIEN_S3_SECRET_KEY is not set",
    ]
