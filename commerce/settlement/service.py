"""The dated table of rates is kept by the province; a rate in force is never changed, only followed."""

from __future__ import annotations

from datetime import date

from sqlalchemy.dialects.postgresql import insert

from commerce.catalog.models import SellerKind
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_
from commerce.core.roles import Identity
from commerce.core.text import clean
from commerce.settlement.errors import RateKnown
from commerce.settlement.models import TaxRate

TAXES = {"vat": N_("Thuế giá trị gia tăng"), "pit": N_("Thuế thu nhập cá nhân")}


async def add_rate(
    identity: Identity, tax: str, kind: str, basis_points: int, valid_from: date, source: str
) -> None:
    """From a coming day on. Raises `Invalid`, `RateKnown`."""
    faults = []
    if tax not in TAXES:
        faults.append(FieldError("tax", N_("Xin chọn loại thuế.")))
    if kind not in set(SellerKind):
        faults.append(FieldError("kind", N_("Xin chọn loại người bán.")))
    if not 0 <= basis_points <= 10_000:
        faults.append(FieldError("percent", N_("Mức thuế từ 0 đến 100 phần trăm.")))
    if valid_from <= clock.today():
        faults.append(FieldError("valid_from", N_("Mức mới bắt đầu từ ngày mai trở đi: sổ cũ không đổi.")))
    if len(clean(source)) < 5:
        faults.append(FieldError("source", N_("Xin ghi văn bản quy định mức này.")))
    if faults:
        raise Invalid(*faults)
    async with sessions.begin() as db:
        made = await db.scalar(
            insert(TaxRate)
            .values(
                tax=tax,
                seller_kind=kind,
                basis_points=basis_points,
                valid_from=valid_from,
                source=clean(source)[:300],
                by=identity.person_id,
            )
            .on_conflict_do_nothing()
            .returning(TaxRate.id)
        )
        if made is None:
            raise RateKnown
