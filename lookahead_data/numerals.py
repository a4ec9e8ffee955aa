"""Numbers as people write them: sizes, shares, limits."""

from __future__ import annotations

import math
import re

from lookahead_data.errors import SettingsError


def parse_size(text: str | int) -> int:
    """Bytes from `256MB`, `64MiB`, `1GB` or a plain number. MB is 10**6, MiB is 2**20."""
    if isinstance(text, int):
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)[bB]?\s*", text)
    if not match:
        raise SettingsError(f"{text!r} is not a size", remedy="Write it like 256MB or 64MiB.")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kMGT".index(unit.replace("K", "k") or " "))


def share_of(value: float | str, name: str = "") -> float | None:
    """The share that a value of `mix` says, from above 0 to 1; None if it is a number of repeats.

    Raises:
        SettingsError: it is neither.
    """
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)
        if match and 0 < float(match[1]) <= 100:
            return float(match[1]) / 100
    elif type(value) in (int, float) and 0 <= value < math.inf:
        return None
    raise SettingsError(
        f"{name}={value} says neither how often nor what share",
        where="--mix",
        remedy="Write INPUT=2.5 for two and a half times, or INPUT=30% for a share of all rows.",
    )


def fraction_of(value: float | str) -> float | None:
    """The share that a number or a percentage (`"10%"`) says; None if it says none."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)
        return float(match[1]) / 100 if match else None
    return float(value) if type(value) in (int, float) else None


def quarantine_limit(allowed: int | str, read: int, option: str = "--max-quarantine") -> float:
    """How many of the `read` rows may be in quarantine, or filtered.

    Args:
        allowed: rows, or a share of those read, like `2%`.
        option: that says so.

    Raises:
        SettingsError: it is neither.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", str(allowed))
    if not match or (not match[2] and "." in match[1]):
        raise SettingsError(
            f"{allowed!r} is no number of rows", where=option, remedy="Write it like 100 or 0.5%."
        )
    return float(match[1]) * read / 100 if match[2] else int(match[1])
