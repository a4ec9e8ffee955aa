"""The small steps on arrays that stages take."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lookahead_data.arrays import booleans, flags_of, reordered


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 20), st.integers(0, 20))
def test_flags_are_arrows_bits_and_back(flags: list[bool], start: int, count: int) -> None:
    bits = booleans(np.array(flags, bool))
    assert bits.equals(pa.array(flags, pa.bool_()))
    part = bits.slice(min(start, len(flags)), count)
    assert flags_of(part).tolist() == part.to_pylist()
    assert flags_of(pa.array(flags, pa.bool_())).tolist() == flags


@given(st.data())
def test_values_are_put_in_order(data: st.DataObject) -> None:
    """In stretches, and one by one."""
    arrays = [
        pa.array(values, pa.list_(pa.string()))
        for values in data.draw(st.lists(st.lists(st.lists(st.text(max_size=2), max_size=2)), min_size=1))
    ]
    arrays.append(pa.array([[str(at)] for at in range(300)], pa.list_(pa.string())).slice(7))
    count = sum(map(len, arrays))
    order = np.arange(count)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, count))
        order = np.concatenate([order[at:], order[:at]])
    if data.draw(st.booleans()):
        order = order[np.argsort(order % 7, kind="stable")]
    order = order[: data.draw(st.integers(0, count))]
    assert reordered(arrays, order).equals(pa.concat_arrays(arrays).take(pa.array(order)))
