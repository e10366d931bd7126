"""What can go wrong with accounts and sign-in."""

from __future__ import annotations

from commerce.core.errors import Forbidden, MarketError, TooMany
from commerce.core.i18n import N_


class WrongPassword(MarketError):
    """One answer for an unknown phone and a wrong password, so that nobody can probe for accounts."""

    code = "wrong_password"
    status = 401
    title = N_("Chưa đăng nhập được")
    detail = N_("Số điện thoại hoặc mật khẩu chưa đúng. Xin thử lại, hoặc nhờ văn phòng xã cấp lại mật khẩu.")


class TooManyTries(TooMany):
    code = "too_many_tries"
    title = N_("Thử sai quá nhiều lần")
    detail = N_("Xin đợi {minutes} phút rồi thử lại, hoặc nhờ văn phòng xã cấp lại mật khẩu.")
    retry_after = 60


class PhoneTaken(MarketError):
    code = "phone_taken"
    status = 409
    title = N_("Số điện thoại đã có tài khoản")
    detail = N_("Số {phone} đã có tài khoản. Xin dùng số khác, hoặc thêm vai trò cho tài khoản ấy.")


class UnknownCommune(MarketError):
    code = "unknown_commune"
    status = 422
    title = N_("Không có xã này")
    detail = N_("Mã {code} không phải mã của một xã, phường nào trong 102 đơn vị của Đắk Lắk.")


class SmsUnavailable(MarketError):
    code = "sms_unavailable"
    status = 503
    title = N_("Chưa gửi được tin nhắn")
    detail = N_("Hiện chưa gửi được mã qua tin nhắn. Xin đăng nhập bằng mật khẩu, hoặc nhờ văn phòng xã.")
    retry_after = 60


class WrongCode(MarketError):
    code = "wrong_code"
    status = 401
    title = N_("Mã chưa đúng")
    detail = N_("Mã chưa đúng hoặc đã hết hạn. Xin xem lại tin nhắn mới nhất, hoặc lấy mã khác.")


class UnknownPerson(MarketError):
    code = "unknown_person"
    status = 404
    title = N_("Không có tài khoản này")
    detail = N_("Không tìm thấy tài khoản trong phạm vi của bạn.")


class DocumentKnown(MarketError):
    code = "document_known"
    status = 409
    title = N_("Giấy tờ này đã dùng cho người khác")
    detail = N_("Số giấy tờ này đã được xác minh cho một người khác. Xin xem lại số, hoặc báo cho tỉnh.")


class OwnIdentity(Forbidden):
    code = "own_identity"
    detail = N_("Danh tính của chính mình thì phải nhờ cán bộ khác kiểm tra.")
