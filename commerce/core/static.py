"""The files under templates/static: read once, compressed once, answered from memory.

An address carries the fingerprint of the whole folder (`/static/3f9a…/js/session.js`). What files name by
relative address (a module its imports, the stylesheet its patterns) therefore changes its address together
with the page, and all of it may be kept by browsers for ever. An address without a fingerprint, or with one
of another release, is answered with today's file and not kept.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from commerce.core import access
from commerce.core.errors import NotFound

FOLDER = Path(__file__).parents[2] / "templates" / "static"
KEPT = "public, max-age=31536000, immutable"
NOT_KEPT = "no-cache"
WORTH_COMPRESSING = 400  # bytes

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
COMPRESSED = (".css", ".js", ".json", ".svg", ".txt", ".webmanifest")


@dataclass(frozen=True, slots=True)
class File:
    body: bytes
    gzipped: bytes | None
    media_type: str
    etag: str


@cache
def paths() -> dict[str, Path]:
    """Every file that is served, by its name within the folder. Nothing else is ever looked for on disk."""
    found = (path for path in FOLDER.rglob("*") if path.is_file() and path.suffix in TYPES)
    return {path.relative_to(FOLDER).as_posix(): path for path in sorted(found)}


@cache
def fingerprint() -> str:
    """Of names and contents together."""
    digest = hashlib.sha256()
    for name, path in paths().items():
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


@cache
def load(name: str) -> File:
    """Raises KeyError for a name that is not served."""
    path = paths()[name]
    body = path.read_bytes()
    small = gzip.compress(body, 9, mtime=0) if path.suffix in COMPRESSED else b""
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    worth = len(body) >= WORTH_COMPRESSING and 0 < len(small) < len(body)
    return File(body, small if worth else None, TYPES[path.suffix], etag)


def address(name: str) -> str:
    """Where pages find `name`."""
    return f"/static/{fingerprint()}/{name}"


@get("/static/{name:path}", opt=access.public, include_in_schema=False, sync_to_thread=False)
def serve(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    release, _, rest = name.lstrip("/").partition("/")
    ours = release == fingerprint()
    known = paths()
    wanted = rest if ours or rest in known else name.lstrip("/")
    if wanted not in known:
        raise NotFound
    file = load(wanted)
    headers = {"Cache-Control": KEPT if ours else NOT_KEPT, "ETag": file.etag, "Vary": "Accept-Encoding"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    body = file.body
    if file.gzipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
        body = file.gzipped
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type=file.media_type, headers=headers)


ROUTES = [serve]
