"""Photos: what a phone sends becomes a few small WebP files without any trace of where and when.

Whatever is uploaded is decoded and drawn anew; only pixels get through. That drops metadata (the place in
EXIF would show where a farmer lives), hidden parts of the file and scripts in disguise. Sizes are checked
from the header before any pixel is decoded, so a small file that unfolds into gigabytes is refused unread.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import warnings
from dataclasses import dataclass

import structlog
from PIL import Image, ImageOps

from commerce.catalog.errors import NotAPhoto, PhotoTooLarge, PhotoTooSmall
from commerce.core.errors import MarketError
from commerce.core.storage import Storage

WIDTHS = (320, 640, 1080)
PAPERS = "papers"
"""Folder of pictures of papers, which nobody gets without asking the office's door."""
LEAST = 320  # pixels each way; less looks torn on any screen
MOST_BYTES = 12 * 1024 * 1024
FORMATS = ("JPEG", "PNG", "WEBP")  # MPO, several JPEG in one, is opened as JPEG
# Phones send JPEG of up to 50 megapixels, which is decoded at a fraction of its size; the others are decoded
# whole, at four bytes a pixel.
MOST_PIXELS = {"JPEG": 50_000_000, "MPO": 50_000_000, "PNG": 16_000_000, "WEBP": 16_000_000}
TALLEST = 4  # times as high as wide, and the other way round: no photo of goods is a ribbon
QUALITY = 80

log = structlog.get_logger()

_decoding = asyncio.Semaphore(1)
"""One photo at a time in a process: memory, and the other requests' time."""


@dataclass(frozen=True, slots=True)
class CleanPhoto:
    """`renditions`: WebP bytes by width; `width` and `height` are those of the largest."""

    sha256: str
    width: int
    height: int
    renditions: dict[int, bytes]

    @property
    def widths(self) -> list[int]:
        return sorted(self.renditions)


def key(sha256: str, width: int, folder: str = "photos") -> str:
    """Where a rendition is in S3."""
    return f"{folder}/{sha256}-{width}.webp"


def address(sha256: str, width: int) -> str:
    """Where a browser gets it."""
    return f"/media/photos/{sha256}-{width}.webp"


def clean(data: bytes) -> CleanPhoto:
    """Draw the photo anew in our widths (never larger than it is).

    Raises `NotAPhoto`, `PhotoTooLarge`, `PhotoTooSmall`.
    """
    if len(data) > MOST_BYTES:
        raise _too_large()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as photo:
                _check_size(*photo.size, MOST_PIXELS[photo.format or "PNG"])
                photo.draft("RGB", (2 * WIDTHS[-1], 2 * WIDTHS[-1]))  # lets JPEG decode at a fraction
                upright = ImageOps.exif_transpose(photo)
                pixels = _on_white(upright)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large() from error
    except MarketError:
        raise
    except Exception as error:  # decoders fed with rubbish fail in many ways; to a person it is one
        log.info("not_a_photo", error=repr(error)[:200])
        raise NotAPhoto from error
    return _render(pixels)


def _check_size(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise _too_large()
    if min(width, height) < LEAST:
        raise PhotoTooSmall(width=width, height=height, least=LEAST)
    if max(width, height) > TALLEST * min(width, height):
        raise NotAPhoto


def _on_white(photo: Image.Image) -> Image.Image:
    """Plain RGB; what was transparent becomes white, as on a page."""
    if photo.mode in ("RGBA", "LA", "PA") or "transparency" in photo.info:
        whole = photo.convert("RGBA")
        flat = Image.new("RGB", whole.size, "white")
        flat.paste(whole, mask=whole.getchannel("A"))
        return flat
    return photo.convert("RGB")


def _render(pixels: Image.Image) -> CleanPhoto:
    largest = min(pixels.width, WIDTHS[-1])
    renditions: dict[int, bytes] = {}
    size = (0, 0)
    for width in sorted({*(w for w in WIDTHS if w < largest), largest}, reverse=True):
        height = max(1, round(pixels.height * width / pixels.width))
        pixels = pixels.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
        size = max(size, pixels.size)
        out = io.BytesIO()
        # A new image holds pixels only: no EXIF, no profile, no comment goes with it.
        Image.frombytes("RGB", pixels.size, pixels.tobytes()).save(out, "WEBP", quality=QUALITY, method=4)
        renditions[width] = out.getvalue()
    return CleanPhoto(hashlib.sha256(renditions[largest]).hexdigest(), *size, renditions)


async def clean_and_store(storage: Storage, data: bytes, folder: str = "photos") -> CleanPhoto:
    """`clean`, then every rendition into S3, where the same photo always has the same names.

    Storing before the row that names it: a row never points to nothing. Raises as `clean`, and
    `StorageUnavailable`.
    """
    async with _decoding:
        photo = await asyncio.to_thread(clean, data)
    for width, body in photo.renditions.items():
        await storage.put(key(photo.sha256, width, folder), body, "image/webp")
    return photo


def _too_large() -> PhotoTooLarge:
    return PhotoTooLarge(
        megabytes=MOST_BYTES // 1024 // 1024, megapixels=max(MOST_PIXELS.values()) // 1_000_000
    )
