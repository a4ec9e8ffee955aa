"""The verdicts of curation are handed to the units whose rows they are about."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookahead_data.config import Settings
from lookahead_data.plan import Plan, Unit
from lookahead_data.sink.verdicts import SCHEMA, load_verdicts, save_verdicts

FILED = pa.schema([("file", pa.int64()), *SCHEMA])

files = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4), min_size=1, max_size=4)
"""Of each file, the rows of its units; a unit of blank lines has none."""


@settings(deadline=None, max_examples=30)
@given(files, st.data())
def test_each_unit_has_the_verdicts_on_its_rows(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[int]], data: st.DataObject
) -> None:
    units: list[Unit] = []
    owner: dict[tuple[int, int], str] = {}
    for file, sizes in enumerate(files):
        first = 0
        for rows in sizes:
            unit = Unit(len(units), file, 0, 0, first, 0)
            owner |= {(file, row): unit.name for row in range(first, first + rows)}
            units.append(unit)
            first += rows
    against = sorted(data.draw(st.sets(st.sampled_from(sorted(owner))))) if owner else []
    lines = [
        {"file": file, "row": row, "reason": "duplicate", "message": f"{file} {row}"} for file, row in against
    ]
    plan = Plan(settings=Settings(), inputs=(), units=tuple(units), shapes=(), tokenizer={}, template=None)
    folder = tmp_path_factory.mktemp("verdicts")
    save_verdicts(folder, plan, pa.Table.from_pylist(lines, FILED), {}, {})
    for unit in units:
        expected = [f"{file} {row}" for file, row in against if owner[file, row] == unit.name]
        found = load_verdicts(folder, unit)
        assert found.schema == SCHEMA
        assert found["message"].to_pylist() == expected
