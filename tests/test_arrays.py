"""The small steps on arrays that stages take."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lookahead_data.arrays import booleans, flags_of


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 20), st.integers(0, 20))
def test_flags_are_arrows_bits_and_back(flags: list[bool], start: int, count: int) -> None:
    bits = booleans(np.array(flags, bool))
    assert bits.equals(pa.array(flags, pa.bool_()))
    part = bits.slice(min(start, len(flags)), count)
    assert flags_of(part).tolist() == part.to_pylist()
    assert flags_of(pa.array(flags, pa.bool_())).tolist() == flags
