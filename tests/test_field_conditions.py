"""Conditions on the fields of rows, whatever the format says of their types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import write_jsonl

import lookahead_data as la

CONDITIONS = [
    ("lang = 'en'", [0, 2]),
    ("score > 3", [0, 3]),
    ("score > 3 AND lang = 'en'", [0]),
    ("good", [0, 1]),
    ("NOT good", [2, 3]),
    ("meta.source = 'a'", [0, 3]),
    ("lang IS NULL", [3]),
    ("len_chars(lang) = 2 AND len_words(completion) > 1", [0, 1, 2]),
    ("lang IN ('de', 'fr') OR meta.source = 'a'", [0, 1, 3]),
]


@pytest.mark.parametrize(("where", "kept"), CONDITIONS)
@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv"])
def test_conditions_on_fields(where: str, kept: list[int], ending: str, tmp_path: Path) -> None:
    fields: list[tuple[Any, ...]] = [
        ("en", 5, True, "a"), ("de", 3, True, "b"), ("en", 1, False, "b"), (None, 4.5, False, "a"),
    ]  # fmt: skip
    rows = [
        {"prompt": f"p {at}", "completion": f"answer {at}", "lang": lang, "score": score, "good": good, "meta": {"source": source}}
        for at, (lang, score, good, source) in enumerate(fields)
    ]  # fmt: skip
    path = tmp_path / f"rows.{ending}"
    if ending == "jsonl":
        write_jsonl(path, rows)
    elif ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif "meta" in where or "NULL" in where:
        pytest.skip("CSV has neither objects nor nulls")
    else:
        names = ("prompt", "completion", "lang", "score", "good")
        lines = [",".join("" if row[name] is None else str(row[name]) for name in names) for row in rows]
        path.write_text("\n".join([",".join(names), *lines]))
    found = la.curate(path, where=[where])
    gone = found.verdicts.column("row").to_pylist()
    assert [at for at in range(4) if at not in gone] == kept
