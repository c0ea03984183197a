"""How values are written for people: texts that hide nothing, numbers and times that are read at a glance."""

from __future__ import annotations

import math
import re

# what moves a cursor, turns the direction of writing or cannot be seen; a line end and a tab stay, and so do the
# joiners inside emoji and Indic words
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: object) -> str:
    """`text` with each control, direction and invisible character written as its escape: `\\x1b`, `\\u202e`."""
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], str(text).replace("\r\n", "\n"))


def line(text: object, longest: int = 200) -> str:
    """`visible(text)` on one line, at most `longest` characters; '…' at its end where it was cut."""
    # cut before the rest is looked at: a text may be megabytes
    whole = visible(" ".join(str(text)[: 4 * longest].split()))
    return whole if len(whole) <= longest else whole[: longest - 1] + "…"


def number(value: object) -> str:
    """A number with four digits that count, thousands apart; any other value as `line` writes it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return line(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    if value == 0 or isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 0.001:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{digits}e{int(power)}"
    return f"{value:#.4g}"


def duration(seconds: float) -> str:
    """'0.4 s', '48 s', '3 min 20 s', '2 h 05 min', '3 d 04 h'."""
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 60:
        return f"{minutes} min {whole % 60:02} s"
    return f"{hours} h {minutes % 60:02} min" if hours < 24 else f"{hours // 24} d {hours % 24:02} h"


def words(name: str) -> str:
    """A value's name as people say it."""
    return line(name.replace("_", " "), 32)
