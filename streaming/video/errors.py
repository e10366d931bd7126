"""What can go wrong with a host's video, one class with a stable code and a sentence for the host.

The code travels to the host's page and to the console; pages may translate it, the Vietnamese sentence is
what is shown when they do not. `detail` is for the log and never holds what the peer sent as text.
"""

from __future__ import annotations

from typing import ClassVar


class VideoError(Exception):
    """Something the host can read about."""

    code: ClassVar[str] = "video_error"
    text: ClassVar[str] = "Có lỗi với luồng hình. Hãy bấm phát lại."

    def __init__(self, detail: str = "") -> None:
        self.detail = detail
        super().__init__(f"{self.code}: {detail}" if detail else self.code)


class Malformed(VideoError):
    """The bytes are not what they claim to be and cannot be followed any further."""

    code = "malformed"
    text = "Luồng hình bị hỏng giữa chừng. Hãy tải lại trang và bấm phát lại."


class Unsupported(VideoError):
    """Sound bytes of a kind that cannot be shown to buyers (codec, container, size)."""

    code = "unsupported"
    text = "Máy này quay bằng định dạng chưa phát được. Hãy dùng Chrome, Safari, hoặc OBS với H.264 và AAC."


class TooLarge(VideoError):
    """More bytes than a stream of a phone can honestly hold: a chunk, a header or a rate."""

    code = "too_large"
    text = "Luồng hình quá nặng. Hãy giảm chất lượng hình rồi bấm phát lại."


class NoKeyFrame(VideoError):
    """Nothing can be shown before a key frame, and none came."""

    code = "no_key_frame"
    text = "Không nhận được khung hình khoá. Trong OBS hãy đặt khoảng cách khung hình khoá là 1 hoặc 2 giây."


class BadTicket(VideoError):
    """The ticket or stream key is missing, forged, out of date or for another session."""

    code = "bad_ticket"
    text = "Mã phát không đúng hoặc đã hết hạn. Hãy tải lại trang."


class SessionEnded(VideoError):
    """The session is over or was taken down; nothing more is accepted for it."""

    code = "ended"
    text = "Phiên đã kết thúc."


class Replaced(VideoError):
    """Another device was told to send for the session; this one stops."""

    code = "replaced"
    text = "Máy khác đã nhận phát phiên này. Máy này đã dừng gửi hình."


class Occupied(VideoError):
    """Another device sends for this session, and nobody has asked to take it over."""

    code = "occupied"
    text = "Máy khác đang phát phiên này. Phát từ máy này?"


class Moved(VideoError):
    """The session belongs to another video process now: ask for the address again."""

    code = "moved"
    text = "Đang nối lại với máy chủ hình."


class Busy(VideoError):
    """This process has as many streams or connections as it can carry."""

    code = "busy"
    text = "Máy chủ hình đang đầy. Hãy thử lại sau ít giây."


class ArchiveUnavailable(VideoError):
    """S3 does not take or give the bytes."""

    code = "archive"
    text = "Chưa lưu được hình. Hệ thống đang thử lại, hãy giữ máy tiếp tục quay."
