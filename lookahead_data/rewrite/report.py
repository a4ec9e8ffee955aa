"""What became of the rows of a `preview`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lookahead_data.batches import Reject
from lookahead_data.plan import InputFile
from lookahead_data.sink.quarantine import rejected_lines


@dataclass
class PreviewReport:
    """What became of the rows.

    Attributes:
        read, written: rows; the difference was quarantined.
        previews, previewed_tokens, whole_answers: previews put in, the answer tokens they show, and
            how many show the whole answer.
        quarantined: rows left out, by reason.
        notes: rows that are worth knowing of (see `sink.manifest.NOTES`).
        rejects: the rows left out, with the name of their file.
        shape: the shapes of the files, in words.
    """

    shape: str = ""
    read: int = 0
    written: int = 0
    previews: int = 0
    previewed_tokens: int = 0
    whole_answers: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    rejects: list[tuple[str, Reject]] = field(default_factory=list)

    def add(self, part: PreviewReport) -> None:
        """Count in the rows of a part of the corpus."""
        for name, value in vars(part).items():
            if name != "shape":
                setattr(self, name, getattr(self, name) + value)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the rejected rows themselves."""
        plain = {name: value for name, value in vars(self).items() if name != "rejects"}
        return plain | {"quarantined": dict(self.quarantined), "notes": dict(self.notes)}


def quarantine_lines(report: PreviewReport, files: Sequence[InputFile]) -> str:
    """The rows left out, as JSON Lines."""
    by_name = {file.name: file for file in files}
    return "".join(rejected_lines([reject], by_name[name]) for name, reject in report.rejects)
