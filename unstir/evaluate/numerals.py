"""Numbers as people read them, each with all its digits at hand."""

import json
import math
from collections.abc import Sequence
from html import escape

_DIGITS = 4
"""How many digits count where nothing says how precise a number is."""


def decimals(value: float | None, interval: Sequence[float] | None) -> int | None:
    """How many decimals a row deserves: two digits of its interval's half width; None where there is no interval."""
    if value is None or interval is None or interval[1] <= interval[0]:
        return None
    half = (interval[1] - interval[0]) / 2
    return min(max(1 - math.floor(math.log10(half)), 0), 8)


def numeral(value: float | None, places: int | None = None) -> str:
    """HTML for a number, rounded to `places` decimals or to four digits; the full number is in `value` and `title`."""
    if value is None:
        return '<span class="none">–</span>'
    exact = json.dumps(value)
    return f'<data value="{exact}" title="{exact}">{rounded(value, places)}</data>'


def rounded(value: float, places: int | None = None) -> str:
    """HTML text of a number: true minus, powers of ten instead of "e-05", thin spaces between thousands."""
    if isinstance(value, int):
        text = f"{value:,}"
    elif places is not None:
        text = f"{value:,.{places}f}"
    elif value == 0:
        text = "0"
    else:
        exponent = math.floor(math.log10(abs(float(f"{value:.{_DIGITS - 1}e}"))))  # after rounding: 9.9999 is 10.00
        if -4 <= exponent < 6:
            text = f"{value:,.{max(_DIGITS - 1 - exponent, 0)}f}"
        else:
            mantissa = f"{value / 10.0**exponent:.{_DIGITS - 1}f}"
            text = f"{mantissa} × 10<sup>{exponent}</sup>"
    if not text.strip("-0.,"):
        text = text.removeprefix("-")  # what rounds to zero has no sign
    return text.replace("-", "−").replace(",", "\u2009")


def told(value: object) -> str:
    """HTML for a setting: words, a number, or lists and tables of them."""
    match value:
        case None:
            return '<span class="none">–</span>'
        case bool():
            return "yes" if value else "no"
        case int() | float():
            # A seed or a count is said in full, without spaces that would get into a copied number.
            exact = json.dumps(value)
            return f'<data value="{exact}">{exact}</data>'
        case str():
            return escape(value)
        case list():
            return ", ".join(told(one) for one in value) or '<span class="none">–</span>'
        case dict():
            return ", ".join(f"{escape(name)} {told(one)}" for name, one in value.items())
    return escape(str(value))
