"""Counts: what became of rows and tokens, of a unit or of a whole job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lookahead_data.batches import Packing
from lookahead_data.errors import OutputError
from lookahead_data.rowhash import RowsHash, hash_rows

QUANTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)
"""Percentiles of the row lengths that the manifest states."""


@dataclass
class Counts:
    """Rows and tokens, of a unit or of the whole job.

    `read + repeated == written + sum(filtered.values()) + sum(quarantined.values())` always holds, and so it
    does for the hashes of these rows.

    Attributes:
        read, written: rows; each copy of a row is a row written.
        repeated: rows written that are not the first copy.
        filtered, quarantined: rows that were not written, by reason.
        lost_tokens: of these rows, by reason, where each row of the reason was encoded before it went.
        tokens, supervised_tokens: in the rows written, padding not counted.
        previewed_rows, previews, previewed_tokens, whole_answers: rows written that have a preview;
            their previews; the answer tokens that these show; those that show the whole answer.
        audited: rows encoded by plain `tokenizers` too, to hold a quicker way to it.
        notes: rows that are worth knowing of, by kind (see `NOTES`).
        safety_read, safety_written, safety_supervised_tokens: of these, those of the class `safety`, where it is
            told.
        lengths: how many of the rows written have how many tokens.
        packed_rows, capacity: rows into which the documents were packed, and the tokens that these may hold.
        pad_tokens: with which packed rows were filled up.
        dropped_rows, dropped_tokens: packed rows that were not written since they were not full, and
            their tokens. A document that stood in such a row as a whole is not written, but `filtered`.
        rows_hash: which rows were read, written and rejected.
    """

    read: int = 0
    written: int = 0
    repeated: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    lost_tokens: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    supervised_tokens: int = 0
    previewed_rows: int = 0
    previews: int = 0
    previewed_tokens: int = 0
    whole_answers: int = 0
    audited: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    safety_read: int = 0
    safety_written: int = 0
    safety_supervised_tokens: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    packed_rows: int = 0
    capacity: int = 0
    pad_tokens: int = 0
    dropped_rows: int = 0
    dropped_tokens: int = 0
    rows_hash: RowsHash = field(default_factory=RowsHash)

    def __iadd__(self, other: Counts) -> Counts:
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(mine, Counter):
                mine.update(value)
            else:
                setattr(self, name, mine + value)
        return self

    def take_packing(self, packed: Packing, file: int) -> None:
        """Count the rows into which all the documents were packed.

        Where documents were cut, each piece has a first token that is not supervised.

        Args:
            file: the place of the documents' file among the inputs.

        Raises:
            OutputError: documents or tokens were lost or doubled.
        """
        for name, now, then in (
            ("documents", packed.documents, self.written),
            ("tokens", packed.tokens + packed.dropped_tokens, self.tokens),
        ):
            if now != then:
                raise OutputError(f"packed {now} of {then} {name}", remedy=_FAULT)
        if packed.balance:
            raise OutputError("packed as many tokens as there were, but not the same ones", remedy=_FAULT)
        self.packed_rows, self.capacity = packed.rows, packed.rows * packed.capacity
        self.tokens, self.supervised_tokens = packed.tokens, packed.supervised_tokens
        self.pad_tokens = packed.pad_tokens
        self.dropped_rows, self.dropped_tokens = packed.dropped_rows, packed.dropped_tokens
        self.notes += Counter(row_not_learned=packed.rows_not_learned)
        moved = hash_rows([reject.row for reject in packed.left_out], file)
        self.rows_hash += RowsHash(written=-moved, rejected=moved)
        self.written -= len(packed.left_out)
        self.filtered.update(reject.reason for reject in packed.left_out)
        for reject, tokens in packed.left_out.items():
            self.lost_tokens[reject.reason] += tokens
        self.lengths -= Counter(packed.left_out.values())

    def take_ranges(self, ranges: Sequence[Counts]) -> None:
        """Count all rows as they were written in the ranges of an order.

        Raises:
            OutputError: rows were lost or doubled on the way.
        """
        total = Counts()
        for counts in ranges:
            total += counts
        same = (total.written, total.lengths, total.rows_hash.written)
        if same != (self.written, self.lengths, self.rows_hash.written):
            raise OutputError(
                f"{self.written} rows were converted, and put in order are {total.written} rows, or other ones",
                remedy=_FAULT,
            )
        for name in _OF_ROWS_WRITTEN:
            setattr(self, name, getattr(total, name))
        self.notes += total.notes

    def check(self, where: str) -> None:
        """Raise `OutputError` if a row is not accounted for."""
        accounted = self.written + self.filtered.total() + self.quarantined.total()
        if self.read + self.repeated != accounted:
            again = f", wrote {self.repeated} once more" if self.repeated else ""
            raise OutputError(
                f"read {self.read} rows{again} and accounted for {accounted}",
                where=where,
                remedy=_FAULT,
            )
        if not self.rows_hash.balanced:
            raise OutputError(
                f"read {self.read} rows and accounted for as many, but they are not the same ones",
                where=where,
                remedy=_FAULT,
            )

    def quantiles(self) -> dict[str, int]:
        """Percentiles of the row lengths, in tokens (nearest rank)."""
        ranked = sorted(self.lengths.items())
        found: dict[str, int] = {}
        for percent in QUANTILES if self.written else ():
            rank = max(-(-percent * self.written // 100), 1)
            seen = 0
            for length, rows in ranked:
                seen += rows
                if seen >= rank:
                    found[f"p{percent}"] = length
                    break
        return found

    def summary(self) -> dict[str, Any]:
        """The counts as plain values, the histogram as quantiles."""
        plain: dict[str, Any] = {
            name: dict(sorted(value.items())) if isinstance(value, Counter) else value
            for name, value in vars(self).items()
            if name != "lengths"
        }
        if self.capacity:
            plain["packing_efficiency"] = round(self.tokens / self.capacity, 4)
        return plain | {"rows_hash": self.rows_hash.to_dict(), "length_quantiles": self.quantiles()}

    def document(self) -> dict[str, Any]:
        """All of the counts as plain values, for the receipt."""
        return self.summary() | {"lengths": {str(k): v for k, v in sorted(self.lengths.items())}}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Counts:
        """The counts of a receipt; what is not as it should be is a `ValueError`, `KeyError` or `TypeError`."""
        values = dict(document)
        values.pop("length_quantiles")
        values.pop("packing_efficiency", None)
        for name in ("filtered", "quarantined", "lost_tokens", "notes"):
            values[name] = Counter(dict(values[name]))
        values["lengths"] = Counter({int(k): v for k, v in dict(values["lengths"]).items()})
        for name, value in values.items():
            numbers = value.values() if isinstance(value, Counter) else (value,)
            if name != "rows_hash" and not all(type(number) is int for number in numbers):
                raise ValueError(f"{name} holds something that is no whole number")
        values["rows_hash"] = RowsHash.from_dict(values["rows_hash"])
        return cls(**values)


_OF_ROWS_WRITTEN = (
    "tokens",
    "supervised_tokens",
    "packed_rows",
    "capacity",
    "pad_tokens",
    "dropped_rows",
    "dropped_tokens",
)
"""Counts that packing changes."""

_FAULT = "This is a fault of lookahead_data; please report it."

NOTES: dict[str, str] = {
    "nul_in_text": "the text contains a NUL character (\\u0000 in the JSON); it is kept",
    "preview_without_user_message": "no preview: no user message comes right before the answer, or the answer is empty",
    "preview_differs": "previewed on the slow path, because the fast path gave a different preview on a sample; the "
    "output is correct",
    "trace_differs": "rendered one by one, because the traced layout did not fit these conversations; the output is "
    "correct, but slower",
    "template_rewrites_answer": "the chat template changes an answer beyond the white space around it; check the "
    "result with `lookahead-data inspect`",
    "answer_without_preview": "at least one answer is trained without a preview "
    "(--preview-turns supervised previews every answer; --supervise last trains only the last)",
    "short_answer_skipped": "no preview: the answer has no more tokens than the preview would show "
    "(--short-answer keep previews it whole)",
    "differs_from_inference": "the chat template renders a supervised turn differently than at inference, so the model "
    "sees another prompt there; try another --chat-template",
    "turn_without_end_token": "no special token ends a supervised turn, so the model does not learn to stop "
    "(set one with --end-token)",
    "special_tokens_as_text": "the text spells out special tokens, which stay plain text (--special-tokens allow encodes "
    "them as tokens, for text that is already rendered; --special-tokens reject drops such rows)",
    "answer_ends_with_special_token": "an answer ends with a special token spelled out as text, which the model would "
    "learn to write: remove it from the corpus (the template ends the turn itself)",
    "empty_reasoning_learned": "the model is trained to write an empty reasoning block before an answer without "
    "reasoning, because the template adds one (--template-arg enable_thinking=false puts it into the prompt instead)",
    "preview_before_tool_call": "no preview: the answer begins with a tool call",
    "preview_not_rendered": "no preview: the template strips, moves or drops what the preview would show",
    "answer_not_trained": "an answer is context only, because its flag says not to train on it",
    "developer_as_system": "a developer message is rendered as a system message, because the template has no such role",
    "answer_weighted": "an answer has a loss weight of its own, which is written beside the shards",
    "reasoning_left_out": "the chat template drops the reasoning of a message, so it is not trained on",
    "safety_without_preview": "no preview: the row is of the class safety, whose first tokens are to stay as they are "
    "(--preview-safety previews it too)",
    "truncated": "truncated to the maximum length (--max-length)",
    "split": "split into documents of at most the maximum length, each packed on its own",
    "row_not_learned": "packed rows without a supervised token: they hold only one-token pieces of longer documents "
    "(a larger --pack avoids them)",
}
"""What `Counts.notes` counts."""
