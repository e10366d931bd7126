"""Photos in the widths that pages ask for. The catalogue's pages know what is on air: see live.home."""

from __future__ import annotations

import re

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from commerce.catalog import assist_pages, listing_pages, photos
from commerce.catalog.errors import PhotoNotFound
from commerce.core.storage import IMMUTABLE, Storage
from commerce.core.web import AnyRequest, access

_NAME = re.compile(r"([0-9a-f]{64})-(\d{2,4})\.webp")


@get("/media/photos/{name:str}", opt=access.public, include_in_schema=False)
async def photo(
    request: AnyRequest, storage: NamedDependency[Storage], name: FromPath[str]
) -> Response[bytes]:
    """A rendition. Its name holds the hash of its content, so it never changes and may be kept for ever."""
    found = _NAME.fullmatch(name)
    if found is None or not 1 <= int(found[2]) <= photos.WIDTHS[-1]:
        raise PhotoNotFound
    headers = {"ETag": f'"{found[1][:16]}-{found[2]}"', "Cache-Control": IMMUTABLE}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    stored = await storage.get(photos.key(found[1], int(found[2])))
    if stored is None:
        raise PhotoNotFound
    return Response(stored[0], media_type="image/webp", headers=headers)


ROUTES = [photo, *listing_pages.ROUTES, *assist_pages.ROUTES]
