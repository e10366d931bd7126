"""Everything that can go wrong for a person, one class each, rendered in one place (core.web).

A `MarketError` has a stable `code` for programs, an HTTP status, a sentence for the person in their
language and, where it helps, what to do next. Everything that is not a `MarketError` stays a loud 500.
Sentences are gettext msgids with `str.format` fields taken from `fields`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from commerce.core.i18n import N_, translate


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that could not be taken: `field` as the caller named it (`lines[0].quantity`), a msgid."""

    field: str
    message: str
    values: dict[str, Any] | None = None

    def text(self, lang: str) -> str:
        return translate(self.message, lang).format(**(self.values or {}))


class MarketError(Exception):
    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400
    title: ClassVar[str] = N_("Chưa làm được việc này")
    detail: ClassVar[str] = N_("Xin thử lại.")
    retry_after: ClassVar[int | None] = None
    """Seconds after which the same request may succeed; sent as Retry-After."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        super().__init__(f"{self.code}: {fields}" if fields else self.code)

    def title_text(self, lang: str) -> str:
        return translate(self.title, lang)

    def detail_text(self, lang: str) -> str:
        return translate(self.detail, lang).format(**self.fields)

    def extra(self, lang: str) -> dict[str, Any]:
        """More members of the problem+json document, for programs."""
        return {}


class Invalid(MarketError):
    """Input that is not understood; every field at fault is listed and nothing was changed."""

    code = "invalid"
    status = 422
    title = N_("Thông tin chưa đúng")
    detail = N_("Xin xem lại các ô được đánh dấu rồi gửi lại.")

    def __init__(self, *errors: FieldError) -> None:
        self.errors = errors
        super().__init__()

    def __str__(self) -> str:
        return "invalid: " + "; ".join(f"{e.field}: {e.text('vi')}" for e in self.errors)

    def extra(self, lang: str) -> dict[str, Any]:
        return {"errors": [{"field": e.field, "message": e.text(lang)} for e in self.errors]}


class NotFound(MarketError):
    code = "not_found"
    status = 404
    title = N_("Không tìm thấy")
    detail = N_("Trang hoặc mục này không có, hoặc đã được gỡ. Xin về trang chủ để tìm lại.")


class SignInNeeded(MarketError):
    code = "sign_in_needed"
    status = 401
    title = N_("Cần đăng nhập")
    detail = N_("Xin đăng nhập rồi làm lại việc này.")


class Forbidden(MarketError):
    code = "forbidden"
    status = 403
    title = N_("Không có quyền")
    detail = N_("Tài khoản của bạn không được làm việc này. Xin nhờ cán bộ xã hoặc người quản trị.")


class Busy(MarketError):
    code = "busy"
    status = 503
    title = N_("Đang đông khách")
    detail = N_("Hệ thống đang rất bận. Xin thử lại sau vài giây, chưa có gì bị trừ hay bị mất.")
    retry_after = 2


class TooMany(MarketError):
    code = "too_many_requests"
    status = 429
    title = N_("Thao tác quá nhanh")
    detail = N_("Bạn vừa gửi quá nhiều lần. Xin đợi một chút rồi thử lại.")
    retry_after = 5


class TooLarge(MarketError):
    code = "too_large"
    status = 413
    title = N_("Nội dung quá lớn")
    detail = N_("Nội dung gửi lên vượt quá giới hạn. Xin gửi bản nhỏ hơn.")


class WrongState(MarketError):
    """A change that the state table does not allow."""

    code = "wrong_state"
    status = 409
    title = N_("Không làm được lúc này")
    detail = N_("Đang ở trạng thái “{state}” nên không chuyển sang “{wanted}” được.")
