"""Rows that are left out: many at a time as one by one, and their lines as `json` writes them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lookahead_data.batches import Reject, Sieve, Staged
from lookahead_data.columns import schema
from lookahead_data.errors import RowError
from lookahead_data.plan import InputFile
from lookahead_data.sink.quarantine import rejected_lines

ERRORS = [RowError("where", "no"), RowError("sampled", "left out"), RowError("empty_answer", "empty")]

places = st.one_of(st.none(), st.integers(0, 1 << 50))
flags = st.lists(st.booleans(), min_size=5, max_size=5)


def batch_of(offsets: list[int | None]) -> pa.RecordBatch:
    columns = {"row": [7 + 3 * at for at in range(len(offsets))], "offset": offsets}
    return pa.RecordBatch.from_pydict(columns, schema=schema(columns))


@given(st.lists(places, min_size=5, max_size=5), st.lists(st.tuples(flags, st.sampled_from(ERRORS))))
def test_rows_are_rejected_together_as_one_by_one(
    offsets: list[int | None], steps: list[tuple[list[bool], RowError]]
) -> None:
    batch = batch_of(offsets)
    together, singly = Sieve(batch), Sieve(batch)
    for flagged, error in steps:
        together.reject_all(np.array(flagged), error, "filtered")
        for at in np.flatnonzero(flagged).tolist():
            singly.reject(at, error, outcome="filtered")
    assert together.rejects == singly.rejects
    assert [staged.batch for staged in (together.staged(), singly.staged())] == [slowly(batch, steps)] * 2


def slowly(batch: pa.RecordBatch, steps: list[tuple[list[bool], RowError]]) -> pa.RecordBatch:
    rows = [row for at, row in enumerate(batch.to_pylist()) if not any(flagged[at] for flagged, _ in steps)]
    return pa.RecordBatch.from_pylist(rows, schema=batch.schema)


def test_a_reject_has_its_place_and_its_first_reason() -> None:
    sieve = Sieve(batch_of([100, None, 0]))
    sieve.reject(1, ERRORS[2], "the text")
    sieve.reject_all(np.array([True, True, False]), ERRORS[0], "filtered")
    sieve.reject(0, ERRORS[1])
    staged: Staged = sieve.staged()
    assert staged.rejects == [
        Reject(10, None, "empty_answer", "empty", "the text", "quarantined"),
        Reject(7, 100, "where", "no", "", "filtered"),
    ]
    assert staged.batch.column("offset").to_pylist() == [0]


# Half a UTF-16 pair may stand in an excerpt.
texts = st.text(st.characters(), max_size=8)


@given(
    st.lists(st.builds(Reject, st.integers(0, 1 << 50), places, texts, texts, texts)),
    texts,
    st.sampled_from(["jsonl", "csv"]),
)
def test_the_lines_are_those_of_json(rejects: list[Reject], name: str, kind: str) -> None:
    file = InputFile(name, "", kind, None, 0, 0)
    expected = [
        {
            "outcome": reject.outcome,
            "reason": reject.reason,
            "file": name,
            "row": reject.row,
            "line": reject.row + 1 if kind == "jsonl" else None,
            "offset": reject.offset,
            "message": reject.message,
            "excerpt": reject.excerpt,
        }
        for reject in rejects
    ]
    assert rejected_lines(rejects, file) == "".join(json.dumps(record) + "\n" for record in expected)
