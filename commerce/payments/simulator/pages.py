"""The stand-in's own pages: where the card is typed in, and where the bank asks its holder."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

WORDS = {
    "card_declined": "Thẻ bị từ chối. Xin dùng thẻ khác.",
    "insufficient_funds": "Thẻ không đủ tiền. Xin dùng thẻ khác.",
    "expired_card": "Thẻ đã hết hạn.",
    "incorrect_cvc": "Mã bảo mật (CVC) không đúng.",
    "incorrect_number": "Số thẻ không đúng.",
    "incomplete_number": "Xin ghi số thẻ.",
    "incomplete_expiry": "Xin ghi ngày hết hạn, ví dụ 12/34.",
    "invalid_expiry": "Thẻ đã quá ngày hết hạn.",
    "incomplete_cvc": "Xin ghi mã bảo mật gồm 3 hoặc 4 chữ số.",
    "processing_error": "Ngân hàng đang bận. Xin thử lại sau ít phút.",
    "payment_intent_authentication_failure": "Chưa xác thực được chủ thẻ. Xin thử lại hoặc dùng thẻ khác.",
}
TRY = (
    ("4242 4242 4242 4242", "trả được"),
    ("4000 0027 6000 3184", "ngân hàng hỏi chủ thẻ"),
    ("4000 0000 0000 9995", "không đủ tiền"),
    ("4000 0000 0000 0002", "bị từ chối"),
)

_STYLE = """
*{box-sizing:border-box;margin:0}
body{font:17px/1.5 system-ui,"Noto Sans",sans-serif;background:#f4f5f8;color:#1a1f36;min-height:100vh}
aside{background:#1a1f36;color:#fff;text-align:center;padding:.4rem 1rem;font-size:.875rem}
header{background:#fff;border-bottom:1px solid #dfe3ec;padding:1.25rem 1rem}
header div,main{max-width:27rem;margin:auto}
header p{color:#4f566b;font-size:.9375rem}
h1{font-size:2rem;letter-spacing:-.01em;font-variant-numeric:tabular-nums}
h2{font-size:1.1875rem;margin-bottom:.75rem}
main{padding:1.25rem 1rem 3rem}
form{background:#fff;border:1px solid #dfe3ec;border-radius:.75rem;padding:1.25rem 1rem;margin-bottom:1rem}
label{display:block;font-weight:600;font-size:.9375rem;margin-bottom:.875rem}
input{display:block;width:100%;font:inherit;font-variant-numeric:tabular-nums;padding:.7rem .75rem;
 margin-top:.25rem;border:1px solid #8792a2;border-radius:.5rem;background:#fff;color:inherit}
input:focus,button:focus,a:focus{outline:3px solid #635bff66;outline-offset:1px}
.two{display:grid;grid-template-columns:1fr 1fr;gap:.75rem}
button{font:inherit;font-weight:700;width:100%;min-height:3.25rem;border:0;border-radius:.5rem;background:#4b44d6;
 color:#fff;cursor:pointer}
button.plain{background:#fff;color:#1a1f36;border:1px solid #8792a2;margin-top:.6rem}
[role=alert]{background:#fdecec;color:#8c1111;border-left:4px solid #c22;border-radius:.375rem;
 padding:.7rem .875rem;margin-bottom:1rem;font-weight:600}
details{font-size:.9375rem;color:#4f566b}
summary{cursor:pointer;padding:.5rem 0;font-weight:600}
ul{list-style:none;padding:0}
li{display:flex;justify-content:space-between;gap:.75rem;padding:.35rem 0;border-top:1px solid #dfe3ec}
code{font-variant-numeric:tabular-nums;white-space:nowrap}
a{color:#3f38c4;display:inline-block;padding:.5rem 0}
"""


def _page(title: str, head: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="vi"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        "<body>"
        "<aside>Trang thẻ mô phỏng, không có tiền thật</aside>"
        f"<header><div>{head}</div></header><main>{body}</main></body></html>"
    )


def money(amount: int, currency: str) -> str:
    return f"{amount:,}".replace(",", ".") + (
        "&nbsp;₫" if currency == "vnd" else f" {html.escape(currency.upper())}"
    )


def card_form(session: Mapping[str, Any], what: str, fault: str = "", number: str = "") -> str:
    back = html.escape(str(session["cancel_url"] or session["success_url"]))
    if session["status"] != "open":
        said = "Đã trả tiền xong." if session["status"] == "complete" else "Trang này đã hết giờ."
        return _page("Thanh toán", f"<h2>{said}</h2>", f'<a href="{back}">Về đơn hàng</a>')
    amount = money(session["amount_total"], session["currency"])
    alert = f'<p role="alert">{html.escape(WORDS.get(fault, fault))}</p>' if fault else ""
    cards = "".join(f"<li><code>{card}</code><span>{does}</span></li>" for card, does in TRY)
    return _page(
        "Thanh toán bằng thẻ",
        f"<p>Đơn {html.escape(what)}</p><h1>{amount}</h1>",
        f'{alert}<form method="post" novalidate><h2>Thẻ của bạn</h2>'
        '<label>Số thẻ<input name="card" inputmode="numeric" autocomplete="cc-number"'
        f' value="{html.escape(number)}"'
        ' placeholder="1234 1234 1234 1234" maxlength="23" required></label><div class="two">'
        '<label>Hết hạn<input name="expiry" inputmode="numeric" autocomplete="cc-exp" placeholder="MM / YY"'
        ' maxlength="9" required></label>'
        '<label>CVC<input name="cvc" inputmode="numeric" autocomplete="cc-csc"'
        f' placeholder="123" maxlength="4" required></label></div><button>Trả {amount}</button></form>'
        f'<a href="{back}">← Về đơn hàng</a>'
        f"<details><summary>Thẻ để thử</summary><ul>{cards}</ul>"
        "<p>Ngày hết hạn nào trong tương lai và ba chữ số nào cũng được.</p></details>",
    )


def transfer(asked: Mapping[str, str], hidden: Mapping[str, str]) -> str:
    """What a banking app shows after the code was scanned."""
    fields = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}">' for name, value in hidden.items()
    )
    amount, memo = html.escape(asked["amount"]), html.escape(asked["memo"])
    return _page(
        "Chuyển khoản",
        "<p>Ứng dụng ngân hàng</p><h2>Kiểm tra rồi chuyển</h2>",
        f'<form method="post">{fields}'
        f'<label>Số tiền (₫)<input name="amount" inputmode="numeric" value="{amount}"></label>'
        f'<label>Nội dung<input name="memo" value="{memo}"></label>'
        f"<p>Đến tài khoản <code>{html.escape(asked['account'])}</code></p><br>"
        "<button>Chuyển tiền</button></form>"
        f'<a href="{html.escape(asked["back"])}">← Về đơn hàng</a>',
    )


def authentication(intent: Mapping[str, Any]) -> str:
    amount = money(intent["amount"], intent["currency"])
    return _page(
        "Xác thực chủ thẻ",
        "<p>Ngân hàng phát hành thẻ</p><h2>Bạn đang trả khoản này?</h2>",
        f'<form method="post" action="/3ds/{intent["id"]}"><h1>{amount}</h1>'
        "<p>Cho người bán trên Chợ Phiên.</p><br>"
        '<button name="answer" value="complete">Đúng, tôi trả</button>'
        '<button class="plain" name="answer" value="fail">Không phải tôi</button></form>',
    )
