"""compose.yaml in step with the commands and settings it runs. (A container engine is not needed.)"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from commerce.cli import main
from commerce.core.embedded.postgres import SETTINGS
from commerce.core.embedded.seaweedfs import MEMORY
from commerce.core.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "chophien"}
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)([^}]*)\}")


def filled(text: str) -> str:
    """As compose would, with some value for every variable."""
    return VARIABLE.sub("0123456789abcdef0123456789abcdef", text).replace("$$", "$")


def test_every_process_of_the_market_is_there() -> None:
    commands = {service["command"][1] for service in OURS.values()}
    assert commands == {"web", "gateway", "worker", "video", "prepare"}
    assert set(SERVICES) - set(OURS) == {"caddy", "postgres", "valkey", "seaweedfs"}


@pytest.mark.parametrize("name", OURS)
def test_commands_are_commands_of_ours(name: str) -> None:
    program, command, *arguments = OURS[name]["command"]
    assert program == "chophien"
    found = main.commands[command]
    found.make_context(command, arguments)  # raises for an option that does not exist
    with pytest.raises(click.UsageError):
        found.make_context(command, ["--no-such-option"])


@pytest.mark.parametrize("name", OURS)
def test_the_environment_is_one_that_settings_understand(name: str) -> None:
    environ = {key: filled(value) for key, value in OURS[name]["environment"].items()}
    settings = Settings.from_env(environ)  # raises with every fault
    assert settings.production
    sources = [
        path.read_text() for package in ("commerce", "streaming") for path in (ROOT / package).rglob("*.py")
    ]
    for rest in settings.extra:
        assert any(f'"{rest}"' in source for source in sources), f"nobody reads CHOPHIEN_{rest}"


def test_no_variable_has_a_default_and_the_head_names_them_all() -> None:
    found = VARIABLE.findall(TEXT)
    assert len(found) > 10
    assert {rest for _, rest in found} == {":?see the head of compose.yaml"}
    head = TEXT[: TEXT.index("name: chophien")]
    assert set(re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", head)) == {name for name, _ in found}


def test_processes_wait_for_the_schema_and_servers_for_nothing() -> None:
    for name, service in OURS.items():
        waits = {other: how["condition"] for other, how in service["depends_on"].items()}
        if name == "migrate":
            assert waits == dict.fromkeys(("postgres", "valkey", "seaweedfs"), "service_healthy")
        else:
            assert waits == {"migrate": "service_completed_successfully"}
    assert not [name for name in ("postgres", "valkey", "seaweedfs") if "depends_on" in SERVICES[name]]


def test_all_that_can_be_asked_is_asked_for_its_health_and_restarted() -> None:
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == {
        "worker",
        "migrate",
    }
    assert not [name for name, service in SERVICES.items() if service["restart"] == "no"]


def test_only_the_front_door_and_rtmp_are_published() -> None:
    settings = Settings.from_env({key: filled(value) for key, value in OURS["web"]["environment"].items()})
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "caddy": ["80:80", "443:443", "443:443/udp"],
        "video": [f"1935:{settings.rtmp_port}"],
    }
    door = COMPOSE["configs"]["caddyfile"]["content"]
    assert f"dynamic a web {settings.port} " in door
    assert f"dynamic a gateway {settings.gateway_port} " in door
    assert f"reverse_proxy video:{settings.video_port}" in door
    assert f"127.0.0.1:{settings.gateway_port}/healthz" in str(SERVICES["gateway"]["healthcheck"])


def test_images_are_pinned_and_data_is_kept() -> None:
    for name, service in SERVICES.items():
        if name not in OURS:
            assert re.search(r":\d+(\.\d+)?$", service["image"]), service["image"]
    used = {entry.split(":")[0] for service in SERVICES.values() for entry in service.get("volumes", ())}
    assert used == set(COMPOSE["volumes"]) == {"caddy", "postgres", "valkey", "seaweedfs"}
    assert COMPOSE["configs"].keys() == {"caddyfile", "identities"}


def test_servers_are_set_up_like_the_built_in_ones() -> None:
    given = dict(each.removeprefix("--").split("=", 1) for each in SERVICES["postgres"]["command"][1:])
    alone = {
        "listen_addresses",
        "unix_socket_directories",
        "log_timezone",
        "timezone",
    }  # the image's own are right
    assert given == {name: value for name, value in SETTINGS.items() if name not in alone}
    assert SERVICES["seaweedfs"]["environment"]["GOMEMLIMIT"] == MEMORY


def test_the_image_holds_what_the_processes_import() -> None:
    recipe = OURS["web"]["build"]["dockerfile_inline"]
    copied = set(re.findall(r"^COPY (.+) \S+$", recipe, re.MULTILINE))
    names = {name for line in copied for name in line.split()}
    assert {
        "commerce",
        "streaming",
        "catalog_seed",
        "templates",
        "requirements.txt",
        "pyproject.toml",
    } <= names
    assert not [name for name in names if not (ROOT / name).exists()]
    assert "--require-hashes" in recipe
    assert re.search(r"^USER chophien$", recipe, re.MULTILINE)
