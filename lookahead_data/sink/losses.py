"""What was left out of a job, in rows and tokens, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lookahead_data.config import Settings

ASKED_FOR = ("where", "sampled", "duplicate", "near_duplicate", "contaminated", "tail")
"""Reasons that a setting of the job asks for, so that no warning is needed."""

WARNED_FROM = 0.01
"""The share of all tokens past which what is left out is warned of."""


@dataclass(frozen=True)
class Loss:
    """The rows that were left out for one reason.

    Attributes:
        outcome: `filtered` or `quarantined`.
        reason: a code from `errors.REASONS`.
        rows: how many.
        tokens: that they hold.
        exact: the tokens were counted; else they are estimated, by the mean of the rows written. Rows that go before
            they are encoded have no tokens to count.
        share: of the tokens of all rows, from 0 to 1.
        remedy: what keeps such rows, or shows them.
    """

    outcome: str
    reason: str
    rows: int
    tokens: int
    exact: bool
    share: float
    remedy: str

    @property
    def matters(self) -> bool:
        """Whether it is worth a warning."""
        return self.share > WARNED_FROM and self.reason not in ASKED_FOR

    def __str__(self) -> str:
        about = "" if self.exact else "about "
        return (
            f"{self.outcome} {self.rows:,} row{'s' * (self.rows != 1)} ({self.reason}), "
            f"{about}{self.tokens:,} tokens, {percent(self.share)} of all"
        )


def percent(share: float) -> str:
    """A share for people: never 0 % of something, nor 100 % of all but something."""
    return f"{100 * share:.{2 if share < 0.995 else 4}g} %"


def losses(totals: Mapping[str, Any], settings: Settings) -> list[Loss]:
    """What was left out, by reason, as far as tokens go the largest first.

    Args:
        totals: `Counts.summary()` of a job.
    """
    left_out = [
        (outcome, reason, rows)
        for outcome in ("filtered", "quarantined")
        for reason, rows in totals[outcome].items()
    ]
    known = totals["lost_tokens"]
    mean = totals["tokens"] / totals["written"] if totals["written"] else 0.0
    tokens = {reason: known.get(reason, round(rows * mean)) for _, reason, rows in left_out}
    everything = totals["tokens"] + totals["dropped_tokens"] + sum(tokens.values()) - known.get("tail", 0)
    found = [
        Loss(
            outcome,
            reason,
            rows,
            tokens[reason],
            reason in known,
            tokens[reason] / everything if everything else 0.0,
            _remedy(outcome, reason, settings),
        )
        for outcome, reason, rows in left_out
    ]
    return sorted(found, key=lambda loss: (loss.outcome, -loss.tokens))


def _remedy(outcome: str, reason: str, settings: Settings) -> str:
    if reason == "overlength":
        if settings.pack and settings.packing == "best-fit":
            return "--overlength split keeps them, cut into documents of at most --pack tokens; a larger --pack keeps them whole"
        if settings.pack:
            return "--overlength split keeps them, cut into documents of at most --max-length tokens"
        return "raise --max-length to keep them, or cut them with --overlength truncate"
    if reason == "short_answer":
        return "--short-answer keep keeps them"
    if outcome == "quarantined":
        return "quarantine/ lists each of them with its place and what is wrong"
    return ""
