"""What can go wrong about communes."""

from __future__ import annotations

from commerce.core.errors import NotFound
from commerce.core.i18n import N_


class CommuneNotFound(NotFound):
    code = "commune_not_found"
    title = N_("Không có xã, phường này")
    detail = N_(
        "Không có xã, phường nào của Đắk Lắk mang tên hoặc mã “{commune}”. Xin tìm lại trong danh sách."
    )
