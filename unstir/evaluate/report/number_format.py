"""Numbers as people read them."""

import json
import math
from collections.abc import Sequence

_DIGITS = 4
"""Significant digits where no interval says how precise a number is."""

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def decimals_for(value: float | None, interval: Sequence[float] | None) -> int | None:
    """Decimals for a value and its interval: two digits of its half width; None where there is no interval."""
    if value is None or interval is None or interval[1] <= interval[0]:
        return None
    half = (interval[1] - interval[0]) / 2
    return min(max(1 - math.floor(math.log10(half)), 0), 8)


def rounded(value: float, decimals: int | None = None) -> str:
    """A number as text: a true minus, powers of ten instead of "e-05", thin spaces between thousands.

    decimals: number of decimals; None means four significant digits.
    """
    if isinstance(value, int):
        text = f"{value:,}"
    elif decimals is not None:
        text = f"{value:,.{decimals}f}"
    elif value == 0:
        text = "0"
    else:
        exponent = math.floor(math.log10(abs(float(f"{value:.{_DIGITS - 1}e}"))))  # after rounding: 9.9999 is 10.00
        if -4 <= exponent < 6:
            text = f"{value:,.{max(_DIGITS - 1 - exponent, 0)}f}"
        else:
            mantissa = f"{value / 10.0**exponent:.{_DIGITS - 1}f}"
            return f"{mantissa} × 10".replace("-", "−") + str(exponent).translate(_SUPERSCRIPT)
    if not text.strip("-0.,"):
        text = text.removeprefix("-")  # what rounds to zero has no sign
    return text.replace("-", "−").replace(",", "\u2009")


def exact(value: float) -> str:
    """A number with all its digits, as JSON has it."""
    return json.dumps(value)
