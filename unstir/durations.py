"""Durations: reading "90s", "30m" or "2h", and writing them for messages."""

import re

from unstir.errors import UserError


def parse_duration(text: str) -> float:
    """The seconds of "90s", "30m" or "2h". UserError for anything else, also for a number without a unit."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)([smh])", text.strip())
    seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"--budget {text!r} is no time; write 90s, 30m or 2h")
    return seconds


def duration(seconds: float) -> str:
    """A duration in words: 45 s, 2 min 05 s, 35 min, 3 h 05 min.

    seconds: 0 or more.
    """
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    if seconds < 1800:
        minutes, rest = divmod(seconds, 60)
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
