"""The rows that were not written, each with its place and reason, as JSON Lines beside the shards."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from lookahead_data.batches import Reject
from lookahead_data.plan import InputFile
from lookahead_data.sink.publish import write_text

LINE_FORMATS = ("jsonl",)

# A million rows may go for one reason, with one message.
_as_json = functools.lru_cache(maxsize=1024)(json.dumps)


def rejected_lines(rejects: Iterable[Reject], file: InputFile) -> str:
    """One JSON object a line; half a UTF-16 pair, say, stays readable by any JSON reader."""
    by_line = file.format in LINE_FORMATS
    name = _as_json(file.name)
    lines = []
    for reject in rejects:
        line = reject.row + 1 if by_line else "null"
        offset = "null" if reject.offset is None else reject.offset
        lines.append(
            f'{{"outcome": {_as_json(reject.outcome)}, "reason": {_as_json(reject.reason)}, "file": {name}, '
            f'"row": {reject.row}, "line": {line}, "offset": {offset}, '
            f'"message": {_as_json(reject.message)}, "excerpt": {_as_json(reject.excerpt)}}}\n'
        )
    return "".join(lines)


def place_of(reject: Reject, file: InputFile) -> str:
    """Where the row stands in its file, for people."""
    if file.format not in LINE_FORMATS:
        return f"row {reject.row + 1:,}"
    return f"line {reject.row + 1:,}" + (f" (byte {reject.offset:,})" if reject.offset is not None else "")


def write_rejected(path: Path, rejects: Sequence[Reject], file: InputFile) -> str | None:
    """Publish the rejects of a unit; a file of an earlier try is replaced, or removed if there are none.

    Returns:
        The SHA-256 of the file, or None if there is none.
    """
    if not rejects:
        path.unlink(missing_ok=True)
        return None
    text = rejected_lines(sorted(rejects, key=lambda reject: reject.row), file)
    write_text(path, text)
    return hashlib.sha256(text.encode()).hexdigest()
