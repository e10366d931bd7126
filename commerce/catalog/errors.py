"""What can go wrong in the catalogue."""

from __future__ import annotations

from commerce.core.errors import Forbidden, MarketError, NotFound, TooLarge
from commerce.core.i18n import N_


class ProductNotFound(NotFound):
    code = "product_not_found"
    title = N_("Không có mặt hàng này")
    detail = N_("Mặt hàng này không có, đang chờ duyệt hoặc đã được gỡ. Xin tìm lại ở trang tìm hàng.")


class SellerNotFound(NotFound):
    code = "seller_not_found"
    title = N_("Không có người bán này")
    detail = N_("Người bán này không có hoặc đã ngừng bán. Xin tìm lại ở trang tìm hàng.")


class PhotoNotFound(NotFound):
    code = "photo_not_found"
    title = N_("Không có ảnh này")


class RecognitionNotFound(NotFound):
    code = "recognition_not_found"
    title = N_("Không có lần công nhận này")


class OwnListing(Forbidden):
    code = "own_listing"
    detail = N_("Hàng của chính mình thì phải nhờ cán bộ khác duyệt.")


class BankAccountFixed(Forbidden):
    code = "bank_account_fixed"
    title = N_("Không tự đổi tài khoản được")
    detail = N_(
        "Tiền hàng đi thẳng vào tài khoản này, nên sau khi duyệt thì chỉ cán bộ xã đổi được. "
        "Xin mang giấy tờ đến xã."
    )


class NotAPhoto(MarketError):
    code = "not_a_photo"
    status = 422
    title = N_("Đây không phải là ảnh")
    detail = N_(
        "Tệp gửi lên không mở được như một tấm ảnh JPEG, PNG hoặc WebP. Xin chụp lại hoặc chọn ảnh khác."
    )


class PhotoTooSmall(MarketError):
    code = "photo_too_small"
    status = 422
    title = N_("Ảnh nhỏ quá")
    detail = N_(
        "Ảnh rộng {width} × cao {height} điểm, cần mỗi chiều ít nhất {least}. Xin chụp lại gần hơn, rõ hơn."
    )


class PhotoTooLarge(TooLarge):
    code = "photo_too_large"
    title = N_("Ảnh lớn quá")
    detail = N_("Ảnh được nặng tối đa {megabytes} MB và {megapixels} triệu điểm ảnh. Xin gửi bản nhỏ hơn.")


class TooManyPhotos(MarketError):
    code = "too_many_photos"
    status = 409
    title = N_("Đủ ảnh rồi")
    detail = N_("Mỗi mặt hàng giữ tối đa {most} ảnh. Xin xoá bớt một ảnh rồi gửi lại.")


class NotConfirmed(MarketError):
    code = "not_confirmed"
    status = 409
    title = N_("Người bán chưa xác nhận")
    detail = N_("“{product}” do xã đăng thay, người bán chưa xác nhận. Xin gửi liên kết đến máy của họ.")


class NothingToConfirm(MarketError):
    code = "nothing_to_confirm"
    status = 409
    title = N_("Không có gì cần xác nhận")
    detail = N_("Người bán đã trả lời mọi việc xã làm thay. Không cần gửi thêm tin nhắn.")


class LinkGone(MarketError):
    code = "link_gone"
    status = 410
    title = N_("Liên kết không còn dùng được")
    detail = N_("Liên kết này đã được trả lời, đã quá hạn hoặc đã có tin nhắn mới hơn. Xin gọi văn phòng xã.")


class IdentityUnchecked(MarketError):
    code = "identity_unchecked"
    status = 409
    title = N_("Chưa kiểm tra danh tính")
    detail = N_("Cần kiểm tra giấy tờ của “{seller}” trước khi cho bán hàng.")
