"""Text made safe to show: control characters as escapes, credentials masked."""

from __future__ import annotations

import re

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys instead of showing them (C0, C1, bidirectional overrides), and lone
surrogates, which stand for bytes of file names that are not UTF-8. Tabs and line feeds are not among them."""

_USER = re.compile(r"(?<=://)[^/?#\s@]+(?=@)")
_QUERY = re.compile(
    r"(?i)([?&][\w.-]*(?:token|key|secret|sig|signature|password|passwd|pwd|credential|auth)[\w.-]*=)[^&#\s'\"]+"
)
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
_MASK = "***"


def printable(text: str) -> str:
    r"""The text with terminal control characters written as escapes (`\x1b`).

    Newlines and tabs stay.
    """
    return _CONTROLS.sub(_escape, text) if _CONTROLS.search(text) else text


def printable_json(text: str) -> str:
    """JSON text with the control characters that JSON leaves raw (DEL, C1, bidi) escaped; still the same JSON."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def mask_credentials(text: str) -> str:
    """The text with user names, passwords, tokens and signatures in URLs masked."""
    if "://" in text:
        text = _QUERY.sub(rf"\1{_MASK}", _USER.sub(_MASK, text))
    return _HUB_TOKEN.sub(f"hf_{_MASK}", text) if "hf_" in text else text


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
