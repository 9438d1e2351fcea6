"""Symbols of real feeds and their cousins, and texts that look like symbols, with what is wrong with them."""

from __future__ import annotations

from typing import Final

__all__ = ["NO_SYMBOLS", "SYMBOLS"]

SYMBOLS: Final = (
    "BRK.B", "BTC-USD", "^GSPC", "ES=F", "EUR/USD", "a", "#1", "A_B", ":+$",
    "SPY   251219C00650000", "GOOGL 251219P00150000", "M&M.NS", "@ES#", "BTC/USDT:USDT", "1INCH!", "[N/A]", "O'R", "a|b~c`d",
    "0xdAC17F958D2ee523a2206206994597C13D831ec7", "A*B", "*A", "!A", ".", "..", "/", "//", "A/", "../../etc", "100%", "%2F",
    "A?b=c", "A#b", "A;b", '"', "\\", '\\"', '{"type":"tick"}', "=1+1", "<script>alert(1)</script>", "{{7}}", "$(id)",
    "贵州茅台", "삼성전자", "トヨタ", "Ærø", "Société Générale", "مصر", "שלום", "हिन्दी", "💰", "A💰B", "𝔸", "_x", "__", "_w_-",
    "x" * 64, "(" * 64, " ".join("x" * 32), "茅" * 24, "茅" * 64, "💰" * 64,
)  # fmt: skip

NO_SYMBOLS: Final = {
    "": "0 characters",
    "x" * 65: "65 characters",
    "💰" * 65: "65 characters",
    " A": "white space",
    "A ": "white space",
    " ": "white space",
    "\u3000A": "white space",
    "AAPL\n": "white space",
    "A\tB": "U+0009",
    "A\nB": "U+000A",
    "A\x00B": "U+0000",
    "A\x7fB": "U+007F",
    "A\x1b[31mB": "U+001B",
    "A\u0085B": "U+0085",
    "A\u00a0B": "U+00A0",
    "A\u3000B": "U+3000",
    "A\u2028B": "U+2028",
    "A\u00adB": "U+00AD",
    "A\u200bB": "U+200B",
    "A\u200dB": "U+200D",
    "A\u200fB": "U+200F",
    "A\u202eB": "U+202E",
    "A\u2066B": "U+2066",
    "\ufeffA": "U+FEFF",
    "A\u3164B": "U+3164",
    "❤\ufe0f": "U+FE0F",
    "👩\u200d💻": "U+200D",
    "A\ud800B": "U+D800",
    "A\ue000B": "U+E000",
    "A\u0378B": "U+0378",
    "A\U0010ffffB": "U+10FFFF",
    "e\u0301": "NFC",
    "\u1100\u1161": "NFC",
    "\u212b": "NFC",
    "A,B": "comma",
    "*": "every symbol",
    "A*": "pattern",
    "**": "pattern",
}
