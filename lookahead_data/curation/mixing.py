"""How often rows are written, by their source and class: what the settings ask for, and what there is to meet it.

A row of the rate r is written ⌊r⌋ times. Which rows are written once more is told by their hashes: where rows were
counted those with the smallest ones, so that a quota is met to the row; else (`--keep` alone) those below a threshold,
so that the choice on a row does not depend on others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from lookahead_data.config import Settings
from lookahead_data.curation.classes import CLASSES, OTHER, SAFETY
from lookahead_data.curation.ranks import Rank
from lookahead_data.errors import InputError, SettingsError
from lookahead_data.numerals import share_of

Counted = npt.NDArray[np.int64]
"""Rows that are left, by source (see `source_of`) and class, shape (sources + 1, classes)."""


def source_of(file: str, patterns: Sequence[str]) -> int:
    """The place of the first pattern that means an input, or the number of patterns if none does.

    A pattern means an input that it names, that is in the folder that it names, or that it matches.
    """
    for place, pattern in enumerate(patterns):
        wanted = PurePath(pattern).as_posix()
        if file == wanted or file.startswith(f"{wanted}/") or fnmatchcase(file, wanted):
            return place
    return len(patterns)


def is_safety_set(settings: Settings, file: str) -> bool:
    """Whether all rows of an input are of the class safety."""
    return source_of(file, settings.safety_set) < len(settings.safety_set)


def check_sources(settings: Settings, files: Sequence[str]) -> None:
    """Refuse names in `mix` and `safety_set` that mean no input, or in `mix` one that another means too.

    Raises:
        SettingsError: as said.
    """
    for option, patterns in (("--mix", tuple(settings.mix)), ("--safety-set", settings.safety_set)):
        meant = [[file for file in files if source_of(file, [pattern]) == 0] for pattern in patterns]
        for place, (pattern, mine) in enumerate(zip(patterns, meant, strict=True)):
            if not mine:
                few = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
                raise SettingsError(
                    f"{pattern} is none of the inputs", where=option, remedy=f"The inputs are: {few}."
                )
            twice = next((file for file in mine if source_of(file, patterns) != place), None)
            if option == "--mix" and twice:
                other = patterns[source_of(twice, patterns)]
                raise SettingsError(f"{twice} is meant by {other} and by {pattern}", where=option)


@dataclass(frozen=True)
class Amounts:
    """What rates are made of, beside `Settings.keep`.

    Attributes:
        sources: how often the rows of each source in `Settings.mix` are written.
        classes: by what rates of a class are multiplied, so that it gets its share.
    """

    sources: Mapping[str, float]
    classes: Mapping[str, float]

    @classmethod
    def named(cls, settings: Settings) -> Amounts:
        """What the settings say by themselves; sources with shares are not among it."""
        numbers = {name: value for name, value in settings.mix.items() if share_of(value) is None}
        return cls({name: float(value) for name, value in numbers.items()}, dict.fromkeys(CLASSES, 1.0))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def rates(self, settings: Settings, file: str) -> dict[str, float]:
        """How often a row of an input is written, by its class."""
        place = source_of(file, list(settings.mix))
        amount = 1.0 if place == len(settings.mix) else self.sources[list(settings.mix)[place]]
        return {name: settings.keep.get(name, 1.0) * amount * self.classes[name] for name in CLASSES}

    @property
    def repeat(self) -> bool:
        """Whether rows may be written more than once."""
        return max([*self.sources.values(), 1.0]) * max(self.classes.values()) > 1


@dataclass(frozen=True)
class Quota:
    """Of how many rows of a source and class so many are written.

    Attributes:
        rows: that are left of it.
        written: of them, each copy counted.
        last: the last row, in the order of hashes, that is written once more than others; None is none.
    """

    rows: int
    written: int
    last: Rank | None = None

    @property
    def each(self) -> int:
        """How often every row is written."""
        return self.written // self.rows if self.rows else 0

    @property
    def more(self) -> int:
        """How many rows are written once more."""
        return self.written - self.each * self.rows

    @property
    def rate(self) -> float:
        return self.written / self.rows if self.rows else 0.0

    def to_dict(self) -> dict[str, Any]:
        last = [f"{self.last[0]:016x}", self.last[1]] if self.last else None
        return {"rows": self.rows, "written": self.written, "last": last}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Quota:
        last = document["last"]
        return cls(document["rows"], document["written"], (int(last[0], 16), last[1]) if last else None)


Quotas = Sequence[Mapping[str, Quota]]
"""Of each source in `Settings.mix`, and last of all other inputs, by class."""


def repeats(quotas: Quotas) -> bool:
    """Whether any row is written more than once."""
    return any(quota.written > quota.rows for of_source in quotas for quota in of_source.values())


def written_of(settings: Settings, counted: Counted, amounts: Amounts) -> Counted:
    """How many rows are to be written, by source and class: whole numbers that meet the shares to the row.

    The rows of all, then those of each source are rounded together (largest remainder); then the share of the class
    safety is made up for what rounding took from it.
    """
    keep = np.array([settings.keep.get(name, 1.0) * amounts.classes[name] for name in CLASSES])
    often = np.array([*(amounts.sources[name] for name in settings.mix), 1.0])
    due = counted * keep * often[:, None]
    of_sources = _whole(due.sum(axis=1), round(float(due.sum())))
    found = np.array([_whole(row, total) for row, total in zip(due, of_sources, strict=True)])
    wanted = settings.safety_share
    if wanted is None:
        return found
    safe, other = CLASSES.index(SAFETY), CLASSES.index(OTHER)
    if settings.safety_by == "repeating":
        needed = math.ceil(wanted * int(found[:, other].sum()) / (1 - wanted) - 1e-9)
        while found[:, safe].sum() < needed:
            found[np.argmax(counted[:, safe]), safe] += 1
    else:
        most = math.floor(int(found[:, safe].sum()) * (1 - wanted) / wanted + 1e-9)
        while found[:, other].sum() > most:
            found[np.argmax(found[:, other]), other] -= 1
    return found


def _whole(due: npt.NDArray[np.float64], total: int) -> Counted:
    """Whole numbers of the given sum, each less than 1 from what is due."""
    # What differs from a whole number by rounding errors alone is that number.
    near = np.round(due)
    due = np.where(np.isclose(due, near, rtol=1e-12, atol=1e-9), near, due)
    found: Counted = np.floor(due).astype(np.int64)
    most = np.argsort(-(due - found), kind="stable")
    found[most[: max(total - int(found.sum()), 0)]] += 1
    return found


def amounts_of(settings: Settings, counted: Counted) -> Amounts:
    """What the settings ask for, shares of rows included.

    Args:
        counted: of the sources in `Settings.mix`, and last of all other inputs.

    Raises:
        InputError: there are no rows of which a share could be made.
    """
    kept = counted * [settings.keep.get(name, 1.0) for name in CLASSES]
    sources = dict(Amounts.named(settings).sources)
    shares = {name: share for name, value in settings.mix.items() if (share := share_of(value)) is not None}
    rows = dict(zip(settings.mix, kept.sum(axis=1).tolist(), strict=False))
    if shares:
        others = float(kept[-1].sum()) + sum(rows[name] * amount for name, amount in sources.items())
        total = _total(shares, rows, others)
        sources |= {name: share * total / rows[name] for name, share in shares.items()}
    amounts = np.array([*(sources[name] for name in settings.mix), 1.0])
    safe, other = (kept * amounts[:, None]).sum(axis=0).tolist()
    classes = dict.fromkeys(CLASSES, 1.0)
    if settings.safety_share is not None:
        classes |= _for_safety(settings.safety_share, settings.safety_by, safe, other)
    return Amounts(sources, classes)


def _total(shares: Mapping[str, float], rows: Mapping[str, float], others: float) -> float:
    """How many rows there will be in all, so that sources make up their shares of them.

    Args:
        rows: of each source, once.
        others: rows of all that has no share.
    """
    for name in shares:
        if not rows[name]:
            raise InputError("no row of it is left to be mixed in", where=name)
    left = 1 - sum(shares.values())
    if not math.isclose(left, 0, abs_tol=1e-9):
        if others:
            return others / left
        raise InputError(
            f"the shares in --mix add up to {100 * (1 - left):.6g} %, and nothing else has rows for the rest",
            remedy="Give shares that add up to 100%, or say how often rows are repeated.",
        )
    if others:
        raise InputError(
            f"the shares in --mix are all there is, and {others:,.0f} rows are of other inputs",
            remedy="Give shares that add up to less than 100%, or one to each input.",
        )
    # As many as there can be without a row that is written twice.
    return min(rows[name] / share for name, share in shares.items())


def _for_safety(wanted: float, by: str, safe: float, other: float) -> dict[str, float]:
    """By what rates are multiplied, so that rows of the class safety make up their share, at least.

    Args:
        safe, other: rows of either class, as they would be written otherwise.
    """
    if not safe:
        raise InputError(
            f"no row is of the class safety, so none can be {100 * wanted:.6g} % of the rows",
            remedy="Name a safety set with --safety-set, or say how such rows are told (--refusal, --safety-field).",
        )
    if safe >= wanted * (safe + other):
        return {}
    if by == "repeating":
        return {SAFETY: wanted * other / ((1 - wanted) * safe)}
    return {OTHER: safe * (1 - wanted) / (wanted * other)}
