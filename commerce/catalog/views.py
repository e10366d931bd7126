"""What others see of the catalogue: the same shapes for pages, the API and other modules."""

from __future__ import annotations

from datetime import date

import msgspec

from commerce.catalog import photos
from commerce.catalog.models import Photo


class Picture(msgspec.Struct, frozen=True):
    src: str
    srcset: str
    alt: str
    width: int
    height: int

    @classmethod
    def of(cls, photo: Photo, alt: str) -> Picture:
        middle = min(photo.widths, key=lambda width: abs(width - 640))
        return cls(
            src=photos.address(photo.sha256, middle),
            srcset=", ".join(f"{photos.address(photo.sha256, w)} {w}w" for w in sorted(photo.widths)),
            alt=photo.alt or alt,
            width=photo.width,
            height=photo.height,
        )


class GradeView(msgspec.Struct, frozen=True):
    id: int
    name: str
    """`A`, `B`, `C`, or empty for goods of one grade."""
    price: int
    """Whole dong for one unit."""
    left: int
    """Free to sell now."""


class SellerView(msgspec.Struct, frozen=True):
    id: int
    name: str
    kind: str


class CommuneView(msgspec.Struct, frozen=True):
    code: str
    name: str
    short_name: str
    slug: str


class ProductView(msgspec.Struct, frozen=True, kw_only=True):
    """A product as lists show it. Prices are whole dong for one `unit`."""

    code: str
    name: str
    url: str
    unit: str
    industry: str
    fresh: bool
    seller: SellerView
    commune: CommuneView
    grades: list[GradeView]
    price: int
    """Of the cheapest grade on sale."""
    price_from: bool
    """Dearer grades exist."""
    left: int
    stars: int | None
    """Of the current OCOP recognition; null for goods without one."""
    picture: Picture | None
    art: str
    """Name of the drawing that stands in while there is no photo."""
    demo: bool


class RecognitionView(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    stars: int
    score: float | None
    decision: str
    issuer: str
    granted_on: date
    expires_on: date
    withdrawn_on: date | None
    current: bool
    renewal_due: bool
    demo: bool


class SellerCard(msgspec.Struct, frozen=True, kw_only=True):
    """What the law wants buyers to see of the seller before they order."""

    id: int
    name: str
    kind: str
    address: str
    phone: str
    registration: str
    commune: CommuneView
    products: int
    """How many of them are on sale."""
    demo: bool


class ProductPage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one product that the public may see."""

    product: ProductView
    seller: SellerCard
    description: str
    origin: str
    shelf_life: str
    harvest_from: date | None
    harvest_to: date | None
    capacity_per_day: int | None
    papers_checked: bool
    """The office saw the quality papers."""
    recognition: RecognitionView | None
    pictures: list[Picture]


class ListingView(msgspec.Struct, frozen=True, kw_only=True):
    """A product as its seller and the commune office see it: in any state, with what was decided last."""

    product: ProductView
    state: str
    reason: str
    """Of the latest refusal or pause."""
    papers_checked: bool


class RegisterView(msgspec.Struct, frozen=True, kw_only=True):
    """A product of the OCOP register: reference only, nobody sells it here."""

    row: int
    product_name: str
    producer: str
    commune: CommuneView | None
    former_place: str
    stars: int | None
    """Only of a recognition that surely still holds."""
    valid_until: date | None
    reported_on: str
    evidence_status: str
    source: str
    for_sale: bool = False


class SearchPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ProductView]
    total: int
    page: int
    pages: int
    """At least 1."""
    next: str | None
    """Address of the next page."""


class RegisterPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[RegisterView]
    total: int
    page: int
    pages: int
    next: str | None
