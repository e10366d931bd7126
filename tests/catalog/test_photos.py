"""Photos: what a phone sends becomes a few clean files; what is no photo is told so."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import httpx
import pytest
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from commerce.catalog import photos, rules, service
from commerce.catalog.errors import NotAPhoto, PhotoTooLarge, PhotoTooSmall, TooManyPhotos
from commerce.catalog.models import Product
from commerce.catalog.photos import clean
from commerce.core.db import Sessions
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.storage import Storage
from tests import factories

ORIENTATION, GPS = 0x0112, 0x8825
SECRET = b"12.6942 108.1979 Nguyen Van Secret"


def picture(width: int = 1600, height: int = 1200, mode: str = "RGB") -> Image.Image:
    """Red above, blue below, so that one sees how it is turned."""
    image = Image.new(mode, (width, height), "red")
    ImageDraw.Draw(image).rectangle((0, height // 2, width, height), fill="blue")
    return image


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def with_exif(orientation: int = 1) -> bytes:
    image = picture()
    exif = image.getexif()
    exif[ORIENTATION] = orientation
    exif[0x010E] = SECRET.decode()  # description
    exif.get_ifd(GPS)[2] = (12.0, 41.0, 39.0)
    return encoded(image, exif=exif, comment=SECRET)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_three_widths_of_webp(kind: str) -> None:
    photo = clean(encoded(picture(), kind))
    assert photo.widths == [320, 640, 1080]
    assert (photo.width, photo.height) == (1080, 810)
    for width, data in photo.renditions.items():
        image = opened(data)
        assert (image.format, image.width) == ("WEBP", width)
        assert len(data) < 60_000


def test_a_phone_s_picture_of_several_layers() -> None:
    """Many phones send MPO, several JPEG in one file: the first is the photo."""
    sent = encoded(picture(), "MPO", save_all=True, append_images=[picture(200, 150)])
    assert opened(sent).format == "MPO"
    assert clean(sent).widths == [320, 640, 1080]


def test_never_larger_than_it_is() -> None:
    assert clean(encoded(picture(500, 400))).widths == [320, 500]
    assert clean(encoded(picture(320, 320))).widths == [320]


def test_nothing_but_pixels_gets_through() -> None:
    sent = with_exif()
    assert SECRET in sent, "the test sends what must not come out"
    for data in clean(sent).renditions.values():
        assert SECRET not in data
        assert b"EXIF" not in data
        assert not opened(data).getexif()
    info = PngInfo()
    info.add_text("Location", SECRET.decode())
    for data in clean(encoded(picture(), "PNG", pnginfo=info)).renditions.values():
        assert SECRET not in data
    profile = encoded(picture(), "JPEG", icc_profile=SECRET)
    assert all(SECRET not in data for data in clean(profile).renditions.values())


def test_it_stands_upright() -> None:
    """Orientation 6: the phone was held upright and says 'turn right to see it'."""
    photo = clean(with_exif(orientation=6))
    assert (photo.width, photo.height) == (1080, 1440)
    image = opened(photo.renditions[1080]).convert("RGB")
    left, right = image.getpixel((100, 700)), image.getpixel((980, 700))
    assert left[2] > left[0], "blue was below and is left now"  # type: ignore[index]
    assert right[0] > right[2]  # type: ignore[index]


def test_what_was_transparent_is_white() -> None:
    image = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    assert opened(clean(encoded(image, "PNG")).renditions[400]).convert("RGB").getpixel((5, 5)) == (
        255,
        255,
        255,
    )


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1"])
def test_other_colour_modes(mode: str) -> None:
    kind = "JPEG" if mode in ("L", "CMYK") else "PNG"
    assert clean(encoded(picture().convert(mode), kind)).widths == [320, 640, 1080]


def test_the_same_photo_has_the_same_name() -> None:
    assert clean(with_exif()).sha256 == clean(with_exif()).sha256
    assert clean(with_exif()).sha256 != clean(with_exif(6)).sha256


NOT_PHOTOS = {
    "nothing": b"",
    "text": "đây là chữ".encode(),
    "html": b"<html><script>alert(1)</script></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="900"/>',
    "pdf": b"%PDF-1.7\n" + b"0" * 2000,
    "gif": encoded(picture(400, 400), "GIF"),
    "tiff": encoded(picture(400, 400), "TIFF"),
    "half a JPEG": encoded(picture())[:3000],
    "JPEG's head": b"\xff\xd8\xff\xe0" + b"\0" * 500,
    "PNG with broken middle": encoded(picture(), "PNG")[:-400],
    "a ribbon": encoded(picture(3000, 400)),
}


@pytest.mark.parametrize("data", NOT_PHOTOS.values(), ids=NOT_PHOTOS)
def test_what_is_no_photo(data: bytes) -> None:
    with pytest.raises(NotAPhoto):
        clean(data)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kB that unfolds into `width` x `height` pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(30_000, 30_000), (20_000, 10_000), (4_100, 4_000)])
def test_a_bomb_is_refused_before_it_unfolds(size: tuple[int, int]) -> None:
    sent = bomb(*size)
    assert len(sent) < 10_000
    with pytest.raises(PhotoTooLarge):
        clean(sent)


def test_bounds() -> None:
    with pytest.raises(PhotoTooLarge):
        clean(b"\xff" * (photos.MOST_BYTES + 1))
    with pytest.raises(PhotoTooSmall) as small:
        clean(encoded(picture(319, 600)))
    assert "319" in small.value.detail_text("vi")


def test_a_large_photo_of_a_good_phone_is_taken() -> None:
    assert clean(encoded(picture(8000, 6000))).widths == [320, 640, 1080]


# ---- over HTTP, into S3


@pytest.fixture
async def listed(sessions: Sessions) -> tuple[str, Identity, str]:
    """A product's code, its seller, and the seller's token."""
    async with sessions.begin() as db:
        person = await factories.person(db, Role.SELLER)
        seller = await factories.seller(db, person_id=person)
        product_id, _ = await factories.product(db, seller)
        code = (await db.get_one(Product, product_id)).code
        token = await factories.token(db, person)
    who = Identity(person, 0, "Người bán", "0900000004", frozenset({(Role.SELLER, factories.EA_KNUEC)}))
    return code, who, token


async def send(client: httpx.AsyncClient, code: str, token: str, data: bytes) -> httpx.Response:
    return await client.post(
        f"/api/v1/products/{code}/photos",
        files={"photo": ("anh.jpg", data, "image/jpeg")},
        data={"alt": "Sầu riêng bổ đôi"},
        headers={"Authorization": f"Bearer {token}"},
    )


async def test_a_photo_is_sent_stored_and_shown(
    client: httpx.AsyncClient, listed: tuple[str, Identity, str]
) -> None:
    code, _, token = listed
    answer = await send(client, code, token, with_exif(6))
    assert answer.status_code == 201, answer.text
    shown = answer.json()["picture"]
    assert shown["alt"] == "Sầu riêng bổ đôi"
    assert (shown["width"], shown["height"]) == (1080, 1440)
    assert shown["srcset"].count("w,") == 2
    served = await client.get(shown["src"])
    assert served.status_code == 200
    assert served.headers["content-type"] == "image/webp"
    assert "immutable" in served.headers["cache-control"]
    assert SECRET not in served.content
    again = await client.get(shown["src"], headers={"If-None-Match": served.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"not a photo", 422, "not_a_photo"),
        (bomb(30_000, 30_000), 413, "photo_too_large"),
        (encoded(picture(100, 100)), 422, "photo_too_small"),
        (b"\xff" * (photos.MOST_BYTES + 1), 413, "photo_too_large"),
        (b"\xff" * (photos.MOST_BYTES + 200_000), 413, "too_large"),
    ],
)
async def test_what_cannot_be_taken_is_told_and_changes_nothing(
    client: httpx.AsyncClient,
    sessions: Sessions,
    s3: Any,
    s3_bucket: str,
    listed: tuple[str, Identity, str],
    data: bytes,
    status: int,
    code: str,
) -> None:
    product, _, token = listed
    answer = await send(client, product, token, data)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"]
    async with sessions.read() as db:
        assert await db.scalar(Product.__table__.select().with_only_columns(Product.photo_id)) is None
    assert s3.list_objects_v2(Bucket=s3_bucket).get("KeyCount", 0) == 0


async def test_a_form_without_a_photo(client: httpx.AsyncClient, listed: tuple[str, Identity, str]) -> None:
    product, _, token = listed
    answer = await client.post(
        f"/api/v1/products/{product}/photos",
        data={"alt": "không có ảnh"},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code in (400, 422), answer.text


@pytest.mark.parametrize(
    "name",
    ["x.webp", "0" * 64 + "-320.webp", "0" * 64 + "-9999.webp", "..%2f..%2fsecret", "0" * 64 + "-320.png"],
)
async def test_no_such_photo(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/media/photos/{name}")).status_code == 404


async def test_the_first_is_shown_first_and_the_next_takes_its_place(
    sessions: Sessions, settings: Settings, listed: tuple[str, Identity, str]
) -> None:
    code, who, _ = listed
    storage = Storage(settings)
    one = await service.add_photo(who, storage, code, encoded(picture(400, 400)))
    two = await service.add_photo(who, storage, code, encoded(picture(500, 400)))
    same = await service.add_photo(who, storage, code, encoded(picture(400, 400)))
    assert same.id == one.id, "the same photo twice is one photo"

    async def first() -> int | None:
        async with sessions.read() as db:
            return await db.scalar(Product.__table__.select().with_only_columns(Product.photo_id))

    assert await first() == one.id
    await service.show_first(who, code, two.id)
    assert await first() == two.id
    await service.remove_photo(who, code, two.id)
    assert await first() == one.id
    await service.remove_photo(who, code, one.id)
    assert await first() is None


async def test_a_product_keeps_so_many_photos(
    settings: Settings, sessions: Sessions, listed: tuple[str, Identity, str]
) -> None:
    code, who, _ = listed
    storage = Storage(settings)
    for number in range(rules.MOST_PHOTOS):
        await service.add_photo(who, storage, code, encoded(picture(400 + number, 400)))
    with pytest.raises(TooManyPhotos):
        await service.add_photo(who, storage, code, encoded(picture(399, 400)))
