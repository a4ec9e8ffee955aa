"""Everything that may go wrong, and how it is told.

    LookaheadError
    ├── SettingsError     a setting is wrong or contradicts another          exit status 2
    ├── InputError        an input file cannot be used as it is              exit status 1
    ├── TokenizerError    the tokenizer cannot be used                       exit status 1
    ├── TemplateError     the chat template cannot be used                   exit status 1
    └── OutputError       the output folder cannot be used or written        exit status 1

    RowError              one row cannot be used; it goes to quarantine and the run goes on

A `LookaheadError` ends the run. It says what is wrong, where, and what to do about it, and keeps
the three apart as fields. All of them survive pickling, since workers send them home.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lookahead_data.display import mask_credentials


class LookaheadError(Exception):
    """A run cannot start or go on.

    Attributes:
        problem: what is wrong, with the offending value.
        where: the file, field or setting at fault, or None.
        remedy: what the user can do about it, or None.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, problem: str, *, where: str | None = None, remedy: str | None = None) -> None:
        # Whatever is told may come to a terminal or a log: credentials in URLs never do.
        problem = mask_credentials(problem)
        super().__init__(problem)
        self.problem = problem
        self.where = where and mask_credentials(where)
        self.remedy = remedy and mask_credentials(remedy)

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{text}\n  {self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.problem, self.where, self.remedy)


def _rebuild(
    kind: type[LookaheadError], problem: str, where: str | None, remedy: str | None
) -> LookaheadError:
    return kind(problem, where=where, remedy=remedy)


class SettingsError(LookaheadError):
    """A setting is wrong, or contradicts another one."""

    exit_status = 2


class InputError(LookaheadError):
    """An input file cannot be used as it is."""


class TokenizerError(LookaheadError):
    """The tokenizer cannot be used."""


class TemplateError(LookaheadError):
    """The chat template cannot be used."""


class OutputError(LookaheadError):
    """The output folder cannot be used or written."""


class QuarantineError(LookaheadError):
    """The job is done, and more rows are in quarantine, or filtered, than were allowed."""

    exit_status = 3


class RowError(Exception):
    """One row cannot be used.

    Attributes:
        reason: a short code from `REASONS`, for programs.
        message: what is wrong with this row, for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"{reason!r} is not one of errors.REASONS")
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


REASONS: dict[str, str] = {
    "invalid_json": "the line is not one JSON value",
    "invalid_utf8": "the line is not UTF-8",
    "lone_surrogate": "the text holds half of a UTF-16 pair, which no UTF-8 text can",
    "raw_nul": "the line holds a raw NUL byte",
    "duplicate_key": "a JSON object names a key twice",
    "not_finite": "the JSON holds NaN or Infinity where a number is read",
    "nesting": "the JSON is nested too deeply",
    "line_too_long": "the line is longer than the limit",
    "not_an_object": "the JSON value is not an object",
    "invalid_csv": "the CSV row has a quote where none can stand",
    "wrong_columns": "the CSV row has another number of columns than the header",
    "missing_field": "a field that the shape needs is missing or null",
    "not_text": "a field that must be text is something else",
    "empty_answer": "an answer is empty",
    "no_answer": "the conversation has no assistant message",
    "unknown_role": "a message has a role that is not known",
    "unsupported_content": "a message or a field carries something that cannot be read",
    "media": "the row holds an image, audio or video, and only text is learned",
    "preference": "the row tells a wanted answer from an unwanted one, and both would be learned",
    "ambiguous_fields": "two fields of the row say different things of one kind, such as two system prompts",
    "not_trained": "the row says of all its answers that they are not to be learned",
    "short_answer": "the answer has no more tokens than the preview, and short answers are dropped",
    "template_refused": "the chat template refused the conversation",
    "template_failed": "the chat template broke on the conversation",
    "template_drops_content": "the chat template leaves out, or repeats, what a message says",
    "special_token_in_text": "the text holds a special token, and such rows are rejected, or it cannot be encoded as text",
    "tokenizer_failed": "the tokenizer broke on the row",
    "tools_not_rendered": "the chat template does not render the row's tools or tool calls",
    "weights_not_written": "an answer has a loss weight other than 0 and 1, and no weights are written",
    "nothing_supervised": "no token of the row counts in the loss",
    "overlength": "the row has more tokens than the maximum",
    "tail": "the document is in a packed row that is not full, and such rows are dropped",
    "where": "the row does not meet a condition of --where",
    "sampled": "the row is one of those that --keep leaves out",
    "duplicate": "the row repeats an earlier one",
    "near_duplicate": "the row is nearly the same as another one, which stays",
    "contaminated": "the row shares words with an item of an evaluation set",
}
"""Reason codes of rows that are not written, with their meanings."""
