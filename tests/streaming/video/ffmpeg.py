"""ffmpeg and ffprobe, programs that are not ours, as witnesses in tests. The product itself needs neither."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

GSTREAMER = ("tools", "plugins-base", "plugins-good", "plugins-bad", "plugins-ugly", "libav")


def ensure() -> None:
    """Installs ffmpeg where we may, else fails with the way out. Never a silent skip."""
    if shutil.which("ffmpeg") and shutil.which("ffprobe"):
        return
    _install("ffmpeg")
    if not shutil.which("ffprobe"):
        raise RuntimeError(
            "Video tests compare with ffmpeg and none was found. Install it "
            "(Debian, Ubuntu: `sudo apt-get install ffmpeg`; macOS: `brew install ffmpeg`)."
        )


def has_gstreamer() -> bool:
    """Installs it where we may. It is a second witness: a machine may be without."""
    if not shutil.which("gst-launch-1.0"):
        _install(*(f"gstreamer1.0-{part}" for part in GSTREAMER))
    return shutil.which("gst-launch-1.0") is not None


def _install(*packages: str) -> None:
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *arguments], check=False, stdout=subprocess.DEVNULL, env=environ)


def probe(source: Path | str, *entries: str) -> dict[str, Any]:
    """What ffprobe reads from a file or address. Fails if it has anything to complain about."""
    command = ["ffprobe", "-v", "warning", "-of", "json", "-count_packets"]
    shown = ":".join(entries) or "stream=codec_name,profile,width,height,start_time,nb_read_packets"
    # ffprobe is fed a playlist by file in some tests: fMP4 segments there need their names allowed.
    done = subprocess.run(
        [*command, "-show_entries", shown, str(source)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr.strip(), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def decode(source: Path | str) -> None:
    """Decodes everything; fails on any error or warning."""
    command = ["ffmpeg", "-nostdin", "-v", "warning", "-xerror", "-i", str(source), "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr.strip(), done.stderr
