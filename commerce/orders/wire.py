"""Orders as programs send and receive them (the HTTP contract)."""

from __future__ import annotations

from datetime import date, datetime

from msgspec import Struct, field

# Everything has a default, so that one answer can name every missing field instead of the first.


class LineRequest(Struct):
    product: str = ""
    """The short code in the session's line-up: `A1`."""
    quantity: int = 0


class BuyerRequest(Struct):
    name: str = ""
    phone: str = ""


class AddressRequest(Struct):
    province: str = ""
    """Official code; 66 is Đắk Lắk."""
    commune: str = ""
    """Official code in Đắk Lắk; code or name elsewhere."""
    street: str = ""


class OrderRequest(Struct):
    lines: list[LineRequest] = field(default_factory=list)
    buyer: BuyerRequest = field(default_factory=BuyerRequest)
    address: AddressRequest = field(default_factory=AddressRequest)
    payment: str = "cod"
    shown_total: int | None = None
    """What the buyer was shown and agreed to, in whole dong."""
    consent: bool = False
    """The buyer let the seller use name, phone and address for the delivery. Never pre-ticked."""
    note: str = ""
    replay: bool = False
    """Ordered from the replay: the session is over and its goods are still for sale, at their usual price."""


class PaymentAnswer(Struct):
    method: str
    state: str
    qr: str | None = None
    """VietQR: what the QR code says."""
    checkout_url: str | None = None
    """Card: where to pay."""
    due_now: int = 0
    """Whole dong that are awaited before the parcel is packed: all, a deposit, or nothing."""
    paid: int = 0
    refunded: int = 0


class OrderAnswer(Struct):
    code: str
    key: str
    """The buyer's proof; keep it: code and key open the tracking page."""
    seller: str
    state: str
    total: int
    currency: str
    payment: PaymentAnswer
    track_url: str
    ship_on: date | None = None
    """The day the parcel leaves, of goods with a season or a packing capacity."""


class PurchaseAnswer(Struct):
    purchase: str
    orders: list[OrderAnswer]


class TrackedLine(Struct):
    product: str
    name: str
    grade: str
    unit: str
    unit_price: int
    quantity: int
    amount: int


class TrackedStep(Struct):
    state: str
    at: datetime
    reason: str


class TrackedOrder(Struct):
    """What the holder of the key may see of an order."""

    code: str
    state: str
    seller: str
    placed_at: datetime
    expires_at: datetime | None
    total: int
    currency: str
    lines: list[TrackedLine]
    payment: PaymentAnswer
    history: list[TrackedStep]
    ship_on: date | None
    cancellable: bool
    demo: bool


class CancelRequest(Struct):
    key: str = ""
    reason: str = ""
