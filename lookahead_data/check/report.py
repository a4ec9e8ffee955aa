"""What a check found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PROBLEMS = 20
"""So many problems are told one by one; of further ones only the number."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong.

    Attributes:
        where: the file, as a path in the folder.
        what: what is wrong, with the values.
        row: the row of the shard, from 0, or None where it is no row's fault.
        remedy: what the user can do about this problem alone, or None.
    """

    where: str
    what: str
    row: int | None = None
    remedy: str | None = None

    def __str__(self) -> str:
        place = self.where if self.row is None else f"{self.where} row {self.row}"
        return f"{place}: {self.what}"


@dataclass(frozen=True)
class Verification:
    """What `verify` found in an output folder.

    Attributes:
        folder: the output folder.
        problems: what is wrong, at most `PROBLEMS` of it.
        more: how many further problems there are.
        warnings: what could not be checked, and why.
        shards, rows, tokens: read from `data/` and checked.
        rejects: lines read from `quarantine/`.
        compared: rows compared with what the inputs give when they are converted again.
        digest: the SHA-256 of the manifest, which names every other file with its own; None if there is none.
    """

    folder: Path
    problems: tuple[Problem, ...] = ()
    more: int = 0
    warnings: tuple[str, ...] = ()
    shards: int = 0
    rows: int = 0
    tokens: int = 0
    rejects: int = 0
    compared: int = 0
    digest: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return {"ok": self.ok} | asdict(self) | {"folder": str(self.folder)}


@dataclass
class Findings:
    """Problems and warnings, as they are found.

    Attributes:
        tell: told of each warning at once.
    """

    tell: Callable[[str], None]
    problems: list[Problem] = field(default_factory=list)
    more: int = 0
    warnings: list[str] = field(default_factory=list)

    def add(self, where: str, what: str, row: int | None = None, remedy: str | None = None) -> None:
        """Something is wrong."""
        if len(self.problems) < PROBLEMS:
            self.problems.append(Problem(where, what, row, remedy))
        else:
            self.more += 1

    def warn(self, message: str) -> None:
        """Something could not be checked."""
        self.warnings.append(message)
        self.tell(message)
