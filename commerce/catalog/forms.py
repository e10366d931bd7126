"""What sellers and officers fill in, cleaned and checked field by field; every fault is listed at once.

A field that is UNSET is left as it is: a product is listed in steps, and each step sends what it knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from commerce.catalog.models import SellerKind, Unit
from commerce.catalog.recognitions import POINTS, points_fit
from commerce.core import clock, phone
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_
from commerce.core.text import clean, fold

INDUSTRIES = ("food", "drink", "medicinal", "handicraft", "ornamental", "tourism")
ARTS = (
    *("avocado", "beef", "brocade-cloth", "coffee", "durian", "harvest"),
    *("honey", "macadamia", "passion", "pepper", "rice", "wine"),
)
"""Drawings that may stand in for a photo (templates/static/art)."""
PAPERS = ("safety", "quality", "area_code", "origin", "other")
PRICES = (1_000, 1_000_000_000)  # whole dong for one unit; below are slips of the thumb
Values = dict[str, Any]


class SellerFields(msgspec.Struct, kw_only=True):
    name: str | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    phone: str | UnsetType = UNSET
    address: str | UnsetType = UNSET
    registration: str | UnsetType = UNSET
    bank_bin: str | UnsetType = UNSET
    bank_account: str | UnsetType = UNSET
    bank_holder: str | UnsetType = UNSET


class ProductFields(msgspec.Struct, kw_only=True):
    name: str | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    industry: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    origin: str | UnsetType = UNSET
    shelf_life: str | UnsetType = UNSET
    fresh: bool | UnsetType = UNSET
    harvest_from: date | UnsetType | None = UNSET
    harvest_to: date | UnsetType | None = UNSET
    capacity_per_day: int | UnsetType | None = UNSET
    art: str | UnsetType = UNSET


class GradeFields(msgspec.Struct, kw_only=True):
    price: int
    name: str = ""
    position: int = 0


class RecognitionFields(msgspec.Struct, kw_only=True):
    stars: int
    decision: str
    issuer: str
    granted_on: date
    expires_on: date | None = None
    """Of the certificate; without, 36 months are counted."""
    score: float | None = None


class Checker:
    """Collects cleaned values and faults of one form."""

    def __init__(self, form: msgspec.Struct) -> None:
        self.given: Values = {
            name: value for name in form.__struct_fields__ if (value := getattr(form, name)) is not UNSET
        }
        self.faults: list[FieldError] = []

    def fault(self, field: str, message: str, **values: Any) -> None:
        self.faults.append(FieldError(field, message, values))

    def need(self, *fields: str) -> None:
        for field in fields:
            if field not in self.given:
                self.fault(field, N_("Chưa có thông tin này."))

    def text(self, field: str, least: int, most: int) -> None:
        if field not in self.given:
            return
        value = self.given[field] = clean(self.given[field])
        if len(value) < least:
            message = N_("Chưa có thông tin này.") if not value else N_("Cần ít nhất {least} chữ.")
            self.fault(field, message, least=least)
        elif len(value) > most:
            self.fault(
                field, N_("Dài quá: tối đa {most} chữ, đang có {length}."), most=most, length=len(value)
            )

    def choice(self, field: str, allowed: Iterable[str]) -> None:
        options = list(allowed)
        if field in self.given and self.given[field] not in options:
            self.fault(field, N_("Cần chọn một trong: {options}."), options=", ".join(options))

    def whole(self, field: str, least: int, most: int) -> None:
        value = self.given.get(field)
        if value is not None and not least <= value <= most:
            self.fault(field, N_("Cần một số nguyên từ {least} đến {most}."), least=least, most=most)

    def done(self) -> Values:
        """Raises `Invalid` if anything was wrong."""
        if self.faults:
            raise Invalid(*self.faults)
        return self.given


def check_seller(form: SellerFields, *, new: bool) -> Values:
    check = Checker(form)
    if new:
        check.need("name", "kind", "phone", "address")
    check.text("name", 3, 120)
    check.choice("kind", SellerKind)
    check.text("address", 5, 200)
    check.text("registration", 0, 40)
    check.text("bank_holder", 0, 80)
    if "phone" in check.given:
        number = phone.normalise(check.given["phone"])
        if number is None:
            check.fault("phone", N_("Số điện thoại chưa đúng, ví dụ đúng: 0901234567."))
        check.given["phone"] = number
    account = [name for name in ("bank_bin", "bank_account", "bank_holder") if name in check.given]
    if account and len(account) < 3:
        check.fault(account[0], N_("Cần đủ ngân hàng, số tài khoản và tên chủ tài khoản."))
    if "bank_bin" in check.given and not re.fullmatch(r"\d{6}", check.given["bank_bin"], re.ASCII):
        check.fault("bank_bin", N_("Xin chọn ngân hàng trong danh sách."))
    number = str(check.given.get("bank_account", "")).replace(" ", "")
    if account and not (number.isascii() and number.isalnum() and 4 <= len(number) <= 19):
        check.fault("bank_account", N_("Số tài khoản gồm 4 đến 19 chữ số hoặc chữ cái không dấu."))
    if account:
        check.given["bank_account"] = number
    return check.done()


def check_product(form: ProductFields, *, new: bool) -> Values:
    check = Checker(form)
    if new:
        check.need("name", "unit", "industry")
    check.text("name", 3, 120)
    if check.given.get("name") and not fold(check.given["name"]):
        check.fault("name", N_("Tên hàng cần có chữ hoặc số."))
    check.choice("unit", Unit)
    check.choice("industry", INDUSTRIES)
    check.choice("art", ("", *ARTS))
    check.text("description", 0, 4000)
    check.text("origin", 0, 200)
    check.text("shelf_life", 0, 200)
    check.whole("capacity_per_day", 1, 1_000_000)
    first, last = check.given.get("harvest_from"), check.given.get("harvest_to")
    if first and last and first > last:
        check.fault("harvest_to", N_("Ngày cuối vụ phải sau ngày đầu vụ."))
    return check.done()


def check_grade(form: GradeFields) -> Values:
    check = Checker(form)
    check.given["name"] = clean(form.name).upper()
    if len(check.given["name"]) > 12:
        check.fault("name", N_("Tên hạng tối đa 12 chữ, ví dụ A, B, C."))
    check.whole("price", *PRICES)
    check.whole("position", 0, 100)
    return check.done()


def check_paper(kind: str, number: str, expires_on: str) -> Values:
    """Raises `Invalid`. `expires_on` as a date field sends it (2027-01-31), or empty."""
    faults: list[FieldError] = []
    day: date | None = None
    if kind not in PAPERS:
        faults.append(FieldError("paper_kind", N_("Xin chọn loại giấy tờ.")))
    number = clean(number)
    if len(number) > 60:
        faults.append(FieldError("paper_number", N_("Dài quá: tối đa {most} chữ."), {"most": 60}))
    try:
        day = date.fromisoformat(expires_on) if expires_on.strip() else None
    except ValueError:
        faults.append(FieldError("paper_expires_on", N_("Xin chọn ngày.")))
    if day is not None and day < clock.today():
        faults.append(FieldError("paper_expires_on", N_("Giấy này đã hết hạn. Xin mang giấy còn hạn.")))
    if faults:
        raise Invalid(*faults)
    return {"kind": kind, "number": number, "expires_on": day}


def check_recognition(form: RecognitionFields) -> Values:
    check = Checker(form)
    check.whole("stars", 3, 5)
    check.text("decision", 3, 80)
    check.text("issuer", 3, 120)
    if form.score is not None and 3 <= form.stars <= 5 and not points_fit(form.stars, form.score):
        low, high = POINTS[form.stars]
        check.fault(
            "score", N_("{stars} sao cần từ {low} đến {high} điểm."), stars=form.stars, low=low, high=high
        )
    if form.granted_on > clock.today():
        check.fault("granted_on", N_("Ngày công nhận không thể ở tương lai."))
    if form.expires_on is not None and form.expires_on < form.granted_on:
        check.fault("expires_on", N_("Ngày hết hạn phải sau ngày công nhận."))
    return check.done()
