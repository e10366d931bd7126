"""Where Chromium is. `python -m tests.browser.chromium` makes sure there is one, or says what to do.

Browser tests never skip: without a browser `make test` fails here, with the way out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# Vietnamese on screenshots needs a font that has its letters; a browser without one shows boxes.
PACKAGES = ("chromium", "fonts-noto-core")


def find() -> str | None:
    """Path of a Chromium: CHOPHIEN_CHROMIUM if set, else the system's, else the one Playwright downloaded."""
    named = os.environ.get("CHOPHIEN_CHROMIUM")
    if named:
        return named if Path(named).exists() else None
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    caches = [Path.home() / ".cache/ms-playwright", Path.home() / "Library/Caches/ms-playwright"]
    for cache in caches:
        for file in sorted(cache.glob("chromium-*/chrome-*/*")):
            if file.name in ("chrome", "Chromium") and os.access(file, os.X_OK):
                return str(file)
    return None


def install() -> bool:
    """Try the system's package manager; False when there is none that we may use."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        print("» Chromium (apt-get)", flush=True)
        quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
        update = subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)  # type: ignore[call-overload]
        add = subprocess.run(["apt-get", "install", "-y", "-qq", *PACKAGES], check=False, **quiet)  # type: ignore[call-overload]
        return bool(update.returncode == 0 and add.returncode == 0)
    return False


def main() -> None:
    if find() is None:
        install()
    found = find()
    if found is None:
        sys.exit(
            "Browser tests need Chromium and none was found. Install it "
            "(Debian, Ubuntu: `sudo apt-get install chromium fonts-noto-core`; "
            "Fedora: `sudo dnf install chromium`; macOS: `brew install --cask chromium`), "
            "or name one: CHOPHIEN_CHROMIUM=/path/to/chromium make test"
        )
    print(f"» Chromium: {found}")


if __name__ == "__main__":
    main()
