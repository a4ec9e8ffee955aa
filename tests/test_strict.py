"""The short way of the strict reader gives what its long way gives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from test_blocks import RECORD, SHAPES

from lookahead_data.errors import RowError
from lookahead_data.source import strict, turns
from lookahead_data.source.rows import Row
from lookahead_data.source.shapes import Shape


def outcome(record: dict[str, Any], shape: Shape) -> Row | str:
    try:
        return strict.to_row(record, shape)
    except RowError as error:
        return error.reason


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
@settings(max_examples=150, deadline=None)
@given(record=RECORD)
def test_the_short_way_is_the_long_one(shape: Shape, record: dict[str, Any]) -> None:
    outcome(record, shape)  # by now the shape knows what the names of the fields mean
    found = outcome(record, shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict, "_usual", lambda *_: None)
        patch.setattr(turns.Turns, "_is_usual", lambda *_: False)
        assert outcome(record, shape) == found
